"""Siblings pooled by age: what products of the same shop, category or launch season sold at each age, known before an origin."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from plcp.data.hashing import POOLS
from plcp.data.panel import ratio
from plcp.data.timeline import Timeline

AGES = 52  # weeks of life that are pooled
STEP = 2.0**-16  # values are multiples of this: their sums are exact in whatever order products are added
QUARTERS = 4
RECENT = 13  # weeks in which the youngest siblings were seen
ALL_POOLS = POOLS * (1 + QUARTERS)  # by category, then by category and quarter of launch


def season_of(pool: np.ndarray, launch: np.ndarray, timeline: Timeline) -> np.ndarray:
    """The second pool of products by category (0: those without) and quarter of launch, (b,); of no meaning where launch is NaN."""
    month = (np.datetime64(timeline.first_week) + np.nan_to_num(launch).astype(np.int64) * 7).astype("datetime64[M]").astype(np.int64) % 12
    return POOLS + pool * QUARTERS + month // 3


@dataclass(frozen=True)
class Pools:
    """Sums of log1p units and counts of products, (ALL_POOLS, weeks + 1, AGES): at index o, what was seen before origin o.

    Ages lie side by side, as forecasts read them.
    """

    total: np.ndarray
    count: np.ndarray

    @staticmethod
    def none() -> "Pools":
        """Nothing seen."""
        return Pools(np.zeros((ALL_POOLS, 1, AGES), np.float32), np.zeros((ALL_POOLS, 1, AGES), np.float32))

    def mean(self, pool: np.ndarray, age: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Mean log1p units at each age as known at the origin; NaN where none was seen.

        pool (b,), age (b, h) weeks or NaN, origins (b,) week indices → (b, h) float32.
        """
        return at_ages(self._means, pool, age, origins)

    def recent(self, age: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """As `mean`, of all products as seen in the last RECENT weeks before each origin."""
        return at_ages(self._recent, np.zeros(len(age), np.int64), age, origins)

    @cached_property
    def _means(self) -> np.ndarray:
        return ratio(self.total, self.count)

    @cached_property
    def _recent(self) -> np.ndarray:
        before = np.maximum(np.arange(self.total.shape[1]) - RECENT, 0)
        return ratio(*(x[:1] - x[:1, before] for x in (self.total, self.count)))


def at_ages(means: np.ndarray, pool: np.ndarray, age: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """means (pools, weeks + 1, AGES) of each pool (b,) as known at its origin (b,), at ages (b, h); NaN beyond them."""
    inside = (age >= 0) & (age < AGES)
    place = (pool * means.shape[1] + np.clip(origins, 0, means.shape[1] - 1))[:, None] * AGES + np.where(inside, age, 0).astype(np.int64)
    return np.where(inside, means.reshape(-1)[place], np.float32(np.nan))


@dataclass(frozen=True)
class WeeksOfLife:
    """The first weeks of life of launched products, an entry each: row, age, the first origin that may use it, log1p units.

    Values are multiples of STEP.
    """

    row: np.ndarray
    age: np.ndarray
    known: np.ndarray
    value: np.ndarray

    @staticmethod
    def of(units: np.ndarray, told: np.ndarray, launch: np.ndarray, first: np.ndarray) -> "WeeksOfLife":
        """units (n, weeks) as first known; told (n, weeks), where they are the demand; launch and first sale (n,) week indices or NaN.

        The empty weeks between a launch and the first sale count from the first sale on: before it nobody knew that it would come.
        """
        row = np.flatnonzero(launch >= 0)
        week = launch[row].astype(np.int64)[:, None] + np.arange(AGES)
        case, age = np.nonzero(week < units.shape[1])
        row, at = row[case], week[case, age]
        use = told[row, at]
        row, age, at = row[use], age[use], at[use]
        known = np.maximum(at, first[row].astype(np.int64)) + 1
        return WeeksOfLife(row, age, known, np.round(np.log1p(units[row, at]) / STEP) * STEP)


class PoolBuilder:
    """Adds products to the pools, shard by shard."""

    def __init__(self, weeks: int):
        # by category and quarter of launch alone: all others are sums of these
        self.total, self.count = np.zeros((2, POOLS * QUARTERS, weeks + 1, AGES))

    def add(self, lives: WeeksOfLife, season: np.ndarray) -> None:
        """season (n,), as season_of."""
        place = ((season[lives.row] - POOLS) * self.total.shape[1] + lives.known) * AGES + lives.age
        np.add.at(self.total.reshape(-1), place, lives.value)
        np.add.at(self.count.reshape(-1), place, np.ones(len(place)))

    def done(self) -> Pools:
        return Pools(*(with_wider(np.cumsum(x, 1)).astype(np.float32) for x in (self.total, self.count)))


def with_wider(seasons: np.ndarray) -> np.ndarray:
    """From sums by category and quarter, (POOLS × QUARTERS, …), to ALL_POOLS of them: all products, each category, then those."""
    categories = seasons.reshape(POOLS, QUARTERS, *seasons.shape[1:]).sum(1)
    categories[0] = categories.sum(0)
    return np.concatenate([categories, seasons])
