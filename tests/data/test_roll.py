"""Weeks observed after the data was prepared give what preparing the longer data gives."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.roll import extended, moved_on
from plcp.tables import SALES
from tests.conftest import FIRST_WEEK, little_shop

WEEKS, NEW = 70, 2
CUT = FIRST_WEEK + dt.timedelta(weeks=WEEKS - NEW)


def told_in_time(shop: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Without what is not observed: sales taken back, reviews and baskets of the new weeks."""
    sales = shop["sales"].with_columns(cancelled_at=pl.lit(None, pl.Date))
    reviews, baskets = shop["reviews"].filter(pl.col("date") < CUT), shop["baskets"].filter(pl.col("ts").dt.date() < CUT)
    return {**shop, "sales": sales, "reviews": reviews, "baskets": baskets}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared, pl.DataFrame]:
    """The shop before the new weeks, with them, and their sales."""
    folder, whole = tmp_path_factory.mktemp("roll"), told_in_time(little_shop(24))
    before, new = (whole["sales"].filter(part) for part in (pl.col("date") < CUT, pl.col("date") >= CUT))
    config = PrepareConfig(skus_per_shard=8)
    old = prepare(Dataset.of({**whole, "sales": before}), folder / "old", config)
    return old, prepare(Dataset.of(whole), folder / "new", config), SALES.conform(new)


def test_rows_are_those_of_the_longer_data(both: tuple[Prepared, Prepared, pl.DataFrame]) -> None:
    old, new, sales = both
    assert (new.weeks - old.weeks, new.first_week) == (NEW, old.first_week)
    for index in range(len(old.shards)):
        mine, whole = extended(old.read(index).frame, sales, old.timeline, new.timeline), new.read(index).frame
        for channel in old.channels:
            np.testing.assert_array_equal(mine[channel].to_numpy(), whole[channel].to_numpy(), err_msg=channel)


def test_a_product_asked_for_twice_has_its_row_twice(both: tuple[Prepared, Prepared, pl.DataFrame]) -> None:
    old, new, sales = both
    frame = old.read(0).frame
    mine = extended(frame[[2, 0, 2]], sales, old.timeline, new.timeline)
    assert mine.equals(extended(frame, sales, old.timeline, new.timeline)[[2, 0, 2]])


def test_the_shop_is_that_of_the_longer_data_and_is_made_once(both: tuple[Prepared, Prepared, pl.DataFrame], tmp_path: Path) -> None:
    old, new, sales = both
    asked: list[str] = []

    def sales_of(skus: Sequence[str]) -> pl.DataFrame:
        asked.extend(skus)
        return sales.filter(pl.col("sku_id").is_in(skus))

    moved = moved_on(old, sales_of, new.timeline, tmp_path / "moved")
    assert (moved.origin, sorted(asked)) == (new.origin, sorted(f"P{i:03d}" for i in range(24)))
    for part in ("pools", "titles", "levels", "prices", "totals", "neighbours"):
        mine, whole = vars(getattr(moved.shop, part)), vars(getattr(new.shop, part))
        for name, values in whole.items():
            np.testing.assert_array_equal(mine[name], values, err_msg=f"{part}.{name}")
    moved_on(old, sales_of, new.timeline, tmp_path / "moved")
    assert len(asked) == 24
