"""Cases for training, cut from shards as they are read, in an order that is a function of (seed, epoch) alone."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config, DataError
from plcp.data.features import Arrays, inputs, targets
from plcp.data.lifecycle import LAUNCH_SEEN, Levels
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.spec import Spec

Split = Literal["train", "validation", "all"]
PIECE = 2048  # cases cut at once: numpy works in bulk, and what it makes stays in the processor's cache


class LoaderConfig(Config):
    """Which cases are learned from, and how they are batched."""

    batch_size: int = Field(512, ge=1, description="cases per batch, over all workers; a step takes engine.accumulation batches")
    cases_per_sku: int = Field(0, ge=0, description="origins drawn per SKU and epoch; 0 takes all")
    active_within: int = Field(26, ge=1, description="a case sold something in this many weeks before its origin")
    min_observed: int = Field(1, ge=1, description="weeks of the horizon that must be observed")
    min_history: int = Field(8, ge=1, description="weeks of data before an origin")
    validation_weeks: int = Field(12, ge=4, description="last weeks, kept for validation")
    launch_gap: int = Field(8, ge=1, description="a launch is forecast up to this many weeks ahead")
    # few, and each seen from several weeks: at their full weight they would soon be known by heart
    launch_weight: float = Field(0.3, gt=0, le=1, description="of a launch, beside a product in life")
    window_shards: int = Field(4, ge=1, description="shards held in memory and shuffled together")


@dataclass(frozen=True)
class Cases:
    """(row, origin, start) of cases within one window of shards; launch: nothing of the product's sales is known."""

    row: np.ndarray
    origin: np.ndarray
    start: np.ndarray
    launch: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Cases":
        return Cases(self.row[index], self.origin[index], self.start[index], self.launch[index])


def list_cases(units: np.ndarray, config: LoaderConfig, split: Split, rng: np.random.Generator) -> Cases:
    """Cases of n products with net units (n, weeks): every week in life, and each visible launch seen from some weeks before it."""
    weeks = units.shape[1]
    until = weeks - config.validation_weeks
    if split == "validation":
        lowest, highest = until, until
    else:
        lowest, highest = config.min_history, (weeks if split == "all" else until) - config.min_observed
    sold = np.concatenate([np.zeros((len(units), 1), np.int64), np.cumsum(units > 0, 1)], 1)
    starts = np.arange(lowest, highest + 1)
    active = sold[:, starts] - sold[:, np.maximum(starts - config.active_within, 0)] > 0
    row, at = np.nonzero(active)
    if split != "validation" and config.cases_per_sku:
        row, at = sample(row, at, config.cases_per_sku, rng)
    first = np.where(sold[:, -1] > 0, (units > 0).argmax(1), -1)
    latest = weeks - config.min_observed if split == "validation" else highest
    launched = np.flatnonzero((first >= max(LAUNCH_SEEN, lowest)) & (first <= latest))
    gap = rng.integers(0, config.launch_gap, len(launched))
    # in validation nothing after the boundary is known
    origin = np.full(len(launched), until) if split == "validation" else np.maximum(first[launched] - gap, 1)
    launch = np.repeat([False, True], [len(row), len(launched)])
    return Cases(
        np.concatenate([row, launched]), np.concatenate([starts[at], origin]), np.concatenate([starts[at], first[launched]]), launch
    )


