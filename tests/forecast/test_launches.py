import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.contract import Dataset
from plcp.data.features import NUMERIC, POOL
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.spec import Spec
from plcp.forecast.calibration import TAIL, Calibration
from plcp.forecast.launches import LEARNT, LEAST, NODES, PastLaunches, kinship, past_launches
from plcp.forecast.values import calibrated
from plcp.model.heads import BINS
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
    return prepare(Dataset.of(tables), tmp_path_factory.mktemp("priced") / "P", PrepareConfig(skus_per_shard=50))


NOTHING_KNOWN = np.full((1, 2), np.nan)


def said(past: PastLaunches, kin: np.ndarray, weeks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """What the past alone says of launches: quantiles and mean in units."""
    nothing = np.zeros((len(kin), weeks, 9)), np.zeros((len(kin), weeks))
    quantiles, mean = past.shrink(*nothing, kin)
    return np.expm1(quantiles / (1 - past.share)), mean / (1 - past.share)


def test_what_launches_sold_is_known_by_week_of_life_and_the_old_product_is_none(prepared: Prepared) -> None:
    past = PastLaunches.of(prepared, Spec(horizon=4))
    assert past.count == LAUNCHES
    quantiles, mean = said(past, NOTHING_KNOWN, 4)
    beside = [8, (60 * 4 + 30 * 2) / 90, (60 * 4 + 30 * 2 + 30 * 2) / 120, 2]  # of those that had reached it, with the weeks beside it
    assert np.allclose(mean, beside)
    assert np.allclose(quantiles[0, [0, 3]], np.array([8, 2])[:, None])
    assert PastLaunches.of(prepared, Spec(horizon=52)).mean.shape[2] == WEEKS - 12  # the weeks of life that LEAST launches have reached
    assert LAUNCHES // 2 == LEAST


def test_a_launch_is_told_of_those_of_its_price(priced: Prepared) -> None:
    past = PastLaunches.of(priced, Spec(horizon=3))
    kin = np.array([[np.nan, np.log(price)] for price in (1.0, 100.0, 0.001, 1e6)])
    quantiles, mean = said(past, kin)
    assert quantiles[[0, 2], :, 2:] == pytest.approx(20)
    assert quantiles[[1, 3], :, :7] == pytest.approx(2)
    assert (mean[[0, 2]] > 15).all()
    assert (mean[[1, 3]] < 6).all()
    between = said(past, np.array([[np.nan, np.log(20.0)]]))[1]
    assert (1.5 * mean[1] < between).all()
    assert (1.5 * between < mean[0]).all()
    unknown = said(past, NOTHING_KNOWN)[1]
    assert unknown == pytest.approx(11, abs=0.1), "of an unknown price, all alike"


def test_a_launch_is_told_of_those_whose_siblings_sold_as_it_does() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(2, 1, 400)
    past = PastLaunches.told(np.expm1(level)[:, None].clip(0), np.column_stack([level, rng.normal(0, 1, 400)]))
    median = said(past, np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), 1)[0][:, 0, 4]
    assert np.log1p(median) == pytest.approx([1, 2, 3], abs=0.35)
    steps = np.log1p(said(past, np.column_stack([np.linspace(1, 3, 9), np.zeros(9)]), 1)[0][:, 0, 4])
    assert (np.diff(steps) > 0).all(), "between the nodes it is interpolated"


def test_one_odd_launch_does_not_speak_for_its_price() -> None:
    units, kin = np.full((60, 2), 20.0), np.zeros((60, 2))
    kin[:28, 1] = -2
    units[59], kin[59, 1] = 1000.0, 2.0
    past = PastLaunches.told(units, kin)
    quantiles, mean = said(past, kin[59:], 2)
    assert quantiles[0, :, 6] == pytest.approx(20)
    assert (mean < 250).all()
    kin[::2, 1] = np.nan
    assert said(PastLaunches.told(units, kin), NOTHING_KNOWN, 2)[1] == pytest.approx(units.mean()), "of an unknown price, all alike"


def test_one_great_order_makes_no_peak_of_its_week() -> None:
    units = np.full((40, 8), 10.0)
    units[0] = 1.0, 10, 10, 10, 400, 10, 10, 10
    _, mean = said(PastLaunches.told(units, np.zeros((40, 2))), NOTHING_KNOWN, 8)
    assert mean[0, 0] == pytest.approx(units[:, 0].mean()), "the first week is like no other"
    assert mean[0, 3:6] == pytest.approx(units[:, 3:6].mean()), "it counts as much in those beside it"
    assert mean[0, [1, 7]] == pytest.approx(10)


def test_a_launch_of_unknown_price_speaks_for_no_price_in_particular() -> None:
    units, kin = np.repeat([20.0, 2.0, 500.0], 60)[:, None], np.zeros((180, 2))
    kin[:, 1] = np.repeat([-1.0, 1.0, np.nan], 60)
    quantiles, mean = said(PastLaunches.told(units, kin), np.array([[0.0, -1.0], [0.0, 1.0], [0.0, 0.0]]), 1)
    assert quantiles[:2, 0, 2] == pytest.approx([20, 2])
    assert mean[2] < 300, "nor for the one in the middle"


