"""The panel's axis: weeks by their Mondays, as dates and as indices."""

import datetime as dt
from dataclasses import dataclass

import polars as pl

WEEK = dt.timedelta(weeks=1)
YEAR = 52  # weeks


def monday(day: dt.date) -> dt.date:
    """The Monday of a day's week."""
    return day - dt.timedelta(days=day.weekday())


@dataclass(frozen=True)
class Timeline:
    """`weeks` observed weeks from `first_week` on; index `weeks` is the first that is not observed.

    `closed` holds the indices of weeks in which the whole shop sold nothing: no zero demand, but none observed.
    """

    first_week: dt.date
    weeks: int
    closed: tuple[int, ...] = ()

    @property
    def origin(self) -> dt.date:
        """The week after the last observed one."""
        return self.date(self.weeks)

    def date(self, index: int) -> dt.date:
        return self.first_week + int(index) * WEEK

    def index(self, day: dt.date) -> int:
        """Index of a day's week; negative before the first, at or above `weeks` after the last."""
        return (day - self.first_week).days // 7

    def index_of(self, column: str) -> pl.Expr:
        """`index` of a date column, null where the date is."""
        return ((pl.col(column).cast(pl.Int32) - (self.first_week - dt.date(1970, 1, 1)).days).floordiv(7)).cast(pl.Int32).alias(column)
