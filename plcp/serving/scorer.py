"""Forecasts as JSON, written straight from the arrays of a pass through the model."""

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from plcp.forecast.values import WEEK, Values
from plcp.serving.cases import Case
from plcp.serving.problems import ProblemError
from plcp.serving.store import NAMED
from plcp.tables import CURVE, EVENT_TABLE, EVENTS, STAGE_TABLE, STAGES, Table

KEY = ("sku_id", "origin")


def columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in KEY]


def row_format(table: Table) -> str:
    """A row of a table as a JSON object with a place for each value."""
    return "{" + ",".join(f'"{name}":%s' for name in columns(table)) + "}"


WEEK_ROW, EVENT_ROW, STAGE_ROW = (row_format(table) for table in (CURVE, EVENT_TABLE, STAGE_TABLE))
EVENT_NAMES, STAGE_NAMES = (np.array([json.dumps(name) for name in names], dtype=object) for names in (EVENTS, STAGES))


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
    curve = np.concatenate([values.mean[:, :, None], values.quantiles], 2)
    chances, stage, curve = number_texts([values.within, values.stage, curve])
    weeks = np.stack([date_texts(values.starts[:, None] + np.arange(horizon) * WEEK), age_texts(values.age, horizon)], 2)
    events = [np.broadcast_to(EVENT_NAMES[:, None], (count, len(EVENTS), 1)), chances, date_texts(values.dates)]
    fields = [np.concatenate([weeks, curve], 2), np.concatenate(events, 2), STAGE_NAMES[values.named][:, None], stage]
    rows = np.concatenate([part.reshape(count, -1) for part in fields], 1).tolist()
    form = f'"curve":[{",".join([WEEK_ROW] * horizon)}],"events":[{",".join([EVENT_ROW] * len(EVENTS))}],"stage":{STAGE_ROW}}}'
    return [(head(case) + form % tuple(row)).encode() for case, row in zip(cases, rows, strict=True)]


def head(case: Case) -> str:
    return f'{{"sku_id":{json.dumps(case.sku_id, ensure_ascii=False)},"origin":"{case.origin}",'


def number_texts(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The shortest text of each number that tells it from its neighbours in float32."""
    flat = np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)
    texts = np.array(pl.Series(flat).cast(pl.String).to_list(), dtype=object)
    edges = np.cumsum([part.size for part in parts])[:-1]
    return [text.reshape(part.shape) for text, part in zip(np.split(texts, edges), parts, strict=True)]


def date_texts(dates: np.ndarray) -> np.ndarray:
    """datetime64[D] as JSON, null where there is none."""
    texts = {date: f'"{date}"' for date in np.unique(dates[~np.isnat(dates)])}
    flat = [texts.get(date, "null") for date in dates.reshape(-1)]
    return np.array(flat, dtype=object).reshape(dates.shape)


def age_texts(age: np.ndarray, horizon: int) -> np.ndarray:
    """Age in each week forecast, (n, horizon), null where the launch is not visible."""
    texts = [[str(int(first) + week) for week in range(horizon)] if first == first else ["null"] * horizon for first in age.tolist()]
    return np.array(texts, dtype=object).reshape(len(age), horizon)


def skipped(case: Case) -> dict[str, str]:
    """A row of the table of what cannot be forecast."""
    return {"sku_id": case.sku_id, "origin": str(case.origin), "reason": case.reason}


def body(model: str, origin: str, forecasts: Sequence[bytes], skipped: Sequence[dict[str, str]]) -> bytes:
    """A ScoreAnswer in JSON."""
    head = json.dumps({"model": model, "origin": origin})[:-1].encode()
    return b'%s, "forecasts": [%s], "skipped": %s}' % (head, b",".join(forecasts), json.dumps(skipped, ensure_ascii=False).encode())
