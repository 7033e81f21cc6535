from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plcp.data.timeline import Timeline
from plcp.data.totals import YEAR, Totals, TotalsBuilder

WEEKS, HORIZON = 120, 12
LINE = Timeline(date(2020, 1, 6), WEEKS, closed=(40,))
SKUS = 30


def shop(units: np.ndarray, pool: np.ndarray) -> Totals:
    builder = TotalsBuilder(WEEKS)
    for part in np.array_split(np.arange(len(units)), 4):
        builder.add(units[part], pool[part])
    return builder.done(LINE)


def units_and_pools(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    units = rng.poisson(4, (SKUS, WEEKS)).astype(float)
    units[:, 40] = 0
    return units, rng.integers(0, 3, SKUS)


def due(totals: Totals, origin: int, start: int | None = None, pool: int = 1) -> np.ndarray:
    first = origin if start is None else start
    return totals.due(np.array([pool]), np.array([origin]), np.array([first]), HORIZON)[0]


@given(st.integers(YEAR + 13, WEEKS), st.integers(0, 8))
def test_it_is_what_last_years_weeks_sold_beside_the_quarter_before_them(origin: int, ahead: int) -> None:
    units, pool = units_and_pools()
    found, open_ = due(shop(units, pool), origin, origin + ahead), np.arange(WEEKS) != 40
    for column, rows in ((0, np.ones(SKUS, bool)), (1, pool == 1)):
        base = units[rows, origin - 65 : origin - 52].sum() / open_[origin - 65 : origin - 52].sum()
        for step in range(HORIZON):
            week = origin + ahead + step - YEAR
            mean = units[rows, week - 2 : week + 3].sum() / open_[week - 2 : week + 3].sum()
            assert np.isclose(found[step, column], np.log1p(mean) - np.log1p(base), atol=1e-6)


@given(st.integers(0, WEEKS))
def test_nothing_of_the_origin_and_later_changes_it(origin: int) -> None:
    units, pool = units_and_pools()
    later = units.copy()
    later[:, origin:] *= 100
    for start in (origin, origin + 60):
        assert np.array_equal(due(shop(units, pool), origin, start), due(shop(later, pool), origin, start), equal_nan=True)


def test_in_the_first_year_and_without_a_category_nothing_is_due() -> None:
    totals = shop(*units_and_pools())
    assert np.isnan(due(totals, YEAR)).all()
    assert np.isfinite(due(totals, YEAR + 1)).all()
    assert np.isnan(due(totals, 100, pool=0)[:, 1]).all()
    assert np.isfinite(due(totals, 100, pool=0)[:, 0]).all()
    assert np.isnan(due(Totals.none(), 100)).all()


def test_of_a_category_that_sold_nothing_in_last_years_quarter_nothing_is_due() -> None:
    units, pool = units_and_pools()
    units[pool == 1, :60] = 0
    found = due(shop(units, pool), 100)
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, 0]).all()


def test_the_order_of_products_changes_no_bit() -> None:
    units, pool = units_and_pools()
    units += np.random.default_rng(1).random(units.shape)  # metres and kilograms are sold too
    order = np.random.default_rng(2).permutation(SKUS)
    assert np.array_equal(shop(units, pool).before, shop(units[order], pool[order]).before)
