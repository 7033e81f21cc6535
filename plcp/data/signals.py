"""Signals from outside the shop: weekly values of a SKU, a category or the whole shop, each with the week it became known."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from plcp.data.hashing import levels
from plcp.data.timeline import Timeline

AHEAD = 52  # weeks beyond the origin of which a signal may speak
EVERYWHERE = "*"
NEVER = 1 << 30
FAR = 5.0  # standard deviations


@dataclass(frozen=True)
class Signals:
    """Values of n series over T weeks in v versions, one after the other, (v, n, T) float32; `known`: the first origins to use them."""

    series: dict[tuple[str, str], int]  # (key, name) → place
    value: np.ndarray
    known: np.ndarray

    @staticmethod
    def none() -> "Signals":
        empty = np.zeros((0, 0, 0))
        return Signals({}, empty.astype(np.float32), empty.astype(np.int32))

    @staticmethod
    def of(weekly: pl.DataFrame, weeks: int) -> "Signals":
        """From the rows of `weekly_signals`, any order."""
        if weekly.is_empty():
            return Signals.none()
        ordered = weekly.sort("key", "name", "week", "known")
        keys = ordered.select("key", "name").unique(maintain_order=True)
        place = ordered.join(keys.with_row_index("place"), on=["key", "name"], maintain_order="left")["place"].to_numpy()
        version = ordered.select(pl.int_range(pl.len()).over("key", "name", "week")).to_series().to_numpy()
        shape = (int(version.max()) + 1, len(keys), weeks + AHEAD)
        value, known = np.full(shape, np.nan, np.float32), np.full(shape, NEVER, np.int32)
        at = (version, place, ordered["week"].to_numpy())
        value[at], known[at] = ordered["value"].to_numpy(), ordered["known"].to_numpy()
        return Signals({pair: i for i, pair in enumerate(keys.rows())}, value, known)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in order."""
        return tuple(sorted({name for _, name in self.series}))

    def as_of(self, series: np.ndarray, origins: np.ndarray, weeks: np.ndarray) -> np.ndarray:
        """Newest values known at each origin, (b, w) float32. series (b,), -1 none; weeks (b, w) indices, unknown outside the axis."""
        out = np.full(weeks.shape, np.nan, np.float32)
        inside = (series >= 0)[:, None] & (weeks >= 0) & (weeks < np.minimum(origins + AHEAD, self.value.shape[2])[:, None])
        at = np.where(inside, weeks, 0)
        for value, known in zip(self.value, self.known, strict=True):
            use = inside & (known[series[:, None], at] <= origins[:, None])
            np.copyto(out, value[series[:, None], at], where=use)
        return out

    def places(self, keys: list[str], name: str) -> np.ndarray:
        """Series of each key, -1 where it has none."""
        return np.array([self.series.get((key, name), -1) for key in keys], np.int64)


def weekly_signals(signals: pl.LazyFrame, timeline: Timeline) -> pl.LazyFrame:
    """key, name, week, known (week indices), value: the mean over a week's days of what became known in the same week.

    What becomes known in a later week takes the place of the whole week's value. A day's newest value counts.
    """
    known = pl.coalesce("known_at", "date")
    rows = signals.with_columns(known.alias("known_at")).sort("known_at", maintain_order=True)
    rows = rows.with_columns(timeline.index_of("date").alias("week"), timeline.index_of("known_at").alias("known") + 1)
    daily = rows.group_by("key", "name", "date", "week", "known", maintain_order=True).agg(pl.col("value").last())
    inside = daily.filter(pl.col("week").is_between(0, timeline.weeks + AHEAD - 1))
    return (
        inside.sort("key", "name", "date", "known")
        .group_by("key", "name", "week", "known", maintain_order=True)
        .agg(pl.col("value").mean())
    )


def paths(category: str | None) -> list[str]:
    """The keys under which a product's signals may stand, the nearest first."""
    return [*reversed(levels(category)), EVERYWHERE]


def standardised(values: np.ndarray, history: int) -> np.ndarray:
    """Values by the mean and spread of the `history` weeks that come first, those known; (b, w) → the same. In place."""
    past = values[:, :history].astype(np.float64)
    count = np.maximum((~np.isnan(past)).sum(1), 1)
    mean = np.nansum(past, 1) / count
    spread = np.sqrt(np.nansum((past - mean[:, None]) ** 2, 1) / count)
    values[:] = np.clip((values - mean[:, None]) / np.where(spread > 0, spread, 1)[:, None], -FAR, FAR)
    return values
