import numpy as np
import pytest

from plcp.forecast.values import event_times
from plcp.model.heads import BINS
from plcp.tables import EVENT_WEEKS, EVENTS

ORIGIN = np.datetime64("2024-01-01", "D")
PEAK, DECLINE, END = range(len(EVENTS))


def week(number: int) -> np.datetime64:
    return ORIGIN + np.timedelta64(7 * number, "D")


def test_event_dates_are_the_weeks_the_probability_is_reached_and_null_beyond_a_year() -> None:
    hazard = np.full((2, 3, BINS), -30.0)
    hazard[:, PEAK, 0] = 30.0  # the peak is past
    hazard[:, DECLINE, 2] = 30.0  # decline in weeks 3–4
    within, dates = event_times(hazard, np.array([ORIGIN, ORIGIN]), np.array([ORIGIN, week(2)]))
    assert dates[0, PEAK].tolist() == [week(0).item()] * 3
    assert dates[0, DECLINE].tolist() == [week(3).item(), week(3).item(), week(4).item()]
    assert np.isnat(dates[:, END]).all()
    assert within[0, :, EVENT_WEEKS.index(4)] == pytest.approx([1, 1, 0], abs=1e-6)
    assert within[1, DECLINE, EVENT_WEEKS.index(4)] == pytest.approx(0, abs=1e-6), "a launch two weeks on declines two weeks later"
    assert within[1, DECLINE, EVENT_WEEKS.index(8)] == pytest.approx(1, abs=1e-6)
    assert dates[1, DECLINE, 2] == week(6)
