"""The product's own model as a contestant: trained at the origin, exported, and run as it is served."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from plcp.base import ConfigError
from plcp.data.features import inputs
from plcp.data.prepared import Prepared, announced
from plcp.data.shards import Shard
from plcp.evaluation.cases import END_WEEKS, Cases
from plcp.evaluation.contestant import CURVE_SCHEMA, EVENT_SCHEMA, STAGE_SCHEMA, Forecasts, event_frame, rows_of
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.forecaster import Forecast, Forecaster, ForecasterConfig
from plcp.training.export import export
from plcp.training.loop import train
from plcp.training.runs import TrainConfig


class Trained:
    """An interrupted training goes on where it stood. Raises ConfigError where the model's horizon is shorter than the cases'."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        horizon = max(cases.horizon, cases.launch_horizon)
        if horizon > self.config.spec.horizon:
            raise ConfigError(f"{horizon} weeks are asked for, the model forecasts {self.config.spec.horizon}: raise train.spec.horizon")
        train(prepared.root, work / "run", self.config, seed)
        return forecasts(self.forecaster(export(work / "run", work / "model"), vectors_beside(prepared.root)), prepared, cases)

    def forecaster(self, model: Path, cache: Path) -> Forecaster:
        """What answers of the exported model; `cache` holds the towers' vectors."""
        return Forecaster.load(model, ForecasterConfig(cache=cache))


def forecasts(forecaster: Forecaster, prepared: Prepared, cases: Cases) -> Forecasts:
    """All tracks of one origin."""
    shards = map(prepared.read, range(len(prepared.shards)))
    in_life = [part for shard in shards if (part := forecast_in_life(forecaster, shard, cases)) is not None]
    return Forecasts(
        in_life=pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *(curve(part, cases.horizon) for part in in_life)]),
        launch=launches(forecaster, prepared, cases),
        events=pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *(events(part, cases.origin) for part in in_life)]),
        stages=pl.concat([pl.DataFrame(schema=STAGE_SCHEMA), *(part.stage.select(STAGE_SCHEMA.names()) for part in in_life)]),
    )


def forecast_in_life(forecaster: Forecaster, shard: Shard, cases: Cases) -> Forecast | None:
    """The in-life cases of a shard; None where it holds none."""
    rows = pl.Series(shard.sku_id, dtype=pl.String).is_in(cases.in_life).arg_true().to_numpy().astype(np.int64)
    return forecast_rows(forecaster, shard, rows, cases.origin, [cases.origin] * len(rows)) if len(rows) else None


def launches(forecaster: Forecaster, prepared: Prepared, cases: Cases) -> pl.DataFrame:
    if not len(cases.launches):
        return pl.DataFrame(schema=CURVE_SCHEMA)
    shard = announced(cases.launches, prepared)
    rows = rows_of(shard.sku_id, cases.launches["sku_id"].to_list())
    return curve(forecast_rows(forecaster, shard, rows, cases.origin, cases.launches["start"].to_list()), cases.launch_horizon)


def forecast_rows(forecaster: Forecaster, shard: Shard, rows: np.ndarray, origin: dt.date, starts: list[dt.date]) -> Forecast:
    """Some products of a shard from their starts on; a photo that turns out to be broken counts as missing."""
    first = np.array([shard.timeline.index(start) for start in starts], np.int64)
    arrays = inputs(shard, rows, np.full(len(rows), shard.timeline.index(origin)), first, forecaster.spec)
    return forecaster.forecast(arrays, [shard.sku_id[row] for row in rows], origin, starts, broken_photos="missing")


def curve(forecast: Forecast, horizon: int) -> pl.DataFrame:
    """The first weeks of every case's curve."""
    step = pl.int_range(pl.len()).over("sku_id")
    return forecast.curve.filter(step < horizon).select(CURVE_SCHEMA.names())


def events(forecast: Forecast, origin: dt.date) -> pl.DataFrame:
    ends = forecast.events.filter(pl.col("event") == "end")
    p_end = ends.select(f"p_{weeks}w" for weeks in END_WEEKS).to_numpy()
    return event_frame(ends["sku_id"].to_list(), origin, p_end, forecast.p_new_peak_12w)
