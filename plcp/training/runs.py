"""A run: its options, its folder, and what came of it.

config.json    options, seed and data, which a run keeps from start to end
preprocessor/  tokenizer and image settings
start.safetensors   the weights it begins with, where these are another model's
checkpoints/   see checkpoint.py
metrics.jsonl, tensorboard/
result.json    once the run is finished
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from plcp.base import Config, ConfigError, ModelError
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.model.losses import LossConfig
from plcp.model.model import ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.training import checkpoint
from plcp.training.engine import EngineConfig
from plcp.training.progress import METRICS, TENSORBOARD
from plcp.training.task import vocabulary_texts

CONFIG, PREPROCESSOR, RESULT, START = "config.json", "preprocessor", "result.json", "start.safetensors"


class TrainConfig(Config):
    """A training run."""

    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    spec: Spec = Field(default_factory=lambda: Spec.model_validate({}))
    loader: LoaderConfig = Field(default_factory=lambda: LoaderConfig.model_validate({}))
    loss: LossConfig = Field(default_factory=lambda: LossConfig.model_validate({}))
    engine: EngineConfig = Field(default_factory=lambda: EngineConfig.model_validate({}))
    workers: int = Field(2, ge=1)
    # What a worker gets is no part of what a run is, so that it can be continued on other machines: both are left out of its record.
    gpus_per_worker: int | None = Field(
        None,
        ge=0,
        exclude=True,
        description="if not given, 1 if the nodes now up have enough; to be given where nodes come on demand",
    )
    cpus_per_worker: int | None = Field(
        None, ge=1, exclude=True, description="also its threads; if not given, as many as the nodes now up have for each"
    )
    steps: int = Field(1000, ge=1, description="at most; see patience")
    validate_every: int = Field(100, ge=1, description="steps between validations, each of which leaves a checkpoint")
    validation_cases: int = Field(16384, ge=1, description="cases looked at in a validation at most")
    select: Literal["loss", "quantiles", "mean", "hazard", "stage", "new_peak"] = Field(
        "quantiles", description="the validation loss by which the best weights are known: the total, or one head's"
    )
    refit_steps: int = Field(
        300, ge=0, description="then so many steps more that learn from the validation weeks as well, while the learning rate falls"
    )
    patience: int = Field(5, ge=1, description="validations without a lower one after which training stops")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    max_skipped: int = Field(20, ge=0, description="steps left out, because loss or gradient is not finite, before training stops")

    def fitted(self, prepared: Prepared) -> Self:
        """The options with everything settled that this data decides."""
        return self.model_copy(update={"spec": self.spec.fitted(prepared)})


@dataclass(frozen=True)
class RunResult:
    """What came of a run; `export` takes the weights of its refit, or the best ones where it has none."""

    run: Path
    steps: int  # taken, those left out included
    skipped: int  # left out, because loss or gradient was not finite
    best_step: int
    validation: dict[str, float]  # losses at the best step


@dataclass(frozen=True)
class Run:
    """A run's folder and all that decides what becomes of it."""

    folder: Path
    data: Prepared
    config: TrainConfig
    seed: int

    @staticmethod
    def open(folder: Path) -> "Run":
        """A run that was begun. Raises ModelError where there is none, ConfigError where its data has changed since."""
        path = folder / CONFIG
        if not path.exists():
            raise ModelError(f"{folder}: no {CONFIG}, so this is no training run; make one with `plcp train PREPARED --out {folder}`")
        content = read_json(path)
        try:
            prepared, config, seed = Path(content["prepared"]), TrainConfig.model_validate(content["config"]), content["seed"]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error
        run = Run(folder, Prepared.open(prepared), config, seed)
        run.begin()
        return run

    def begin(self, preprocessor: Path | None = None) -> None:
        """Make the folder, or make sure that it holds this very run. Raises ConfigError where it does not.

        preprocessor: another model's, where the run learns on from it.
        """
        identity = {"config": self.config.model_dump(mode="json"), "seed": self.seed, "data": self.data.digest}
        path = self.folder / CONFIG
        if path.exists():
            begun = read_json(path)
            if changes := list(differences({name: begun.get(name) for name in identity}, identity)):
                raise ConfigError(f"{self.folder} holds a run with {'; '.join(changes[:5])}. Give another folder, or start it anew")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if preprocessor:
            shutil.copytree(preprocessor, self.folder / PREPROCESSOR, dirs_exist_ok=True)
        else:
            model = self.config.model
            texts = vocabulary_texts(self.data) if model.text is not None else []
            Preprocessor.build(model.text, model.image, texts).save(self.folder / PREPROCESSOR)
        write_json(path, {**identity, "prepared": str(self.data.root)})

    def forget(self) -> None:
        """Remove whatever a run left in the folder, and nothing else."""
        for name in (RESULT, CONFIG, METRICS, START):
            (self.folder / name).unlink(missing_ok=True)
        for name in (PREPROCESSOR, TENSORBOARD, checkpoint.FOLDER):
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

    def finish(self) -> RunResult:
        """Write down what came of it."""
        (_, last), (_, best) = checkpoint.last(self.folder), checkpoint.best(self.folder)
        result = RunResult(self.folder, last.step, last.skipped, best.step, best.validation)
        content = {name: value for name, value in asdict(result).items() if name != "run"}
        write_json(self.folder / RESULT, content)
        return result


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
    """Write aside and rename."""
    aside = path.with_name(f".{path.name}.writing")
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(path)


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Where two nested dicts differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        yield f"{name} {old}, not {new}"
