import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.contract import Dataset
from plcp.data.features import NUMERIC, POOL
from plcp.data.prepared import Prepared, prepare
from plcp.data.spec import Spec
from plcp.forecast.calibration import Calibration
from plcp.forecast.launches import LEARNT, LEAST, NODES, PastLaunches, kinship
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


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """An old product, and launches, week after week, of cheap lamps that sell 20 units a week and of dear ones that sell 2."""
    rows, prices = [("old", week, 100.0) for week in range(WEEKS)], {"old": 5.0}
    for k in range(2 * LAUNCHES):
        name = f"lamp {k:03d}"
        prices[name] = 100.0 if k % 2 else 1.0
        rows += [(name, week, 2.0 if k % 2 else 20.0) for week in range(10 + k % 25, WEEKS)]
    sales = pl.DataFrame(rows, schema=["sku_id", "week", "units"], orient="row")
    dates = [FIRST_WEEK + dt.timedelta(weeks=week) for week in sales["week"]]
    products = sales.select("sku_id", title="sku_id").unique().with_columns(list_price=pl.col("sku_id").replace_strict(prices))
    tables = {"sales": sales.select("sku_id", "units", date=pl.Series(dates)), "products": products}
    return prepare(Dataset.of(tables), tmp_path_factory.mktemp("priced") / "P")


NOTHING_KNOWN = np.full((1, 2), np.nan)


def said(past: PastLaunches, alike: np.ndarray, weeks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """What the past alone says of launches: quantiles and mean in units."""
    nothing = np.zeros((len(alike), weeks, 9)), np.zeros((len(alike), weeks))
    quantiles, mean = past.shrink(*nothing, alike)
    return np.expm1(quantiles / (1 - past.share)), mean / (1 - past.share)


def test_what_launches_sold_is_known_by_week_of_life_and_the_old_product_is_none(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, Spec(horizon=4))
    assert past.count == LAUNCHES
    quantiles, mean = said(past, NOTHING_KNOWN, 4)
    assert np.allclose(mean, [8, 4, 2, 2])
    assert np.allclose(quantiles, np.array([8, 4, 2, 2])[:, None])
    assert PastLaunches.of(prepared, Spec(horizon=52)).mean.shape[2] == WEEKS - 12  # the weeks of life that LEAST launches have reached
    assert LAUNCHES // 2 == LEAST


def test_a_launch_is_told_of_those_of_its_price(priced: Prepared) -> None:
    past = PastLaunches.of(priced, Spec(horizon=3))
    alike = np.array([[np.nan, np.log(price)] for price in (1.0, 100.0, 0.001, 1e6)])
    quantiles, mean = said(past, alike)
    assert quantiles[[0, 2], :, 2:] == pytest.approx(20)
    assert quantiles[[1, 3], :, :7] == pytest.approx(2)
    assert (mean[[0, 2]] > 18).all()
    assert (mean[[1, 3]] < 4).all()
    between = said(past, np.array([[np.nan, np.log(10.0)]]))[1]
    assert (mean[1] < between).all()
    assert (between < mean[0]).all()


def test_kinship_is_the_level_of_the_nearest_siblings_known_and_the_price() -> None:
    pool, numeric = np.full((3, 2, len(POOL)), np.nan), np.zeros((3, len(NUMERIC)))
    pool[0, :, POOL.index("title")], pool[:2, :, POOL.index("category")] = [2.0, np.nan], 5.0
    numeric[:, NUMERIC.index("list_price")] = 1.0, 0.0, np.e
    expected = np.array([[2, 0], [5, np.nan], [np.nan, 1]])
    assert np.array_equal(kinship({"pool": pool, "numeric": numeric}), expected, equal_nan=True)


def test_launches_move_towards_the_past_the_less_the_more_were_learned_from(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, Spec(horizon=2))
    quantiles, mean = np.full((1, 3, 9), np.log1p(50.0)), np.full((1, 3), 50.0)
    shrunk, means = past.shrink(quantiles, mean, NOTHING_KNOWN)
    share = LAUNCHES / (LAUNCHES + LEARNT)
    assert np.allclose(shrunk[0, :, 4], share * np.log1p(50) + (1 - share) * np.log1p([8, 4, 4]))
    assert np.allclose(means[0], share * 50 + (1 - share) * np.array([8, 4, 4]))
    assert (np.diff(shrunk, axis=2) >= 0).all()
    many = replace(past, count=100 * LEARNT)
    assert np.abs(many.shrink(quantiles, mean, NOTHING_KNOWN)[1] - mean).max() < 0.5


def test_only_launches_move(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, Spec(horizon=3))
    quantiles, mean, units = np.full((2, 3, 9), np.log1p(50.0)), np.full((2, 3), 50.0), np.full((2, 52), np.nan)
    units[1] = 50.0
    told = Calibration(Calibration.identity().shift, launches=past)
    moved, means = told.curve(quantiles, mean, np.array([0.0, np.nan]), units, units, np.full((2, 2), np.nan))
    assert (moved[0] < quantiles[0]).all()
    assert (means[0] < 50).all()
    assert np.array_equal(moved[1], quantiles[1])
    assert np.array_equal(means[1], mean[1])
    assert (mean == 50).all(), "the model's own answers are left as they are"


def test_a_shop_without_launches_leaves_forecasts_alone(tmp_path: Path) -> None:
    old = {"sku_id": ["old"] * WEEKS, "date": [FIRST_WEEK + dt.timedelta(weeks=k) for k in range(WEEKS)], "units": [1.0] * WEEKS}
    tables = {"sales": pl.DataFrame(old), "products": pl.DataFrame({"sku_id": ["old"], "title": ["old"]})}
    past = PastLaunches.of(prepare(Dataset.of(tables), tmp_path / "P"), Spec(horizon=4))
    quantiles, mean = np.ones((1, 3, 9)), np.ones((1, 3))
    assert past.shrink(quantiles, mean, NOTHING_KNOWN)[0] is quantiles
    assert past.share == 1
    assert PastLaunches.from_dict(past.to_dict()).share == 1


def test_it_comes_back_from_json(priced: Prepared) -> None:
    past = PastLaunches.of(priced, Spec(horizon=3))
    again = PastLaunches.from_dict(json.loads(json.dumps(past.to_dict())))
    alike = np.array([[1.0, 2.0], [np.nan, 0.0]])
    for ours, theirs in zip(said(past, alike), said(again, alike), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    for change, reason in (({"mean": [1.0]}, "reshape"), ({"nodes": NODES[1:].tolist()}, "have nodes")):
        with pytest.raises(ValueError, match=reason):
            PastLaunches.from_dict(past.to_dict() | change)
