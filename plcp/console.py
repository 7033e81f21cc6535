"""What the command line and the jobs show on a terminal: progress, and tables."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

UNLIMITED = 10_000  # characters
LONG_WORD = 30  # characters from which on a word may be broken

console = Console()
errors = Console(stderr=True, soft_wrap=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal (nothing in a file); what is yielded is told (done, of how many)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        bar = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def show_table(frame: "pl.DataFrame", title: str = "") -> None:
    """A data frame as a table: numbers to four significant digits, nulls empty; no narrower than its words, even on a narrow terminal."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in frame:
        words = [word for value in (column.name, *column) for word in _cell(value).split()]
        least = min(max(map(len, words), default=0), LONG_WORD)
        table.add_column(column.name, justify="right" if column.dtype.is_numeric() else "left", overflow="fold", min_width=least)
    for row in frame.iter_rows():
        table.add_row(*(Text(_cell(value)) for value in row))
    needed = Measurement.get(console, console.options.update(width=UNLIMITED), table).minimum
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Story:
    """A job's steps, told as they happen: how long each took and what came of it."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Times a step; what is yielded takes the sentence that says what came of it."""
        console.rule(f"[bold]{name}", align="left")
        outcome: list[str] = []
        begin = time.monotonic()
        yield outcome.append
        seconds = time.monotonic() - begin
        console.print(f"{'; '.join(outcome)} ({seconds:.1f} s)", markup=False, highlight=False, soft_wrap=True)
        self.steps.append((name, seconds, "; ".join(outcome)))

    def end(self, *sentences: str) -> None:
        """All steps once more, the whole time, and what to do next."""
        table = Table("step", "seconds", "outcome", box=box.SIMPLE_HEAD, title="What was done", title_justify="left")
        for name, seconds, outcome in self.steps:
            table.add_row(name, f"{seconds:.1f}", Text(outcome))
        table.add_row("in all", f"{sum(seconds for _, seconds, _ in self.steps):.1f}", "")
        console.print(table)
        for sentence in sentences:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
