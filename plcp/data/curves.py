"""One parametric life-cycle curve per SKU: the family that fits best, its parameters, and five numbers a merchant understands."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data import fitting
from plcp.data.families import FAMILIES, Array, Family
from plcp.data.lives import Lives, lives_of
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.timeline import WEEK, Timeline
from plcp.folders import replacing
from plcp.tables import LIFE_CURVES, write

MARK = "curves.json"
HELD_OUT, LEAST_HELD_OUT = 0.2, 3  # the last part of a life's known weeks, which chooses the family
LEAST_WEEKS, LEAST_SOLD = 12, 4  # weeks known; weeks with sales before those held out
AHEAD = 52  # weeks after the data over which a curve is followed
DECLINED, ENDED = 0.5, 0.05  # of the peak: below it, a curve is in decline or at its end
CHUNK = 512  # SKUs fitted at once: their arrays stay in the processor's cache


def fit_curves(prepared: Prepared, out: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> dict[str, int]:
    """Write OUT/life_curves, a file per shard; return for how many SKUs each family is best, and for how many there is "none".

    Holds one shard in memory at a time; `progress` is told (shards done, shards). Raises DataError where `out` is something else
    than curves, or a shard cannot be read.
    """
    counts: Counter[str] = Counter()
    about = {"prepared": prepared.digest, "origin": prepared.origin.isoformat()}
    columns = ["sku_id", "versions", *(c for c in ("units", "in_stock") if c in prepared.channels)]
    with replacing(out, MARK) as folder:
        for index, info in enumerate(prepared.shards):
            frame = shard_curves(prepared.read(index, columns))
            write(LIFE_CURVES, frame, folder / LIFE_CURVES.name / info.file, about)
            counts.update(frame["family"].fill_null("none").to_list())
            progress(index + 1, len(prepared.shards))
        (folder / MARK).write_text(json.dumps(about | {"curves": dict(sorted(counts.items()))}, indent=1))
    return dict(counts)


def shard_curves(shard: Shard) -> pl.DataFrame:
    """LIFE_CURVES of one shard's SKUs, in their order."""
    lives = lives_of(shard)
    reason = unfit(lives)
    rows = np.flatnonzero(reason == "")
    found = [chunk_curves(lives, chunk, shard.timeline) for chunk in chunks(rows, lives.axis[rows])]
    place = pl.DataFrame({"sku_id": shard.frame["sku_id"], "reason": reason}, schema_overrides={"reason": pl.String}).with_row_index("row")
    place = place.with_columns(pl.col("reason").replace("", None))
    every = pl.concat([LIFE_CURVES.schema.to_frame().drop("sku_id", "reason").with_columns(row=pl.lit(0, pl.UInt32)), *found])
    return LIFE_CURVES.conform(place.join(every, on="row", how="left", maintain_order="left"))


def chunks(rows: Array, axis: Array) -> Iterator[Array]:
    """Rows whose lives lie on an axis of one length: what else there is must not touch a life's curve. At most CHUNK at a time."""
    for weeks in np.unique(axis):
        same = rows[axis == weeks]
        yield from (same[i : i + CHUNK] for i in range(0, len(same), CHUNK))


def unfit(lives: Lives) -> Array:
    """Why no curve can be fitted to a life, (n,) of texts; empty where one can."""
    sold = (lives.without_last(HELD_OUT, LEAST_HELD_OUT).units > 0).sum(1)
    few_weeks = np.char.add(f"needs {LEAST_WEEKS} known weeks of life, has ", lives.known.astype(str))
    few_sales = np.char.add(f"needs {LEAST_SOLD} weeks with sales before the last fifth of its life, has ", sold.astype(str))
    never = ~(lives.units > 0).any(1)
    return np.select([never, lives.known < LEAST_WEEKS, sold < LEAST_SOLD], [np.full(len(lives), "never sold"), few_weeks, few_sales], "")


