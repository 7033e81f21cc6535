"""Charts as SVG text. Colours are CSS variables of the page, so that a chart follows its light or dark dress and prints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from markupsafe import Markup, escape

WEEK = timedelta(weeks=1)
PEAK_SHARE_SHOWN = 0.985  # of past weeks that fit below the top of a chart: one freak order must not flatten the rest


@dataclass(frozen=True)
class Frame:
    """A plotting area in SVG units: `weeks` weeks from `first` on the x axis, 0 to `top` units on the y axis."""

    first: date
    weeks: int
    top: float
    width: int
    height: int
    left: int = 36
    right: int = 8
    above: int = 8
    below: int = 18

    @property
    def step(self) -> float:
        return (self.width - self.left - self.right) / max(self.weeks - 1, 1)

    def x(self, week: float) -> float:
        return self.left + week * self.step

    def y(self, units: float) -> float:
        inner = self.height - self.above - self.below
        return self.above + inner * (1 - min(max(units, 0) / self.top, 1))

    def index(self, day: date) -> float:
        return (day - self.first) / WEEK

    def line(self, start: int, values: np.ndarray) -> str:
        """Path through values from week `start` on, broken where they are NaN."""
        parts, pen = [], "M"
        for week, value in enumerate(values, start):
            if np.isnan(value):
                pen = "M"
                continue
            parts.append(f"{pen}{self.x(week):.1f},{self.y(value):.1f}")
            pen = "L"
        return "".join(parts)

    def band(self, start: int, low: np.ndarray, high: np.ndarray) -> str:
        there = [f"{self.x(start + i):.1f},{self.y(v):.1f}" for i, v in enumerate(high)]
        back = [f"{self.x(start + i):.1f},{self.y(v):.1f}" for i, v in reversed(list(enumerate(low)))]
        return f"M{'L'.join([*there, *back])}Z"


@dataclass(frozen=True)
class Event:
    """An event's date with its 10% to 90% range; None is later than the chart knows."""

    name: str
    p10: date | None
    p50: date | None
    p90: date | None


@dataclass(frozen=True)
class Curve:
    """One product's past and forecast. history: (t,) units up to the week before `origin`, NaN where unknown; quantiles: (h, 9)."""

    origin: date
    start: date
    history: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray
    events: Sequence[Event] = field(default_factory=tuple)


def life_curve(curve: Curve, label: str, width: int = 430, height: int = 176) -> Markup:
    """A product's past sales, its forecast with two bands and its events."""
    past, offset = len(curve.history), round((curve.start - curve.origin) / WEEK)
    known = curve.history[~np.isnan(curve.history)]
    past_top = np.quantile(known, PEAK_SHARE_SHOWN) if len(known) else 0.0
    top = nice_top(max(float(past_top), float(curve.quantiles[:, -1].max(initial=0)), float(curve.mean.max(initial=0)), 1.0))
    frame = Frame(curve.origin - past * WEEK, past + offset + len(curve.mean), top, width, height, above=26)
    start = past + offset
    q = curve.quantiles
    body = [
        _grid(frame),
        f'<path class="past" d="{frame.line(0, curve.history)}"/>',
        _cut_off(frame, curve.history),
        f'<path class="band" d="{frame.band(start, q[:, 0], q[:, 8])}"/>',
        f'<path class="band" d="{frame.band(start, q[:, 2], q[:, 6])}"/>',
        f'<path class="median" d="{frame.line(start, q[:, 4])}"/>',
        f'<path class="mean" d="{frame.line(start, curve.mean)}"/>',
        f'<line class="origin" x1="{frame.x(past):.1f}" x2="{frame.x(past):.1f}" y1="18" y2="{frame.y(0):.1f}"/>',
        *(_event(frame, e, 8 + 5 * i) for i, e in enumerate(curve.events)),
    ]
    return _svg(frame, label, body, _data(frame, start, curve))


def total_curve(
    origin: date, history: np.ndarray, mean: np.ndarray, a_year_before: np.ndarray, width: int = 1060, height: int = 250
) -> Markup:
    """The whole catalog: past units, the sum of the forecasts, and beneath it the same weeks a year before (NaN where unknown)."""
    past = len(history)
    peaks = [np.nanmax(x) for x in (history, mean, a_year_before) if len(x) and not np.isnan(x).all()]
    frame = Frame(origin - past * WEEK, past + len(mean), nice_top(float(max([*peaks, 1.0]))), width, height, left=52)
    body = [
        _grid(frame),
        f'<path class="past" d="{frame.line(0, history)}"/>',
        f'<path class="before" d="{frame.line(past, a_year_before)}"/>',
        f'<path class="median" d="{frame.line(past, mean)}"/>',
        f'<line class="origin" x1="{frame.x(past):.1f}" x2="{frame.x(past):.1f}" y1="6" y2="{frame.y(0):.1f}"/>',
    ]
    nothing = np.empty((len(mean), 0))
    return _svg(frame, "Units of the whole catalog per week", body, _data(frame, past, Curve(origin, origin, history, mean, nothing)))


