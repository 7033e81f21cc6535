"""The weeks before a case's start, channel by channel."""

from dataclasses import dataclass

import numpy as np

from plcp.data.outliers import soften
from plcp.data.shards import Shard
from plcp.data.spec import Spec


@dataclass(frozen=True)
class Window:
    """The weeks of b cases' histories: those before each start, of which the ones from the origin on are unknown."""

    rows: np.ndarray  # (b,) rows of the shard
    origins: np.ndarray  # (b,) week indices
    at: np.ndarray  # (b, weeks) week indices, kept inside the data
    place: np.ndarray  # (b, weeks) of each week in a flattened (rows, weeks) array of the shard
    # (b, weeks) float32: NaN where a week says nothing of the product (not yet known, shut, before its launch), else 0
    off_sale: np.ndarray

    @staticmethod
    def of(shard: Shard, rows: np.ndarray, origins: np.ndarray, starts: np.ndarray, launch: np.ndarray, weeks: int) -> "Window":
        """launch (b,) week index, NaN where not visible: then every week is on sale."""
        line = shard.timeline
        week = starts[:, None] + np.arange(-weeks, 0)
        from_week = np.maximum(np.nan_to_num(launch), 0).astype(np.int64)
        off_sale = (week < from_week[:, None]) | (week >= np.minimum(origins, line.weeks)[:, None])
        for closed in line.closed:
            off_sale |= week == closed
        at = np.clip(week, 0, line.weeks - 1)
        return Window(rows, origins, at, rows[:, None] * line.weeks + at, np.where(off_sale, np.float32(np.nan), np.float32(0)))

    def read(self, values: np.ndarray, out: np.ndarray) -> None:
        """A shard's (rows, weeks) array into (b, weeks) float32, NaN off sale."""
        out[:] = values.reshape(-1)[self.place]
        out += self.off_sale  # several times as fast as a masked assignment


def cut_history(shard: Shard, window: Window, units: np.ndarray, pool: np.ndarray, signals: np.ndarray, spec: Spec) -> np.ndarray:
    """(b, weeks, channels) float32 in the order of spec.history, NaN where unknown.

    units (b, all weeks) as known at each origin, pool (b,) of each case's category. Outliers are softened in `units`; `outlier` says by how
    much, in log1p units. price is filled forward; price_to_category is the log of its ratio to the category's median of that week.
    signals (b, weeks and more, names) stand in every week, on sale or not.
    """
    # one plane per channel: written and read one after the other
    planes = np.full((len(spec.history), *window.at.shape), np.nan, np.float32)
    plane = dict(zip(spec.history, planes, strict=True))
    _units(window, units, plane)
    for name in plane:
        if name in shard.channels and name not in ("units", "price"):
            window.read(shard.channels[name], plane[name])
    if "reviews" in shard.channels and "rating" in plane:
        window.read(shard.rating, plane["rating"])
    elif "reviews" in plane:  # none written yet is none, not unknown
        plane["reviews"][:] = window.off_sale
    if "bought_with" in plane:
        found = shard.shop.neighbours.mean(*shard.neighbours_at(window.rows, window.origins), window.at)
        plane["bought_with"][:] = found + window.off_sale
    if "price" in shard.channels:
        _prices(shard, window, pool, plane)
    for own, values in zip(planes[len(planes) - signals.shape[2] :], np.moveaxis(signals, 2, 0), strict=True):
        own[:] = values[:, : spec.history_weeks]
    return np.moveaxis(planes, 0, 2)


def as_sold(history: np.ndarray, spec: Spec) -> np.ndarray:
    """Units (b, weeks) of cut_history's (b, weeks, channels) before outliers were softened; NaN where that is not known any more."""
    if "outlier" not in spec.history:
        return np.full(history.shape[:2], np.nan)
    return np.expm1(np.log1p(history[..., spec.history.index("units")]) + history[..., spec.history.index("outlier")])


def past_units(history: np.ndarray, spec: Spec) -> np.ndarray:
    """Units (b, weeks) as they were sold, where that is known, else as softened; 0 where nothing is."""
    sold = as_sold(history, spec)
    return np.where(np.isfinite(sold), sold, np.nan_to_num(history[..., spec.history.index("units")]))


def _units(window: Window, units: np.ndarray, plane: dict[str, np.ndarray]) -> None:
    known = plane["units"]
    known[:] = np.take_along_axis(units, window.at, 1)
    known += window.off_sale
    if "outlier" in plane:
        plane["outlier"][:] = np.log1p(known)
        plane["outlier"] -= np.log1p(soften(known))
    else:
        soften(known)


def _prices(shard: Shard, window: Window, pool: np.ndarray, plane: dict[str, np.ndarray]) -> None:
    window.read(shard.price, plane["price"])
    if "discount" in plane:
        window.read(shard.discount, plane["discount"])
    if "price_to_category" in plane:
        with np.errstate(divide="ignore"):
            ratio = np.log(plane["price"] / shard.shop.prices.of(pool, window.at))
        plane["price_to_category"][:] = np.where(np.isfinite(ratio), ratio, np.nan)
