import datetime as dt

import numpy as np
import polars as pl
import pytest

from plcp.base import DataError
from plcp.data.panel import LINES, Cells, sales_rows, timeline_of, weekly_sales
from plcp.data.timeline import Timeline
from tests.conftest import FIRST_WEEK

LINE = Timeline(FIRST_WEEK, 6)
SKUS = pl.Series("sku_id", ["a", "b", "c"])


def weekly(sales: pl.DataFrame, *present: str) -> dict[str, np.ndarray]:
    rows = sales_rows(sales.lazy(), LINE, [*present]).collect()
    return weekly_sales(rows, Cells.of(rows, SKUS, LINE))


def test_weeks_are_what_their_rows_add_up_to() -> None:
    rng = np.random.default_rng(0)
    day, row = rng.integers(-7, 49, 200), rng.integers(0, 2, 200)  # some days before the weeks, some after; nothing of the third product
    units, price = rng.integers(0, 4, 200) * 0.1, np.where(rng.random(200) < 0.3, np.nan, rng.integers(1, 9, 200))
    dates = [FIRST_WEEK + dt.timedelta(days=int(d)) for d in day]
    asked = pl.Series(price).fill_nan(None)
    found = weekly(pl.DataFrame({"sku_id": SKUS.gather(row), "date": dates, "units": units, "price": asked}), "price", *LINES)
    for k, week in np.ndindex(3, 6):
        here = (row == k) & (day // 7 == week)
        priced, sold = here & ~np.isnan(price), units[here]
        mean = np.average(price[priced], weights=units[priced] if units[priced].any() else None) if priced.any() else np.nan
        assert found["units"][k, week] == pytest.approx(sold.sum(), abs=1e-12)
        assert found["price"][k, week] == pytest.approx(mean, nan_ok=True)
        assert (found["lines"][k, week], found["largest"][k, week]) == ((sold > 0).sum(), sold.max(initial=0))


def test_sums_beyond_what_an_integer_holds_are_refused_and_name_the_product() -> None:
    sales = pl.DataFrame({"sku_id": ["a", *["b"] * 10], "date": [FIRST_WEEK] * 11, "units": [1e6] * 11, "price": [1e6] * 11})
    assert weekly(sales[:5], "price")["price"][1, 0] == 1e6
    with pytest.raises(DataError, match="SKU b: paid of one week too large"):
        weekly(sales, "price")


def test_sales_without_units_hold_no_week() -> None:
    empty = pl.DataFrame({"date": [FIRST_WEEK], "units": [0]})
    with pytest.raises(DataError, match="no valid row with units above zero"):
        timeline_of(empty, None, 520)
