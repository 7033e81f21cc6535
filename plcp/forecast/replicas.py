"""The `Catalog` deployment, and the way to it: a running application's, or one for this run alone."""

import asyncio
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import ray
import torch
from pydantic import Field
from ray import serve
from ray._private import services
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from plcp.base import Config, ConfigError, ModelError
from plcp.data.shards import Shard
from plcp.forecast import parts
from plcp.forecast.forecaster import Asked, Forecaster
from plcp.forecast.parts import Part
from plcp.forecast.runs import PartRecord
from plcp.local_ray import start_local

APP = "plcp"  # the application of Online and Catalog
ONGOING = 4  # parts a replica holds at once: two run forward, so that no core waits for a part's last batch; others are read and written
FORWARD = 2
FAILED = 16  # parts in a row after which a replica counts as ill; more than it holds at once


class ReplicaConfig(Config):
    """How much of the cluster the replicas of `Catalog` take while a run lasts; they scale from zero and back."""

    replicas: int | None = Field(None, ge=1, description="most replicas at once; as many as the cluster has room for if not given")
    threads: int = Field(2, ge=1, description="CPU threads a replica computes with, and cores it reserves")
    gpus: float = Field(0, ge=0, description="GPUs a replica reserves")
    start_timeout_s: float = Field(600, gt=0, description="seconds in which the first replica must be there")
    idle_s: float = Field(60, ge=0, description="seconds without work after which replicas go")


class Catalog:
    """Makes parts. Holds the model of the run at hand, loaded with its first part."""

    def __init__(self) -> None:
        self._forward = ThreadPoolExecutor(FORWARD)
        self._loading = Lock()
        self._loaded: tuple[object, Forecaster] | None = None
        self._failed = 0  # parts in a row

    async def ready(self) -> None:
        """Answers as soon as there is a replica."""

    def check_health(self) -> None:
        """Have Serve replace a replica that makes nothing any more: where its node has lost the storage, it would take part after part."""
        if self._failed >= FAILED:
            raise RuntimeError(f"the last {self._failed} parts have failed here")

    async def score(self, part: Part) -> PartRecord:
        self._failed += 1
        record = await self._made(part)
        self._failed = 0
        return record

    async def _made(self, part: Part) -> PartRecord:
        if carried := await asyncio.to_thread(parts.carry, part):
            return carried
        forecaster = await asyncio.to_thread(self._forecaster, part)
        shard, asked = await asyncio.to_thread(self._read, part, forecaster)
        outputs = partial(forecaster.outputs, asked.cases, asked.sku_id, broken_photos="missing")
        out = await asyncio.get_running_loop().run_in_executor(self._forward, outputs)
        return await asyncio.to_thread(self._write, part, forecaster, shard, asked, out)

    @staticmethod
    def _read(part: Part, forecaster: Forecaster) -> tuple[Shard, Asked]:
        shard = parts.read(part)
        return shard, forecaster.asked(shard, part.origin)

    @staticmethod
    def _write(part: Part, forecaster: Forecaster, shard: Shard, asked: Asked, out: dict[str, np.ndarray]) -> PartRecord:
        return parts.write(part, shard, forecaster.answered(asked, out, part.origin), asked.skipped)

    def _forecaster(self, part: Part) -> Forecaster:
        key = (part.model, part.model_digest, part.forecaster, part.threads)
        with self._loading:
            if self._loaded is None or self._loaded[0] != key:
                self._loaded = None  # the old model's memory first
                check_device(part.forecaster.device)
                forecaster = Forecaster.load(part.model, part.forecaster, cores(part.threads).map)
                if forecaster.digest != part.model_digest:
                    raise ModelError(
                        f"{part.model}: the model was replaced during the run (digest {forecaster.digest}); run the command again"
                    )
                self._loaded = (key, forecaster)
            return self._loaded[1]


def cores(count: int) -> ThreadPoolExecutor:
    """Threads that each compute on one core: several batches at a time keep cores busier than several cores on one batch, where each
    small operation waits for the slowest; and the bytes do not depend on how many there are."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def check_device(device: str) -> None:
    """Raises ConfigError where this process sees no such device."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"forecaster.device={device}: the replica sees no GPU; have it reserve one (replica.gpus=1), or use the CPU (device=cpu)"
        )


