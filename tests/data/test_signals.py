import datetime as dt

import numpy as np
import polars as pl

from plcp.data.signals import Signals, paths, standardised, weekly_signals
from plcp.data.timeline import Timeline
from plcp.tables import SIGNALS

MONDAY = dt.date(2024, 1, 1)
LINE = Timeline(MONDAY, 10)


def signals(*rows: tuple[int, float, int | None]) -> Signals:
    """Of the whole shop: day of the value, value, day it became known (days after the first Monday)."""
    day = [MONDAY + dt.timedelta(days=d) for d, _, _ in rows]
    known = [None if k is None else MONDAY + dt.timedelta(days=k) for *_, k in rows]
    frame = pl.DataFrame({"date": day, "key": "*", "name": "rain", "value": [v for _, v, _ in rows], "known_at": known}, SIGNALS.schema)
    return Signals.of(weekly_signals(frame.lazy(), LINE).collect(), LINE.weeks)


def seen(found: Signals, origin: int, week: int) -> float:
    place = np.array([found.series["*", "rain"]])
    return float(found.as_of(place, np.array([origin]), np.array([[week]]))[0, 0])


def test_a_value_counts_from_the_week_after_it_became_known() -> None:
    found = signals((14, 3.0, None), (21, 5.0, 8))
    assert np.isnan(seen(found, 2, 2))
    assert seen(found, 3, 2) == 3
    assert np.isnan(seen(found, 1, 3))
    assert seen(found, 2, 3) == 5  # a forecast, known two weeks ahead


def test_a_correction_counts_once_it_is_known() -> None:
    found = signals((0, 3.0, 0), (0, 7.0, 30))
    assert [seen(found, origin, 0) for origin in (1, 4, 5, 9)] == [3, 3, 7, 7]


def test_days_are_averaged_over_their_week() -> None:
    assert seen(signals((0, 1.0, None), (1, 2.0, None), (6, 6.0, None)), 1, 0) == 3


def test_the_nearest_key_comes_first() -> None:
    assert paths("Home > Light > Lamps") == ["Home > Light > Lamps", "Home > Light", "Home", "*"]
    assert paths(None) == ["*"]


def test_values_are_measured_by_their_own_past_alone() -> None:
    values = np.array([[1.0, 3.0, np.nan, 5.0], [4.0, 4.0, 4.0, 4.0]], np.float32)
    assert np.array_equal(standardised(values, 3), np.array([[-1, 1, np.nan, 3], [0] * 4], np.float32), equal_nan=True)
