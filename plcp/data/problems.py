"""What was found wrong with a data folder, where, and what became of it."""

from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

Outcome = Literal["quarantined", "emptied", "noted"]
OUTCOMES = get_args(Outcome)
MAX_LINES = 50  # of a message


@dataclass(frozen=True)
class Problem:
    """One kind of fault in one table, with its first occurrence. Rows count from 0 within their file.

    Outcome: "quarantined" rows are left out; "emptied" rows stay, without the faulty value; "noted" rows stay as they are.
    """

    table: str
    check: str
    field: str
    rows: int
    reason: str
    outcome: Outcome = "quarantined"
    file: str = ""
    row: int | None = None
    value: str | None = None

    def __str__(self) -> str:
        place = self.file or self.table
        place += f", row {self.row}" if self.row is not None else ""
        place += f", {self.field}" if self.field else ""
        value = f" (value {self.value!r})" if self.value is not None else ""
        return f"{place}: {self.reason}{value} [{self.rows:,} rows {self.outcome}]"


@dataclass(frozen=True)
class Report:
    """All problems of a data folder.

    `rows` are those of readable files and `kept` those passed on, per table; `stops` says why the data cannot be used.
    """

    problems: tuple[Problem, ...]
    rows: dict[str, int]
    kept: dict[str, int]
    stops: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.stops

    def frame(self) -> pl.DataFrame:
        """The problems as a table, one row each."""
        columns = ("table", "check", "field", "rows", "outcome", "file", "row", "value", "reason")
        types = {"rows": pl.Int64, "row": pl.Int64}
        schema = {name: types.get(name, pl.String) for name in columns}
        return pl.DataFrame({name: [getattr(p, name) for p in self.problems] for name in columns}, schema=schema)

    def __str__(self) -> str:
        worst_first = sorted(self.problems, key=lambda p: (OUTCOMES.index(p.outcome), -p.rows))
        lines = [f"  {problem}" for problem in worst_first[:MAX_LINES]]
        if len(worst_first) > MAX_LINES:
            lines.append(f"  … and {len(worst_first) - MAX_LINES} more kinds of problems")
        return "\n".join([*self.stops, *lines])
