import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.forecast.launches import LEARNT, LEAST, PastLaunches
from tests.conftest import FIRST_WEEK

WEEKS, LAUNCHES = 40, 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """An old product, and launches that sell 8 units in their first week, 4 in the second, then 2; half come in the last week but one."""
    rows = [("old", week, 100.0) for week in range(WEEKS)]
    for k in range(LAUNCHES):
        first = 12 if k % 2 else WEEKS - 2
        rows += [(f"new {k:02d}", week, {0: 8.0, 1: 4.0}.get(week - first, 2.0)) for week in range(first, WEEKS)]
    sales = pl.DataFrame(rows, schema=["sku_id", "week", "units"], orient="row")
    dates = [FIRST_WEEK + dt.timedelta(weeks=week) for week in sales["week"]]
    products = sales.select("sku_id", title="sku_id").unique()
    tables = {"sales": sales.select("sku_id", "units", date=pl.Series(dates)), "products": products}
    return prepare(Dataset.of(tables), tmp_path_factory.mktemp("launches") / "P")


def test_what_launches_sold_is_known_by_week_of_life_and_the_old_product_is_none(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, 4)
    assert past.count == LAUNCHES
    assert np.allclose(past.mean, [8, 4, 2, 2])
    assert np.allclose(np.expm1(past.quantiles), np.array([8, 4, 2, 2])[:, None])
    assert len(PastLaunches.of(prepared, 400).mean) == WEEKS - 12  # the weeks of life that LEAST launches have reached
    assert LAUNCHES // 2 == LEAST


def test_only_launches_move_towards_the_past_and_the_less_the_more_were_learned_from(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, 2)
    quantiles, mean = np.full((2, 3, 9), np.log1p(50.0)), np.full((2, 3), 50.0)
    shrunk, means = past.shrink(quantiles, mean, np.array([True, False]))
    share = LAUNCHES / (LAUNCHES + LEARNT)
    assert np.allclose(shrunk[0, :, 4], share * np.log1p(50) + (1 - share) * np.log1p([8, 4, 4]))
    assert np.allclose(means[0], share * 50 + (1 - share) * np.array([8, 4, 4]))
    assert np.array_equal(shrunk[1], quantiles[1])
    assert np.array_equal(means[1], mean[1])
    many = PastLaunches(past.quantiles, past.mean, 100 * LEARNT)
    assert np.abs(many.shrink(quantiles, mean, np.array([True, False]))[1] - mean).max() < 0.5


def test_a_shop_without_launches_leaves_forecasts_alone(prepared: Prepared, tmp_path: Path) -> None:
    old = {"sku_id": ["old"] * WEEKS, "date": [FIRST_WEEK + dt.timedelta(weeks=k) for k in range(WEEKS)], "units": [1.0] * WEEKS}
    tables = {"sales": pl.DataFrame(old), "products": pl.DataFrame({"sku_id": ["old"], "title": ["old"]})}
    past = PastLaunches.of(prepare(Dataset.of(tables), tmp_path / "P"), 4)
    quantiles, mean = np.ones((1, 3, 9)), np.ones((1, 3))
    assert past.shrink(quantiles, mean, np.array([True]))[0] is quantiles
    assert past.share == 1


def test_it_comes_back_from_json(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, 3)
    again = PastLaunches.from_dict(past.to_dict())
    assert (again.count, again.mean.tolist()) == (past.count, past.mean.tolist())
    assert np.allclose(again.quantiles, past.quantiles, atol=1e-6)
    with pytest.raises(ValueError, match="reshape"):
        PastLaunches.from_dict(past.to_dict() | {"mean": [1.0]})
