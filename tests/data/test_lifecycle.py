import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plcp.data import lifecycle
from plcp.data.lifecycle import DECLINE, ENDED, HINDSIGHT, MATURITY, Levels, life, smooth

PANELS = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=st.integers(0, 9).map(float))


@given(PANELS)
def test_smoothing_is_a_centred_mean_over_the_weeks_that_exist(units: np.ndarray) -> None:
    for row, level in zip(units, smooth(units), strict=True):
        expected = [row[max(0, w - 2) : w + 3].mean() for w in range(len(row))]
        assert np.allclose(level, expected)


@given(PANELS, st.integers(0, 40))
def test_levels_at_a_week_are_those_of_a_panel_that_ends_there(units: np.ndarray, until: int) -> None:
    until = min(max(until, 1), units.shape[1])
    rows = np.arange(len(units))
    assert np.allclose(Levels(units).top(rows, np.full(len(rows), until)), smooth(units[:, :until]).max(1))


@given(PANELS, st.integers(1, 40))
def test_stage_and_new_peak_change_with_nothing_later_than_their_hindsight(units: np.ndarray, start: int) -> None:
    rows, starts = np.arange(len(units)), np.full(len(units), start)
    later = np.concatenate([units, np.full((len(units), 9), 99.0)], 1)
    cut = later[:, : start + HINDSIGHT]
    if start + HINDSIGHT <= units.shape[1]:
        assert (Levels(units).stage(rows, starts) == Levels(cut).stage(rows, starts)).all()
        assert (Levels(units).new_peak(rows, starts) == Levels(cut).new_peak(rows, starts)).all()
    else:
        assert (Levels(units).stage(rows, starts) == -1).all()
        assert np.isnan(Levels(units).new_peak(rows, starts)).all()


def test_a_whole_life_shows_its_peak_decline_and_end() -> None:
    units = np.array([[0.0] * 10 + [2, 6, 10, 12, 12, 12, 10, 8, 4, 3, 2, 2, 1, 1, 1] + [0] * 12])
    found = life(units)
    assert (found.first[0], found.last[0], found.end[0]) == (10, 24, 25)
    assert found.end_seen[0]
    assert found.decline_seen[0]
    assert found.peak[0] == 14
    assert 17 <= found.decline[0] <= 20


def test_an_end_is_censored_until_eight_empty_weeks_confirm_it() -> None:
    units = np.array([[0, 0, 5, 5, 5, 5] + [0] * 7, [0, 5, 5, 5, 5] + [0] * 8], float)
    time, seen = Levels(units).event_times(np.array([0, 1]), np.array([5, 5]))
    assert seen[:, 2].tolist() == [False, True]
    assert time[:, 2].tolist() == [0, 0]  # the first is known to be alive up to the start


def test_of_the_last_weeks_where_only_the_dead_are_known_nothing_is() -> None:
    """Or a model would learn that nearly all products had ended there: of the living it could not be told yet."""
    rng = np.random.default_rng(0)
    units = rng.poisson(2, (400, 60)) * (np.arange(60) < rng.integers(20, 200, (400, 1))).astype(float)
    levels = Levels(units)
    for start in range(20, 61):
        time, seen = levels.event_times(np.arange(400), np.full(400, start))
        assert np.isnan(time).all() == (start > 52)
        assert not seen[np.isnan(time)].any()
        if start <= 52:
            ended, going = seen[:, 2] & (time[:, 2] <= 0), time[:, 2] >= 0
            assert (ended | going).all()


def test_who_sold_last_week_is_censored_where_one_who_fell_silent_would_be() -> None:
    """Rates of ends made of cases and their known weeks are right only if the two are followed for equally long."""
    units = np.array([[5] * 20, [5] * 14 + [0] * 6], float)
    time, seen = Levels(units).event_times(np.array([0, 1]), np.array([10, 10]))
    assert not seen[:, 2].any()
    assert time[:, 2].tolist() == [2, 2]


def test_stages_follow_level_and_hindsight() -> None:
    weeks = np.arange(60)
    flat, falling = np.full(60, 10.0), np.maximum(40 - weeks, 1).astype(float)
    gone = np.where(weeks < 30, 10.0, 0.0)
    stage = Levels(np.stack([flat, falling, gone])).stage(np.arange(3), np.array([30, 30, 30]))
    assert stage.tolist() == [MATURITY, DECLINE, ENDED]


def test_stages_and_peaks_equal_the_judges_on_online_retail(bench_data) -> None:  # type: ignore[no-untyped-def]
    judge = pytest.importorskip("benchmarks.online_retail.judge")
    truth = judge.Truth(str(bench_data / "online_retail_2y" / "transactions.parquet"))
    levels = Levels(truth.units)
    for origin in (44, 68, 93):
        rows = truth.in_life(origin)
        starts = np.full(len(rows), origin)
        assert (levels.stage(rows, starts) == truth.stage(rows, origin)).all()
        assert (levels.new_peak(rows, starts) == truth.new_peak(rows, origin)).all()
    assert lifecycle.CONFIRM == judge.CONFIRM
