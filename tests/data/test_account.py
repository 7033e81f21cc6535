"""Every row and unit of sales is in the panel, or out of it by a named rule."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data import account as accounts
from plcp.data.account import BEFORE, CUT_SHORT, PANEL, TAKEN_BACK, UNKNOWN
from plcp.data.asof import cut
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from tests.conftest import FIRST_WEEK


def day(week: int, weekday: int = 0) -> dt.date:
    return FIRST_WEEK + dt.timedelta(weeks=week, days=weekday)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three full weeks, a week of zeros ahead of them and a week cut short, with one sale taken back at once and one later."""
    rows = [
        (day(0), 0.0, None),
        *((day(week, weekday), 2.5, None) for week in (1, 2, 3) for weekday in range(7)),
        (day(2, 3), 4.0, day(2, 4)),
        (day(1, 3), 8.0, day(3, 1)),
        (day(4), 16.0, None),
    ]
    sales = pl.DataFrame(rows, schema={"date": pl.Date, "units": pl.Float64, "cancelled_at": pl.Date}, orient="row")
    products = pl.DataFrame({"sku_id": ["a"], "title": ["thing"]})
    return Dataset.of({"products": products, "sales": sales.with_columns(sku_id=pl.lit("a"))})


def entries(prepared: Prepared) -> dict[str, tuple[int, float]]:
    return {e.rule: (e.rows, e.units) for e in prepared.account.entries}


def test_rows_outside_the_weeks_and_those_taken_back_are_counted_by_name(dataset: Dataset, tmp_path: Path) -> None:
    prepared = prepare(dataset, tmp_path / "p")
    assert entries(prepared) == {PANEL: (21, 52.5), BEFORE: (1, 0.0), CUT_SHORT: (1, 16.0), TAKEN_BACK: (2, 12.0)}
    assert entries(Prepared.open(tmp_path / "p")) == entries(prepared)
    assert str(prepared.account).splitlines()[:2] == ["sales: 25 valid rows with 80 units", "              21  in the panel (52 units)"]


def test_what_an_origin_does_not_know_is_counted_and_a_later_cancellation_has_not_happened(dataset: Dataset, tmp_path: Path) -> None:
    prepared = prepare(cut(dataset, day(3)), tmp_path / "p")
    assert entries(prepared) == {PANEL: (15, 43.0), BEFORE: (1, 0.0), UNKNOWN: (8, 33.5), TAKEN_BACK: (1, 4.0)}


def test_weeks_moved_to_their_monday_are_counted_there(tmp_path: Path) -> None:
    sundays = [day(week, 6) for week in range(5)]  # each counts as the week of the next day
    sales = pl.DataFrame({"sku_id": "a", "date": sundays, "units": [0.0, 1.0, 2.0, 3.0, 4.0]})
    dataset = Dataset.of({"products": pl.DataFrame({"sku_id": ["a"], "title": ["thing"]}), "sales": sales})
    prepared = prepare(cut(dataset, day(4)), tmp_path / "p")
    assert entries(prepared) == {PANEL: (2, 3.0), BEFORE: (1, 0.0), UNKNOWN: (2, 7.0), TAKEN_BACK: (0, 0.0)}


def test_units_lost_on_the_way_are_a_fault_that_stops_prepare(dataset: Dataset, tmp_path: Path) -> None:
    part = dataset.tables["sales"].filter(pl.col("date") != day(2))
    with pytest.raises(RuntimeError, match=r"2\.5 units were lost"):
        prepare(replace(dataset, tables={**dataset.tables, "sales": part}), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_net_units_are_exact_where_floats_are_not() -> None:
    assert accounts.net_units(np.full((10, 10), 0.1)) == 100_000


def test_a_single_sale_of_long_ago_does_not_stretch_the_weeks_and_is_counted(dataset: Dataset, tmp_path: Path) -> None:
    sales = dataset.tables["sales"].collect().select("sku_id", "date", "units", "cancelled_at")
    stray = pl.DataFrame({"sku_id": ["a"], "date": [dt.date(1987, 3, 2)], "units": [2.0], "cancelled_at": [None]}, schema=sales.schema)
    whole = Dataset.of({"products": pl.DataFrame({"sku_id": ["a"], "title": ["thing"]}), "sales": pl.concat([stray, sales])})
    prepared = prepare(whole, tmp_path / "p")
    assert prepared.weeks == PrepareConfig().max_weeks
    assert entries(prepared)[BEFORE] == (1, 2.0)
    assert entries(prepared)[PANEL] == (22, 52.5)
