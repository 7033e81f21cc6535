"""A checkpoint: every worker's share of the engine's state, and beside it, for people too, where the run stands.

engine/              DeepSpeed's files of all workers (pickles: keep them where nobody else can write)
state.json           step, epoch and place in it, learning rate, losses, best so far
weights.safetensors  the whole model in fp32, wherever its score was the lowest so far, and at the end of a refit
"""

import json
import logging
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import ray.train
from safetensors.torch import save_file

from plcp.base import ModelError
from plcp.training.engine import Engine

FOLDER = "checkpoints"  # below a run
STATE, WEIGHTS = "state.json", "weights.safetensors"
SCORE = "score"
UNJUDGED = 1e9  # score of a checkpoint that no validation judged: it is never the best, and kept for as long as it is the last

T = TypeVar("T")


@dataclass
class State:
    """Where a run stands after `step` steps. Randomness and learning rate are functions of the step, so nothing else is needed."""

    step: int = 0
    learning_rate: float = 0.0  # of the last step
    loader: dict[str, int] = field(default_factory=dict)  # CaseLoader.state
    validation: dict[str, float] = field(default_factory=dict)  # losses at this step
    score: float | None = None  # the one of them that decides
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0  # validations since the best
    refit_from: int | None = None  # the step from which on the validation weeks are learned from as well
    spikes: int = 0  # batches whose loss leapt
    recent: list[float] = field(default_factory=list)  # the losses that the next one is compared with
    skipped: int = 0  # steps not taken, because their loss or gradient was not finite

    def judge(self, validation: dict[str, float], select: str) -> bool:
        """Take note of a validation; whether no loss `select` before was lower."""
        self.validation, self.score = validation, validation[select]
        if self.best_score is None or self.score < self.best_score:
            self.best_score, self.best_step, self.stale = self.score, self.step, 0
            return True
        self.stale += 1
        return self.score == self.best_score

    def begin_refit(self) -> None:
        """From now on nothing is held back, so nothing is judged."""
        self.refit_from, self.loader, self.score = self.step, {}, None

    @property
    def metrics(self) -> dict[str, float | None]:
        losses = {f"validation_{name}": value for name, value in self.validation.items()}
        return {SCORE: self.score, "best_score": self.best_score, **losses}


def save(engine: Engine, state: State, weights: bool) -> None:
    """Report a checkpoint to Ray Train, which merges the workers' folders; with the model's `weights` or without. Called by all workers."""
    first = ray.train.get_context().get_world_rank() == 0
    with tempfile.TemporaryDirectory(prefix="plcp-checkpoint-") as name:
        folder = Path(name)
        engine.save(folder)
        if weights:
            with engine.evaluating():
                learnt = engine.weights()
            if first:
                save_file(learnt, folder / WEIGHTS)
        if first:
            (folder / STATE).write_text(json.dumps(asdict(state), indent=1))
        judged = state.metrics if state.refit_from is None else {SCORE: UNJUDGED}
        ray.train.report({"step": state.step, **judged}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def restore(engine: Engine) -> State:
    """The state of the run's last complete checkpoint, loaded into the engine; a new one where there is none."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return State()
    with checkpoint.as_directory() as name:
        engine.load(Path(name))
        return _state(Path(name))


def last(run: Path) -> tuple[Path, State]:
    """Folder and state of the run's last complete checkpoint. Raises ModelError where there is none."""
    folder = Path(_found(run, _result(run).checkpoint).path)
    return folder, _state(folder)


def best(run: Path) -> tuple[Path, State]:
    """Folder and state of the run's checkpoint with the lowest score. Raises ModelError where there is none."""
    folder = Path(_found(run, _result(run).get_best_checkpoint(SCORE, "min")).path)
    return folder, _state(folder)


def _result(run: Path) -> ray.train.Result:
    logging.getLogger("ray.train.v2").setLevel(logging.WARNING)  # Ray explains at length that it found what is looked for
    try:
        return ray.train.Result.from_path(run / FOLDER)
    except RuntimeError:
        return _found(run, None)


def _found(run: Path, found: T | None) -> T:
    if found is None:
        raise ModelError(f"{run}: holds no checkpoint yet; train first: `plcp train PREPARED --out {run}`")
    return found


def _state(folder: Path) -> State:
    try:
        return State(**json.loads((folder / STATE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder / STATE}: damaged, or of another version ({error}); start the run anew: `plcp train PREPARED --out RUN --no-resume`"
        ) from error
