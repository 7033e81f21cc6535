"""What is forecast, as the tables that a run holds and the endpoint gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from plcp.forecast.values import DATED, WEEK, Values
from plcp.tables import CURVE, EMBEDDING, EVENT_TABLE, EVENT_WEEKS, EVENTS, QUANTILES, STAGE_TABLE, STAGES, Table


def curve_table(sku_id: Sequence[str], values: Values) -> pl.DataFrame:
    """`horizon` rows per case."""
    n, horizon = values.mean.shape
    step = np.tile(np.arange(horizon), n)
    ages = np.repeat(values.age.astype(np.float64), horizon) + step
    columns: dict[str, Any] = {
        "week": np.repeat(values.starts, horizon) + step * WEEK,
        "age": pl.Series(ages, nan_to_null=True).cast(pl.Int64),
        "mean": values.mean.reshape(-1),
        **{name: values.quantiles[:, :, k].reshape(-1) for k, name in enumerate(QUANTILES)},
    }
    return _table(CURVE, sku_id, values, columns, horizon)


def event_table(sku_id: Sequence[str], values: Values) -> pl.DataFrame:
    """A row per case and event."""
    columns: dict[str, Any] = {"event": list(EVENTS) * len(sku_id)}
    columns |= {f"p_{weeks}w": values.within[:, :, k].reshape(-1) for k, weeks in enumerate(EVENT_WEEKS)}
    columns |= {f"date_p{round(p * 100)}": values.dates[:, :, k].reshape(-1) for k, p in enumerate(DATED)}
    return _table(EVENT_TABLE, sku_id, values, columns, len(EVENTS))


def stage_table(sku_id: Sequence[str], values: Values) -> pl.DataFrame:
    names = [STAGES[k] for k in values.named]
    return _table(STAGE_TABLE, sku_id, values, {"stage": names} | {s: values.stage[:, k] for k, s in enumerate(STAGES)}, 1)


def embedding_table(sku_id: Sequence[str], values: Values) -> pl.DataFrame:
    """Vectors rounded through the float16 they are stored in."""
    rounded = values.embedding.astype(np.float16).astype(np.float32)
    lists = pl.Series("vector", rounded, dtype=pl.Array(pl.Float32, rounded.shape[1])).cast(pl.List(pl.Float32))
    return EMBEDDING.conform(pl.DataFrame({"sku_id": pl.Series(list(sku_id), dtype=pl.String), "vector": lists}))


FRAMES = {table.name: made for table, made in ((CURVE, curve_table), (EVENT_TABLE, event_table), (STAGE_TABLE, stage_table))}
FRAMES |= {EMBEDDING.name: embedding_table}


def _table(table: Table, sku_id: Sequence[str], values: Values, columns: dict[str, Any], times: int) -> pl.DataFrame:
    """Each case `times` over. Numbers as exact as the model computes them: the digits that float64 adds to float32 say nothing and take
    half of a file."""
    case = pl.Series(np.repeat(np.arange(len(sku_id), dtype=np.uint32), times))
    key = {"sku_id": pl.Series(sku_id, dtype=pl.String).gather(case), "origin": np.repeat(values.origins, times)}
    frame = pl.DataFrame(key | columns)
    return table.conform(frame.with_columns(pl.col(pl.Float64).cast(pl.Float32)))
