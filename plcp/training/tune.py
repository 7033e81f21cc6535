"""A search over the options of training: many runs begun, the better ones carried on, one of them finished.

Successive halving (Jamieson & Talwalkar 2016): all trials learn up to a first rung, the best of them up to the next, and so on. A trial is
a run of its own that pauses at a rung and goes on from its checkpoint, so nothing is learned twice. Ray Tune's schedulers can only stop
trials or restart them, so what decides is here, and Ray only runs the trials: one after the other or side by side.

search.json    what was asked for, each trial's options and its losses by rung
trial-000/ …   a run each (see runs.py); `plcp export` takes any that is finished
"""

import itertools
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import ray
from pydantic import ValidationError
from ray.exceptions import WorkerCrashedError

from plcp.base import ConfigError
from plcp.data.prepared import Prepared
from plcp.folders import alone
from plcp.training import cluster
from plcp.training.cluster import DivergedError, TrainingError
from plcp.training.loop import run_workers
from plcp.training.loop import train as finish
from plcp.training.runs import Run, TrainConfig, differences, read_json, write_json
from plcp.training.space import TuneConfig

SEARCH = "search.json"
ATTEMPTS = 3  # of a trial whose workers or whose own process died; each goes on from its last checkpoint


@dataclass
class Trial:
    """A run of the search, and what is known of it."""

    name: str
    options: dict[str, Any]
    losses: dict[str, float] = field(default_factory=dict)  # the lowest validation loss, by rung
    failed: str | None = None  # why it can go no further

    @property
    def rung(self) -> int:
        """Steps that it was judged after; 0 before the first rung."""
        return max(map(int, self.losses), default=0)

    @property
    def loss(self) -> float:
        """By the last rung it reached."""
        return self.losses[str(self.rung)] if self.losses else math.inf


@dataclass
class Search:
    """A search's folder; what is known of its trials stands in search.json."""

    folder: Path
    data: Prepared
    train: TrainConfig
    tune: TuneConfig
    seed: int
    trials: list[Trial]
    best: str | None = None  # the finished trial

    @classmethod
    def open(cls, folder: Path, data: Prepared, train: TrainConfig, tune: TuneConfig, seed: int) -> "Search":
        """A new search, or the one that the folder holds. Raises ConfigError where that is another, or an option does not exist."""
        search = cls(folder, data, train, tune, seed, [Trial(f"trial-{k:03d}", tune.values(k, seed)) for k in range(tune.trials)])
        if (path := folder / SEARCH).exists():
            known = read_json(path)
            if changes := list(differences(known["asked"], search.asked)):
                raise ConfigError(f"{folder} holds a search with {'; '.join(changes[:5])}. Give another folder")
            search.trials, search.best = [Trial(**trial) for trial in known["trials"]], known["best"]
        for trial in search.trials:
            search.config(trial)
        search.write()
        return search

    @property
    def asked(self) -> dict[str, Any]:
        """What decides what the search finds."""
        options = {"tune": self.tune.model_dump(mode="json", exclude={"parallel"}), "train": self.train.model_dump(mode="json")}
        return {**options, "seed": self.seed, "data": self.data.digest}

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / SEARCH, {"asked": self.asked, "best": self.best, "trials": [asdict(trial) for trial in self.trials]})

    def config(self, trial: Trial) -> TrainConfig:
        """The options of a trial's run. Raises ConfigError where one does not exist or does not fit."""
        options = {
            **self.train.model_dump(exclude_unset=True),
            **{name: getattr(self.train, name) for name, field in TrainConfig.model_fields.items() if field.exclude},
        }
        for name, value in trial.options.items():
            *parents, last = name.split(".")
            below = options
            for parent in parents:
                below[parent] = dict(below.get(parent) or {})
                below = below[parent]
            below[last] = value
        try:
            return TrainConfig.model_validate(options)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ConfigError(
                f"tune.space: train.{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r}"
            ) from None

    def due(self, rung: int) -> list[Trial]:
        """Trials that are still to learn up to a rung."""
        return [trial for trial in self.trials if trial.rung < rung and trial.failed is None]

    def table(self) -> pl.DataFrame:
        """A row per trial, the best first."""
        ordered = sorted(self.trials, key=lambda trial: (-trial.rung, trial.loss))
        rows = [{"trial": t.name, "steps": t.rung, "loss": t.loss if t.losses else None, **t.options, "failed": t.failed} for t in ordered]
        return pl.DataFrame(rows, infer_schema_length=None)