def chunk_curves(lives: Lives, rows: Array, timeline: Timeline) -> pl.DataFrame:
    """The best curves of some lives; `row` is their place in the shard."""
    chunk = lives.take(rows).trimmed(lives.axis[rows[0]])
    errors = held_out_errors(chunk)
    best = errors.argmin(0)
    frames = []
    for k, family in enumerate(FAMILIES):
        own = np.flatnonzero(best == k)
        if len(own):
            theta = fitting.fit(k, chunk.units[own], chunk.exposure[own])
            curve = numbers(family, theta, chunk.take(own), timeline)
            error = pl.Series("held_out_error", errors[k, own])
            frames.append(pl.DataFrame([pl.Series("row", rows[own], pl.UInt32), error]).hstack(curve))
    order = LIFE_CURVES.schema.names()
    return pl.concat(frames).select(*(name for name in order if name not in ("sku_id", "reason")), "row")


def held_out_errors(lives: Lives) -> Array:
    """Each family's mean absolute error in the last weeks of each life, fitted to those before, in mean weeks. (families, n)."""
    before = lives.without_last(HELD_OUT, LEAST_HELD_OUT)
    held = (lives.exposure > 0) & ~(before.exposure > 0)
    mean = lives.units.sum(1) / lives.known
    errors = []
    for k, family in enumerate(FAMILIES):
        theta = fitting.fit(k, before.units, before.exposure)
        log = fitting.relative(family.shape(theta, fitting.middles(lives.units.shape[1]))[0], before.exposure)
        expected = fitting.level(log, before.units, before.exposure)[:, None] * np.exp(log) * lives.exposure
        errors.append((np.abs(lives.units - expected) * held).sum(1) / held.sum(1) / mean)
    return np.stack(errors)


def weekly(family: Family, theta: Array, lives: Lives, weeks: int) -> tuple[Array, Array]:
    """The fitted units of each week from week 0 on, if always in stock, (n, weeks), and whether their rise is cut off, (n,)."""
    log = fitting.relative(family.shape(theta, fitting.middles(weeks))[0], lives.exposure)
    level = fitting.level(log[:, : lives.units.shape[1]], lives.units, lives.exposure)
    return level[:, None] * np.exp(log) * (log > fitting.FLOOR), log.max(1) >= fitting.CEILING


def numbers(family: Family, theta: Array, lives: Lives, timeline: Timeline) -> pl.DataFrame:
    """Columns of LIFE_CURVES that a fitted curve fills."""
    weeks = timeline.weeks + AHEAD
    age = np.arange(weeks)
    inside = age < (weeks - lives.start)[:, None]  # the same last week for all
    followed, cut_off = weekly(family, theta, lives, weeks)
    units = np.where(inside, followed, 0)
    peak = units.argmax(1)
    top = units[np.arange(len(units)), peak]
    seen = (peak < weeks - lives.start - 1) & ~cut_off  # else it still rises where it is left

    def first_below(share: float) -> Array:
        """Week after the peak in which the curve first lies below this share of it; NaN where it does not or is not followed so far."""
        low = (units < share * top[:, None]) & (age > peak[:, None]) & inside
        return np.where(seen & low.any(1), low.argmax(1), np.nan)

    ages = {"peak_week": np.where(seen, peak, np.nan), "decline_week": first_below(DECLINED), "end_week": first_below(ENDED)}
    dates = [day(name, lives.start + at, timeline) for name, at in {"start": np.zeros(len(units)), **ages}.items()]
    values = {"peak_units": top, "total_units": units.sum(1)}
    columns = [pl.Series(name, np.where(seen, value, np.nan), nan_to_null=True) for name, value in values.items()]
    named = pl.DataFrame(family.named(theta), schema=list(family.parameters))
    entries = [pl.struct(pl.lit(p).alias("name"), pl.col(p).alias("value")) for p in family.parameters]
    parameters = named.select(pl.lit(family.name).alias("family"), pl.concat_list(entries).alias("parameters"))
    return pl.DataFrame([*dates, *columns]).hstack(parameters)


def day(name: str, week: Array, timeline: Timeline) -> pl.Series:
    """Mondays of week indices, null where NaN."""
    weeks = pl.Series(name, week, nan_to_null=True)
    return pl.select(pl.lit(timeline.first_week) + weeks.cast(pl.Int64) * WEEK).to_series().alias(name)
