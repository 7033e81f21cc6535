"""Against the benchmark's own judge, and with forecasts that do not fit the cases."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.online_retail import judge
from plcp.base import ModelError
from plcp.data.contract import open_dataset
from plcp.data.prepared import Prepared, prepare
from plcp.data.sources.online_retail import import_online_retail
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.cases import Cases, Truth, Window, windows
from plcp.evaluation.contestant import Forecasts
from plcp.evaluation.scoring import score
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON

ORIGINS, LAUNCH_UNTIL = [date(2010, 10, 4), date(2010, 11, 29)], date(2011, 1, 24)


def test_on_the_benchmarks_data_every_figure_is_the_judges(bench_data: Path, tmp_path: Path) -> None:
    lines = bench_data / "online_retail_2y" / "transactions.parquet"
    theirs = judge.Truth(str(lines), "dev")
    judge.naive(theirs, tmp_path / "naive")
    expected = judge.score(theirs, tmp_path / "naive")

    import_online_retail(lines, tmp_path / "data")
    truth = Truth.of(prepare(open_dataset(tmp_path / "data"), tmp_path / "prepared"))
    asked = windows(truth.timeline, ORIGINS, judge.HORIZON, judge.LAUNCH_HORIZON, LAUNCH_UNTIL)
    found = score(truth, asked, judge.HORIZON, judge.LAUNCH_HORIZON, Forecasts.read(tmp_path / "naive"))

    compared = 0
    for track, origin, bucket, metric, value, cases in found.iter_rows():
        name = track + (f"@{origin}" if origin else "") + ("_buckets" if bucket else "")
        if name not in expected or metric.startswith("share_"):
            continue  # the judge gives classes over all origins alone, and rounds the stages' shares
        figures = expected[name].get(bucket, {}) if bucket else expected[name]  # nor has it every bucket
        if metric in figures:
            assert value == pytest.approx(figures[metric], abs=1e-12), (name, bucket, metric)
            assert cases == figures.get("cases", cases)
            compared += 1
    assert compared == 3 * 5 * 2 + 7 * 2 + 4 * 4 + 2


@pytest.fixture(scope="module")
def good(past: Prepared, cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> Forecasts:
    return Recent().forecast(past, cases, 1, tmp_path_factory.mktemp("work"))


BAD = {
    "1 of .* weeks are missing or not finite": lambda f: replace(f, in_life=f.in_life[1:]),
    "that are no case": lambda f: replace(f, launch=pl.concat([f.launch, f.launch[:1].with_columns(sku_id=pl.lit("unheard of"))])),
    "stands more than once": lambda f: replace(f, in_life=pl.concat([f.in_life, f.in_life[:1]])),
    "quantiles cross": lambda f: replace(f, in_life=f.in_life.with_columns(q10=pl.col("q90") + 1)),
    "negative units": lambda f: replace(f, in_life=f.in_life.with_columns(mean=-1.0)),
    "p_end falls": lambda f: replace(f, events=f.events.with_columns(p_end_4w=1.0, p_end_8w=0.5)),
    "no probability": lambda f: replace(f, events=f.events.with_columns(p_new_peak_12w=1.5)),
    "is no stage": lambda f: replace(f, stages=f.stages.with_columns(stage=pl.lit("teenager"))),
    "cases missing": lambda f: replace(f, stages=f.stages[1:]),
}


@pytest.mark.parametrize("message", BAD)
def test_forecasts_that_do_not_fit_the_cases_are_refused(message: str, truth: Truth, window: Window, good: Forecasts) -> None:
    with pytest.raises(ModelError, match=message):
        score(truth, [window], HORIZON, LAUNCH_HORIZON, BAD[message](good))


def test_what_cannot_be_confirmed_is_not_judged(truth: Truth, good: Forecasts, window: Window) -> None:
    tracks = set(score(truth, [window], HORIZON, LAUNCH_HORIZON, good)["track"])
    assert {"in_life", "launch", "end_4w", "end_12w", "end", "new_peak_12w", "stage"} <= tracks
    weeks = window.origin + 14
    early = Truth(replace(truth.timeline, weeks=weeks), truth.skus, truth.units[:, :weeks], truth.launch, truth.category)
    known = set(score(early, [Window(window.origin, window.origin)], HORIZON, LAUNCH_HORIZON, good)["track"])
    assert known == {"in_life", "end_4w", "end", "new_peak_12w", "stage"}


def test_every_track_is_judged_by_category_and_those_in_life_by_velocity_and_age(truth: Truth, window: Window, good: Forecasts) -> None:
    table = score(truth, [window], HORIZON, LAUNCH_HORIZON, good)
    pooled = table.filter(pl.col("bucket").is_null(), pl.col("origin").is_null())
    for track in table["track"].unique():
        cases = pooled.filter(track=track)["cases"][0]
        buckets = table.filter(pl.col("track") == track, pl.col("bucket").is_not_null()).unique("bucket")
        assert buckets.filter(pl.col("bucket").str.starts_with("category"))["cases"].sum() == cases
        assert buckets.filter(pl.col("bucket").str.starts_with("age"))["cases"].sum() == cases
        assert buckets.filter(pl.col("bucket").str.contains(r"\d\)$|week\)$"))["cases"].sum() == (0 if track == "launch" else cases)
    assert {"category Home", "category Garden"} <= set(table["bucket"])


def test_the_figures_of_a_bucket_are_those_of_its_cases_alone(truth: Truth, window: Window, good: Forecasts) -> None:
    slow = [truth.skus[row] for row in truth.in_life(window.origin) if truth.velocity(np.array([row]), window.origin) < 1]
    own = good.in_life.filter(pl.col("sku_id").is_in(slow)).sort("sku_id", "week")
    rows = np.array([truth.skus.index(sku) for sku in slow])
    actual = truth.sold(rows, np.full(len(rows), window.origin), HORIZON)
    expected = np.abs(actual.ravel() - own["q50"].to_numpy()).mean()
    found = score(truth, [window], HORIZON, LAUNCH_HORIZON, good).filter(track="in_life", bucket="slow (<1/week)", metric="mae")
    assert found["value"].to_list() == pytest.approx([expected])
    assert found["cases"].to_list() == [len(slow)]
