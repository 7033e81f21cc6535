"""One product in the terminal: its past, the weeks forecast, what comes in its life and what to do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from plcp import tables
from plcp.base import DataError
from plcp.data.prepared import Prepared
from plcp.forecast.runs import latest
from plcp.report import words
from plcp.report.history import read_history
from plcp.report.run import ScoredRun
from plcp.report.svg import Event

BLOCKS = "▁▂▃▄▅▆▇█"
HISTORY_WEEKS = 52
BAR = 32  # characters of the widest range
SIMILAR = 5  # SKUs offered when one is not found
STAGE_COLOURS = {"introduction": "magenta", "growth": "green", "maturity": "blue", "decline": "yellow", "ended": "bright_black"}


def show(scores: Path, sku_id: str, prepared: Prepared | None = None, decisions: Path | None = None) -> RenderableType:
    """What the last published run says of a product, for rich's console.

    Args:
        scores: SCORES, with its LATEST.
        prepared: adds title and past sales.
        decisions: the folder that `plcp decide` wrote to, or the table in it.
    Raises:
        DataError: nothing was published, or the run has no forecast of this SKU (with its reason, or SKUs spelled alike).
    """
    run = ScoredRun(latest(scores))
    curve = run.curves([sku_id]).get(sku_id)
    if curve is None:
        raise DataError(_why_missing(run, sku_id))
    history = read_history(prepared, run.origin, {sku_id}, set())
    title = history.titles.get(sku_id, "")
    parts: list[RenderableType] = [Text.assemble((sku_id, "bold"), f"  {title}"), Text(_metadata(run), style="dim"), _stage(run, sku_id)]
    past = history.of(sku_id, HISTORY_WEEKS)
    if len(past):
        parts.append(
            Text.assemble(
                ("last ", "dim"), f"{len(past)} weeks  ", (sparkline(past), "cyan"), f"  {words.count(float(np.nansum(past)))} sold"
            )
        )
    parts += [Padding(_weeks(curve), (1, 0)), _events(run.events([sku_id])[sku_id], run)]
    return Group(*parts, *_decisions(decisions, sku_id))


def sparkline(values: np.ndarray) -> str:
    """One block per value, the highest at full height; a blank where it is not known."""
    top = max(float(np.nanmax(values, initial=0)), 1e-9)
    return "".join(" " if np.isnan(v) else BLOCKS[round(max(v, 0) / top * (len(BLOCKS) - 1))] for v in values)


def _metadata(run: ScoredRun) -> str:
    return " · ".join(f"{name} {value[:24]}" for name, value in run.metadata.items())


def _stage(run: ScoredRun, sku_id: str) -> Text:
    row = run.scan(tables.STAGE_TABLE).filter(pl.col("sku_id") == sku_id).collect().row(0, named=True)
    text = Text.assemble((f"{row['stage']} ", f"bold {STAGE_COLOURS[row['stage']]}"))
    for stage in tables.STAGES:
        text.append(f"  {stage} {words.percent(row[stage])}", STAGE_COLOURS[stage])
    return text


def _weeks(curve: pl.DataFrame) -> Table:
    """Each week's expected units and quantiles, with its 10% to 90% range as a bar and the middle case as a dot."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("week", "expected", "10%", "50%", "90%"):
        grid.add_column(name, justify="left" if name == "week" else "right")
    grid.add_column("8 cases of 10")
    top = max(float(curve["q90"].to_numpy().max()), 1.0)
    for row in curve.iter_rows(named=True):
        numbers = (words.count(row[c]) for c in ("mean", "q10", "q50", "q90"))
        grid.add_row(str(row["week"]), *numbers, _bar([row["q10"], row["q50"], row["q90"]], top))
    grid.add_row("total", words.count(float(curve["mean"].sum())), style="bold")
    return grid


def _bar(quantiles: Sequence[float], top: float) -> Text:
    low, middle, high = (round(q / top * (BAR - 1)) for q in quantiles)
    cells = ["━" if low <= i <= high else " " for i in range(BAR)]
    cells[middle] = "●"
    return Text("".join(cells).rstrip(), style="blue")


def _events(events: Sequence[Event], run: ScoredRun) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("event", "most likely", "8 cases of 10"):
        grid.add_column(name)
    for event in events:
        come = event.p50 is not None and event.p50 <= run.origin
        grid.add_row(words.EVENTS[event.name], "has come" if come else _date(event.p50), f"{_date(event.p10)} … {_date(event.p90)}")
    return grid


def _date(day: object) -> str:
    return "later than a year" if day is None else str(day)


def _decisions(decisions: Path | None, sku_id: str) -> list[RenderableType]:
    if decisions is None:
        return []
    name = tables.DECISIONS.name
    folder = decisions / name if (decisions / name).exists() or decisions.name != name else decisions
    if not any(folder.glob("*.parquet")):
        raise DataError(f"{folder}: holds no decisions; make them with `plcp decide SCORES --data DATA --out {folder.parent}`")
    rows = pl.scan_parquet(folder / "*.parquet").filter(pl.col("sku_id") == sku_id).sort("kind", "rank").collect()
    return [
        Padding(Text.assemble((f"{words.KINDS[row['kind']]} {words.amount(row)}", "bold"), f"  {row['reason']}"), (1, 0, 0, 0))
        for row in rows.iter_rows(named=True)
    ]


def _why_missing(run: ScoredRun, sku_id: str) -> str:
    reasons = run.scan(tables.SKIPPED).filter(pl.col("sku_id") == sku_id).select("reason").collect()["reason"]
    if len(reasons):
        return f"SKU {sku_id}: not forecast in {run.root.name}: {reasons[0]}"
    near = run.scan(tables.STAGE_TABLE).filter(pl.col("sku_id").str.to_lowercase().str.starts_with(sku_id.lower()[:4]))
    names = near.select("sku_id").sort("sku_id").head(SIMILAR).collect()["sku_id"].to_list()
    return f"SKU {sku_id}: not in {run.root}" + (f"; it has {', '.join(names)}" if names else "; check the spelling")
