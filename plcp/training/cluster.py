"""Ray around a training run: connecting, starting the workers, stopping them on Ctrl-C, and bringing their error home."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import ray
import ray.train
from ray.train import CheckpointConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from plcp.base import PlcpError
from plcp.training.checkpoint import FOLDER, SCORE

POLL_SECONDS = "0.2"  # Ray Train looks after its workers this often; every report waits for it


class TrainingError(PlcpError):
    """A run that cannot go on."""


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
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)


def threads_per_worker(workers: int) -> int:
    """CPUs that fall to each worker."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) // workers)


def fit(worker: Callable[[], None], run: Path, workers: int, threads: int) -> None:
    """Run `worker` on all workers to its end, from the run's last checkpoint if there is one.

    Raises TrainingError with the worker's own message, and KeyboardInterrupt after Ctrl-C, when all workers have stopped.
    """
    gpu = ray.cluster_resources().get("GPU", 0) >= workers
    trainer = TorchTrainer(
        worker,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": threads, **({"GPU": 1} if gpu else {})}
        ),
        run_config=RunConfig(
            name=FOLDER,
            storage_path=str(run),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=SCORE, checkpoint_score_order="min"),
        ),
    )
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


def cause(error: TrainingFailedError) -> Exception:
    """What the user should read: a worker's own error where it is one that can be mended."""
    for failure in getattr(error, "worker_failures", {}).values():
        own = getattr(failure, "_base_exc", failure)
        if isinstance(own, PlcpError):
            return own
    return TrainingError(f"training failed on a worker; the same command continues from the last checkpoint\n{error}")