def sample(row: np.ndarray, at: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` entries of each row, drawn at random."""
    order = np.lexsort((rng.random(len(row)), row))
    ordered = row[order]
    place = np.arange(len(row)) - np.searchsorted(ordered, ordered, "left")
    keep = np.sort(order[place < count])
    return row[keep], at[keep]


class CaseLoader:
    """Batches of cases, as dicts of arrays (features.inputs, features.targets, weight, sku_id), for one of `world_size` workers.

    All workers walk the same global order and take their share of every batch; where a batch has none for a worker, it gets one
    case of weight 0, so that collective steps stay in step. `transform` runs on each batch beside the consumer.
    """

    def __init__(
        self,
        prepared: Prepared,
        spec: Spec,
        config: LoaderConfig,
        *,
        split: Split,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        transform: Callable[[Arrays], Arrays] | None = None,
    ):
        if prepared.weeks < config.min_history + config.min_observed + config.validation_weeks:
            raise DataError(
                f"{prepared.root}: {prepared.weeks} weeks are too few to learn from. Needed are min_history ({config.min_history}), "
                f"min_observed ({config.min_observed}) and validation_weeks ({config.validation_weeks}): give more data, or lower these"
            )
        self.prepared, self.spec, self.config, self.split = prepared, spec, config, split
        self.seed, self.rank, self.world_size, self.transform = seed, rank, world_size, transform
        self.epoch, self.step, self.seen = 0, 0, False

    def state(self) -> dict[str, int]:
        """The cursor behind the last batch consumed; independent of the world size."""
        return {"epoch": self.epoch, "step": self.step, "seed": self.seed}

    def restore(self, state: dict[str, int]) -> None:
        if state["seed"] != self.seed:
            raise ValueError(f"the cursor was made with seed {state['seed']}, this loader has {self.seed}")
        self.epoch, self.step = state["epoch"], state["step"]

    def __iter__(self) -> Generator[Arrays]:
        """Batches without end for training, one pass for validation. Raises DataError where there is no case to learn from."""
        while True:
            before = self.step
            yield from self.rest_of_epoch()
            if self.split == "validation":
                return
            if before == 0 and not self.seen:
                raise DataError(f"{self.prepared.root}: no product sold anything before its last weeks, so there is nothing to learn from")

    def rest_of_epoch(self) -> Iterator[Arrays]:
        """The batches of this epoch that are still to come; then the cursor stands at the next epoch."""
        chunks = self._chunks(self.step)
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(next, chunks, None)
            while (batches := ahead.result()) is not None:
                ahead = pool.submit(next, chunks, None)
                yield from self._advance(batches)
        self.epoch, self.step = self.epoch + 1, 0

    def _advance(self, batches: list[Arrays]) -> Iterator[Arrays]:
        for batch in batches:
            self.step, self.seen = self.step + 1, True
            yield batch

    def count(self) -> tuple[int, int]:
        """Cases and batches of one epoch. Reads every shard's units."""
        sizes = [len(self._list(w, self._units(w))) for w in range(len(self._windows()))]
        return sum(sizes), sum(self._batches(n) for n in sizes)

    def _batches(self, cases: int) -> int:
        return -(-cases // self.config.batch_size)

    def _windows(self) -> list[np.ndarray]:
        order = np.arange(len(self.prepared.shards))
        if self.split != "validation":
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        size = self.config.window_shards
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _units(self, window: int) -> np.ndarray:
        return np.concatenate([self.prepared.read(i, ["units"]).units for i in self._windows()[window]])

    def _list(self, window: int, units: np.ndarray) -> Cases:
        """The window's cases in the epoch's order: at random in validation too, whose first ones stand for all."""
        rng = np.random.default_rng([self.seed, self.epoch, window])
        cases = list_cases(units, self.config, self.split, rng)
        return cases.take(rng.permutation(len(cases)))

    def _chunks(self, skip: int) -> Iterator[list[Arrays]]:
        """Some batches at a time, from batch `skip` of the epoch on."""
        for window, members in enumerate(self._windows()):
            shards = [self.prepared.read(int(i)) for i in members]
            shard = Shard(pl.concat([s.frame for s in shards]), self.prepared.timeline, self.prepared.shop)
            cases = self._list(window, shard.units)
            parts = np.array_split(np.arange(len(cases)), self._batches(len(cases))) if len(cases) else []
            until = self.prepared.weeks - (self.config.validation_weeks if self.split == "train" else 0)
            levels = Levels(shard.units[:, :until])
            at_once = max(1, PIECE // self.config.batch_size)
            for first in range(min(skip, len(parts)), len(parts), at_once):
                yield self._cut(shard, levels, cases, parts[first : first + at_once])
            skip = max(skip - len(parts), 0)

    def _cut(self, shard: Shard, levels: Levels, cases: Cases, parts: list[np.ndarray]) -> list[Arrays]:
        """This worker's share of some batches."""
        shares = [part[self.rank :: self.world_size] for part in parts]
        empty = [not len(share) for share in shares]
        shares = [part[:1] if none else share for part, share, none in zip(parts, shares, empty, strict=True)]
        own = cases.take(np.concatenate(shares))
        arrays = self._arrays(shard, levels, own)
        skus = shard.frame["sku_id"].gather(own.row)
        edges = np.cumsum([0, *(len(share) for share in shares)])
        batches = []
        for left, right, none in zip(edges, edges[1:], empty, strict=False):
            batch = narrow(arrays, slice(left, right)) | {"sku_id": skus.slice(left, right - left).to_list()}
            if none:
                batch["weight"] = np.zeros_like(batch["weight"])
            batches.append(self.transform(batch) if self.transform else batch)
        return batches

    def _arrays(self, shard: Shard, levels: Levels, cases: Cases) -> Arrays:
        """Inputs, targets and weights of some cases."""
        arrays = inputs(shard, cases.row, cases.origin, cases.start, self.spec)
        arrays |= targets(shard, levels, cases.row, cases.start, self.spec)
        return arrays | {"weight": np.where(cases.launch, self.config.launch_weight, 1).astype(np.float32)}


def narrow(arrays: Arrays, rows: slice | np.ndarray) -> Arrays:
    """Some cases (a slice, or places) of a dict of arrays, with the texts and images that they use."""
    out: dict[str, Any] = {name: a[rows] for name, a in arrays.items() if isinstance(a, np.ndarray)}
    for name, items in (("text", "texts"), ("image", "images")):
        used, inverse = np.unique(out[name], return_inverse=True)
        missing = int(len(used) > 0 and used[0] < 0)
        out[items] = [arrays[items][i] for i in used[missing:]]
        out[name] = (inverse - missing).astype(np.int64)
    return out
