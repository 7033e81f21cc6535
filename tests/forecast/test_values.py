import numpy as np
import pytest

from plcp.data.spec import CORE, Spec
from plcp.forecast.values import event_times, new_peak
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


def test_a_new_peak_is_the_likelier_the_higher_the_forecast_lies_above_all_so_far() -> None:
    spec = Spec(channels=(*CORE, "outlier"))
    history = np.zeros((4, 60, len(spec.history)))
    units = np.tile(np.where(np.arange(60) == 30, 100.0, 20.0), (4, 1))  # a level of 36 about its best week
    units[3] = 0  # never sold
    softened = np.minimum(units, 25)
    history[..., spec.history.index("units")] = softened
    history[..., spec.history.index("outlier")] = np.log1p(units) - np.log1p(softened)
    mean = np.array([[20.0] * 16, [36.0] * 16, [72.0] * 16, [20.0] * 16])
    even = new_peak(np.zeros(4), history, spec, mean)
    root = np.sqrt([20 / 36, 1, 2])
    assert even[:3] == pytest.approx(root / (1 + root), abs=1e-3)
    assert even[3] > 0.9, "whatever it sells is a peak"
    assert new_peak(np.full(4, -2.0), history, spec, mean)[1] == pytest.approx(1 / (1 + np.exp(2)), abs=1e-3), "by the model's own word"
    mean[0, 12:] = 1e6
    assert new_peak(np.zeros(4), history, spec, mean)[0] == even[0], "weeks 13 to 16 are beyond what is asked"
    assert np.isfinite(new_peak(np.zeros(4), history, spec, mean[:, :1])).all(), "nor is a horizon of one week too short"
    assert (new_peak(np.full(4, 1000.0), history, spec, mean) == 1).all()
