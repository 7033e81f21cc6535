"""What must hold on Online Retail II: nothing of the future in the inputs, and the judge's own weekly units, exactly."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.online_retail import judge
from plcp.data import asof
from plcp.data.contract import Dataset, open_dataset
from plcp.data.prepared import Prepared, prepare
from plcp.data.sources.online_retail import import_online_retail
from plcp.data.spec import Spec
from plcp.data.view import panel_view
from plcp.evaluation.cases import Truth
from tests.data.test_features import assert_same, cases_at

ORIGINS = [judge.week_date(week) for week in (44, 76)]


@pytest.fixture(scope="module")
def transactions(bench_data: Path) -> Path:
    return bench_data / "online_retail_2y"


@pytest.fixture(scope="module")
def dataset(transactions: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("retail") / "data"
    import_online_retail(transactions, folder)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(dataset, tmp_path_factory.mktemp("retail") / "whole")


def assert_panel(skus: list[str], units: np.ndarray, expected: tuple[list[str], np.ndarray]) -> None:
    """The judge's SKUs with its units, SKU by SKU, week by week; no others sold anything."""
    sold = units.sum(1) > 0
    assert [sku for sku, there in zip(skus, sold, strict=True) if there] == expected[0]
    assert np.array_equal(units[sold], expected[1][:, : units.shape[1]])


def test_weekly_units_of_all_lines_are_the_judges(whole: Prepared, transactions: Path) -> None:
    assert (whole.first_week, whole.weeks) == (judge.FIRST_WEEK, judge.WEEKS)
    truth = Truth.of(whole)  # net of what was taken back after the last week, too
    assert_panel(truth.skus, truth.units, judge.load_panel(str(transactions)))


@pytest.mark.parametrize("origin", ORIGINS)
def test_as_of_an_origin_units_are_the_judges_from_the_lines_before_it_and_inputs_those_of_the_cut_data(
    origin: dt.date, dataset: Dataset, whole: Prepared, transactions: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before.parquet"
    pl.scan_parquet(transactions / "*.parquet").filter(pl.col("ts").dt.date() < origin).sink_parquet(before)
    expected = judge.load_panel(str(before))
    cut = prepare(asof.cut(dataset, origin), tmp_path / "cut")
    for view in (panel_view(whole, origin), panel_view(cut)):
        assert_panel(view.sku_id, view.units, expected)
    spec = Spec(history_weeks=104, horizon=12, country="GB").fitted(whole)
    assert_same(cases_at(cut, origin, spec), cases_at(whole, origin, spec))
