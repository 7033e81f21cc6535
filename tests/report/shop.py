"""A small scored shop with a past, photos and decisions, for the report and the terminal."""

import io
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from plcp import tables
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.decisions import decide
from tests.decisions.shop import METADATA, ORIGIN, Product, write_run

WEEKS = 60  # of history
SUPPLY = {"on_hand": 20.0, "unit_cost": 4.0, "lead_time_weeks": 3.0}
TRICKY = '<b>Tea & "茶"</b>'
PRODUCTS = [
    Product("cup", supply=SUPPLY, title="Red cup", vector=(1.0, 0.1, 0.0)),
    Product("tea", supply=SUPPLY | {"on_hand": 70.0}, title=TRICKY, vector=(1.0, 0.2, 0.0)),
    Product(
        "old", 0.2, "decline", p_end=(0.6, 0.9, 0.95, 1.0), supply=SUPPLY | {"on_hand": 300.0}, title="Old lamp", vector=(0.0, 1.0, 0.0)
    ),
    Product("new", 5.0, "introduction", start=ORIGIN + timedelta(weeks=2), title="New lamp", vector=(0.0, 1.0, 0.1)),
]


@dataclass(frozen=True)
class Shop:
    run: Path
    scores: Path
    prepared: Prepared
    decisions: Path
    metrics: Path


def shop(folder: Path) -> Shop:
    """Everything a report can be made of, below a folder."""
    scores = folder / "scores"
    run = write_run(scores / "runs" / "r1", PRODUCTS)
    skipped = pl.DataFrame({"sku_id": ["gone"], "origin": [ORIGIN], "reason": ["never sold; give a launch_date"]})
    tables.write(tables.SKIPPED, skipped, run / "skipped" / "part-00000.parquet", METADATA)
    (scores / "LATEST").write_text("r1\n")
    data = dataset()
    decide(run, data, folder)
    pl.DataFrame({"model": ["plcp", "recent"], "wql": [0.5, 0.63712]}).write_parquet(folder / "metrics.parquet")
    return Shop(run, scores, prepare(data, folder / "prepared"), folder, folder / "metrics.parquet")


def dataset() -> Dataset:
    """Weekly sales of all but the launch: 10 a week in the second half of the past, 20 in the first, and a photo of the cup."""
    rows = [{"sku_id": p.sku_id, "title": p.title, "category": p.category, "list_price": 10.0} for p in PRODUCTS]
    launch = [ORIGIN + timedelta(weeks=2) if p.sku_id == "new" else None for p in PRODUCTS]
    photos = [[photo()] if p.sku_id == "cup" else None for p in PRODUCTS]
    products = pl.DataFrame(rows).with_columns(pl.Series("launch_date", launch, pl.Date), pl.Series("image", photos, pl.List(pl.Binary)))
    weeks = [
        (p.sku_id, ORIGIN - timedelta(weeks=w), 20.0 if w > WEEKS // 2 else 10.0, 10.0) for p in PRODUCTS[:3] for w in range(1, WEEKS + 1)
    ]
    supply = pl.DataFrame([{"sku_id": p.sku_id, **p.supply} for p in PRODUCTS if p.supply])
    return Dataset.of(
        {"products": products, "sales": pl.DataFrame(weeks, schema=["sku_id", "date", "units", "price"], orient="row"), "supply": supply}
    )


def photo() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((200, 300, 3), (200, 30, 30), np.uint8)).save(data, "PNG")
    return data.getvalue()
