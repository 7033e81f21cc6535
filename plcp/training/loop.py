"""A run of training: started, watched, taken up again."""

import functools
from pathlib import Path

from plcp.console import errors
from plcp.data.prepared import Prepared
from plcp.folders import alone
from plcp.training import checkpoint, cluster, progress
from plcp.training.learner import Learner
from plcp.training.pretrained import start_of
from plcp.training.runs import Options, Run, RunResult, TrainConfig
from plcp.training.store import DamagedError, Store
from plcp.training.trackers import require


def train(
    prepared: Path, run: Path, config: Options | None = None, seed: int = 0, resume: bool = True, pretrained: Path | None = None
) -> RunResult:
    """Learn from PREPARED what the options' task is (to forecast, or pretraining); everything goes below the folder `run`.

    It begins with the weights of the run `pretrained` if one is given (see pretrained.start_of).
    A run that was interrupted continues from its last whole checkpoint, to the same weights; a finished one is returned as it is.
    `resume=False` starts anew. Raises ConfigError where the folder holds a run with other options or data, TrainingError where
    it cannot go on, StorageError where its checkpoints cannot be stored, KeyboardInterrupt on Ctrl-C.
    """
    data = Prepared.open(Path(prepared).resolve())
    options = (config or TrainConfig()).fitted(data)
    start = start_of(pretrained.resolve(), data, options) if pretrained else None
    this = Run(Path(run).resolve(), data, options, seed, start.digest if start else None)
    this.folder.mkdir(parents=True, exist_ok=True)
    with alone(this.folder):  # a second driver of the same run waits for the first
        if not resume:
            this.forget()
        this.begin(start)
        result = this.finished()
        if result is None:
            require(this.config.trackers)
            if standing := this.standing():
                errors.print(f"train: continuing from step {standing.step}")
            with progress.live(this.folder, this.config.steps + this.config.refit_steps):
                run_workers(this)
            result = this.finish()
    return result


def run_workers(run: Run) -> None:
    """To the end of the run, or to where it is to pause; a checkpoint that turns out damaged is left out, and the one before it taken."""
    config = run.config
    least, most = config.fewest_and_most
    cluster.connect(least)
    asked = config.cpus_per_worker, config.gpus_per_worker
    cpus, gpus = cluster.share(cluster.nodes_up(), cluster.expected(cluster.nodes_up(), least, most, *asked), *asked)
    while True:
        checkpoint.recover(run.place)
        try:
            return cluster.fit(functools.partial(worker, run, cpus), run.place, config.workers, cpus, gpus, config.max_failures)
        except DamagedError as damaged:
            Store(run.place).leave_out(damaged)
            errors.print(f"train: {damaged}; continuing from the one before")


def worker(run: Run, threads: int) -> None:
    """What each of the run's workers does."""
    Learner(run, threads).learn()
