"""What every week knows of itself: season, holidays, the way to the great feasts."""

import datetime as dt
from functools import lru_cache

import holidays
import numpy as np
from dateutil.easter import easter

HARMONICS = 3
CALENDAR = (*(f"{f}{k}" for k in range(1, HARMONICS + 1) for f in ("sin", "cos")), "holidays", "to_christmas", "to_easter", "closed")
RAMP = 8  # weeks over which a feast is felt before it comes
YEAR = 365.25


def ramp(day: dt.date, feast: dt.date) -> float:
    """1 in the week of the feast, falling to 0 eight weeks before it and 0 after it."""
    weeks = (feast - day).days // 7
    return max(0.0, 1 - weeks / RAMP) if weeks >= 0 else 0.0


@lru_cache(maxsize=65536)
def week_features(monday: dt.date, country: str | None) -> tuple[float, ...]:
    """Season, share of holidays and feasts of one week, without `closed`, which belongs to the shop."""
    angle = 2 * np.pi * (monday.timetuple().tm_yday - 1) / YEAR
    season = [float(f(k * angle)) for k in range(1, HARMONICS + 1) for f in (np.sin, np.cos)]
    days = [monday + dt.timedelta(days=i) for i in range(7)]
    free = sum(day in holiday_list(country) for day in days[:5]) / 5 if country else 0.0
    feasts = [max(ramp(monday, feast(monday.year)), ramp(monday, feast(monday.year + 1))) for feast in (christmas, easter)]
    return (*season, free, *feasts)


def christmas(year: int) -> dt.date:
    return dt.date(year, 12, 25)


@lru_cache(maxsize=8)
def holiday_list(country: str) -> holidays.HolidayBase:
    return holidays.country_holidays(country)


@lru_cache(maxsize=64)
def table(first_week: dt.date, before: int, weeks: int, country: str | None, closed: tuple[int, ...]) -> np.ndarray:
    """Features of the weeks from `before` weeks ahead of the first one on, (before + weeks, len(CALENDAR)) float32."""
    rows = [week_features(first_week + dt.timedelta(weeks=i), country) for i in range(-before, weeks)]
    shut = np.isin(np.arange(-before, weeks), closed)
    return np.column_stack([np.array(rows), shut]).astype(np.float32)
