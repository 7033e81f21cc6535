"""Weeks of the simulated shop: index 0 is the config's first week, earlier ones are negative."""

from datetime import date, timedelta

import numpy as np

Array = np.ndarray


def week_of_year(first_week: date, start: int, stop: int) -> Array:
    """ISO week numbers, 1 to 53, of week indices start … stop − 1."""
    return np.array([(first_week + timedelta(weeks=t)).isocalendar().week for t in range(start, stop)])


def days(first_week: date, week: Array, day: Array | int = 0) -> Array:
    """Week indices (and days of the week, 0 = Monday) as numpy dates."""
    return np.datetime64(first_week, "D") + (np.asarray(week, np.int64) * 7 + day).astype("timedelta64[D]")
