"""A scored run as the report reads it: lazily, so that only sums and the products shown are ever in memory."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from plcp import tables
from plcp.base import DataError
from plcp.report.svg import Event


@dataclass(frozen=True)
class ScoredRun:
    """The forecast tables of one run folder."""

    root: Path

    def scan(self, table: tables.Table) -> pl.LazyFrame:
        files = sorted((self.root / table.name).glob("*.parquet"))
        return pl.scan_parquet(files) if files else pl.LazyFrame(schema=table.schema)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What the run wrote about itself: the model's digest, the origin, the run's id."""
        files = sorted((self.root / "curve").glob("*.parquet"))
        if not files:
            raise DataError(f"{self.root}: no forecast in curve/; give the folder of a finished run (SCORES/runs/<run id>)")
        return {key: value for key, value in pl.read_parquet_metadata(files[0]).items() if key not in ("table", "ARROW:schema")}

    @cached_property
    def origin(self) -> date:
        origins = self.scan(tables.CURVE).select("origin").unique().collect()["origin"]
        if origins.is_empty():
            raise DataError(f"{self.root}: no product was forecast; the reasons stand in skipped/")
        if len(origins) != 1:
            raise DataError(f"{self.root}: one run speaks of one origin, this one of {len(origins)}")
        return origins[0]

    @cached_property
    def products(self) -> pl.DataFrame:
        """sku_id, stage, ended, units (expected over the horizon), start, p_end_12w, and every event's date_p50, one row per SKU."""
        curve = self.scan(tables.CURVE).group_by("sku_id").agg(units=pl.col("mean").sum(), start=pl.col("week").min())
        frame = self.scan(tables.STAGE_TABLE).select("sku_id", "stage", "ended").join(curve, on="sku_id", how="left")
        events = self.scan(tables.EVENT_TABLE)
        for event in tables.EVENTS:
            dates = events.filter(pl.col("event") == event).select(
                "sku_id", pl.col("date_p50").alias(event), pl.col("p_12w").alias(f"p_{event}_12w")
            )
            frame = frame.join(dates, on="sku_id", how="left")
        return frame.sort("sku_id").collect()

    @cached_property
    def weekly(self) -> pl.DataFrame:
        """week, mean: the whole catalog's expected units of each week of the horizon, the first of which is the origin."""
        horizon = self.scan(tables.CURVE).group_by("sku_id").len().select(pl.col("len").max()).collect().item()
        weeks = pl.date_range(self.origin, interval="1w", eager=False, end=self.origin + (horizon - 1) * pl.duration(weeks=1))
        sums = self.scan(tables.CURVE).group_by("week").agg(pl.col("mean").sum())
        return (
            pl.LazyFrame({"origin": [self.origin]}).select(week=weeks).join(sums, on="week", how="left").fill_null(0).sort("week").collect()
        )

    def curves(self, sku_ids: list[str]) -> dict[str, pl.DataFrame]:
        """The curve rows of some products, by week."""
        rows = self.scan(tables.CURVE).filter(pl.col("sku_id").is_in(sku_ids)).sort("sku_id", "week").collect()
        return {sku: part for (sku,), part in rows.group_by("sku_id", maintain_order=True)}

    def events(self, sku_ids: list[str]) -> dict[str, tuple[Event, ...]]:
        """The events of some products, in the order of tables.EVENTS."""
        rows = self.scan(tables.EVENT_TABLE).filter(pl.col("sku_id").is_in(sku_ids)).collect()
        found: dict[tuple[str, str], Event] = {
            (r["sku_id"], r["event"]): Event(r["event"], r["date_p10"], r["date_p50"], r["date_p90"]) for r in rows.iter_rows(named=True)
        }
        return {sku: tuple(found[sku, e] for e in tables.EVENTS if (sku, e) in found) for sku in sku_ids}


def gallery(products: pl.DataFrame, per_stage: int) -> list[str]:
    """SKUs to show: of each stage the best seller, then ever further down its ranks (evenly in their logarithm), so that the long tail
    is seen beside the top; stages take turns."""
    chosen: list[tuple[int, int, str]] = []
    for i, stage in enumerate(tables.STAGES):
        ranked = products.filter(stage=stage).sort(["units", "sku_id"], descending=[True, False])
        if len(ranked):
            places = np.unique(np.geomspace(1, len(ranked), min(per_stage, len(ranked))).round().astype(int)) - 1
            chosen += [(turn, i, sku) for turn, sku in enumerate(ranked["sku_id"].gather(places))]
    return [sku for _, _, sku in sorted(chosen)]
