"""What launches of a shop have sold so far: what the forecast of a launch is shrunk towards."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.tables import LEVELS

LEARNT = 1200  # launches after which a model's own word counts half
LOOKED_AT = 50_000  # launches are enough to know their quantiles
LEAST = 30  # launches that must have reached a week of life for it to count


@dataclass(frozen=True)
class PastLaunches:
    """Quantiles (weeks, 9) of log1p units and mean (weeks,) units by week of life, of `count` launches.

    A shop has few launches, and they come in seasons: a model that is fitted to a few hundred of them forecasts the last season again.
    Its forecast is combined with this one, with the less weight the fewer it has learned from (in the manner of Efron & Morris 1975).
    """

    quantiles: np.ndarray
    mean: np.ndarray
    count: int

    @staticmethod
    def none() -> "PastLaunches":
        return PastLaunches(np.zeros((0, len(LEVELS))), np.zeros(0), 0)

    @staticmethod
    def of(prepared: Prepared, weeks: int) -> "PastLaunches":
        """The first `weeks` of life of all launches whose first sale the data shows."""
        parts: list[np.ndarray] = []
        columns = ["units", *(c for c in prepared.channels if c == "in_stock")]
        for index in range(len(prepared.shards)):
            parts.append(first_weeks(prepared.read(index, columns), weeks, prepared.weeks))
            if sum(map(len, parts)) >= LOOKED_AT:
                break
        units = np.concatenate(parts)
        reached = int((np.isfinite(units).sum(0) >= LEAST).cumprod().sum())
        if not reached:
            return PastLaunches.none()
        seen = units[:, :reached]
        return PastLaunches(np.nanquantile(np.log1p(seen), LEVELS, axis=0).T, np.nanmean(seen, 0), len(units))

    @property
    def share(self) -> float:
        """Weight of the model's own forecast."""
        return self.count / (self.count + LEARNT) if len(self.mean) else 1.0

    def shrink(self, quantiles: np.ndarray, mean: np.ndarray, launch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """quantiles (n, h, 9) log1p and mean (n, h) units → the same, those where `launch` (n,) nearer to the past."""
        if not len(self.mean) or not launch.any():
            return quantiles, mean
        week = np.minimum(np.arange(mean.shape[1]), len(self.mean) - 1)
        own, past = self.share, 1 - self.share
        shrunk = np.where(launch[:, None, None], own * quantiles + past * self.quantiles[week], quantiles)
        return shrunk, np.where(launch[:, None], own * mean + past * self.mean[week], mean)

    def to_dict(self) -> dict[str, Any]:
        return {"quantiles": self.quantiles.round(6).tolist(), "mean": self.mean.round(6).tolist(), "count": self.count}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastLaunches":
        """Raises ValueError or KeyError where the content has another shape."""
        quantiles = np.asarray(content["quantiles"], np.float64).reshape(-1, len(LEVELS))
        return PastLaunches(quantiles, np.asarray(content["mean"], np.float64).reshape(len(quantiles)), int(content["count"]))


def first_weeks(shard: Shard, weeks: int, until: int) -> np.ndarray:
    """Units in the first weeks of life of a shard's launches, (launches, weeks); NaN from week `until` on, and where they are no demand."""
    sold = shard.units > 0
    first = np.where(sold.any(1), sold.argmax(1), -1)
    rows = np.flatnonzero((first >= LAUNCH_SEEN) & (first < until))
    week = first[rows, None] + np.arange(weeks)
    at = rows[:, None], np.minimum(week, until - 1)
    return np.where((week < until) & shard.told[at], shard.units[at], np.nan)
