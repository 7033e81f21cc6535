"""A checkpoint: every worker's share of the engine's state, and beside it, for people too, where the run stands.

engine/              DeepSpeed's files of all workers (pickles: keep them where nobody else can write)
state.json           step, epoch and place in it, learning rate, losses, best so far
weights.safetensors  the whole model in fp32, wherever its score was the lowest so far, and at the end of a refit
manifest-*.json      sizes and sums of each worker's files, without which they count for nothing: see store.py
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow.fs
import ray.train
from ray.train import CheckpointConsistencyMode, CheckpointUploadMode
from safetensors.torch import save_file
from torch import distributed

from plcp.base import ModelError
from plcp.training.engine import Engine
from plcp.training.store import DamagedError, StorageError, Store, damage, local_share, persistently, sign

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
    judged_step: int = 0  # of the last validation
    workers: int = 0  # that saved this
    weights: bool = False  # whether the model's weights lie beside this, which then was the best so far or ends a refit
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0  # validations since the best
    refit_from: int | None = None  # the step from which on the validation weeks are learned from as well
    spikes: int = 0  # batches whose loss leapt
    recent: list[float] = field(default_factory=list)  # the losses that the next one is compared with
    skipped: int = 0  # steps not taken, because their loss or gradient was not finite

    def judge(self, validation: dict[str, float], select: str) -> bool:
        """Take note of a validation; whether no loss `select` before was lower."""
        self.validation, self.score, self.judged_step = validation, validation[select], self.step
        if self.best_score is None or self.score < self.best_score:
            self.best_score, self.best_step, self.stale = self.score, self.step, 0
            return True
        self.stale += 1
        return self.score == self.best_score

    def begin_refit(self) -> None:
        """From now on nothing is held back, so nothing is judged."""
        self.refit_from, self.loader, self.score = self.step, {}, None

    @property
    def reported(self) -> dict[str, float | None]:
        """What Ray Train is told of a checkpoint, and keeps it by: of a score only where its weights can be had."""
        return {**self.metrics, "step": self.step, SCORE: self.score if self.weights and self.refit_from is None else UNJUDGED}

    @property
    def metrics(self) -> dict[str, float | None]:
        losses = {f"validation_{name}": value for name, value in self.validation.items()}
        return {SCORE: self.score, "best_score": self.best_score, **losses}


class Saver:
    """Stores a worker's checkpoints while training goes on. Every method is called by all workers."""

    def __init__(self, place: str, patience: float) -> None:
        """`place`: where the run's checkpoints are stored; `patience`: see persistently."""
        context = ray.train.get_context()
        self._rank, self._workers = context.get_world_rank(), context.get_world_size()
        self._staging, self._patience = staging(place) / str(self._rank), patience
        self._idle = threading.Event()
        self._idle.set()
        if context.get_local_rank() == 0:  # nobody saves before all have taken a step together
            for left in staging(place).iterdir():  # by killed workers, of whatever number of them
                shutil.rmtree(left, ignore_errors=True)

    def save(self, engine: Engine, state: State, weights: bool) -> None:
        """Report a checkpoint to Ray Train, which merges the workers' folders; with the model's `weights` or without.

        Returns once it is written to this machine's disk and the one before is stored. Raises StorageError.
        """
        self._idle.wait()
        state.weights, state.workers = weights, self._workers
        folder = self._staging / str(state.step)
        with _making_room(folder):
            self._write(folder, engine, state)
        self._idle.clear()
        ray.train.report(
            state.reported,
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._store,
            delete_local_checkpoint_after_upload=True,
        )

    def settle(self) -> None:
        """Wait until all that was saved is stored and listed."""
        _reported()

    def _write(self, folder: Path, engine: Engine, state: State) -> None:
        folder.mkdir(parents=True)
        engine.save(folder)
        if state.weights:
            with engine.evaluating():
                learnt = engine.weights()
            if self._rank == 0:
                save_file(learnt, folder / WEIGHTS)
        if self._rank == 0:
            (folder / STATE).write_text(json.dumps(asdict(state), indent=1))

    def _store(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        """In Ray Train's thread for uploads."""
        try:
            with _making_room(Path(checkpoint.path)):
                sign(Path(checkpoint.path), self._rank, self._workers)
            keep = ray.train.get_context().get_storage().persist_current_checkpoint
            return cast(ray.train.Checkpoint, persistently(lambda: keep(checkpoint, name), self._patience, f"checkpoint {name}"))
        finally:
            self._idle.set()


def staging(place: str) -> Path:
    """This machine's folder for what is not stored yet at a `place`: the same whenever the run is continued. Raises StorageError."""
    folder = Path(tempfile.gettempdir()) / f"plcp-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise StorageError(f"{folder}: belongs to somebody else; remove it, or set TMPDIR to a folder of your own")
    return folder


@contextmanager
def _making_room(folder: Path) -> Iterator[None]:
    """Raises StorageError in place of what torch and the system say of a full disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) or "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise StorageError(
                f"{folder}: the checkpoint cannot be written ({error}); make room, or set TMPDIR to a larger disk. The same command then "
                "continues from the last checkpoint"
            ) from error
        raise


def restore(engine: Engine, place: str) -> State:
    """The state of the run's last checkpoint, loaded into the engine; a new one where there is none. Raises DamagedError."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return State()
    if distributed.get_rank() == 0:
        Store(place).tidy(Path(checkpoint.path).name)
    state = load(engine, checkpoint)
    judged = [metrics for metrics in (reported.metrics for reported in _reported()) if metrics[SCORE] < UNJUDGED]
    best: dict[str, Any] = min(judged, key=lambda metrics: metrics[SCORE], default={SCORE: None, "step": 0})
    state.best_score, state.best_step = best[SCORE], best["step"]  # as it stood, unless the best turned out damaged
    return state


def load(engine: Engine, checkpoint: ray.train.Checkpoint) -> State:
    """A checkpoint's state, loaded into the engine. Raises DamagedError on all workers where its files are not what was written."""
    with checkpoint.as_directory() as name:
        found: list[str | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(found, damage(Path(name), local_share()))
        if wrong := next(filter(None, found), None):
            raise DamagedError(Path(checkpoint.path).name, wrong)
        engine.load(Path(name))
        return _state(ray.train.Checkpoint.from_directory(name))


def load_best(engine: Engine) -> State:
    """The state of the run's best checkpoint so far, loaded into the engine."""
    return load(engine, min(_reported(), key=lambda reported: reported.metrics[SCORE]).checkpoint)


def _reported() -> list[Any]:
    """The run's checkpoints with their metrics, once all that were saved are stored and listed."""
    return list(ray.train.get_all_reported_checkpoints(consistency_mode=CheckpointConsistencyMode.COMMITTED))


def recover(place: str) -> None:
    """Make the checkpoints at `place` such that a run can start from them; see Store.recover."""
    Store(place).recover(_metrics, STATE)


def last(place: str | Path) -> tuple[Path, State]:
    """Folder and state of the last whole checkpoint below a run or at its `storage`. Raises ModelError where there is none."""
    return _local(_last(place))


def best(place: str | Path) -> tuple[Path, State]:
    """Folder and state of the checkpoint with the lowest score, the model's weights among its files. Raises as `last`."""
    folder, state = _local(_best(place))
    return folder, _found(place, state if state.weights else None)


def _local(checkpoint: ray.train.Checkpoint) -> tuple[Path, State]:
    """A checkpoint's folder; one in a bucket is fetched into a temporary folder that lasts as long as this process."""
    folder = Path(checkpoint.path)
    if not isinstance(checkpoint.filesystem, pyarrow.fs.LocalFileSystem):
        temporary = tempfile.mkdtemp(prefix="plcp-checkpoint-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        folder = Path(checkpoint.to_directory(temporary))
    if wrong := damage(folder, slice(None)):
        raise DamagedError(folder.name, wrong)
    return folder, _state(ray.train.Checkpoint.from_directory(folder))


def last_state(place: str | Path) -> State:
    """As `last`, the state alone: of a checkpoint in a bucket nothing else is fetched, and nothing checked."""
    return _state(_last(place))


def best_state(place: str | Path) -> State:
    """As `best`, the state alone."""
    state = _state(_best(place))
    return _found(place, state if state.weights else None)


def _last(place: str | Path) -> ray.train.Checkpoint:
    result = Store(str(place)).result()
    return _found(place, result and result.checkpoint)


def _best(place: str | Path) -> ray.train.Checkpoint:
    result = Store(str(place)).result()
    return _found(place, result and result.get_best_checkpoint(SCORE, "min"))


def _state(checkpoint: ray.train.Checkpoint) -> State:
    path = f"{checkpoint.path}/{STATE}"
    try:
        with cast(pyarrow.fs.FileSystem, checkpoint.filesystem).open_input_stream(path) as file:
            return State(**json.loads(file.read()))
    except (OSError, ValueError, TypeError) as error:
        raise _of_another(path, error) from error


def learnt(place: str | Path) -> Path:
    """The file of a run's weights: those of its refit, where it has a finished one, else the best ones. Raises ModelError."""
    folder, _ = refitted(place) or best(place)
    return folder / WEIGHTS


def refitted(place: str | Path) -> tuple[Path, State] | None:
    """As `last`, where that ends a refit."""
    folder, state = last(place)
    return (folder, state) if state.refit_from is not None and (folder / WEIGHTS).exists() else None


def _found(place: str | Path, found: T | None) -> T:
    if found is None:
        raise ModelError(f"{place}: holds no checkpoint of validated weights yet; train first: `plcp train PREPARED --out RUN`")
    return found


def _metrics(state: dict[str, Any]) -> dict[str, Any]:
    """What a state was reported with. Raises ModelError."""
    try:
        return State(**state).reported
    except TypeError as error:
        raise _of_another(STATE, error) from error


def _of_another(path: Path | str, error: Exception) -> ModelError:
    return ModelError(f"{path}: damaged, or of another version ({error}); start the run anew: `plcp train PREPARED --out RUN --no-resume`")
