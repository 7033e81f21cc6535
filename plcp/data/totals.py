"""What the whole shop and each category sold, week by week: which season is due."""

from dataclasses import dataclass

import numpy as np

from plcp.data.hashing import POOLS
from plcp.data.siblings import STEP
from plcp.data.timeline import YEAR, Timeline

QUARTER = 13  # weeks
NEAR = 2  # weeks on each side of last year's week that belong to it
DUE = ("shop", "category")


@dataclass(frozen=True)
class Totals:
    """Units of all products of a category as they stood at the end of their own week, summed over the weeks before each one, (POOLS,
    weeks + 1) float64; pool 0 is the whole shop. `open` (weeks + 1,): how many of those weeks the shop was open."""

    before: np.ndarray
    open: np.ndarray

    @staticmethod
    def none() -> "Totals":
        return Totals(np.zeros((POOLS, 1)), np.zeros(1))

    @staticmethod
    def of(units: np.ndarray, timeline: Timeline) -> "Totals":
        """units (POOLS, weeks)."""
        opened = ~np.isin(np.arange(units.shape[1]), timeline.closed)
        return Totals(*(np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(x, -1)], -1) for x in (units * opened, opened)))

    def due(self, pool: np.ndarray, origins: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
        """DUE of each week forecast, (b, horizon, len(DUE)) float32; NaN where unknown. pool, origins, starts (b,).

        What was sold a week around the same week a year before beside what was sold a week in the quarter that lay a year before the
        origin, as a difference of their log1p. Unknown where no open week of that quarter was observed, or nothing of the category was sold
        in it.
        """
        week = starts[:, None] + np.arange(horizon) - YEAR
        until = np.minimum(week + NEAR + 1, origins[:, None])
        found = []
        for place in (np.zeros_like(pool), pool):
            base = self._mean(place, origins - YEAR - QUARTER, origins - YEAR)
            near = self._mean(place[:, None], week - NEAR, until)
            found.append(np.log1p(near) - np.log1p(np.where(base > 0, base, np.nan))[:, None])
        found[1] = np.where(pool[:, None] > 0, found[1], np.nan)
        return np.stack(found, 2).astype(np.float32)

    def _mean(self, pool: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Mean weekly units of the weeks [left, right); NaN where the data holds no open one."""
        left, right = (np.clip(week, 0, len(self.open) - 1) for week in (left, right))
        weeks = self.open[right] - self.open[left]
        units = self.before[pool, right] - self.before[pool, left]
        return np.where(weeks > 0, np.maximum(units, 0) / np.maximum(weeks, 1), np.nan)


class TotalsBuilder:
    """Adds products: multiples of STEP, whose sums are exact in whatever order they come."""

    def __init__(self, weeks: int):
        self.units = np.zeros((POOLS, weeks))

    def add(self, units: np.ndarray, pool: np.ndarray) -> None:
        """units (n, weeks) as they stood at the end of their own week; pool (n,), 0 for products without a category."""
        rounded = np.round(np.maximum(units, 0) / STEP) * STEP
        np.add.at(self.units, pool[pool > 0], rounded[pool > 0])
        self.units[0] += rounded.sum(0)

    def done(self, timeline: Timeline) -> Totals:
        return Totals.of(self.units, timeline)
