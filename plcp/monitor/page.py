"""monitor.html: what was found, as a table and as a line over time for every measure of drift."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from plcp.monitor.drift import Series
from plcp.report.svg import Frame, nice_top

WIDTH, HEIGHT = 350, 120


def render(findings: pl.DataFrame, series: Sequence[Series], origin: date, week: date) -> str:
    """The page. `origin`: the first week after the training data; `week`: the newest one."""
    loader = ChoiceLoader([PackageLoader("plcp.monitor", "."), PackageLoader("plcp.report", ".")])
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    drifted = sorted(series, key=lambda one: not one.value > one.limit)  # what is not a number has not passed
    return page.get_template("monitor.html").render(
        rows=findings.to_dicts(),
        passed=int(findings["passed"].sum()),
        charts=[(one, one.value > one.limit, line(one)) for one in drifted],
        origin=origin,
        week=week,
    )


def line(series: Series) -> Markup:
    """The training data's last year, the weeks since, and the limit."""
    both = np.concatenate([series.past, series.new])
    top = nice_top(max(float(np.nanmax(both, initial=0)), series.limit, 1e-3))
    frame = Frame(series.first, len(both), top, WIDTH, HEIGHT, left=40)
    since, limit = len(series.past), frame.y(series.limit)
    newest = f'<circle cx="{frame.x(len(both) - 1):.1f}" cy="{frame.y(np.nan_to_num(series.value)):.1f}" r="3"/>'
    body = [
        *(_tick(frame, value) for value in (0, top / 2, top)),
        f'<path class="past" d="{frame.line(0, series.past)}"/>',
        f'<path class="median" d="{frame.line(since, series.new)}"/>{newest}',
        f'<line class="limit" x1="{frame.left}" x2="{WIDTH - frame.right}" y1="{limit:.1f}" y2="{limit:.1f}"/>',
        f'<line class="origin" x1="{frame.x(since):.1f}" x2="{frame.x(since):.1f}" y1="6" y2="{frame.y(0):.1f}"/>',
        f'<text class="tick" x="{frame.left}" y="{HEIGHT - 4}">{series.first}</text>',
    ]
    label = escape(f"{series.measure} of {series.of}")
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>')  # noqa: S704 (made of numbers)


def _tick(frame: Frame, value: float) -> str:
    y = frame.y(value)
    across = f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{across}<text class="tick right" x="{frame.left - 5}" y="{y + 3:.1f}">{value:.2g}</text>'
