"""Drift planted in the newest week is found under its name, and a week like all others raises no alarm."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.base import DataError
from plcp.data.asof import cut
from plcp.data.contract import Dataset
from plcp.data.prepared import prepare
from plcp.monitor.config import MonitorConfig
from plcp.monitor.drift import Series, drift, price_changes, stability
from tests.monitor.shop import FIRST, NAMES, NEW, ORIGIN, SHUT, SKUS, WEEKS, both, newest, tables_of_shop


def found(folder: Path, shop: dict[str, pl.DataFrame]) -> dict[tuple[str, str], Series]:
    new, training = both(folder, shop)
    return {(one.measure, one.of): one for one in drift(new, training, MonitorConfig())}


def passed(series: dict[tuple[str, str], Series]) -> set[tuple[str, str]]:
    return {name for name, one in series.items() if one.value > one.limit}


def test_a_shop_without_drift_passes_no_limit(tmp_path: Path) -> None:
    series = found(tmp_path, tables_of_shop())
    assert passed(series) == set()
    assert {name for _, name in series} == {"units", "price", "promo", "in_stock", "category", "brand", "price jumps"}
    units = series["stability", "units"]
    assert (len(units.past), len(units.new), units.first) == (52, NEW, ORIGIN - dt.timedelta(weeks=52))
    assert np.flatnonzero(np.isnan(units.past)).tolist() == [SHUT - (WEEKS - NEW - 52)]
    assert 0 < units.value < 0.25
    assert series["stability", "category"].value == pytest.approx(0, abs=0.01)  # the same products are on sale in every week


@pytest.mark.parametrize(
    ("column", "change", "share", "measure", "of"),
    [
        ("units", pl.col("units") * 4, 1.0, "stability", "units"),
        ("price", pl.col("price") * 2, 0.3, "share", "price jumps"),
        ("price", pl.lit(None), 0.5, "missing", "price"),
        ("promo", pl.lit(0.2), 0.4, "stability", "promo"),
        ("in_stock", pl.lit(0.7), 0.8, "stability", "in_stock"),
    ],
)
def test_a_change_of_sales_planted_in_the_newest_week_is_found(
    tmp_path: Path, column: str, change: pl.Expr, share: float, measure: str, of: str
) -> None:
    shop = tables_of_shop()
    series = found(tmp_path, {**shop, "sales": shop["sales"].with_columns(newest(change, column, share))})
    assert (measure, of) in passed(series)
    assert {name.split()[0] for _, name in passed(series)} == {column}  # nothing else raises an alarm
    if measure != "stability":
        assert series[measure, of].value == pytest.approx(share, abs=0.03)


def test_products_of_an_unknown_category_are_found(tmp_path: Path) -> None:
    shop = tables_of_shop()
    moved = pl.DataFrame({"sku_id": NAMES[:30], "title": NAMES[:30], "category": "Vapes", "brand": "Acme", "known_at": ORIGIN})
    series = found(tmp_path, {**shop, "products": pl.concat([shop["products"], moved])})
    assert passed(series) >= {("unseen", "category")}
    assert series["unseen", "category"].value == pytest.approx(30 / SKUS, abs=0.01)
    assert series["unseen", "brand"].value == 0


def test_a_column_that_the_new_data_lost_is_missing(tmp_path: Path) -> None:
    shop = tables_of_shop()
    config, training = MonitorConfig(), prepare(cut(Dataset.of(shop), ORIGIN), tmp_path / "training")
    new = prepare(Dataset.of({**shop, "sales": shop["sales"].drop("in_stock")}), tmp_path / "new")
    lost = [one for one in drift(new, training, config) if (one.measure, one.of) == ("missing", "in_stock")]
    assert [round(one.value, 6) for one in lost] == [1.0]


def test_data_without_a_new_week_or_without_a_past_is_refused(tmp_path: Path) -> None:
    shop = tables_of_shop()
    new, training = both(tmp_path, shop)
    with pytest.raises(DataError, match="no week is new"):
        drift(training, new, MonitorConfig())
    late = shop["sales"].filter(pl.col("date") >= FIRST + dt.timedelta(weeks=WEEKS - NEW - 3))
    short = prepare(Dataset.of({**shop, "sales": late}), tmp_path / "short")
    with pytest.raises(DataError, match="give 8 weeks before"):
        drift(short, training, MonitorConfig())


def test_the_stability_index_is_that_of_the_textbook() -> None:
    reference, week = np.array([50, 30, 20]) * 10**6, np.array([[20, 30, 50]]) * 10**6
    assert stability(week, reference)[0] == pytest.approx(2 * 0.3 * np.log(2.5), rel=1e-5)
    assert stability(reference[None], reference)[0] == pytest.approx(0, abs=1e-9)


def test_a_price_change_is_from_the_last_known_price() -> None:
    price = np.array([[np.nan, 2.0, np.nan, 3.0, 0.0, 1.0]])
    np.testing.assert_allclose(price_changes(price), [[np.nan, np.nan, np.nan, 0.5, -1.0, np.nan]])
