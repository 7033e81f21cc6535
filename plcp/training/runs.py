"""A run: its options, its folder, and what came of it.

config.json    options, seed and data, which a run keeps from start to end
preprocessor/  tokenizer and image settings
pretrained.safetensors   the weights it begins with, where these are not random
checkpoints/   see checkpoint.py; elsewhere where `storage` says so
metrics.jsonl, tensorboard/
result.json    once the run is finished
"""

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import uuid4

from pydantic import Field, model_validator

from plcp.base import Config, ConfigError, ModelError
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.folders import sha256
from plcp.forecast.runs import replace_text
from plcp.model.losses import LossConfig
from plcp.model.model import ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.model.pretraining import PretrainLossConfig
from plcp.training import checkpoint
from plcp.training.checkpoint import State
from plcp.training.engine import EngineConfig
from plcp.training.progress import METRICS, TENSORBOARD
from plcp.training.spikes import SpikeConfig
from plcp.training.store import DamagedError, Store, below
from plcp.training.task import vocabulary_texts
from plcp.training.trackers import TrackerName

CONFIG, PREPROCESSOR, RESULT = "config.json", "preprocessor", "result.json"
PRETRAINED = "pretrained.safetensors"


Workers = Annotated[int, Field(ge=1)]


class LoopConfig(Config):
    """A run of the training loop, whatever it learns."""

    task: ClassVar[str]

    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    spec: Spec = Field(default_factory=lambda: Spec.model_validate({}))
    loader: LoaderConfig = Field(default_factory=lambda: LoaderConfig.model_validate({}))
    engine: EngineConfig = Field(default_factory=lambda: EngineConfig.model_validate({}))
    # How many workers there are, and what each gets, is no part of what a run is, so that it can be continued on other machines: all
    # that is excluded here is left out of its record.
    workers: Workers | tuple[Workers, Workers] = Field(
        2, exclude=True, description="or [least, most]: as many as there is room for, which may change while it trains"
    )
    gpus_per_worker: int | None = Field(
        None,
        ge=0,
        le=1,
        exclude=True,
        description="if not given, 1 if the nodes now up have enough; to be given where nodes come on demand",
    )
    cpus_per_worker: int | None = Field(
        None, ge=1, exclude=True, description="also its threads; if not given, as many as the nodes now up have for each"
    )
    max_failures: int = Field(
        3,
        ge=0,
        exclude=True,
        description="failures of workers in a row, without a checkpoint in between, from which they start again; one more ends the run",
    )
    storage: str | None = Field(
        None, description="where checkpoints are kept, below a folder of the run's own: a path or URI (s3://…); if not given, with the run"
    )
    storage_patience: float = Field(
        600.0, ge=0, exclude=True, description="seconds for which storing a checkpoint is tried again, before training stops"
    )
    steps: int = Field(1000, ge=1, description="at most; see patience")
    validate_every: int = Field(100, ge=1, description="steps between validations, each of which leaves a checkpoint")
    validation_cases: int = Field(16384, ge=1, description="cases looked at in a validation at most")
    select: str = Field("loss", description="the validation loss by which the best weights are known")
    refit_steps: int = Field(
        0, ge=0, description="then so many steps more that learn from what validated too, while the learning rate falls"
    )
    patience: int = Field(5, ge=1, description="validations without a lower one after which training stops")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    spike: SpikeConfig = Field(default_factory=lambda: SpikeConfig.model_validate({}))
    # Who looks on is no part of what a run is.
    trackers: tuple[TrackerName, ...] = Field((), exclude=True, description="mlflow, wandb: told the metrics too; extras of plcp")
    max_skipped: int = Field(20, ge=0, description="steps left out, because loss or gradient is not finite, before training stops")

    @model_validator(mode="after")
    def _range(self) -> Self:
        least, most = self.fewest_and_most
        if least > most:
            raise ValueError(f"workers [{least}, {most}]: the first is the least, so it cannot be more than the second")
        return self

    @property
    def fewest_and_most(self) -> tuple[int, int]:
        """Workers at least and at most."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    def fitted(self, prepared: Prepared) -> Self:
        """The options with everything settled that this data decides."""
        return self.model_copy(update={"spec": self.spec.fitted(prepared)})

    def held_back_from(self, origin: dt.date) -> dt.date:
        """The first week that the weights which validate never saw, of data prepared up to an origin."""
        return origin - dt.timedelta(weeks=self.loader.validation_weeks)


class TrainConfig(LoopConfig):
    """A training run."""

    task: ClassVar[str] = "forecast"

    loss: LossConfig = Field(default_factory=lambda: LossConfig.model_validate({}))
    select: Literal["loss", "quantiles", "mean", "hazard", "stage", "new_peak"] = Field(
        "quantiles", description="the validation loss by which the best weights are known: the total, or one head's"
    )
    refit_steps: int = Field(
        300, ge=0, description="then so many steps more that learn from the validation weeks as well, while the learning rate falls"
    )
    trees: bool = Field(True, description="boosted trees beside the network, grown at export, where the past is long enough")


class PretrainConfig(LoopConfig):
    """A pretraining run. Products validate it, and of no product does it see the weeks that will validate a fine-tuning."""

    task: ClassVar[str] = "pretraining"

    loss: PretrainLossConfig = Field(default_factory=lambda: PretrainLossConfig.model_validate({}))
    select: Literal["loss", "units"] = Field(
        "units", description="the rebuilding of units, or the total, whose alignment is harder the more workers validate"
    )
    refit_steps: int = Field(0, ge=0, description="then so many steps more that learn from the validation products as well")


Options = TrainConfig | PretrainConfig
TASKS: dict[str, type[Options]] = {TrainConfig.task: TrainConfig, PretrainConfig.task: PretrainConfig}


@dataclass(frozen=True)
class RunResult:
    """What came of a run; `export` takes the weights of its refit, or the best ones where it has none."""

    run: Path
    steps: int  # taken, those left out included
    skipped: int  # left out, because loss or gradient was not finite
    best_step: int
    validation: dict[str, float]  # losses at the best step


@dataclass(frozen=True)
class Start:
    """Weights that a run begins with, and the preprocessing that they belong to."""

    weights: Path
    preprocessor: Path
    digest: str  # SHA-256 of the weights

    @classmethod
    def of(cls, weights: Path, preprocessor: Path) -> Self:
        return cls(weights, preprocessor, sha256(weights))


@dataclass(frozen=True)
class Run:
    """A run's folder and all that decides what becomes of it."""

    folder: Path
    data: Prepared
    config: Options
    seed: int
    begins_with: str | None = None  # SHA-256 of the weights it begins with, where these are not random
    pause: int | None = None  # step at which its workers are to stop for now; a refit waits until there is none

    @staticmethod
    def open(folder: Path) -> "Run":
        """A run that was begun. Raises ModelError where there is none, ConfigError where its data has changed since."""
        config, content = record(folder)
        run = Run(folder, Prepared.open(Path(content["prepared"])), config, content["seed"], content.get("begins_with"))
        run.begin()
        return run

    @property
    def pretrained(self) -> Path | None:
        """The weights that it begins with."""
        return self.folder / PRETRAINED if self.begins_with else None

    def begin(self, start: Start | None = None) -> None:
        """Make the folder, or make sure that it holds this very run. Raises ConfigError where it does not."""
        config = self.config.model_dump(mode="json")
        identity = {
            "task": self.config.task,
            "config": config,
            "seed": self.seed,
            "data": self.data.digest,
            "begins_with": self.begins_with,
        }
        path = self.folder / CONFIG
        if path.exists():
            begun = {"task": TrainConfig.task, **read_json(path)}
            changes = list(differences({name: begun.get(name) for name in identity}, identity))
            if changes := sorted(changes, key=lambda change: not change.startswith("task ")):  # the rest follows from it
                raise ConfigError(f"{self.folder} holds a run with {'; '.join(changes[:5])}. Give another folder, or start it anew")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if start is not None:
            shutil.copyfile(start.weights, self.folder / PRETRAINED)
            shutil.copytree(start.preprocessor, self.folder / PREPROCESSOR, dirs_exist_ok=True)
        else:
            model = self.config.model
            texts = vocabulary_texts(self.data) if model.text is not None else []
            Preprocessor.build(model.text, model.image, texts).save(self.folder / PREPROCESSOR)
        write_json(path, {**identity, "prepared": str(self.data.root), "origin": str(self.data.origin), "id": uuid4().hex[:12]})

    @property
    def place(self) -> str:
        """Where the checkpoints of a run that was begun lie; see Store."""
        if self.config.storage is None:
            return str(self.folder)
        return below(self.config.storage, f"{self.folder.name}-{read_json(self.folder / CONFIG)['id']}")

    def forget(self) -> None:
        """Remove whatever a run left in the folder, and nothing else."""
        if (self.folder / CONFIG).exists():
            Store(self.place).forget()
        for name in (RESULT, CONFIG, METRICS, PRETRAINED):
            (self.folder / name).unlink(missing_ok=True)
        for name in (PREPROCESSOR, TENSORBOARD):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def finished(self) -> RunResult | None:
        """What came of the run, once it has run to its end."""
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            return RunResult(self.folder, **read_json(path))
        except TypeError as error:
            raise damaged(path, error) from error

    def standing(self) -> State | None:
        """Where it stands by its last checkpoint; None where there is none yet."""
        try:
            return checkpoint.last_state(self.place)
        except (ModelError, DamagedError):  # the latter is mended when the run goes on
            return None

    def learnt(self) -> Path:
        """The file of what it learned; see checkpoint.learnt."""
        return checkpoint.learnt(self.place)

    def finish(self) -> RunResult:
        """Write down what came of it."""
        last, best = checkpoint.last_state(self.place), checkpoint.best_state(self.place)
        result = RunResult(self.folder, last.step, last.skipped, best.step, best.validation)
        content = {name: value for name, value in asdict(result).items() if name != "run"}
        write_json(self.folder / RESULT, content)
        return result


def record(folder: Path) -> tuple[Options, dict[str, Any]]:
    """The options of a run, and all that is written down of it. Raises ModelError where the folder holds none."""
    path = folder / CONFIG
    if not path.exists():
        raise ModelError(f"{folder}: no {CONFIG}, so this is no training run; make one with `plcp train PREPARED --out {folder}`")
    content = read_json(path)
    try:
        config = TASKS[content.get("task", TrainConfig.task)].model_validate(content["config"])
        Path(content["prepared"]), int(content["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    return config, content


def read_json(path: Path) -> dict[str, Any]:
    """An object of a run's folder. Raises ModelError where the file holds none."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "no JSON object")
    return content


def damaged(path: Path, reason: object) -> ModelError:
    return ModelError(
        f"{path}: damaged, or of another version ({reason}); start the run anew: `plcp train PREPARED --out {path.parent} --no-resume`"
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    replace_text(path, json.dumps(content, indent=1))


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Where two nested dicts differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        yield f"{name} {old}, not {new}"
