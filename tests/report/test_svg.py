"""Charts: what is drawn where."""

from datetime import date, timedelta

import numpy as np
import pytest

from plcp.report.svg import Curve, Event, Frame, life_curve, nice_top, short

ORIGIN = date(2024, 6, 3)
QUANTILES = np.tile(np.arange(1.0, 10.0), (26, 1))


def curve(history: np.ndarray, *events: Event, start: date = ORIGIN) -> Curve:
    return Curve(ORIGIN, start, history, np.full(26, 5.0), QUANTILES, events)


def test_line_breaks_where_a_week_is_unknown() -> None:
    frame = Frame(ORIGIN, 3, 10.0, 102, 100, left=0, right=0, above=0, below=0)
    assert frame.line(0, np.array([0.0, np.nan, 10.0])) == "M0.0,100.0M102.0,0.0"


def test_one_freak_week_does_not_flatten_the_rest_and_is_marked() -> None:
    history = np.full(70, 8.0)
    history[10] = 9000.0
    chart = life_curve(curve(history), "a")
    assert 'class="off"' in chart
    assert "9000" in chart  # the tooltip still tells it
    assert "2k" not in chart


def test_event_later_than_the_chart_is_left_out_and_an_open_range_runs_to_its_edge() -> None:
    open_range = Event("peak", ORIGIN + timedelta(weeks=4), ORIGIN + timedelta(weeks=9), None)
    late = Event("end", ORIGIN + timedelta(weeks=40), ORIGIN + timedelta(weeks=45), None)
    chart = life_curve(curve(np.full(10, 3.0), open_range, late), "a")
    assert 'class="event peak"' in chart
    assert 'class="event end"' not in chart
    assert 'x2="422.0"' in chart


def test_launch_is_drawn_from_its_start_without_a_past() -> None:
    chart = life_curve(curve(np.empty(0), start=ORIGIN + timedelta(weeks=3)), "a")
    assert 'data-start="3"' in chart
    assert 'data-past=""' in chart


def test_label_is_escaped() -> None:
    assert '"><script>' not in life_curve(curve(np.empty(0)), '"><script>')


@pytest.mark.parametrize(("value", "top"), [(0.3, 0.3), (7, 8), (8.5, 10), (1234, 1500), (10, 10)])
def test_axis_ends_on_a_round_number(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.5, "0.5"), (75, "75"), (1500, "1.5k"), (300_000, "300k"), (2.03e6, "2.03M")])
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text
