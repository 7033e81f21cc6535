"""From shards of several requests to their answers, by one pass through the forecaster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster
from plcp.tables import CURVE, EVENT_TABLE, STAGE_TABLE, Table

KEY = ("sku_id", "origin")


@dataclass(frozen=True)
class Answer:
    """Forecasts of one request: a JSON object per product that could be forecast, and the reasons of the others."""

    forecasts: list[bytes]
    skipped: list[dict[str, str]]


def answers(forecaster: Forecaster, shards: Sequence[Shard]) -> list[Answer]:
    """Forecast the rows of all shards together; an answer for each shard, rows in their order.

    Rows are renamed for the pass, so that several requests may ask for one SKU. They share the timeline.
    """
    names = pl.concat([shard.frame["sku_id"] for shard in shards])
    rows = pl.concat([shard.frame for shard in shards]).with_columns(pl.Series("sku_id", [f"{i:08d}" for i in range(len(names))]))
    origin = shards[0].timeline.origin
    forecast, skipped = forecaster.forecast_shard(Shard(rows, shards[0].timeline, shards[0].shop), origin)
    lines = dict(json_lines({"curve": forecast.curve, "events": forecast.events, "stage": forecast.stage}, names))
    reasons = dict(zip(skipped["sku_id"].to_list(), skipped["reason"].to_list(), strict=True))
    result, begin = [], 0
    for shard in shards:
        own = [f"{i:08d}" for i in range(begin, begin + len(shard))]
        left_out = [{"sku_id": names[int(i)], "origin": origin.isoformat(), "reason": reasons[i]} for i in own if i in reasons]
        result.append(Answer([lines[i] for i in own if i in lines], left_out))
        begin += len(shard)
    return result


def json_lines(frames: dict[str, pl.DataFrame], names: pl.Series | None = None) -> list[tuple[str, bytes]]:
    """Per product of the forecast tables (curve, events, stage): its key there, and its forecast as one JSON object.

    With names, the keys are places in them, and the objects bear the names.
    """
    stage = STAGE_TABLE.conform(frames["stage"])
    joined = stage.select("sku_id", "origin", stage=pl.struct(columns(STAGE_TABLE)))
    for table, name in ((CURVE, "curve"), (EVENT_TABLE, "events")):
        nested = table.conform(frames[name]).group_by("sku_id", maintain_order=True).agg(pl.struct(columns(table)).alias(name))
        joined = joined.join(nested, on="sku_id", how="left", maintain_order="left")
    keys = joined["sku_id"].to_list()
    if names is not None:
        joined = joined.with_columns(names.gather(joined["sku_id"].cast(pl.UInt32)).alias("sku_id"))
    text = joined.select("sku_id", "origin", "curve", "events", "stage").write_ndjson()
    return list(zip(keys, text.encode().splitlines(), strict=True))


def columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in KEY]


def body(model: str, origin: str, forecasts: Sequence[bytes], skipped: Sequence[dict[str, str]]) -> bytes:
    """A ScoreAnswer in JSON."""
    head = json.dumps({"model": model, "origin": origin})[:-1].encode()
    return b'%s, "forecasts": [%s], "skipped": %s}' % (head, b",".join(forecasts), json.dumps(skipped, ensure_ascii=False).encode())
