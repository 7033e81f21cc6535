from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from plcp.data.alike import TITLE_WORDS
from plcp.data.features import POOL, pooled
from plcp.data.hashing import POOLS
from plcp.data.shards import Shard
from plcp.data.shop import Shop
from plcp.data.siblings import AGES, QUARTERS, RECENT, PoolBuilder, Pools, WeeksOfLife, season_of
from plcp.data.spec import Spec
from plcp.data.timeline import Timeline
from tests.conftest import FIRST_WEEK

WEEKS, PRODUCTS = 90, 60
LINE = Timeline(FIRST_WEEK, WEEKS)
RNG = np.random.default_rng(0)
LAUNCH = RNG.integers(0, WEEKS, PRODUCTS).astype(np.float64)
FIRST = np.minimum(LAUNCH + RNG.integers(0, 4, PRODUCTS), WEEKS - 1)
CATEGORY = RNG.integers(0, 3, PRODUCTS)
SEASON = season_of(CATEGORY, LAUNCH, LINE)
UNITS = np.where(np.arange(WEEKS) >= FIRST[:, None], RNG.integers(0, 20, (PRODUCTS, WEEKS)), 0).astype(np.float64)


def pools(parts: int) -> Pools:
    builder = PoolBuilder(WEEKS)
    for part in np.array_split(np.arange(PRODUCTS), parts):
        builder.add(WeeksOfLife.of(UNITS[part], np.ones_like(UNITS[part], bool), LAUNCH[part], FIRST[part]), SEASON[part])
    return builder.done()


def by_hand(members: np.ndarray, age: int, origin: int, since: int = 0) -> float:
    """Mean log1p units at an age of what members had shown from `since` on and before the origin; NaN of none."""
    week = LAUNCH[members].astype(int) + age
    shown = np.maximum(week, FIRST[members].astype(int))
    there = (week < WEEKS) & (shown < origin) & (shown >= since)
    return float(np.log1p(UNITS[np.flatnonzero(members)[there], week[there]]).mean()) if there.any() else np.nan


@pytest.mark.parametrize("origin", [1, 20, 55, WEEKS])
@pytest.mark.parametrize("age", [0, 5, 30])
def test_a_mean_is_that_of_the_products_of_its_pool_seen_before_the_origin(origin: int, age: int) -> None:
    found = pools(3)
    ages, at = np.array([[float(age)]]), np.array([origin])
    expected = {0: by_hand(CATEGORY >= 0, age, origin)}
    expected |= {pool: by_hand(np.equal(CATEGORY, pool), age, origin) for pool in (1, 2)}
    expected |= {int(season): by_hand(np.equal(SEASON, season), age, origin) for season in np.unique(SEASON)}
    means = {pool: found.mean(np.array([pool]), ages, at)[0, 0] for pool in expected}
    assert means == pytest.approx(expected, rel=1e-4, nan_ok=True)
    lately = by_hand(CATEGORY >= 0, age, origin, since=origin - RECENT)
    assert found.recent(ages, at)[0, 0] == pytest.approx(lately, rel=1e-4, nan_ok=True)


def test_recent_products_are_others_than_all() -> None:
    found, ages, at = pools(1), np.array([[3.0]]), np.array([80])
    assert found.recent(ages, at)[0, 0] != found.mean(np.array([0]), ages, at)[0, 0]


def test_the_order_and_the_parts_of_products_change_no_bit() -> None:
    one, many = pools(1), pools(7)
    assert np.array_equal(one.total, many.total)
    assert np.array_equal(one.count, many.count)


def test_beyond_the_ages_the_data_and_what_is_visible_nothing_is_known() -> None:
    found, at = pools(1), np.array([WEEKS])
    assert np.isnan(found.mean(np.array([0]), np.array([[-1.0, AGES, np.nan]]), at)).all()
    assert np.isnan(found.mean(np.array([0]), np.array([[0.0]]), np.array([-5]))).all()
    assert found.mean(np.array([0]), np.array([[0.0]]), at + 9) == found.mean(np.array([0]), np.array([[0.0]]), at)


def test_a_season_is_a_quarter_of_the_year_of_each_category() -> None:
    weeks = np.array([0.0, 12.0, 13.0, 26.0, 39.0, 52.0])  # Mondays from 3 January on
    assert (season_of(np.array([2] * 6), weeks, LINE) - POOLS - 2 * QUARTERS).tolist() == [0, 0, 1, 2, 3, 0]


def test_a_launch_reads_the_season_of_earlier_years_and_the_last_weeks_of_this_one() -> None:
    launch, units = np.array([6.0, 54.0]), np.zeros((2, WEEKS))
    units[0, 6:], units[1, 54:] = 20, 2  # both in a first quarter, a year apart
    builder, pool = PoolBuilder(WEEKS), np.array([1, 1])
    builder.add(WeeksOfLife.of(units, np.ones_like(units, bool), launch, launch), season_of(pool, launch, LINE))
    shard = Shard(pl.DataFrame(), LINE, replace(Shop.none(), pools=builder.done()))
    start, origin = np.array([60]), np.array([58])
    statics = {"pool": pool[:1], "words": np.zeros((1, TITLE_WORDS), np.int64)}
    found = np.expm1(pooled(shard, statics, start, np.zeros(1), origin, Spec(horizon=3))[0])
    assert found[:, POOL.index("season")] == pytest.approx(20, rel=1e-3)
    assert found[:, POOL.index("recent")] == pytest.approx(2, rel=1e-3)
    assert found[:, POOL.index("category")] == pytest.approx(np.sqrt(21 * 3) - 1, rel=1e-3)


def test_weeks_that_are_not_the_demand_are_left_out_of_the_pools() -> None:
    told = RNG.random((PRODUCTS, WEEKS)) < 0.5
    builder = PoolBuilder(WEEKS)
    builder.add(WeeksOfLife.of(UNITS * told, told, LAUNCH, FIRST), SEASON)  # as if nothing had been sold in the others
    age, everyone = 6, np.arange(PRODUCTS)
    week = LAUNCH.astype(int) + age
    there = (week < WEEKS) & told[everyone, np.minimum(week, WEEKS - 1)]
    expected = np.log1p(UNITS[everyone[there], week[there]]).mean()
    found = builder.done().mean(np.array([0]), np.array([[float(age)]]), np.array([WEEKS]))[0, 0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_shut_week_and_one_partly_out_of_stock_are_not_the_demand() -> None:
    stock = np.array([[1.0, 0.4, np.nan, 1.0]], np.float32)
    frame = pl.DataFrame({"units": pl.Series(np.ones((1, 4))), "in_stock": pl.Series(stock)})
    assert Shard(frame, Timeline(FIRST_WEEK, 4, (3,)), Shop.none()).told.tolist() == [[True, False, True, False]]
    assert Shard(frame.drop("in_stock"), Timeline(FIRST_WEEK, 4, (3,)), Shop.none()).told.tolist() == [[True, True, True, False]]