def test_what_is_no_demand_and_who_had_sold_before_is_left_out(tmp_path: Path) -> None:
    weeks = {"old": range(40), "new": (13, 15, 16), "again": (9, *range(15, 40))}
    rows = [(sku, FIRST_WEEK + dt.timedelta(weeks=week), 5.0) for sku, sold in weeks.items() for week in sold if week != 14]
    sales = pl.DataFrame(rows, schema=["sku_id", "date", "units"], orient="row")
    first = (pl.col("sku_id") == "again") & (pl.col("date") == FIRST_WEEK + dt.timedelta(weeks=9))
    sales = sales.with_columns(cancelled_at=pl.when(first).then(FIRST_WEEK + dt.timedelta(weeks=20)))  # in week 15 it still stood
    products = pl.DataFrame({"sku_id": list(weeks), "title": list(weeks)})
    prepared = prepare(Dataset.of({"sales": sales, "products": products}), tmp_path / "P")
    units, _ = past_launches(prepared.read(0), Spec(horizon=4).fitted(prepared))
    assert np.array_equal(units, [[5, np.nan, 5, 5]], equal_nan=True), "nobody sold anything in week 14: it was shut"


def test_no_more_shards_are_read_than_tell_enough(priced: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PastLaunches.of(priced, Spec(horizon=3)).count
    monkeypatch.setattr("plcp.forecast.launches.LOOKED_AT", 1)
    assert len(priced.shards) > 2
    assert 0 < PastLaunches.of(priced, Spec(horizon=3)).count < whole


def test_kinship_of_the_past_is_what_was_known_then(tmp_path: Path) -> None:
    """Later sales change nothing of it; a launch date given before the first sale is where life begins."""
    rng = np.random.default_rng(0)
    rows = [("old", 0, 5.0), ("old", 59, 5.0)]
    for k in range(80):
        first = 8 + k % 40
        rows += [(f"{'lamp' if k % 2 else 'vase'} {k:02d}", week, float(rng.integers(1, 30))) for week in range(first, 60)]
    sales = pl.DataFrame(rows, schema=["sku_id", "week", "units"], orient="row")
    sales = sales.with_columns(date=FIRST_WEEK + pl.duration(weeks=pl.col("week")))
    dated = {"vase 00": 10}  # comes out in week 10, and is first sold in week 12
    sales = sales.filter(~((pl.col("sku_id") == "vase 00") & (pl.col("week") < 12)))
    products = sales.select("sku_id", title="sku_id").unique().sort("sku_id")
    start = {name: FIRST_WEEK + dt.timedelta(weeks=week) for name, week in dated.items()}
    products = products.with_columns(launch_date=pl.col("sku_id").replace_strict(start, default=None, return_dtype=pl.Date))

    def known(until: int) -> tuple[np.ndarray, np.ndarray]:
        tables = {"sales": sales.filter(pl.col("week") < until).select("sku_id", "date", "units"), "products": products}
        prepared = prepare(Dataset.of(tables), tmp_path / f"P{until}")
        shard = prepared.read(0)
        return past_launches(shard, Spec(horizon=4).fitted(prepared))

    early, whole = known(30), known(60)
    count = len(early[1])
    assert 30 < count < len(whole[1]) == 80
    place = {tuple(row) for row in np.nan_to_num(whole[1], nan=-1).round(5)}
    assert {tuple(row) for row in np.nan_to_num(early[1], nan=-1).round(5)} <= place
    assert (whole[0][:, 0] == 0).sum() == 1, "two weeks on sale before the first was sold"


def test_kinship_is_the_level_of_the_nearest_siblings_known_and_the_price() -> None:
    pool, numeric = np.full((3, 6, len(POOL)), np.nan), np.zeros((3, len(NUMERIC)))
    pool[0, :, POOL.index("title")], pool[:2, :, POOL.index("category")] = [2.0, np.nan, 3.0, np.nan, 9.0, 9.0], 5.0
    numeric[:, NUMERIC.index("list_price")] = 1.0, 0.0, np.e
    expected = np.array([[2.5, 0], [5, np.nan], [np.nan, 1]])
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
    assert np.allclose(means[1], 50 * (1 + TAIL) / 2)
    assert (mean == 50).all(), "the model's own answers are left as they are"


def test_a_forecast_of_a_launch_is_told_of_its_price(priced: Prepared) -> None:
    past, spec = PastLaunches.of(priced, Spec(horizon=3)), Spec(horizon=3)
    out = {"quantiles": np.full((2, 3, 9), 1.0), "mean": np.ones((2, 3)), "hazard": np.full((2, 3, BINS), -3.0)}
    out |= {"response": np.zeros((2, 3)), "stage": np.zeros((2, 5)), "embedding": np.zeros((2, 4))}
    numeric = np.full((2, len(NUMERIC)), np.nan)
    numeric[:, NUMERIC.index("list_price")] = 1.0, 100.0
    never = {"history": np.full((2, 60, len(spec.history)), np.nan), "age": np.zeros(2), "pool": np.full((2, 3, len(POOL)), np.nan)}
    when = np.full(2, np.datetime64("2024-01-01", "D"))
    values = calibrated(out, never | {"numeric": numeric}, spec, when, when, Calibration(Calibration.identity().shift, launches=past))
    assert (values.mean[0] > 3 * values.mean[1]).all()
    assert (values.quantiles[0, :, 4] > 2 * values.quantiles[1, :, 4]).all()


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
    kin = np.array([[1.0, 2.0], [np.nan, 0.0]])
    for ours, theirs in zip(said(past, kin), said(again, kin), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    changes = {"reshape": {"mean": [1.0]}, "have nodes": {"nodes": NODES[1:].tolist()}, "a spread of": {"spread": [1.0, 0.0]}}
    for reason, change in changes.items():
        with pytest.raises(ValueError, match=reason):
            PastLaunches.from_dict(past.to_dict() | change)
