"""A small shop with known forecasts: each product's demand is negative binomial, its events and stage are given."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import nbinom

from plcp import tables
from plcp.data.contract import Dataset

ORIGIN = date(2024, 6, 3)
HORIZON = 26
METADATA = {"model": "a1b2", "origin": str(ORIGIN), "run": "r1"}


@dataclass(frozen=True)
class Product:
    sku_id: str
    weekly: float | Sequence[float] = 10.0  # expected units per week
    stage: str = "maturity"
    p_end: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.05)  # by 4, 8, 12, 26 weeks
    p_decline: tuple[float, float, float, float] = (0.05, 0.1, 0.2, 0.4)
    supply: dict[str, float] | None = None
    price: float | None = 10.0
    category: str | None = "Toys > Cars"
    vector: tuple[float, ...] = (1.0, 0.0, 0.0)
    start: date = ORIGIN
    title: str = field(default="")

    @property
    def mean(self) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.weekly, float), (HORIZON,))


def write_run(folder: Path, products: list[Product], parts: int = 1) -> Path:
    """The forecast tables of a run, in `parts` files."""
    for i in range(parts):
        mine = products[i::parts]
        for table, frame in zip(
            tables.FORECAST.values(), (_curve(mine), _events(mine), _stage(mine), _embedding(mine), _skipped()), strict=True
        ):
            tables.write(table, frame, folder / table.name / f"part-{i:05d}.parquet", METADATA)
    return folder


def dataset(products: list[Product]) -> Dataset:
    """Two sales of each product before the origin and one far dearer after it, and its terms of supply."""
    rows = [{"sku_id": p.sku_id, "title": p.title or f"Toy {p.sku_id}", "category": p.category, "list_price": p.price} for p in products]
    sold = [(p.sku_id, ORIGIN - timedelta(days=days), 5.0, p.price) for p in products for days in (9, 2)]
    sold += [(p.sku_id, ORIGIN + timedelta(days=1), 5.0, 1000.0) for p in products]
    frames = {
        "products": pl.DataFrame(rows, schema_overrides={"category": pl.String, "list_price": pl.Float64}),
        "sales": pl.DataFrame(sold, schema=["sku_id", "date", "units", "price"], orient="row"),
    }
    supply = [{"sku_id": p.sku_id, **p.supply} for p in products if p.supply]
    return Dataset.of(frames | ({"supply": pl.DataFrame(supply)} if supply else {}))


def _curve(products: list[Product]) -> pl.DataFrame:
    frames = []
    for p in products:
        success = 3 / (3 + np.maximum(p.mean, 1e-9))  # variance mean + mean² / 3
        quantiles = {q: nbinom.ppf(level, 3, success) for q, level in zip(tables.QUANTILES, tables.LEVELS, strict=True)}
        weeks = [p.start + timedelta(weeks=w) for w in range(HORIZON)]
        frames.append(pl.DataFrame({"sku_id": p.sku_id, "origin": ORIGIN, "week": weeks, "age": None, "mean": p.mean, **quantiles}))
    return pl.concat(frames)


def _events(products: list[Product]) -> pl.DataFrame:
    rows = []
    for p in products:
        for event, chances in (("peak", p.p_decline), ("decline", p.p_decline), ("end", p.p_end)):
            dates = {f"date_p{level}": _date_of(chances, level / 100) for level in (10, 50, 90)}
            rows.append({"sku_id": p.sku_id, "origin": ORIGIN, "event": event, **_weeks(chances), **dates})
    return pl.DataFrame(rows, infer_schema_length=None)


def _weeks(chances: tuple[float, ...]) -> dict[str, float]:
    return {f"p_{w}w": chance for w, chance in zip(tables.EVENT_WEEKS, chances, strict=True)}


def _date_of(chances: tuple[float, ...], level: float) -> date | None:
    return next((ORIGIN + timedelta(weeks=w) for w, c in zip(tables.EVENT_WEEKS, chances, strict=True) if c >= level), None)


def _stage(products: list[Product]) -> pl.DataFrame:
    chances = [{s: 0.8 if s == p.stage else 0.05 for s in tables.STAGES} for p in products]
    return pl.DataFrame([{"sku_id": p.sku_id, "origin": ORIGIN, "stage": p.stage, **c} for p, c in zip(products, chances, strict=True)])


def _embedding(products: list[Product]) -> pl.DataFrame:
    return pl.DataFrame({"sku_id": [p.sku_id for p in products], "vector": [[float(x) for x in p.vector] for p in products]})


def _skipped() -> pl.DataFrame:
    return pl.DataFrame(schema=tables.SKIPPED.schema)
