"""Where every row of sales went: into the panel, or out of it by a named rule. Rows and units, to the last one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from plcp.data.contract import Dataset
from plcp.data.panel import UNIT, exact
from plcp.data.timeline import Timeline

PANEL = "in the panel"
TAKEN_BACK = "taken back"  # in the panel up to the day of its cancellation, in no net units
BEFORE = "before the first week: without units, or older than max_weeks"
CUT_SHORT = "after the last full week"
UNKNOWN = "from the origin on"


@dataclass(frozen=True)
class Entry:
    """Rows that a named rule sent one way, and the units on them."""

    rule: str
    rows: int
    units: float


@dataclass(frozen=True)
class Account:
    """Valid rows = the rows of all entries; the same of units."""

    entries: tuple[Entry, ...]

    @staticmethod
    def of(noted: Mapping[str, Any]) -> "Account":
        """From the manifest's JSON."""
        return Account(tuple(Entry(**entry) for entry in noted["entries"]))

    def __str__(self) -> str:
        rows, units = (sum(getattr(e, name) for e in self.entries) for name in ("rows", "units"))
        lines = [f"  {e.rows:>14,}  {e.rule} ({e.units:,.0f} units)" for e in self.entries if e.rows]
        return "\n".join([f"sales: {rows:,} valid rows with {units:,.0f} units", *lines])


def account(dataset: Dataset, timeline: Timeline, net: int) -> Account:
    """The account of a dataset whose panel has been built; `net`: the panel's units as they were written, in ten-thousandths.

    Raises RuntimeError where units were lost or doubled on the way: a fault of this program, not of the data.
    """
    dates = dataset.sales_by_date
    late = UNKNOWN if dataset.origin else CUT_SHORT
    outside = {BEFORE: pl.col("date") < timeline.first_week, late: pl.col("date") >= timeline.origin}
    found = {rule: _sum(dates.filter(where)) for rule, where in outside.items()}
    inside = pl.col("date").is_between(timeline.first_week, timeline.origin, closed="left")
    back = dataset.tables["sales"].filter(inside & pl.col("cancelled_at").is_not_null())
    found[TAKEN_BACK] = _sum(back.select(pl.len().alias("rows"), exact(pl.col("units"), UNIT).sum()).collect(engine="streaming"))
    rows, units = (all_ - sum(out) for all_, *out in zip(_sum(dates), *found.values(), strict=True))
    if units != net:
        raise RuntimeError(f"{(units - net) / UNIT} units were lost between the sales table and the panel")
    entries = {PANEL: (rows, net), **found}
    return Account(tuple(Entry(rule, rows, units / UNIT) for rule, (rows, units) in entries.items()))


def net_units(units: np.ndarray) -> int:
    """Sum of a part's weekly net units, (skus, weeks), in ten-thousandths: exact."""
    return int(np.rint(units * UNIT).astype(np.int64).sum())


def _sum(frame: pl.DataFrame) -> tuple[int, int]:
    """Rows, and units in ten-thousandths."""
    return int(frame["rows"].sum()), int(frame["units"].sum())
