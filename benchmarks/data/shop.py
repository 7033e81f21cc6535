"""A shop in the data contract with a row of sales for every product and week: curves with launches and ends, noise, prices, stock-outs."""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

WEEKS, SKUS_PER_FILE = 104, 25_000
FIRST_WEEK = np.datetime64("2022-01-03")
CATEGORIES = ("Home > Kitchen", "Home > Light", "Garden > Plants", "Garden > Tools", "Toys", "Paper > Cards")
BRANDS = 40
LATE = 0.01  # of the rows are taken back, most of them in a later week


def sized(description: str | None, skus: int) -> argparse.ArgumentParser:
    """The command line of a benchmark on such a shop, with the number of products that its targets speak of."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skus", type=int, default=skus, help="products in the shop; the figures of another number are printed, not kept")
    return parser


def make_shop(folder: Path, skus: int) -> None:
    """Write products and sales, skus × WEEKS rows of them, in files of SKUS_PER_FILE products. The same for the same number."""
    for table in ("products", "sales"):
        (folder / table).mkdir(parents=True)
    for part, first in enumerate(range(0, skus, SKUS_PER_FILE)):
        rng = np.random.default_rng([0, part])
        names = np.char.add("SKU", np.char.zfill(np.arange(first, min(first + SKUS_PER_FILE, skus)).astype(str), 8))
        launch = np.where(rng.random(len(names)) < 0.4, 0, rng.integers(0, WEEKS - 10, len(names)))
        price = np.round(rng.lognormal(2, 0.7, len(names)), 2)
        products(rng, names, launch, price).write_parquet(folder / "products" / f"part-{part}.parquet")
        sales(rng, names, launch, price).write_parquet(folder / "sales" / f"part-{part}.parquet")


def products(rng: np.random.Generator, names: np.ndarray, launch: np.ndarray, price: np.ndarray) -> pl.DataFrame:
    announced = rng.random(len(names)) < 0.5
    day = np.where(announced & (launch > 0), FIRST_WEEK + 7 * launch, np.datetime64("NaT"))
    return pl.DataFrame(
        {
            "sku_id": names,
            "title": np.char.add("item ", names),
            "category": rng.choice(CATEGORIES, len(names)),
            "brand": np.char.add("brand ", rng.integers(0, BRANDS, len(names)).astype(str)),
            "list_price": price,
            "launch_date": pl.Series(day).cast(pl.Date),
        }
    )


def sales(rng: np.random.Generator, names: np.ndarray, launch: np.ndarray, price: np.ndarray) -> pl.DataFrame:
    """A row per product and week, products in order."""
    shape = (len(names), WEEKS)
    week = np.arange(WEEKS)
    age = (week - launch[:, None]) / rng.uniform(4, 40, (len(names), 1))
    level = rng.lognormal(1.5, 1, (len(names), 1))
    demand = level * np.where(age >= 0, (age + 0.1) * np.exp(1 - age), 0)
    promo = np.where(rng.random(shape) < 0.1, 0.2, 0.0)
    stock = np.where(rng.random(shape) < 0.05, 0.5, 1.0)
    units = rng.poisson(demand * (1 + 2 * promo) * stock * rng.gamma(4, 0.25, shape)).astype(float)
    date = np.broadcast_to(FIRST_WEEK + 7 * week, shape).ravel()
    back = (rng.random(shape) < LATE).ravel()
    taken = np.minimum(date + rng.integers(0, 60, len(date)), FIRST_WEEK + 7 * WEEKS - 1)
    return pl.DataFrame(
        {
            "sku_id": pl.Series(names).gather(np.repeat(np.arange(len(names)), WEEKS)),
            "date": pl.Series(date).cast(pl.Date),
            "units": units.ravel(),
            "price": np.round(price[:, None] * (1 - promo), 2).ravel(),
            "promo": promo.ravel(),
            "in_stock": stock.ravel(),
            "page_views": rng.poisson(5 + 8 * demand).astype(float).ravel(),
            "cancelled_at": pl.Series(np.where(back, taken, np.datetime64("NaT"))).cast(pl.Date),
        }
    )
