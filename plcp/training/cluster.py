"""Ray around a training run: connecting, starting the workers, stopping them on Ctrl-C, and bringing their error home."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, UserCallback
from ray.train.torch import TorchTrainer

from plcp.base import PlcpError
from plcp.local_ray import start_local
from plcp.training.checkpoint import SCORE
from plcp.training.preemption import NoticingTorchConfig, PreemptedError
from plcp.training.store import FOLDER, StorageError

KEPT = 2  # the best checkpoint and the best before it, beside the last: where one turns out damaged there is another
RESIZE_SECONDS = 600.0  # between looks at whether there is room for more workers: to take them in costs the steps since the last checkpoint
POLL_SECONDS = "0.2"  # Ray Train looks after its workers this often; every report waits for it


class TrainingError(PlcpError):
    """A run that cannot go on."""


class DivergedError(TrainingError):
    """A run whose numbers are no longer finite: it would come to the same again."""


class Endurance(UserCallback):
    """Decides in Ray Train's controller which failures of workers end a run: what the user can mend, and many without a checkpoint in
    between. From all others the workers start again, from the last checkpoint."""

    def __init__(self, max_failures: int) -> None:
        self.max_failures, self.failures = max_failures, 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None) -> None:
        self.failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Raises what ends the run."""
        failed = list(worker_exceptions.values())
        for own in failed:
            if isinstance(own, PlcpError):
                raise own
        if any(isinstance(error, PreemptedError) for error in failed):
            return
        self.failures += 1
        if self.failures > self.max_failures:
            text = "\n".join(f"worker {rank}: {error!r}" for rank, error in worker_exceptions.items())
            raise TrainingError(
                f"workers failed {self.failures} times without a checkpoint in between (max_failures is {self.max_failures}); "
                f"the same command continues from the last checkpoint\n{text}"
            )


def connect(workers: int) -> None:
    """Use the Ray that runs in this process or that RAY_ADDRESS names (as in `ray job submit`); else start one here, for this process."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_SECONDS)
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init()
        return
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away, and it is one process less
    cpus = max(len(os.sched_getaffinity(0)), workers)
    start_local(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)


def share(nodes: Sequence[Mapping[str, float]], workers: int, cpus: int | None, gpus: int | None) -> tuple[int, int]:
    """CPUs and GPUs of each worker: what was asked for (nodes that have it may still come), else what the nodes at hand have for all.

    Args:
        nodes: each node's resources. A worker lives on one node, so the cluster's sums would promise what no node has.
    """
    if gpus is None:
        gpus = int(places(nodes, 0, 1) >= workers)
    if cpus is None:
        most = max((int(node.get("CPU", 0)) for node in nodes), default=1)
        cpus = next((c for c in range(most, 1, -1) if places(nodes, c, gpus) >= workers), 1)
    return cpus, gpus


def expected(nodes: Sequence[Mapping[str, float]], least: int, most: int, cpus: int | None, gpus: int | None) -> int:
    """How many workers between `least` and `most` the nodes at hand have room for."""
    if gpus is None:
        gpus = int(places(nodes, 0, 1) >= least)
    return min(most, max(least, places(nodes, cpus or 1, gpus)))


def places(nodes: Sequence[Mapping[str, float]], cpus: int, gpus: int) -> int:
    """How many workers of a size the nodes hold."""
    wanted = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
    return sum(int(min(node.get(name, 0) // amount for name, amount in wanted.items())) for node in nodes)


def nodes_up() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def fit(worker: Callable[[], None], place: str, workers: int | tuple[int, int], cpus: int, gpus: int, max_failures: int) -> None:
    """Run `worker` on all workers, each with so many CPUs and GPUs, to its end; from the last checkpoint at `place` if there is one.

    Raises TrainingError with the worker's own message, and KeyboardInterrupt after Ctrl-C, when all workers have stopped.
    """
    trainer = _trainer(worker, place, workers, {"CPU": cpus, **({"GPU": gpus} if gpus else {})}, max_failures)
    own = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit:  # how Ray Train leaves on Ctrl-C
        raise KeyboardInterrupt from None
    except TrainingFailedError as error:
        raise cause(error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, own)  # Ray Train keeps its own for good


def _trainer(
    worker: Callable[[], None], place: str, workers: int | tuple[int, int], each: dict[str, float], max_failures: int
) -> TorchTrainer:
    gpus = bool(each.get("GPU"))
    # the types of Ray's public names are those of its first version of Train
    scaling: dict[str, Any] = {"num_workers": workers, "use_gpu": gpus, "resources_per_worker": each}
    scaling["elastic_resize_monitor_interval_s"] = RESIZE_SECONDS
    callbacks: list[Any] = [Endurance(max_failures)]
    return TorchTrainer(
        worker,
        torch_config=NoticingTorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(**scaling),
        run_config=RunConfig(
            name=FOLDER,
            storage_path=place,
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT, checkpoint_score_attribute=SCORE, checkpoint_score_order="min"),
            failure_config=FailureConfig(max_failures=-1),  # see Endurance
            callbacks=callbacks,
        ),
    )


def cause(error: Exception) -> Exception:
    """What the user should read: a worker's own error where it is one that can be mended."""
    own = getattr(error, "controller_failure", None)
    if isinstance(own, PlcpError):
        return own
    if isinstance(own, OSError):
        return StorageError(f"the checkpoints' storage failed: {own}. The same command continues from the last whole checkpoint")
    return TrainingError(f"training failed on a worker; the same command continues from the last checkpoint\n{error}")