def catalog_deployment(config: ReplicaConfig, beside: float = 0) -> serve.Deployment:
    """`Catalog`, from zero replicas to the most there is room for, and back. Needs a Ray cluster at hand.

    `beside` is the CPU cores that are to stay free for others.
    """
    return serve.deployment(
        name="Catalog",
        max_ongoing_requests=ONGOING,
        graceful_shutdown_wait_loop_s=0.2,
        ray_actor_options={"num_cpus": cpus(config, beside), "num_gpus": config.gpus},
        autoscaling_config={
            "min_replicas": 0,
            "max_replicas": room(config, beside),
            "target_ongoing_requests": ONGOING,
            "upscale_delay_s": 0,
            "downscale_delay_s": config.idle_s,
        },
    )(Catalog)


def cpus(config: ReplicaConfig, beside: float = 0) -> float:
    """Cores a replica reserves: one per thread, as far as a node has as many."""
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return min(config.threads, largest - beside) if largest > beside else config.threads


def room(config: ReplicaConfig, beside: float = 0, running: int = 0) -> int:
    """Most replicas at once: as asked, or those `running` and as many more as the cluster's free resources hold, at least one."""
    if config.replicas:
        return config.replicas
    free = ray.available_resources()
    rooms = [(free.get("CPU", 0) - beside) // cpus(config, beside), *([free.get("GPU", 0) // config.gpus] if config.gpus else [])]
    return max(1, running + max(0, int(min(rooms))))


@contextmanager
def catalog(config: ReplicaConfig, run: Path) -> Iterator[tuple[DeploymentHandle, int]]:
    """A handle to `Catalog`, and the most replicas it is to be kept busy with.

    `run` is the folder of the run: two that make the same into two folders are apart.

    On the cluster at hand (RAY_ADDRESS, as under `ray job submit`, or `ray start` on this machine) it is that of the running
    application or, where none runs, one of this run alone that goes when the run ends. Without a cluster, a local Ray is started.
    """
    with cluster():
        start_serve(proxy_location="Disabled")  # has no effect where Serve runs already
        running = serve.status().applications.get(APP)
        if running and running.status == ApplicationStatus.RUNNING and "Catalog" in running.deployments:
            held = running.deployments["Catalog"].replica_states
            yield serve.get_deployment_handle("Catalog", APP), room(config, running=sum(held.values()))
            return
        name, replicas = f"{APP}-catalog-{hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:12]}", room(config)
        serve.run(catalog_deployment(config).bind(), name=name, route_prefix=None)
        try:
            yield serve.get_deployment_handle("Catalog", name), replicas
        finally:
            serve.delete(name)  # Serve itself stays: another run may be about to use it


def start_serve(**options: Any) -> None:
    """serve.start, which says nothing unless something is wrong."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(logging_config={"log_level": "WARNING"}, **options)


def at_hand() -> str | None:
    """Address of the cluster that RAY_ADDRESS names or that `ray start` has started here; None where there is none.

    Ray's own "auto" would also take the private Ray of another process, which goes when that process ends.
    """
    named = os.environ.get("RAY_ADDRESS")
    started = services.find_bootstrap_address(None)
    if named == "local" or not (named or started in services.find_gcs_addresses()):
        return None
    return named or started


def join() -> bool:
    """Connect to the cluster at hand; False where there is none."""
    address = at_hand()
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    return address is not None


@contextmanager
def cluster(**options: Any) -> Iterator[None]:
    """The Ray cluster at hand, or a local one, with options as ray.init takes them, for as long as the block lasts."""
    own = False
    if not ray.is_initialized():
        own = not join()
        if own:
            start_local(log_to_driver=False, logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        if own:
            with redirect_stdout(io.StringIO()):  # where Ray's listening thread tells of Serve's calls that this cuts off
                serve.shutdown()  # or its handles, still listening, would have Ray start anew
                ray.shutdown()
