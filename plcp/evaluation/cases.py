"""What came, and which cases a backtest asks for: all from the full data, with every cancellation applied."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import numpy as np
import polars as pl

from plcp.base import ConfigError
from plcp.data.hashing import levels
from plcp.data.lifecycle import CONFIRM, DECLINE, ENDED, GROWTH, INTRODUCTION, LAUNCH_SEEN, MATURE, MATURITY, YOUNG, Levels, smooth
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard, first_sale
from plcp.data.timeline import Timeline

ACTIVE_WITHIN = 26  # an in-life case sold something in this many weeks before its origin
END_WEEKS = (4, 8, 12)  # horizons of the end's probabilities
SAMPLE = 500  # cases in life that stand for all where a method is too slow for all
RISING = 1.3  # growth of four weeks over the four before that the stage rule calls rising


@dataclass(frozen=True)
class Cases:
    """What one origin asks of every contestant. SKUs ascend in both tracks."""

    origin: dt.date
    in_life: list[str]  # products that sold before the origin and lately; forecast for `horizon` weeks from the origin
    horizon: int
    launches: pl.DataFrame  # as asof.launches: products to come with their `start`; forecast for `launch_horizon` weeks from there
    launch_horizon: int


@dataclass(frozen=True)
class Window:
    """An origin, and the weeks whose launches belong to it: from the origin to before `until`. Week indices."""

    origin: int
    until: int


@dataclass(frozen=True)
class Truth:
    """What came of n SKUs, ascending, over all T observed weeks; a week in which the shop was shut counts as one without sales."""

    timeline: Timeline
    skus: list[str]
    units: np.ndarray  # (n, T) net of every cancellation, of whatever day
    launch: np.ndarray  # (n,) week index of the launch, NaN where not visible
    category: np.ndarray  # (n,) first level of the category's path; empty where unknown

    @staticmethod
    def of(prepared: Prepared) -> "Truth":
        """From the full data, prepared without a cut."""
        shards = [prepared.read(i) for i in range(len(prepared.shards))]
        skus = np.concatenate([np.array(shard.sku_id, dtype=object) for shard in shards])
        order = np.argsort(skus)
        units, launch, category = (
            np.concatenate([of(s) for s in shards])[order] for of in (attrgetter("units"), launches_of, categories_of)
        )
        return Truth(prepared.timeline, skus[order].tolist(), units, launch, category)

    @cached_property
    def first(self) -> np.ndarray:
        """Week index of the first sale, (n,); T where there is none."""
        sold = self.units > 0
        return np.where(sold.any(1), sold.argmax(1), self.units.shape[1])

    @cached_property
    def last(self) -> np.ndarray:
        """Week index of the last sale, (n,)."""
        return self.units.shape[1] - 1 - (self.units > 0)[:, ::-1].argmax(1)

    @cached_property
    def end(self) -> np.ndarray:
        """Week index after the last sale where enough empty weeks confirm it, else far away. (n,)."""
        weeks = self.units.shape[1]
        return np.where(self.last <= weeks - 1 - CONFIRM, self.last + 1, 10 * weeks)

    @cached_property
    def levels(self) -> Levels:
        return Levels(self.units)

    def in_life(self, origin: int) -> np.ndarray:
        """Rows of the products that sold before a week and within its last 26 weeks."""
        return np.flatnonzero((self.units[:, max(0, origin - ACTIVE_WITHIN) : origin] > 0).any(1))

    def launches(self, window: Window) -> np.ndarray:
        """Rows of the products whose first sale lies in a window."""
        return np.flatnonzero((self.first >= window.origin) & (self.first < window.until))

    def sold(self, rows: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
        """Units of the `horizon` weeks from each start on, (b, horizon)."""
        return self.units[rows[:, None], starts[:, None] + np.arange(horizon)]

    def velocity(self, rows: np.ndarray, origin: int) -> np.ndarray:
        """Mean weekly units of the last 26 weeks, (b,)."""
        return self.units[rows, max(0, origin - ACTIVE_WITHIN) : origin].mean(1)

    def age(self, rows: np.ndarray, origin: int) -> np.ndarray:
        """Weeks since launch, (b,); NaN where it is not visible."""
        return origin - self.launch[rows]

    def naive_error(self, rows: np.ndarray, origin: int) -> np.ndarray:
        """Mean change of a product's units from week to week, from its first sale to the origin, in the weeks in which the shop was open.
        (b,); NaN where there are no two such weeks."""
        weeks = np.setdiff1d(np.arange(origin), self.timeline.closed)
        change, known = np.abs(np.diff(self.units[rows][:, weeks])), weeks[:-1] >= self.first[rows, None]
        count = known.sum(1)
        return np.where(count > 0, (change * known).sum(1) / np.maximum(count, 1), np.nan)

    def end_time(self, rows: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
        """Weeks from an origin to the end, (b,), 0 where it came before, and whether it was seen within the last of END_WEEKS, (b,).

        Where it was not, the last week known to be free of it, up to the last of END_WEEKS; -1 where it may have come before the origin.
        """
        time, free = self.end[rows] - origin, np.where(self.end[rows] < self.units.shape[1], END_WEEKS[-1], self.last[rows] - origin)
        seen = time <= END_WEEKS[-1]
        return np.where(seen, np.maximum(time, 0), np.clip(free, -1, END_WEEKS[-1])), seen


def launches_of(shard: Shard) -> np.ndarray:
    """Week index of each product's launch as known at the end of the data, NaN where not visible."""
    rows, end = np.arange(len(shard)), np.full(len(shard), shard.timeline.weeks)
    first = first_sale(shard.units, end)
    return shard.launch(first, shard.version_at(rows, end, np.isnan(first)))


