"""Prices as signals: filled forward, against the product's own regular price and against its category."""

from dataclasses import dataclass

import numpy as np

from plcp.data.hashing import POOLS

ROWS = 512  # taken at once: windows of weeks take their number times the memory
REGULAR_WEEKS = 13  # weeks whose median price is the regular one: a promotion is shorter than half of them
LOWEST, HIGHEST, BINS = 0.01, 1e9, 352  # of the histogram in which medians are found; a bin is 7% wide, and the median lies inside it


@dataclass(frozen=True)
class CategoryPrices:
    """Median price of each category's products week by week, (POOLS, weeks) float32, filled forward; NaN before the first.

    A week's median is made of that week's prices alone, so it never changes once the week is over.
    """

    median: np.ndarray

    @staticmethod
    def none() -> "CategoryPrices":
        return CategoryPrices(np.zeros((POOLS, 0), np.float32))

    def of(self, pool: np.ndarray, week: np.ndarray) -> np.ndarray:
        """Medians of the categories in pools (b,), 0 where there is none, at weeks (b, w) → (b, w); NaN where unknown.

        Beyond the last week its medians stand: single products may be observed further than the shop.
        """
        if not self.median.shape[1]:
            return np.full(week.shape, np.nan, np.float32)
        return self.median[pool[:, None], np.minimum(week, self.median.shape[1] - 1)]


class PriceBuilder:
    """Counts prices in geometric bins: exact in any order, and as large for a million products as for one."""

    def __init__(self, weeks: int):
        self.weeks = weeks
        self.count: np.ndarray | None = None

    def add(self, price: np.ndarray, pool: np.ndarray) -> None:
        """price (n, weeks), NaN unknown; pool (n,), 0 for products without a category."""
        row, week = np.nonzero((price > 0) & (pool > 0)[:, None])
        if not len(row):
            return
        if self.count is None:
            self.count = np.zeros((POOLS, self.weeks, BINS), np.uint32)
        place = np.log(price[row, week].astype(np.float64) / LOWEST) / np.log(HIGHEST / LOWEST) * BINS
        cell = (pool[row] * self.weeks + week) * BINS + np.clip(place, 0, BINS - 1).astype(np.int64)
        np.add.at(self.count.reshape(-1), cell, np.ones(len(cell), np.uint32))

    def done(self) -> CategoryPrices:
        if self.count is None:
            return CategoryPrices.none()
        return CategoryPrices(filled_forward(np.stack([medians(count) for count in self.count])))


def medians(count: np.ndarray) -> np.ndarray:
    """Medians of histograms (weeks, BINS) of log prices, each bin taken as evenly filled; (weeks,) float32, NaN where empty."""
    below = np.cumsum(count, 1, dtype=np.float64)
    half = below[:, -1:] / 2
    at = (below < half).sum(1)
    week = np.arange(len(count))
    inside = np.maximum(count[week, np.minimum(at, BINS - 1)], 1)
    place = at + 1 - (below[week, np.minimum(at, BINS - 1)] - half[:, 0]) / inside
    price = LOWEST * (HIGHEST / LOWEST) ** (place / BINS)
    return np.where(half[:, 0] > 0, price, np.nan).astype(np.float32)


def filled_forward(values: np.ndarray) -> np.ndarray:
    """Each gap takes the last value known before it. (rows, weeks) → the same; NaN before the first."""
    week = np.arange(values.shape[1], dtype=np.int32)
    latest = np.maximum.accumulate(np.where(np.isnan(values), 0, week), 1)
    return np.take_along_axis(values, latest, 1)


def discounts(filled: np.ndarray) -> np.ndarray:
    """Depth below the regular price, the median of the last REGULAR_WEEKS up to each week: 0 to 1; NaN without any price.

    filled (rows, weeks), without gaps after the first price. A trailing median is the usual price while promotions take less than half of
    the weeks (the regular price of Kehoe & Midrigan 2015 is the trailing mode, for prices that repeat to the penny).
    """
    return np.concatenate([np.zeros_like(filled[:0]), *(_discounts(filled[i : i + ROWS]) for i in range(0, len(filled), ROWS))])


def _discounts(filled: np.ndarray) -> np.ndarray:
    padded = np.pad(filled, ((0, 0), (REGULAR_WEEKS - 1, 0)), constant_values=np.nan)
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(padded, REGULAR_WEEKS, 1), 2)  # NaN comes last
    known = (~np.isnan(ordered)).sum(2)
    middle = np.maximum(known - 1, 0)[..., None] // 2
    regular = np.take_along_axis(ordered, middle, 2)[..., 0]
    return np.clip(1 - filled / np.maximum(regular, LOWEST), 0, 1).astype(np.float32)
