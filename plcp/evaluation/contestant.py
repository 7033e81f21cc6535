"""What takes part in a backtest: forecasts for an origin's cases out of what was known before it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.evaluation.cases import END_WEEKS, Cases
from plcp.tables import QUANTILES, STAGES

KEY = {"sku_id": pl.String(), "origin": pl.Date()}
CURVE_SCHEMA = pl.Schema({**KEY, "week": pl.Date(), **{name: pl.Float64() for name in (*QUANTILES, "mean")}})
EVENT_COLUMNS = (*(f"p_end_{weeks}w" for weeks in END_WEEKS), "p_new_peak_12w")
EVENT_SCHEMA = pl.Schema({**KEY, **{name: pl.Float64() for name in EVENT_COLUMNS}})
STAGE_SCHEMA = pl.Schema({**KEY, "stage": pl.String()})


@dataclass(frozen=True)
class Forecasts:
    """The four tracks, a frame each; a Parquet file each on disk."""

    in_life: pl.DataFrame  # CURVE_SCHEMA
    launch: pl.DataFrame  # CURVE_SCHEMA
    events: pl.DataFrame  # EVENT_SCHEMA
    stages: pl.DataFrame  # STAGE_SCHEMA

    def write(self, folder: Path) -> None:
        """A file per track, each written aside and renamed."""
        folder.mkdir(parents=True, exist_ok=True)
        for track, frame in asdict(self).items():
            aside = folder / f".{track}.parquet.writing"
            frame.write_parquet(aside)
            aside.replace(folder / f"{track}.parquet")

    @staticmethod
    def read(folder: Path) -> "Forecasts":
        return Forecasts(*(pl.read_parquet(folder / f"{track}.parquet") for track in TRACKS))

    @staticmethod
    def concat(parts: "Sequence[Forecasts]") -> "Forecasts":
        return Forecasts(*(pl.concat([getattr(part, track) for part in parts]) for track in TRACKS))


TRACKS = tuple(Forecasts.__dataclass_fields__)


class Contestant(Protocol):
    """A forecaster in a backtest. Whatever decides on its forecasts stands in `config`."""

    @property
    def config(self) -> Config: ...

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        """Forecast all cases of an origin. `prepared` was cut there: nothing later is in it. `work` is a folder to keep things in."""
        ...


def curve_frame(sku_id: Sequence[str], origin: dt.date, starts: Sequence[dt.date], quantiles: np.ndarray, mean: np.ndarray) -> pl.DataFrame:
    """Curves of n cases from their starts on: quantiles (n, horizon, 9), any order and sign, and mean (n, horizon), in units.

    Quantiles are sorted and nothing stays below zero.
    """
    horizon = mean.shape[1]
    step = np.tile(np.arange(horizon) * np.timedelta64(7, "D"), len(starts))
    ordered = np.sort(np.maximum(quantiles, 0), 2)
    columns = {
        "sku_id": pl.Series(list(sku_id), dtype=pl.String).gather(np.repeat(np.arange(len(starts)), horizon)),
        "origin": pl.repeat(origin, len(step), dtype=pl.Date, eager=True),
        "week": np.repeat(np.array(starts, "datetime64[D]"), horizon) + step,
        **{name: ordered[:, :, k].ravel() for k, name in enumerate(QUANTILES)},
        "mean": np.maximum(mean, 0).ravel(),
    }
    return pl.DataFrame(columns, CURVE_SCHEMA)


def event_frame(sku_id: Sequence[str], origin: dt.date, p_end: np.ndarray, p_new_peak: np.ndarray) -> pl.DataFrame:
    """p_end (n, 3) within 4, 8 and 12 weeks, made to rise with them; p_new_peak (n,)."""
    rising = np.maximum.accumulate(np.clip(p_end, 0, 1), 1)
    columns = dict(zip(EVENT_COLUMNS, (*rising.T, np.clip(p_new_peak, 0, 1)), strict=True))
    return pl.DataFrame({"sku_id": list(sku_id), "origin": [origin] * len(sku_id), **columns}, EVENT_SCHEMA)


def stage_frame(sku_id: Sequence[str], origin: dt.date, stage: np.ndarray) -> pl.DataFrame:
    """stage (n,) index into STAGES."""
    names = [STAGES[k] for k in stage]
    return pl.DataFrame({"sku_id": list(sku_id), "origin": [origin] * len(names), "stage": names}, STAGE_SCHEMA)


def rows_of(known: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Places of SKUs in an ascending list that holds them all."""
    return np.searchsorted(np.array(known, dtype=object), np.array(wanted, dtype=object)).astype(np.int64)
