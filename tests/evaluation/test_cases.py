import datetime as dt

import numpy as np
import pytest

from plcp.base import ConfigError
from plcp.data.timeline import Timeline
from plcp.evaluation.cases import SAMPLE, Cases, Truth, Window, rule_stage, sampled, windows
from plcp.tables import STAGES
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON, week


def test_the_launches_of_an_origin_are_those_up_to_the_next_and_the_last_ones_as_late_as_they_are_observed(truth: Truth) -> None:
    weeks = truth.timeline.weeks
    assert windows(truth.timeline, [week(60), week(50)], HORIZON, LAUNCH_HORIZON) == [
        Window(50, 60),
        Window(60, weeks - LAUNCH_HORIZON + 1),
    ]
    assert windows(truth.timeline, [week(60)], HORIZON, LAUNCH_HORIZON, week(63)) == [Window(60, 63)]


@pytest.mark.parametrize(
    ("origin", "horizon", "message"),
    [
        (week(60) + dt.timedelta(days=1), 6, "is a Tuesday"),
        (week(-3), 6, "lies outside the data"),
        (week(0), 6, "lies outside the data"),
        (week(400), 6, "lies outside the data"),
        (week(80), 20, "the latest origin for it is"),
        (week(60), 900, "give a shorter one"),
    ],
)
def test_origins_that_cannot_be_judged_are_refused(truth: Truth, origin: dt.date, horizon: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        windows(truth.timeline, [origin], horizon, LAUNCH_HORIZON)


def test_launches_whose_first_weeks_are_not_observed_are_refused(truth: Truth) -> None:
    with pytest.raises(ConfigError, match="launches until"):
        windows(truth.timeline, [week(60)], HORIZON, LAUNCH_HORIZON, truth.timeline.origin)


def test_the_announced_launches_are_the_launches_that_came(truth: Truth, window: Window, cases: Cases) -> None:
    rows = truth.launches(window)
    assert len(rows)
    assert cases.launches["sku_id"].to_list() == [truth.skus[row] for row in rows]
    assert cases.launches["start"].to_list() == [truth.timeline.date(first) for first in truth.first[rows]]


def test_a_case_in_life_sold_before_the_origin_and_within_26_weeks(truth: Truth, window: Window) -> None:
    rows, at = truth.in_life(window.origin), window.origin
    assert (truth.first[rows] < at).all()
    others = np.setdiff1d(np.arange(len(truth.skus)), rows)
    assert truth.units[rows, at - 26 : at].sum(1).min() > 0
    assert truth.units[others, at - 26 : at].sum() == 0


def lives(units: list[list[float]], closed: tuple[int, ...] = ()) -> Truth:
    n, weeks = len(units), len(units[0])
    names, unknown = [f"P{k}" for k in range(n)], np.full(n, np.nan)
    return Truth(Timeline(week(0), weeks, closed), names, np.array(units, float), unknown, np.full(n, "", dtype=object))


def test_the_naive_error_is_that_of_the_open_weeks_from_the_first_sale_to_the_origin() -> None:
    truth = lives([[0, 2, 5, 0, 4, 90], [0, 0, 0, 0, 7, 7], [3, 3, 3, 0, 3, 0]], closed=(3,))
    found = truth.naive_error(np.arange(3), 5)
    assert found[[0, 2]].tolist() == [(3 + 1) / 2, 0]
    assert np.isnan(found[1])  # a single week is known


def test_an_end_is_seen_up_to_twelve_weeks_ahead_and_where_eight_empty_weeks_confirm_it() -> None:
    def sold(*weeks: int) -> list[float]:
        return [float(at in weeks) for at in range(40)]

    truth = lives([sold(3, 7), sold(3, 12), sold(3, 21), sold(3, 22), sold(3, 39), sold(3, 31), sold(3, 33)])
    time, seen = truth.end_time(np.arange(7), 10)
    assert time.tolist() == [0, 3, 12, 12, 12, 12, 12]  # the first ended before the origin
    assert seen.tolist() == [True] * 3 + [False] * 4
    time, seen = truth.end_time(np.array([5, 6]), 35)
    assert time.tolist() == [0, -1]  # whether the last has ended by then is not yet known
    assert seen.tolist() == [True, False]


def test_categories_are_the_first_level_of_the_newest_path(truth: Truth) -> None:
    assert set(truth.category) == {"Home", "Garden"}


def test_the_sample_is_the_same_whatever_else_is_sold() -> None:
    names = [f"P{k:04d}" for k in range(2000)]
    whole = sampled(names)
    assert whole.sum() == SAMPLE
    part = sampled(names[:1800])
    assert part.sum() == SAMPLE
    assert part[whole[:1800]].all()
    assert sampled(names[:3]).all()


def test_the_stage_rule_knows_the_past_alone() -> None:
    quiet = np.zeros(20)
    units = np.stack(
        [
            np.where(np.arange(20) >= 8, 5.0, 0),  # at its highest level
            np.concatenate([np.full(12, 9.0), np.full(8, 2.0)]),  # far below it, and not rising
            np.concatenate([np.full(6, 30.0), quiet[:6], np.full(4, 1.0), np.full(4, 3.0)]),  # far below it, and rising
            np.concatenate([quiet[:10], [40.0, 40.0], quiet[:6], [1.0, 1.0]]),  # far below it, and young
            np.concatenate([np.full(12, 9.0), quiet[:8]]),  # nothing for eight weeks
        ]
    )
    assert [STAGES[k] for k in rule_stage(units)] == ["maturity", "decline", "growth", "introduction", "ended"]
