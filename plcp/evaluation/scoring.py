"""Forecasts beside what came: every metric of a contestant, as one table."""

import datetime as dt
from collections.abc import Iterator

import numpy as np
import polars as pl

from plcp.base import ModelError
from plcp.data.lifecycle import CONFIRM
from plcp.evaluation.cases import END_WEEKS, Truth, Window, rule_stage, sampled
from plcp.evaluation.contestant import Forecasts
from plcp.evaluation.judged import Curves, Ends, Events, Judged, Stages, Traits, pooled, those
from plcp.tables import QUANTILES, STAGES

SCHEMA = pl.Schema(
    {
        "track": pl.String(),  # in_life, launch, end_4w, end_8w, end_12w, end (its date), new_peak_12w, stage
        "origin": pl.Date(),  # null: all origins together
        "bucket": pl.String(),  # of velocity, age or category, or the fixed sample; null: all cases
        "metric": pl.String(),
        "value": pl.Float64(),  # NaN where it is not defined
        "cases": pl.Int64(),
    }
)
Found = tuple[Judged, Traits]


def score(truth: Truth, asked: list[Window], horizon: int, launch_horizon: int, forecasts: Forecasts) -> pl.DataFrame:
    """All metrics of one contestant, SCHEMA: per origin, over all origins, and over all origins per bucket.

    Raises ModelError where forecasts are missing, superfluous, not finite, negative or crossing.
    """
    found: dict[str, dict[dt.date, Found]] = {}
    for window in asked:
        for track, judged, traits in judge(truth, window, horizon, launch_horizon, forecasts):
            found.setdefault(track, {})[truth.timeline.date(window.origin)] = judged, traits
    rows = [row for track, parts in found.items() for row in track_rows(track, parts)]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def track_rows(track: str, parts: dict[dt.date, Found]) -> Iterator[tuple]:
    for origin, (judged, traits) in parts.items():
        yield from metric_rows(track, origin, None, judged, traits)
    columns = zip(*parts.values(), strict=True)
    judged, traits = (pooled(list(column)) for column in columns)
    yield from metric_rows(track, None, None, judged, traits)
    for bucket, cases in traits.buckets():
        yield from metric_rows(track, None, bucket, those(judged, cases), those(traits, cases))


def metric_rows(track: str, origin: dt.date | None, bucket: str | None, judged: Judged, traits: Traits) -> Iterator[tuple]:
    yield from ((track, origin, bucket, name, value, len(traits.age)) for name, value in judged.metrics().items())


def judge(truth: Truth, window: Window, horizon: int, launch_horizon: int, forecasts: Forecasts) -> Iterator[tuple[str, Judged, Traits]]:
    """One origin's forecasts beside what came, track by track; tracks whose outcome is not yet known, or without cases, are left out."""
    at, rows, new = window.origin, truth.in_life(window.origin), truth.launches(window)
    date = truth.timeline.date(at)
    own = Forecasts(*(frame.filter(pl.col("origin") == date) for frame in vars(forecasts).values()))
    if len(rows):
        skus, traits = [truth.skus[r] for r in rows], in_life_traits(truth, rows, at)
        starts, naive_error = np.full(len(rows), at), truth.naive_error(rows, at)
        yield "in_life", curves(truth, rows, starts, horizon, naive_error, own.in_life, f"in_life {date}"), traits
        for track, judged in events(truth, rows, at, by_case(own.events, skus, f"events {date}"), f"events {date}"):
            yield track, judged, traits
        for stage in stages(truth, rows, at, by_case(own.stages, skus, f"stages {date}"), f"stages {date}"):
            yield "stage", stage, traits
    if len(new):
        judged = curves(truth, new, truth.first[new], launch_horizon, np.full(len(new), np.nan), own.launch, f"launch {date}")
        yield "launch", judged, launch_traits(truth, new)


def in_life_traits(truth: Truth, rows: np.ndarray, at: int) -> Traits:
    return Traits(truth.velocity(rows, at), truth.age(rows, at), truth.category[rows], sampled([truth.skus[row] for row in rows]))


