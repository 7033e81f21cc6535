"""Siblings pooled by age: what products of the same shop, category or launch season sold at each age, known before an origin."""

from dataclasses import dataclass

import numpy as np

from plcp.data.hashing import POOLS
from plcp.data.timeline import Timeline

AGES = 52  # weeks of life that are pooled
STEP = 2.0**-16  # values are multiples of this: their sums are exact in whatever order products are added
QUARTERS = 4
ALL_POOLS = POOLS * (1 + QUARTERS)  # by category, then by category and quarter of launch


def season_of(pool: np.ndarray, launch: np.ndarray, timeline: Timeline) -> np.ndarray:
    """The second pool of products by category (0: those without) and quarter of launch, (b,); of no meaning where launch is NaN."""
    month = (np.datetime64(timeline.first_week) + np.nan_to_num(launch).astype(np.int64) * 7).astype("datetime64[M]").astype(np.int64) % 12
    return POOLS + pool * QUARTERS + month // 3


@dataclass(frozen=True)
class Pools:
    """Sums of log1p units and counts of products, (ALL_POOLS, AGES, weeks + 1): at index o, what was seen before origin o."""

    total: np.ndarray
    count: np.ndarray

    @staticmethod
    def none() -> "Pools":
        """Nothing seen."""
        return Pools(np.zeros((ALL_POOLS, AGES, 1), np.float32), np.zeros((ALL_POOLS, AGES, 1), np.float32))

    def mean(self, pool: np.ndarray, age: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Mean log1p units at each age as known at the origin; NaN where none was seen.

        pool (b,), age (b, h) weeks or NaN, origins (b,) week indices → (b, h) float32.
        """
        inside = (age >= 0) & (age < AGES)
        at = np.where(inside, age, 0).astype(np.int64)
        week = np.clip(origins, 0, self.total.shape[2] - 1)[:, None]
        count = self.count[pool[:, None], at, week]
        mean = self.total[pool[:, None], at, week] / np.maximum(count, 1)
        return np.where(inside & (count > 0), mean, np.nan).astype(np.float32)


class PoolBuilder:
    """Adds products to the pools, shard by shard."""

    def __init__(self, weeks: int):
        self.total = np.zeros((ALL_POOLS, AGES, weeks + 1))
        self.count = np.zeros((ALL_POOLS, AGES, weeks + 1))

    def add(self, units: np.ndarray, launch: np.ndarray, first: np.ndarray, pool: np.ndarray, season: np.ndarray) -> None:
        """Arguments as weeks_of_life; pool and season (n,)."""
        row, age, known, value = weeks_of_life(units, launch, first, AGES)
        own, same_season = pool[row], season[row]
        for place, use in ((np.zeros_like(own), own >= 0), (own, own > 0), (same_season, own >= 0)):
            np.add.at(self.total, (place[use], age[use], known[use]), value[use])
            np.add.at(self.count, (place[use], age[use], known[use]), 1)

    def done(self) -> Pools:
        return Pools(np.cumsum(self.total, 2).astype(np.float32), np.cumsum(self.count, 2).astype(np.float32))


def weeks_of_life(
    units: np.ndarray, launch: np.ndarray, first: np.ndarray, ages: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first weeks of life of launched products, one entry each: row, age, the first origin that may use it, log1p units.

    units (n, weeks) as first known; launch and first sale (n,) week indices or NaN. The empty weeks between a launch and the first
    sale count from the first sale on: before it nobody knew that it would come. Values are multiples of STEP.
    """
    row = np.flatnonzero(launch >= 0)
    week = launch[row].astype(np.int64)[:, None] + np.arange(ages)
    case, age = np.nonzero(week < units.shape[1])
    row, at = row[case], week[case, age]
    known = np.maximum(at, first[row].astype(np.int64)) + 1
    return row, age, known, np.round(np.log1p(units[row, at]) / STEP) * STEP