def categories_of(shard: Shard) -> np.ndarray:
    """First level of each product's category as known at the end of the data, (n,); empty where unknown."""
    rows, end = np.arange(len(shard)), np.full(len(shard), shard.timeline.weeks)
    version = shard.version_at(rows, end, np.isnan(first_sale(shard.units, end)))
    known = shard.versions.values["category"].gather(pl.Series(version).replace(-1, None))
    return np.array([next(iter(levels(path)), "") for path in known], dtype=object)


def sampled(skus: Sequence[str]) -> np.ndarray:
    """SAMPLE of the SKUs, (n,) bool: those whose names have the lowest hashes, so that origins share most of them."""
    order = np.argsort([hashlib.sha256(sku.encode()).hexdigest() for sku in skus])
    return np.isin(np.arange(len(skus)), order[:SAMPLE])


def windows(
    timeline: Timeline, origins: Sequence[dt.date], horizon: int, launch_horizon: int, launch_until: dt.date | None = None
) -> list[Window]:
    """The origins in order, each with the launches from it to the next; the last one's end before `launch_until`.

    Only launches whose first `launch_horizon` weeks are observed count. Raises ConfigError for an origin that is no Monday or lies
    outside the data, and where the weeks to be judged are not all observed.
    """
    days = sorted(set(origins))
    if not days:
        raise ConfigError("no origins given; name at least one Monday")
    for day in days:
        check_origin(timeline, day, horizon)
    indices = [timeline.index(day) for day in days]
    latest = timeline.weeks - launch_horizon + 1
    last = latest if launch_until is None else timeline.index(launch_until)
    if launch_until is not None and not indices[-1] <= last <= latest:
        raise ConfigError(
            f"launches until {launch_until}: must lie between the last origin ({days[-1]}) and {timeline.date(latest)}, "
            f"so that their first {launch_horizon} weeks are observed"
        )
    return [Window(at, min(until, latest)) for at, until in zip(indices, [*indices[1:], last], strict=True)]


def check_origin(timeline: Timeline, origin: dt.date, horizon: int) -> None:
    """Raises ConfigError where an origin cannot be judged over `horizon` weeks."""
    if origin.weekday():
        raise ConfigError(f"origin {origin} is a {origin:%A}; an origin is a Monday")
    observed = f"the data's full weeks run from {timeline.first_week} to {timeline.date(timeline.weeks - 1)}"
    at = timeline.index(origin)
    if not 0 < at < timeline.weeks:
        raise ConfigError(f"origin {origin} lies outside the data: {observed}")
    if at + horizon > timeline.weeks:
        latest = timeline.date(timeline.weeks - horizon)
        hint = f"the latest origin for it is {latest}" if horizon < timeline.weeks else "give a shorter one"
        raise ConfigError(f"a horizon of {horizon} weeks from origin {origin} reaches beyond the data: {observed}; {hint}")


def rule_stage(units: np.ndarray) -> np.ndarray:
    """Stage in the last of the weeks known, by a rule that knows the past alone: what a stage forecast must beat.

    units (n, t) → (n,) index into STAGES.
    """
    weeks = units.shape[1]
    first = (units > 0).argmax(1)
    level = smooth(units)
    ratio = level[:, -1] / np.maximum(level.max(1), 1e-9)
    rising = units[:, -4:].sum(1) > RISING * units[:, max(0, weeks - 8) : max(0, weeks - 4)].sum(1)
    young = (first >= LAUNCH_SEEN) & (weeks - first <= YOUNG)
    stage = np.where(ratio >= MATURE, MATURITY, np.where(young, INTRODUCTION, np.where(rising, GROWTH, DECLINE)))
    return np.where(units[:, -CONFIRM:].sum(1) == 0, ENDED, stage)