def bars(labels: Sequence[str], values: Sequence[float], kind: str, width: int = 280, height: int = 170) -> Markup:
    """Columns with their numbers on top."""
    frame = Frame(date.min, len(values) + 1, max(*values, 1), width, height, left=4, right=4, above=18)
    wide = (width - 8) / len(values)
    body = []
    for i, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, y = 4 + i * wide, frame.y(value)
        body.append(f'<rect class="{kind}" x="{x + 2:.1f}" y="{y:.1f}" width="{wide - 4:.1f}" height="{frame.y(0) - y:.1f}" rx="2"/>')
        body.append(f'<text class="on" x="{x + wide / 2:.1f}" y="{y - 4:.1f}">{short(value)}</text>')
        body.append(f'<text class="tick mid" x="{x + wide / 2:.1f}" y="{height - 4}">{escape(label)}</text>')
    return _svg(frame, kind, body)


def short(value: float) -> str:
    """A number for an axis: 0.5, 950, 1.2k, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def nice_top(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten, which halves well."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.999) * power)


def _grid(frame: Frame) -> str:
    parts = []
    for units in (0, frame.top / 2, frame.top):
        y = frame.y(units)
        parts.append(f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick right" x="{frame.left - 5}" y="{y + 3:.1f}">{short(units)}</text>')
    every, dated = 6 if frame.weeks > 70 else 3, False
    for week in range(1, frame.weeks):
        day, before = frame.first + week * WEEK, frame.first + (week - 1) * WEEK
        if day.month != before.month and (day.month - 1) % every == 0 and frame.left + 12 < frame.x(week) < frame.width - 20:
            name = day.strftime("%b" if dated and day.month > 1 else "%b %Y")
            dated = True
            parts.append(f'<text class="tick mid" x="{frame.x(week):.1f}" y="{frame.height - 4}">{name}</text>')
    return "".join(parts)


def _cut_off(frame: Frame, history: np.ndarray) -> str:
    """Small marks on weeks that reach beyond the top; the tooltip tells their units."""
    weeks = np.flatnonzero(np.nan_to_num(history) > frame.top).tolist()
    return "".join(f'<path class="off" d="M{frame.x(w) - 3:.1f},{frame.above}h6l-3,-4z"/>' for w in weeks)


def _event(frame: Frame, event: Event, y: int) -> str:
    """The event's range as a line above the plot, its median as a dot and a dotted line down; what lies outside is left out."""
    last = frame.weeks - 1
    if event.p10 is None or not 0 <= frame.index(event.p10) <= last:
        return ""
    begin, end = frame.index(event.p10), min(frame.index(event.p90), last) if event.p90 else last
    title = f"<title>{event.name}: {event.p50 or 'later than a year'} ({event.p10} to {event.p90 or 'later'})</title>"
    parts = [f'<line class="span" x1="{frame.x(begin):.1f}" x2="{frame.x(end):.1f}" y1="{y}" y2="{y}"/>']
    if event.p50 and frame.index(event.p50) <= last:
        x = frame.x(frame.index(event.p50))
        parts.append(
            f'<line class="drop" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{frame.y(0):.1f}"/><circle cx="{x:.1f}" cy="{y}" r="3.2"/>'
        )
    return f'<g class="event {event.name}">{title}{"".join(parts)}</g>'


def _data(frame: Frame, start: int, curve: Curve) -> str:
    """What the tooltip needs, compactly: past units, then mean and (if any) q10, q50, q90 of each week forecast."""
    past = ",".join("" if np.isnan(v) else f"{v:.4g}" if v < 1e4 else f"{v:.0f}" for v in curve.history)
    rows = np.column_stack([curve.mean, curve.quantiles[:, [0, 4, 8]] if curve.quantiles.size else np.empty((len(curve.mean), 0))])
    ahead = ";".join(",".join(f"{v:.3g}" if v < 1e3 else f"{v:.0f}" for v in row) for row in rows)
    axis = f'data-first="{frame.first}" data-left="{frame.left}" data-step="{frame.step:.3f}" data-start="{start}"'
    return f' {axis} data-past="{past}" data-ahead="{ahead}"'


def _svg(frame: Frame, label: str, body: Sequence[str], data: str = "") -> Markup:
    head = f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(label)}"{data}>'
    return Markup(f"{head}{''.join(body)}</svg>")  # noqa: S704 (made here of numbers; labels are escaped)
