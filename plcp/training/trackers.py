"""A run's metrics in MLflow and Weights & Biases, beside its own files. A run that continues is continued there."""

import hashlib
import logging
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from plcp.base import ConfigError, dotted

TrackerName = Literal["mlflow", "wandb"]
PROJECT = "plcp"


class Tracker(Protocol):
    def write(self, step: int, numbers: dict[str, float]) -> None: ...
    def close(self) -> None: ...


def require(names: Iterable[TrackerName]) -> None:
    """Raises ConfigError where a tracker's package is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"train.trackers: {name} is not installed; `pip install 'plcp[{name}]'`, on the workers too, or leave it out")


def open_trackers(names: Iterable[TrackerName], run: Path, options: dict[str, Any]) -> list[Tracker]:
    """Those that can be reached. `options`: the run's, which are noted with it. Raises ConfigError where a package is missing."""
    require(names)
    kinds: dict[str, type[MLflow] | type[Wandb]] = {"mlflow": MLflow, "wandb": Wandb}
    found: list[Tracker] = []
    for name in names:
        try:
            found.append(kinds[name](run, options))
        except Exception as error:  # of whatever kind: who looks on must not end a training
            logging.getLogger(__name__).warning("%s is told nothing of this run until it starts again: %s", name, error)
    return found


def identity(run: Path) -> str:
    """The same for the same folder: how a run finds itself again."""
    return f"{run.name}-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}"


class MLflow:
    """Where MLFLOW_TRACKING_URI says, or where MLflow keeps its runs by default."""

    def __init__(self, run: Path, options: dict[str, Any]) -> None:
        import mlflow

        self.client = mlflow.MlflowClient()
        experiment = self.client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self.client.create_experiment(PROJECT)
        tag = f"{PROJECT}.run"
        found = self.client.search_runs([number], f"tags.`{tag}` = '{identity(run)}'", max_results=1)
        entry = found[0] if found else self.client.create_run(number, tags={tag: identity(run)}, run_name=run.name)
        self.run = entry.info.run_id
        if not found:
            for name, value in dotted(options):
                self.client.log_param(self.run, name, value)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, [Metric(name, value, now, step) for name, value in numbers.items()])

    def close(self) -> None:
        self.client.set_terminated(self.run)


class Wandb:
    """As WANDB_MODE, WANDB_API_KEY and WANDB_BASE_URL say; its files go below the run's folder."""

    def __init__(self, run: Path, options: dict[str, Any]) -> None:
        import wandb

        self.run = wandb.init(project=PROJECT, name=run.name, id=identity(run), resume="allow", dir=str(run), config=options)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)

    def close(self) -> None:
        self.run.finish()
