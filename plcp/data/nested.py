"""List columns of a shard as flat arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

SPAN = 1 << 20  # weeks: more than any calendar holds


@dataclass(frozen=True)
class Nested:
    """A list column, flattened: entry i belongs to row `row[i]`; rows ascend, entries keep their order."""

    row: np.ndarray
    values: pl.DataFrame

    @staticmethod
    def of(column: pl.Series) -> "Nested":
        row = np.repeat(np.arange(len(column)), column.list.len().fill_null(0).to_numpy())
        exploded = column.filter(column.list.len() > 0).explode()
        return Nested(row, exploded.struct.unnest() if len(exploded) else pl.DataFrame(schema=exploded.struct.schema))

    def known(self, weeks: np.ndarray) -> "Known":
        """The entries with the first origin that may use each, (entries,) week indices; NaN: all may."""
        return Known(self.row, np.clip(np.nan_to_num(weeks, nan=-SPAN), -SPAN, SPAN).astype(np.int64))


@dataclass(frozen=True)
class Known:
    """Entries of rows, and the week from which each is known; both ascend, the weeks within a row."""

    row: np.ndarray
    week: np.ndarray

    @cached_property
    def _key(self) -> np.ndarray:
        return self.row * (4 * SPAN) + self.week

    @cached_property
    def _first(self) -> np.ndarray:
        """The first entry of each row up to the last that has any, and their number."""
        return np.searchsorted(self.row, np.arange(int(self.row[-1]) + 2))

    def newest(self, rows: np.ndarray, origins: np.ndarray, announced: np.ndarray | None = None) -> np.ndarray:
        """Index of each row's newest entry known at its origin, -1 without any; where `announced`, the first if none is known. (b,)."""
        if not len(self.row):
            return np.full(len(rows), -1)
        # rows ascend, and within a row the weeks: one search finds the newest of each case
        at = np.searchsorted(self._key, rows * (4 * SPAN) + origins, side="right") - 1
        place = np.minimum(rows, len(self._first) - 2)
        first, after = self._first[place], self._first[place + 1]
        exists = (rows == place) & (first < after)
        return np.where(exists & (at >= first), at, np.where(exists & (announced if announced is not None else False), first, -1))


def expand(owner: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (entry, case) with owner[entry] == rows[case]; owner ascends."""
    left, right = np.searchsorted(owner, rows, "left"), np.searchsorted(owner, rows, "right")
    count = right - left
    case = np.repeat(np.arange(len(rows)), count)
    entry = np.arange(len(case)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(left, count)
    return entry, case
