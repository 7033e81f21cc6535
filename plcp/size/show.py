"""A plan as tables to read."""

import json

import polars as pl

from plcp.console import console, show_table
from plcp.size.figure import Figure
from plcp.size.plan import GB, Choice, Plan


def show(plan: Plan, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print(json.dumps(plan.document(), indent=1, ensure_ascii=False))  # noqa: T201
        return
    console.print("; ".join(f"{name} {short(v) if isinstance(v, float) else v}" for name, v in plan.asked.items()), markup=False)
    show_table(layouts_table(plan))
    if plan.best:
        show_table(items_table(plan.best), plan.best.layout.name)
    show_table(figures_table(plan))
    if plan.best is None:
        console.print("no layout fits: take larger GPUs or more of them, or a smaller size.batch_per_gpu")


def figures_table(plan: Plan) -> pl.DataFrame:
    """A row per number: value, interval, formula, what it rests on."""
    rows = [(f.name, short(f.value), interval(f), f.unit, f.formula, f.basis) for f in plan.figures]
    return pl.DataFrame(rows, schema=["figure", "value", "interval", "unit", "formula", "rests on"], orient="row")


def layouts_table(plan: Plan) -> pl.DataFrame:
    """A row per layout: whether it fits, with which micro-batch, and the seconds of a step."""
    rows = [(*layout_row(choice), "cheapest" if choice is plan.best else "") for choice in plan.choices]
    names = ["layout", "numbers", "GB per GPU", "GB away", "micro-batch", "s per step", "network", "choice"]
    return pl.DataFrame(rows, schema=names, orient="row")


def items_table(choice: Choice) -> pl.DataFrame:
    """The parts of a layout's memory, with their formulas."""
    rows = [(item.name, item.bytes / GB, item.formula, "away" if item.away else "device") for item in choice.memory.items]
    return pl.DataFrame(rows, schema=["memory", "GB", "formula", "where"], orient="row")


def layout_row(choice: Choice) -> tuple[str, str, float, float, str, float, str]:
    fits = str(choice.micro_batch) if choice.micro_batch else "does not fit"
    fits = fits if choice.layout.trains else f"({fits})"
    needed, step = choice.memory, choice.step
    share = f"{step.network_share:.0%}"
    return choice.layout.name, choice.layout.precision, needed.device / GB, needed.away / GB, fits, step.whole.value, share


def interval(figure: Figure) -> str:
    return "" if figure.low == figure.high else f"{short(figure.low)} – {short(figure.high)}"


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
