"""The physical limit: the model's forward pass alone, on batches that lie ready in memory, the towers' vectors among them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from plcp.data.prepared import Prepared
from plcp.forecast.forecaster import Forecaster
from plcp.forecast.recorded import Batch
from plcp.forecast.replicas import cores
from plcp.serving.cases import Packer

SIZES = (128, 256, 500, 1000)  # of a batch; the quickest counts
WARM_UP, LEAST_S = 3, 2.0


@dataclass(frozen=True)
class Bare:
    single_ms: float  # median of a pass of one product, by the better of one thread and all
    products_s: float  # products a second, in batches of the best size, by the better of all threads on a batch and a batch on each

    def best(self, other: "Bare") -> "Bare":
        return Bare(min(self.single_ms, other.single_ms), max(self.products_s, other.products_s))


def measure(model: Path, prepared: Path, threads: int, skus: int) -> tuple[Bare, Bare]:
    """Of the first so many products of a catalog: the model as it is, and recorded as the service runs it."""
    packer, catalog = Packer(Forecaster.load(model)), Prepared.open(prepared)
    shards = (packer.cases(catalog.read(index)) for index in range(len(catalog.shards)))
    cases = [case for case in chain.from_iterable(shards) if not case.reason][:skus]
    for first in range(0, len(cases), SIZES[0]):
        packer.values(cases[first : first + SIZES[0]])  # the towers' vectors
    ready = {size: [packer.batch(cases[i : i + size]) for i in range(0, len(cases), size)] for size in (1, *SIZES)}
    return of(packer.forecaster.forward, ready, threads), of(packer.forward, ready, threads)


def of(run: Callable[[Batch], object], ready: Mapping[int, Sequence[Batch]], threads: int) -> Bare:
    """Of batches by their size, each time of the same products."""
    single, whole, products = [], [], len(ready[1])
    for used in (1, threads):
        torch.set_num_threads(used)
        single.append(np.median(seconds(lambda i: run(ready[1][i % products]))))
    with cores(threads) as beside:
        for together in (map, beside.map):
            whole += [seconds(all_of(together, run, ready[size])).min() for size in SIZES]
    return Bare(float(min(single)) * 1e3, products / min(whole))


def all_of(together: Callable[..., Iterable[object]], run: Callable[[Batch], object], batches: Sequence[Batch]) -> Callable[[int], object]:
    return lambda _: list(together(run, batches))


def seconds(run: Callable[[int], object]) -> np.ndarray:
    """Of each call of a few seconds' worth, the first ones left out."""
    found: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < LEAST_S or len(found) < 2 * WARM_UP:
        start = time.perf_counter()
        run(len(found))
        found.append(time.perf_counter() - start)
    return np.array(found[WARM_UP:])
