"""A shop whose weeks are alike, but for what a test plants in the newest one; and forecasts that know its demand."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import poisson

from plcp import tables
from plcp.data.asof import cut
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.forecast import runs

FIRST = dt.date(2022, 1, 3)
SKUS, WEEKS, NEW = 300, 70, 4  # the last NEW weeks come after the training data
SHUT = 30
RATE = np.random.default_rng(1).gamma(2, 4, SKUS)
NAMES = [f"P{i:03d}" for i in range(SKUS)]
ORIGIN = FIRST + dt.timedelta(weeks=WEEKS - NEW)


def tables_of_shop() -> dict[str, pl.DataFrame]:
    """Weekly sales of SKUS products in five categories of three brands; stock-outs here and there, one week shut."""
    rng = np.random.default_rng(0)
    sku, week = (x.ravel() for x in np.indices((SKUS, WEEKS)))
    price = rng.lognormal(2, 0.5, SKUS)
    sales = pl.DataFrame(
        {
            "sku_id": np.array(NAMES)[sku],
            "date": [FIRST + dt.timedelta(weeks=int(w)) for w in week],
            "units": rng.poisson(RATE[sku]).astype(float),
            "price": np.round(price[sku] * np.where(rng.random(len(sku)) < 0.1, 0.8, 1), 2),
            "promo": np.where(rng.random(len(sku)) < 0.03, 0.2, 0.0),
            "in_stock": np.where(rng.random(len(sku)) < 0.05, 0.5, 1.0),
        }
    ).filter(pl.Series(week != SHUT))
    category, brand = rng.choice(list("ABCDE"), SKUS), rng.choice(["Acme", "Bolt", "Core"], SKUS)
    products = pl.DataFrame({"sku_id": NAMES, "title": NAMES, "category": category, "brand": brand, "known_at": FIRST})
    return {"products": products, "sales": sales}


def newest(change: pl.Expr, column: str, share: float) -> pl.Expr:
    """A column of sales changed in the newest week, for a share of the products."""
    chosen = (pl.col("date") == FIRST + dt.timedelta(weeks=WEEKS - 1)) & pl.col("sku_id").is_in(NAMES[: round(share * SKUS)])
    return pl.when(chosen).then(change).otherwise(column).alias(column)


def both(folder: Path, shop: dict[str, pl.DataFrame]) -> tuple[Prepared, Prepared]:
    """The shop up to its newest week, and what a model was trained on."""
    dataset = Dataset.of(shop)
    config = PrepareConfig(skus_per_shard=100)
    return prepare(dataset, folder / "new", config), prepare(cut(dataset, ORIGIN), folder / "training", config)


def forecast(scores: Path, factor: float = 1.0, origin: dt.date = ORIGIN, horizon: int = 8) -> pl.DataFrame:
    """Publish a run that expects `factor` times the true demand; returns its curve."""
    sku, week = (x.ravel() for x in np.indices((SKUS, horizon)))
    quantiles = {q: poisson.ppf(level, factor * RATE[sku]) for q, level in zip(tables.QUANTILES, tables.LEVELS, strict=True)}
    columns = {"sku_id": np.array(NAMES)[sku], "origin": origin, "week": [origin + dt.timedelta(weeks=int(w)) for w in week]}
    curve = pl.DataFrame({**columns, "age": np.where(sku < 50, 5, 40), "mean": factor * RATE[sku], **quantiles})
    run = f"{origin}-{factor}"
    tables.write(tables.CURVE, curve, scores / "runs" / run / "curve" / "part-00000.parquet", {"origin": str(origin)})
    runs.publish(scores, run)
    return curve