def launch_traits(truth: Truth, rows: np.ndarray) -> Traits:
    """Of products that have no past."""
    return Traits(np.full(len(rows), np.nan), np.zeros(len(rows)), truth.category[rows], np.zeros(len(rows), bool))


def events(truth: Truth, rows: np.ndarray, at: int, frame: pl.DataFrame, what: str) -> Iterator[tuple[str, Judged]]:
    ends = np.stack([probability(frame, f"p_end_{weeks}w", what) for weeks in END_WEEKS], 1)
    if (np.diff(ends, axis=1) < -1e-6).any():
        raise ModelError(f"{what}: p_end falls as the horizon grows")
    for weeks, p in zip(END_WEEKS, ends.T, strict=True):
        if at + weeks <= truth.timeline.weeks - CONFIRM:  # later ones are not confirmed either way
            yield f"end_{weeks}w", Events(truth.end[rows] <= at + weeks, p)
    yield "end", Ends(*truth.end_time(rows, at), ends)
    higher = truth.levels.new_peak(rows, np.full(len(rows), at))
    if not np.isnan(higher).any():
        yield "new_peak_12w", Events(higher > 0, probability(frame, "p_new_peak_12w", what))


def stages(truth: Truth, rows: np.ndarray, at: int, frame: pl.DataFrame, what: str) -> Iterator[Stages]:
    """Nothing where the stage is not yet known."""
    if unknown := set(frame["stage"].unique()) - set(STAGES):
        raise ModelError(f"{what}: {', '.join(sorted(map(str, unknown)))} is no stage of {', '.join(STAGES)}")
    actual = truth.levels.stage(rows, np.full(len(rows), at))
    if (actual >= 0).all():
        predicted = np.array([STAGES.index(name) for name in frame["stage"]])
        yield Stages(actual, predicted, rule_stage(truth.units[rows, :at]))


def curves(
    truth: Truth, rows: np.ndarray, starts: np.ndarray, horizon: int, naive_error: np.ndarray, frame: pl.DataFrame, what: str
) -> Curves:
    """The forecasts of b cases in their order; every week of every case must be there once, and nothing else."""
    skus = pl.Series([truth.skus[r] for r in rows], dtype=pl.String)
    weeks = [truth.timeline.date(s + h) for s in starts for h in range(horizon)]
    wanted = pl.DataFrame({"sku_id": skus.gather(np.repeat(np.arange(len(rows)), horizon)), "week": weeks})
    if frame.select("sku_id", "week").is_duplicated().any():
        raise ModelError(f"{what}: a SKU's week stands more than once")
    if extra := len(frame.join(wanted, on=["sku_id", "week"], how="anti")):
        raise ModelError(f"{what}: {extra} rows that are no case")
    joined = wanted.join(frame, on=["sku_id", "week"], how="left", maintain_order="left")
    values = joined.select(*QUANTILES, "mean").to_numpy().reshape(len(rows), horizon, len(QUANTILES) + 1)
    if not np.isfinite(values).all():
        raise ModelError(f"{what}: {int((~np.isfinite(values)).any(2).sum())} of {len(joined)} weeks are missing or not finite")
    quantiles, mean = values[:, :, :-1], values[:, :, -1]
    if (np.diff(quantiles, axis=2) < -1e-6).any():
        raise ModelError(f"{what}: quantiles cross")
    if (values < -1e-9).any():
        raise ModelError(f"{what}: negative units")
    return Curves(truth.sold(rows, starts, horizon), quantiles, mean, naive_error)


def by_case(frame: pl.DataFrame, skus: list[str], what: str) -> pl.DataFrame:
    """A frame's rows in case order, one for each."""
    joined = pl.DataFrame({"sku_id": skus}).join(frame, on="sku_id", how="left", maintain_order="left")
    if len(frame) != len(skus) or len(joined) != len(skus) or joined["origin"].null_count():
        raise ModelError(f"{what}: {len(frame)} rows for {len(skus)} cases, {joined['origin'].null_count()} cases missing")
    return joined


def probability(frame: pl.DataFrame, column: str, what: str) -> np.ndarray:
    values = frame[column].to_numpy()
    if not ((values >= 0) & (values <= 1)).all():
        raise ModelError(f"{what}: {column} holds what is no probability")
    return values
