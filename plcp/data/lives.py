"""Lives of products, each from its own week 0 on: what curves are fitted to."""

from dataclasses import dataclass

import numpy as np

from plcp.data.families import Array
from plcp.data.lifecycle import CONFIRM
from plcp.data.shards import Shard, first_sale

LEAST_IN_STOCK = 0.1  # a week with sales counts for at least so much, whatever its stock is said to have been
LENGTHS = 13  # lives lie on axes of a multiple of so many weeks


@dataclass(frozen=True)
class Lives:
    """Lives of n products on an axis of t weeks."""

    start: Array  # (n,) week 0 as an index on the timeline
    units: Array  # (n, t)
    exposure: Array  # (n, t) share of the week on sale; 0 where unknown, shut or beyond the life

    def __len__(self) -> int:
        return len(self.start)

    @property
    def known(self) -> Array:
        """How many weeks are known of each, (n,)."""
        return (self.exposure > 0).sum(1)

    def take(self, rows: Array) -> "Lives":
        return Lives(self.start[rows], self.units[rows], self.exposure[rows])

    @property
    def axis(self) -> Array:
        """Weeks of the axis that each fits on, (n,)."""
        exists = self.exposure > 0
        weeks = np.where(exists.any(1), exists.shape[1] - exists[:, ::-1].argmax(1), 1)
        return np.minimum(-(-weeks // LENGTHS) * LENGTHS, exists.shape[1])

    def trimmed(self, weeks: int) -> "Lives":
        """On an axis of so many weeks."""
        return Lives(self.start, self.units[:, :weeks], self.exposure[:, :weeks])

    def without_last(self, share: float, least: int) -> "Lives":
        """Without this share of each one's known weeks, the last ones, and at least so many."""
        order = np.cumsum(self.exposure > 0, 1)
        kept = order <= (self.known - np.maximum(np.ceil(share * self.known), least))[:, None]
        return Lives(self.start, np.where(kept, self.units, 0), np.where(kept, self.exposure, 0))


def lives_of(shard: Shard) -> Lives:
    """Every product of a shard as known at the end of the data.

    Week 0 is the launch; where that is not visible, or lies before the data, the first week sold. A life reaches to the weeks
    that confirm its end, or to the data's. A week half of which the product was on sale is expected to sell half.
    """
    weeks = shard.timeline.weeks
    rows, origins = np.arange(len(shard)), np.full(len(shard), weeks)
    first = first_sale(shard.units, origins)
    launch = shard.launch(first, shard.version_at(rows, origins, np.isnan(first)))
    start = np.clip(np.nan_to_num(np.where(launch >= 0, launch, first)), 0, weeks - 1).astype(np.int64)
    sold = shard.units > 0
    last = weeks - 1 - sold[:, ::-1].argmax(1)
    until = np.where(sold.any(1), np.minimum(last + 1 + CONFIRM, weeks), 0)
    week = start[:, None] + np.arange(weeks)
    known = (week < until[:, None]) & ~np.isin(week, shard.timeline.closed)
    at = np.minimum(week, weeks - 1)
    units = np.where(known, np.take_along_axis(shard.units, at, 1), 0)
    return Lives(start, units, np.where(known, on_sale(shard, units, at), 0))


def on_sale(shard: Shard, units: Array, at: Array) -> Array:
    """Share of each week on sale, all of it where nothing is said. units of the weeks `at`, (n, t) → (n, t)."""
    if "in_stock" not in shard.channels:
        return np.ones(at.shape)
    share = np.nan_to_num(np.take_along_axis(shard.channels["in_stock"], at, 1).astype(np.float64), nan=1.0)
    return np.where(units > 0, np.maximum(share, LEAST_IN_STOCK), share)
