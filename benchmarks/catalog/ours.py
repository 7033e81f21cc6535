"""`plcp score` on a cluster whose replica is warm: what a run takes, start-up apart."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import serve

from plcp.forecast.catalog import CatalogConfig, score
from plcp.forecast.replicas import APP, catalog_deployment, start_serve
from plcp.local_ray import start_local


@contextmanager
def cluster(cores: int) -> Iterator[None]:
    """A Ray of this machine alone, whose workers are as important as this process: Ray's default would let any other go first."""
    os.environ |= {"RAY_worker_niceness": "0"}
    start_local(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def replica(config: CatalogConfig) -> Iterator[None]:
    """`Catalog` as part of a running application, which runs join."""
    start_serve(proxy_location="Disabled")
    serve.run(catalog_deployment(config.replica).bind(), name=APP, route_prefix=None)
    try:
        yield
    finally:
        serve.shutdown()


def settings(precision: str, threads: int, cache: Path | None) -> CatalogConfig:
    forecaster = {"precision": precision, "cache": cache}
    replica = {"threads": threads, "idle_s": 600}
    return CatalogConfig.model_validate({"forecaster": forecaster, "replica": replica, "snapshots": False})  # peers make none either


def seconds(model: Path, prepared: Path, scores: Path, config: CatalogConfig) -> float:
    """Of a whole run: planned, scored, checked, published."""
    started = time.perf_counter()
    result = score(model, prepared, scores, config)
    assert result.kept == 0, "a run that was made before measures nothing"
    return time.perf_counter() - started
