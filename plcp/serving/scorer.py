"""Forecasts as JSON, written straight from the arrays of a pass through the model."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from plcp.forecast.values import Values
from plcp.serving.cases import Case
from plcp.serving.problems import ProblemError
from plcp.serving.store import NAMED
from plcp.serving.texts import number_texts
from plcp.tables import CURVE, EVENT_TABLE, EVENT_WEEKS, EVENTS, LEVELS, STAGE_TABLE, STAGES, Table

KEY = ("sku_id", "origin")


def columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in KEY]


def row_format(table: Table) -> str:
    """A row of a table as a JSON object with a place for each value."""
    return "{" + ",".join(f'"{name}":%s' for name in columns(table)) + "}"


WEEK_ROW, EVENT_ROW, STAGE_ROW = (row_format(table) for table in (CURVE, EVENT_TABLE, STAGE_TABLE))
EVENT_NAMES, STAGE_NAMES = ([json.dumps(name) for name in names] for names in (EVENTS, STAGES))
REST = f'"events":[{",".join([EVENT_ROW] * len(EVENTS))}],"stage":{STAGE_ROW}}}'
WEEK_NUMBERS = 1 + len(LEVELS)


def require_numbers(cases: Sequence[Case], values: Values) -> None:
    """Raises ProblemError (500) naming the SKUs of which a forecast is no number of float32, in which it is written."""
    sound = np.ones(len(cases), bool)
    for part in (values.mean, values.quantiles, values.within, values.stage, values.embedding):
        sound &= (np.abs(part) <= np.finfo(np.float32).max).reshape(len(cases), -1).all(1)
    if broken := sorted({case.sku_id for case, is_sound in zip(cases, sound, strict=True) if not is_sound}):
        named = ", ".join(broken[:NAMED])
        raise ProblemError(500, f"the model's forecast is not a number: {named}; export it anew from a sound checkpoint", sku_ids=broken)


def forecast_lines(cases: Sequence[Case], values: Values) -> list[bytes]:
    """Each case's forecast as a JSON object; its numbers with the precision of float32, in which the model computes."""
    count, horizon = values.mean.shape
    curve = np.concatenate([values.mean[:, :, None], values.quantiles], 2).reshape(count, -1)
    texts = number_texts(np.concatenate([curve, values.within.reshape(count, -1), values.stage], 1).astype(np.float32))
    ages = [None if age != age else int(age) for age in values.age.tolist()]
    rows = zip(cases, texts, values.starts.tolist(), ages, values.dates.tolist(), values.named.tolist(), strict=True)
    return [line(case, row, week_rows(start, age, horizon), dates, stage) for case, row, start, age, dates, stage in rows]


def line(case: Case, numbers: Sequence[str], weeks: str, dates: Sequence[Sequence[date | None]], stage: int) -> bytes:
    """`numbers` are those of the curve, then of the events, then of the stage."""
    edge = len(numbers) - len(STAGES)
    first = edge - len(EVENTS) * len(EVENT_WEEKS)
    rest: list[str] = []
    for name, begin, of_event in zip(EVENT_NAMES, range(first, edge, len(EVENT_WEEKS)), dates, strict=True):
        rest += [name, *numbers[begin : begin + len(EVENT_WEEKS)], *map(date_text, of_event)]
    rest += [STAGE_NAMES[stage], *numbers[edge:]]
    head = f'{{"sku_id":{json.dumps(case.sku_id, ensure_ascii=False)},"origin":"{case.origin}",'
    return (head + weeks % tuple(numbers[:first]) + REST % tuple(rest)).encode()


@lru_cache(1024)
def week_rows(start: date, age: int | None, horizon: int) -> str:
    """The curve of products that begin alike, with places for its numbers."""
    ages = ["null" if age is None else str(age + week) for week in range(horizon)]
    numbers = ["%s"] * WEEK_NUMBERS
    return f'"curve":[{",".join(WEEK_ROW % (date_text(start + timedelta(weeks=w)), ages[w], *numbers) for w in range(horizon))}],'


@lru_cache(4096)
def date_text(day: date | None) -> str:
    return "null" if day is None else f'"{day}"'


def skipped(case: Case) -> dict[str, str]:
    """A row of the table of what cannot be forecast."""
    return {"sku_id": case.sku_id, "origin": str(case.origin), "reason": case.reason}


def body(model: str, origin: str, forecasts: Sequence[bytes], skipped: Sequence[dict[str, str]]) -> bytes:
    """A ScoreAnswer in JSON."""
    head = json.dumps({"model": model, "origin": origin})[:-1].encode()
    return b'%s, "forecasts": [%s], "skipped": %s}' % (head, b",".join(forecasts), json.dumps(skipped, ensure_ascii=False).encode())
