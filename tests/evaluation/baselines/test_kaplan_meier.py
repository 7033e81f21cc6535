from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from scipy import stats

from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.kaplan_meier import LEAST_GROUP, Landmarks, end_probabilities, states, survival


def test_survival_is_the_table_made_by_hand() -> None:
    """Ten products: ends after 0, 2, 2 and 5 weeks; seen alive last after 1, 2, 4, 9, 9 and 30 weeks."""
    time = np.array([0, 2, 2, 5, 1, 2, 4, 9, 9, 30])
    ended = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    alive = survival(np.zeros(10, np.int64), time, ended, 1)[0]
    by_hand = {0: 9 / 10, 1: 9 / 10, 2: 9 / 10 * 6 / 8, 4: 9 / 10 * 6 / 8, 5: 9 / 10 * 6 / 8 * 3 / 4, 12: 9 / 10 * 6 / 8 * 3 / 4}
    assert {week: alive[week] for week in by_hand} == pytest.approx(by_hand)


def test_survival_of_each_group_is_the_estimate_of_scipy() -> None:
    rng = np.random.default_rng(0)
    group, time, ended = rng.integers(0, 3, 400), rng.integers(0, 25, 400), rng.random(400) < 0.6
    found = survival(group, time, ended, 3)
    for k in range(3):
        own = group == k
        data = stats.CensoredData(uncensored=time[own & ended], right=time[own & ~ended])
        np.testing.assert_allclose(found[k], stats.ecdf(data).sf.evaluate(np.arange(13)))


def view_of(past: Prepared, units: np.ndarray, category: Sequence[str | None]) -> PanelView:
    """A panel of other products on the little shop's weeks."""
    known = panel_view(past)
    products = pl.DataFrame({"sku_id": [f"A{k:03d}" for k in range(len(units))], "category": category})
    return PanelView(known.timeline, units.shape[1], products, units, np.ones_like(units), np.full(len(units), np.nan))


def test_landmarks_of_a_week_know_nothing_that_came_later(past: Prepared) -> None:
    units = panel_view(past).units.copy()
    state = states(panel_view(past), np.arange(30), 40)
    changed = units.copy()
    changed[:, 40:] = 7
    view = panel_view(past)
    other = PanelView(view.timeline, view.origin, view.products, changed, view.price, view.launch)
    started = np.flatnonzero((units[:30, :40] > 0).any(1))
    np.testing.assert_array_equal(state[started], states(other, np.arange(30), 40)[started])


def test_whoever_sold_within_the_weeks_that_would_confirm_an_end_was_alive(past: Prepared) -> None:
    units = np.ones((2, 40))
    units[0, 28:] = 0  # ended in week 28
    units[1, 34:] = 0  # may have ended in week 34, which the six weeks since cannot tell
    found = Landmarks.of(view_of(past, units, [None, None]))
    assert set(found.time[found.ended]) == {max(28 - week, 0) for week in range(8, 33)}
    assert sorted(found.time[~found.ended]) == sorted(32 - week for week in range(8, 33))


def test_a_category_whose_products_end_sooner_is_given_more_ends(past: Prepared) -> None:
    rng = np.random.default_rng(1)
    n, weeks = 200, 60
    end = np.concatenate([rng.integers(20, 45, n), np.full(n, 200)])  # fads, staples
    units = (np.arange(weeks) < end[:, None]) * 5.0
    view = view_of(past, units, ["fad"] * n + ["staple"] * n)
    past_landmarks = Landmarks.of(view)
    at = np.array([[0, 6, 3, 1], [0, 6, 3, 2], [7, 3, 3, 1]])  # sold last week and every week, launch not seen; the third 10 weeks ago
    assert (past_landmarks.state[:, :3] == at[0, :3]).all(1).sum() > LEAST_GROUP
    fad, staple, gone = end_probabilities(past_landmarks, at)
    assert (fad > 0.1).all()
    assert (np.diff(fad) > 0).all()
    np.testing.assert_allclose(staple, 0)
    np.testing.assert_allclose(gone, 1)
