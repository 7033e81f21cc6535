"""Past forecasts beside what came."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.evaluation.metrics import curve_metrics
from plcp.monitor.accuracy import accuracy
from plcp.monitor.config import MonitorConfig
from plcp.tables import QUANTILES
from tests.monitor.shop import FIRST, NEW, ORIGIN, SKUS, both, forecast, tables_of_shop


def test_every_measure_is_that_of_the_evaluation(tmp_path: Path) -> None:
    shop = tables_of_shop()
    new, _ = both(tmp_path, shop)
    curve = forecast(tmp_path / "scores", 1.3)
    table = accuracy(new, tmp_path / "scores", MonitorConfig())
    rows = curve.join(shop["sales"].filter(pl.col("in_stock") == 1), left_on=["sku_id", "week"], right_on=["sku_id", "date"])
    actual, quantiles = rows["units"].to_numpy()[:, None], rows.select(QUANTILES).to_numpy()[:, None]
    expected = curve_metrics(actual, quantiles, rows["mean"].to_numpy()[:, None], np.full(len(rows), np.nan))
    whole = table.row(by_predicate=pl.col("group") == "all", named=True)
    assert whole["cases"] == len(rows) < SKUS * NEW  # stock-outs are left out, and weeks still to come
    for name in ("wape", "bias", "calibration_gap"):
        assert whole[name] == pytest.approx(expected[name]), name
    before = shop["sales"].filter(pl.col("date").is_between(ORIGIN - dt.timedelta(weeks=4), ORIGIN, closed="left"))
    recent = rows.join(
        before.group_by("sku_id").agg(pl.col("units").mean().alias("recent")), on="sku_id", how="left", maintain_order="left"
    )
    naive = np.abs(recent["units"] - recent["recent"]).sum()
    assert whole["relative_error"] == pytest.approx(np.abs(rows["units"] - rows["q50"]).sum() / naive)


def test_groups_are_weeks_categories_and_ages_and_each_holds_every_case(tmp_path: Path) -> None:
    new, _ = both(tmp_path, tables_of_shop())
    forecast(tmp_path / "scores")
    table = accuracy(new, tmp_path / "scores", MonitorConfig())
    names = {group: part["of"].to_list() for (group,), part in table.group_by("group", maintain_order=True)}
    assert names == {
        "age": ["age 13 to 52", "age up to 12"],
        "all": ["all products"],
        "category": [f"category {c}" for c in "ABCDE"],
        "week": [f"week of {ORIGIN + dt.timedelta(weeks=w)}" for w in range(NEW)],
    }
    assert table.group_by("group").agg(pl.col("cases").sum())["cases"].n_unique() == 1
    assert table.filter(group="week")["week"].to_list() == [ORIGIN + dt.timedelta(weeks=w) for w in range(NEW)]


def test_a_forecast_that_knows_the_demand_is_unbiased_and_calibrated(tmp_path: Path) -> None:
    new, _ = both(tmp_path, tables_of_shop())
    forecast(tmp_path / "scores")
    whole = accuracy(new, tmp_path / "scores", MonitorConfig()).row(by_predicate=pl.col("group") == "all", named=True)
    assert abs(whole["bias"]) < 0.05
    assert whole["calibration_gap"] < 0.05
    assert whole["relative_error"] < 1


def test_of_two_runs_with_one_origin_the_later_one_counts(tmp_path: Path) -> None:
    new, _ = both(tmp_path, tables_of_shop())
    for factor in (3.0, 1.0):
        forecast(tmp_path / "scores", factor)
    forecast(tmp_path / "scores", origin=ORIGIN + dt.timedelta(weeks=NEW))  # none of its weeks has come
    whole = accuracy(new, tmp_path / "scores", MonitorConfig()).row(by_predicate=pl.col("group") == "all", named=True)
    assert abs(whole["bias"]) < 0.05


def test_forecasts_of_which_no_week_has_come_are_no_row(tmp_path: Path) -> None:
    new, _ = both(tmp_path, tables_of_shop())
    forecast(tmp_path / "scores", origin=ORIGIN + dt.timedelta(weeks=NEW))
    assert accuracy(new, tmp_path / "scores", MonitorConfig()).is_empty()


def test_where_fewer_than_four_weeks_lie_before_the_origin_the_simplest_forecast_is_the_mean_of_those(tmp_path: Path) -> None:
    shop = tables_of_shop()
    new, _ = both(tmp_path, shop)
    origin = FIRST + dt.timedelta(weeks=2)
    curve = forecast(tmp_path / "scores", origin=origin)
    whole = accuracy(new, tmp_path / "scores", MonitorConfig()).row(by_predicate=pl.col("group") == "all", named=True)
    rows = curve.join(shop["sales"].filter(pl.col("in_stock") == 1), left_on=["sku_id", "week"], right_on=["sku_id", "date"])
    before = shop["sales"].filter(pl.col("date") < origin).group_by("sku_id").agg(recent=pl.col("units").mean())
    rows = rows.join(before, on="sku_id")
    error, naive = (np.abs(rows["units"] - rows[of]).sum() for of in ("q50", "recent"))
    assert whole["relative_error"] == pytest.approx(error / naive)
