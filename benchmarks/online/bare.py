"""The physical limit: the model's forward pass alone, on batches that lie ready in memory, the towers' vectors among them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from plcp.data.prepared import Prepared
from plcp.forecast.forecaster import Forecaster
from plcp.serving.cases import Packer

SIZES = (128, 256, 500, 1000)  # of a batch; the quickest counts
WARM_UP, LEAST_S = 3, 2.0


@dataclass(frozen=True)
class Bare:
    single_ms: float  # median of a pass of one product
    products_s: float  # products a second in batches of the best size


def measure(model: Path, prepared: Path, threads: int, skus: int) -> Bare:
    """Of the first so many products of a catalog; recorded, as the service runs it, with all threads on one batch."""
    torch.set_num_threads(threads)
    packer, catalog = Packer(Forecaster.load(model)), Prepared.open(prepared)
    shards = (packer.cases(catalog.read(index)) for index in range(len(catalog.shards)))
    cases = [case for case in chain.from_iterable(shards) if not case.reason][:skus]
    for first in range(0, len(cases), SIZES[0]):
        packer.values(cases[first : first + SIZES[0]])  # the towers' vectors
    ready = {size: [packer.batch(cases[i : i + size]) for i in range(0, len(cases), size)] for size in (1, *SIZES)}
    run = packer.forward
    single = np.median(seconds(lambda i: run(ready[1][i % len(cases)])))
    whole = [np.min(seconds(lambda _, size=size: [run(batch) for batch in ready[size]])) for size in SIZES]  # type: ignore[misc]
    return Bare(float(single) * 1e3, len(cases) / min(whole))


def seconds(run: Callable[[int], object]) -> np.ndarray:
    """Of each call of a few seconds' worth, the first ones left out."""
    found: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < LEAST_S or len(found) < 2 * WARM_UP:
        start = time.perf_counter()
        run(len(found))
        found.append(time.perf_counter() - start)
    return np.array(found[WARM_UP:])
