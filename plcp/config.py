"""One configuration out of the components' own: a YAML file with a section per component, and dotted overrides on top of it.

Each section is a component's Config class, which stands beside the component with its defaults. A section is built when it is
first asked for, so that no command imports (or waits for) what it does not use.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from plcp.base import Config, ConfigError

if TYPE_CHECKING:
    from plcp.data.contract import ContractConfig
    from plcp.data.prepared import PrepareConfig
    from plcp.data.simulator.config import SimulatorConfig
    from plcp.decisions import DecideConfig
    from plcp.evaluation.backtest import BacktestConfig
    from plcp.evaluation.baselines.lightgbm import LightGBMConfig
    from plcp.evaluation.baselines.lstm import LSTMConfig
    from plcp.evaluation.baselines.neural import NeuralConfig, TFTConfig
    from plcp.evaluation.baselines.text import TextConfig
    from plcp.evaluation.refresh import RefreshConfig
    from plcp.forecast.catalog import CatalogConfig
    from plcp.monitor.config import MonitorConfig
    from plcp.serving.app import ServingConfig
    from plcp.size.config import SizeConfig
    from plcp.training.runs import PretrainConfig, TrainConfig
    from plcp.training.space import TuneConfig

C = TypeVar("C", bound=Config)
Options = dict[str, Any]


class Settings:
    """The options of every component. Raises ConfigError, naming the option, where a section is asked for that does not fit its Config."""

    def __init__(self, options: Mapping[str, Options], seed: int = 0) -> None:
        for name in options:
            if name not in SECTIONS:
                raise ConfigError(_unknown(name, SECTIONS))
        self._options = options
        self.seed = seed  # of everything random

    def _section(self, name: str, kind: type[C], shared: Options | None = None) -> C:
        try:
            return kind.model_validate(merged(shared or {}, self._options.get(name, {})))
        except ValidationError as error:
            raise ConfigError("\n".join(_describe(name, kind, problem) for problem in error.errors())) from None

    @cached_property
    def data(self) -> "ContractConfig":
        from plcp.data.contract import ContractConfig

        return self._section("data", ContractConfig)

    @cached_property
    def simulate(self) -> "SimulatorConfig":
        from plcp.data.simulator.config import SimulatorConfig

        return self._section("simulate", SimulatorConfig)

    @cached_property
    def prepare(self) -> "PrepareConfig":
        from plcp.data.prepared import PrepareConfig

        return self._section("prepare", PrepareConfig)

    @cached_property
    def train(self) -> "TrainConfig":
        from plcp.training.runs import TrainConfig

        return self._section("train", TrainConfig)

    @cached_property
    def pretrain(self) -> "PretrainConfig":
        """What the model is and reads, and where it runs, stands in the section of training, and may be told otherwise."""
        from plcp.training.runs import PretrainConfig

        train = self._options.get("train", {})
        shared = {name: train[name] for name in ("model", "spec", "loader", "engine", *PLACE) if name in train}
        return self._section("pretrain", PretrainConfig, shared)

    @cached_property
    def tune(self) -> "TuneConfig":
        from plcp.training.space import TuneConfig

        return self._section("tune", TuneConfig)

    @cached_property
    def lightgbm(self) -> "LightGBMConfig":
        from plcp.evaluation.baselines.lightgbm import LightGBMConfig

        return self._section("lightgbm", LightGBMConfig)

    @cached_property
    def nhits(self) -> "NeuralConfig":
        from plcp.evaluation.baselines.neural import NeuralConfig

        return self._section("nhits", NeuralConfig)

    @cached_property
    def tft(self) -> "TFTConfig":
        from plcp.evaluation.baselines.neural import TFTConfig

        return self._section("tft", TFTConfig)

    @cached_property
    def lstm(self) -> "LSTMConfig":
        from plcp.evaluation.baselines.lstm import LSTMConfig

        return self._section("lstm", LSTMConfig)

    @cached_property
    def text(self) -> "TextConfig":
        from plcp.evaluation.baselines.text import TextConfig

        return self._section("text", TextConfig)

    @property
    def backtest(self) -> "BacktestConfig":
        """A backtest prepares and trains as the commands do."""
        from plcp.evaluation.backtest import BacktestConfig

        peers = {"lightgbm": self.lightgbm, "nhits": self.nhits, "tft": self.tft, "lstm": self.lstm, "text": self.text}
        return BacktestConfig(prepare=self.prepare, train=self.train, **peers)

    @cached_property
    def score(self) -> "CatalogConfig":
        from plcp.forecast.catalog import CatalogConfig

        return self._section("score", CatalogConfig)

    @cached_property
    def refresh(self) -> "RefreshConfig":
        from plcp.evaluation.refresh import RefreshConfig

        return self._section("refresh", RefreshConfig)

    @cached_property
    def decide(self) -> "DecideConfig":
        from plcp.decisions import DecideConfig

        return self._section("decide", DecideConfig)

    @cached_property
    def monitor(self) -> "MonitorConfig":
        from plcp.monitor.config import MonitorConfig

        return self._section("monitor", MonitorConfig)

    @cached_property
    def serve(self) -> "ServingConfig":
        from plcp.serving.app import ServingConfig

        return self._section("serve", ServingConfig)

    @cached_property
    def size(self) -> "SizeConfig":
        from plcp.size.config import SizeConfig

        return self._section("size", SizeConfig)


SECTIONS = tuple(name for name, value in vars(Settings).items() if isinstance(value, cached_property))


PLACE = (
    "workers",
    "gpus_per_worker",
    "cpus_per_worker",
    "max_failures",
    "storage",
    "storage_patience",
    "trackers",
)  # of train, for all runs


def merged(below: Options, above: Options) -> Options:
    """Nested options, of which those above win."""
    both = {
        name: merged(below[name], above[name])
        for name in below.keys() & above.keys()
        if isinstance(below[name], dict) and isinstance(above[name], dict)
    }
    return {**below, **above, **both}


def load(file: Path | None = None, overrides: Iterable[str] = (), seed: int = 0) -> Settings:
    """The settings of a YAML file (or the defaults), with overrides as "section.option=value" (YAML values) laid over it.

    Raises ConfigError for a file that cannot be read and for a section that does not exist.
    """
    options = _read(file) if file else {}
    for override in overrides:
        _lay_over(options, override)
    return Settings(options, seed)


def _read(file: Path) -> Options:
    try:
        options = yaml.safe_load(file.read_text()) or {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}") from None
    if not isinstance(options, dict) or not all(isinstance(section, dict) for section in options.values()):
        raise ConfigError(f"{file}: expected sections with options below them, as in\ntrain:\n  steps: 200")
    return options


def _lay_over(options: Options, override: str) -> None:
    path, equals, value = override.partition("=")
    *parents, name = path.strip().split(".")
    if not equals or not parents or not all((*parents, name)):
        raise ConfigError(f"--set {override!r}: expected section.option=value, as in train.steps=200")
    for parent in parents:
        options = options.setdefault(parent, {})
        if not isinstance(options, dict):
            raise ConfigError(f"--set {override!r}: {parent} is an option and has none below it")
    try:
        options[name] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: {value!r} is not a YAML value; put it in quotes") from None


def _describe(section: str, kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    option = ".".join(map(str, (section, *problem["loc"])))
    if problem["type"] == "extra_forbidden":
        return _unknown(option, _options_below(kind, problem["loc"][:-1]))
    return f"option {option}: {problem['msg']}, got {problem['input']!r}"


def _unknown(option: str, known: Iterable[str]) -> str:
    parent, dot, name = option.rpartition(".")
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {parent}{dot}{nearest[0]}?" if nearest else f"there are: {', '.join(sorted(known))}"
    return f"unknown option {option}: {hint}"


def _options_below(kind: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The names of the options of the Config that a path of nested options leads to."""
    for step in path:
        field = kind.model_fields.get(str(step))
        types = (field.annotation, *get_args(field.annotation)) if field else ()
        below = next((t for t in types if isinstance(t, type) and issubclass(t, BaseModel)), None)
        if below is None:
            break  # an element of a list or a branch of a union: name the options around it
        kind = below
    return list(kind.model_fields)