def tune(prepared: Path, out: Path, train: TrainConfig, config: TuneConfig, seed: int = 0) -> Search:
    """Search, and finish the best trial, refit included; everything goes below the folder `out`. `Search.best` is its name.

    What decides is the loss on the weeks held back for validation (train.select), and nothing from later. A search that was interrupted
    goes on: what is finished is kept, and runs go on from their checkpoints. Raises ConfigError where an option does not exist or the
    folder holds another search, TrainingError where every trial failed.
    """
    if config.first_rung % train.validate_every:
        raise ConfigError(f"tune.first_rung {config.first_rung} is no multiple of train.validate_every ({train.validate_every})")
    search = Search.open(Path(out).resolve(), Prepared.open(Path(prepared).resolve()), train, config, seed)
    cluster.connect(train.fewest_and_most[0] * config.parallel)
    for place, rung in enumerate(config.rungs(train.steps)):
        count = max(1, config.trials // config.reduction**place)
        going = survivors(search, count, before=rung)
        climb(search, [trial for trial in search.due(rung) if trial in going], rung)
    best = survivors(search, 1, before=train.steps + 1)[0]
    finish(search.data.root, search.folder / best.name, search.config(best), seed)
    search.best = best.name
    search.write()
    return search


def survivors(search: Search, count: int, before: int) -> list[Trial]:
    """The best trials by the last rung before `before`. Raises TrainingError where none is left."""
    losses = [({int(rung): loss for rung, loss in trial.losses.items() if int(rung) < before}, trial) for trial in search.trials]
    rung = max((max(known, default=0) for known, _ in losses), default=0)
    left = [(known.get(rung, math.inf), trial) for known, trial in losses if trial.failed is None and (not rung or rung in known)]
    if not left:
        raise TrainingError(f"every trial failed; the first, because: {search.trials[0].failed}")
    return [trial for _, trial in sorted(left, key=lambda entry: (entry[0], entry[1].name))][:count]


def climb(search: Search, trials: list[Trial], rung: int) -> None:
    """Let trials learn up to a rung, `parallel` at a time; each is written down as soon as it is there."""
    config, asked = search.train, (search.train.cpus_per_worker, search.train.gpus_per_worker)
    cpus, gpus = cluster.share(cluster.nodes_up(), config.fewest_and_most[1] * search.tune.parallel, *asked)
    waiting, running = iter(trials), {}
    for trial in itertools.islice(waiting, search.tune.parallel):
        running[begin(search, trial, rung, cpus, gpus)] = trial
    while running:
        (ended,), _ = ray.wait(list(running))
        trial = running.pop(ended)
        try:
            trial.losses[str(rung)] = ray.get(ended)
        except (DivergedError, WorkerCrashedError) as error:  # Ray raises what is both its own error and the task's
            trial.failed = str(getattr(error, "cause", error))
        search.write()
        for following in itertools.islice(waiting, 1):
            running[begin(search, following, rung, cpus, gpus)] = following


def begin(search: Search, trial: Trial, rung: int, cpus: int, gpus: int) -> "ray.ObjectRef[float]":
    config = search.config(trial).model_copy(update={"cpus_per_worker": cpus, "gpus_per_worker": gpus})
    return learn_until.remote(search.folder / trial.name, search.data, config, search.seed, rung)


@ray.remote(num_cpus=0, max_retries=ATTEMPTS, retry_exceptions=[TrainingError])  # type: ignore[call-overload]
def learn_until(folder: Path, data: Prepared, config: TrainConfig, seed: int, rung: int) -> float:
    """The lowest validation loss of a run within its first `rung` steps."""
    run = Run(folder, data, config.fitted(data), seed, pause=rung)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):  # an attempt that lost its driver may still be at it
        run.begin()
        state = run.standing()
        if state is None or (state.step < rung and state.stale < config.patience):
            run_workers(run)
            state = run.standing()
    if state is None or state.best_score is None:
        raise TrainingError(f"{folder}: no checkpoint was left after {rung} steps")
    return state.best_score
