"""One part of a scored catalog as the decisions see it: a row per SKU with forecast, events, stage, price and terms, all aligned."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from plcp import tables
from plcp.base import DataError
from plcp.decisions.demand import Array, Demand, DemandConfig, weekly_variance

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Outlook:
    """`frame` (n rows: sku_id, stage, ended, start, p_<event>_<weeks>w, <event>_p50, supply.terms' columns), `demand` (n, horizon)."""

    origin: date
    frame: pl.DataFrame
    demand: Demand

    def __getitem__(self, column: str) -> Array:
        """A numeric column as float64, (n,); null is NaN."""
        return self.frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def where(self, mask: Mask) -> "Outlook":
        return Outlook(self.origin, self.frame.filter(pl.Series(mask)), self.demand.rows(mask))

    @property
    def launched(self) -> Mask:
        """On sale at the origin, (n,); of a planned launch the horizon shows only the beginning."""
        return (self.frame["start"] <= self.origin).to_numpy()

    def stage_in(self, *stages: str) -> Mask:
        return self.frame["stage"].is_in(stages).to_numpy()

    def ended_by(self, weeks: int | Array) -> Array:
        """P(the life has ended within so many weeks), (n,): linear between the forecast's points, its last value beyond them."""
        weeks = np.broadcast_to(np.asarray(weeks, np.float64), (len(self.frame),))
        points = (0, *tables.EVENT_WEEKS)
        known = np.stack([self["ended"], *(self[f"p_end_{w}w"] for w in tables.EVENT_WEEKS)], axis=1)
        known = np.maximum.accumulate(np.minimum(known, known[:, -1:]), axis=1)
        right = np.clip(np.searchsorted(points, weeks), 1, len(points) - 1)
        left = right - 1
        share = np.clip((weeks - np.take(points, left)) / (np.take(points, right) - np.take(points, left)), 0, 1)
        rows = np.arange(len(known))
        return known[rows, left] * (1 - share) + known[rows, right] * share

    def left_over_value(self, weeks: int | Array) -> Array:
        """Money that a unit still in stock after so many weeks is worth, (n,): its cost if life goes on, its salvage if it has ended."""
        ended = self.ended_by(weeks)
        return ended * self["salvage"] + (1 - ended) * self["unit_cost"]


def read_outlook(run: Path, part: str, terms: pl.DataFrame, config: DemandConfig) -> Outlook:
    """The file `part` of every forecast table of a run, joined with supply.terms.

    Raises DataError where a table lacks the part, or holds more than one origin.
    """
    curve, events, stage = (_read(table, run, part) for table in (tables.CURVE, tables.EVENT_TABLE, tables.STAGE_TABLE))
    origins = curve["origin"].unique().to_list()
    if len(origins) != 1:
        raise DataError(f"{run / 'curve' / part}: one run speaks of one origin, this file of {len(origins)}: {origins[:5]}")
    frame = stage.select("sku_id", "stage", "ended").sort("sku_id")
    for more in (curve.group_by("sku_id").agg(start=pl.col("week").min()), _wide(events), terms):
        frame = frame.join(more, on="sku_id", how="left", maintain_order="left")
    return Outlook(origins[0], frame, _demand(curve, frame["sku_id"], origins[0], config))


def _read(table: tables.Table, run: Path, part: str) -> pl.DataFrame:
    path = run / table.name / part
    if not path.exists():
        raise DataError(f"{path}: missing; the run is incomplete: finish `plcp score` with the same arguments")
    return table.conform(pl.read_parquet(path))


def _wide(events: pl.DataFrame) -> pl.DataFrame:
    wide = events.select("sku_id").unique()
    for event in ("decline", "end"):
        columns = [pl.col(f"p_{w}w").alias(f"p_{event}_{w}w") for w in tables.EVENT_WEEKS]
        of_event = events.filter(pl.col("event") == event).select("sku_id", *columns, pl.col("date_p50").alias(f"{event}_p50"))
        wide = wide.join(of_event, on="sku_id", how="left")
    return wide


def _demand(curve: pl.DataFrame, sku_id: pl.Series, origin: date, config: DemandConfig) -> Demand:
    """Forecast weeks on the grid origin … origin + horizon - 1; a planned launch's weeks before its start stay 0."""
    horizon = int(curve["sku_id"].value_counts()["count"].to_numpy().max())
    rows = pl.DataFrame({"sku_id": sku_id}).with_row_index("row")
    placed = curve.join(rows, on="sku_id").with_columns(offset=(pl.col("week") - pl.lit(origin)).dt.total_days() // timedelta(weeks=1).days)
    placed = placed.filter(pl.col("offset").is_between(0, horizon - 1))
    mean, variance = np.zeros((len(sku_id), horizon)), np.zeros((len(sku_id), horizon))
    at = placed["row"].to_numpy(), placed["offset"].to_numpy()
    mean[at] = placed["mean"].to_numpy()
    variance[at] = weekly_variance(placed.select(tables.QUANTILES).to_numpy(), placed["mean"].to_numpy())
    return Demand(mean, variance, config.correlation)
