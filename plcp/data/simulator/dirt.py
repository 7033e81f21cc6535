"""The faults of real tables: what a validation has to find, and what it has to bear."""

import numpy as np
import polars as pl

from plcp.data.simulator import vocabulary
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.text import misspell

Array = np.ndarray

CANCELLED = 0.004  # share of the sales rows followed by an order that was taken back
NEGATIVE = 0.0003  # stock corrections booked as sales
PRICELESS = 0.001
SPLIT = 0.003  # rows that stand as two
UNKNOWN_STOCK = 0.01
RETITLED = 0.05  # share of the products whose title was mended later
UNDATED = 0.3  # share of the incumbents without a launch date
DAMAGED_TITLE = 0.002
BAD_STARS = 0.001


def soil(config: SimulatorConfig, tables: dict[str, pl.DataFrame], chunk: int) -> dict[str, pl.DataFrame]:
    """The tables that dirt changes, by name."""
    draws = Draws(config.seed, chunk)
    return {
        "products": _products(config, tables["products"], draws),
        "sales": _sales(tables["sales"], draws),
        "reviews": _reviews(tables["reviews"], draws),
    }


def _sales(sales: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """Cancelled orders, corrections below zero, missing prices and stock, rows that stand as two."""
    at, sold = np.arange(sales.height), sales["units"].to_numpy()
    u = draws.hashed("sales-dirt", at[:, None], np.arange(4))
    split, back, minus = at[(u[:, 2] < SPLIT) & (sold >= 2)], at[u[:, 0] < CANCELLED], at[u[:, 1] < NEGATIVE]
    units = sold.copy()
    units[split] = np.floor(sold[split] / 2)
    first = sales.with_columns(
        units=pl.Series(units),
        price=pl.when(pl.Series(u[:, 3] >= PRICELESS)).then("price"),
        in_stock=pl.when(pl.Series(u[:, 0] < 1 - UNKNOWN_STOCK)).then("in_stock"),
        cancelled_at=pl.lit(None, pl.Date),
    )
    second = _more(sales[split], sold[split] - units[split])
    order = np.floor(4 + 40 * u[back, 1] * u[back, 3] + sold[back] * 2)
    days_later = pl.Series((1 + np.floor(u[back, 1] * 20).astype(np.int64)) * 86_400_000, dtype=pl.Duration("ms"))
    taken_back = _more(sales[back], order).with_columns(cancelled_at=pl.col("date") + days_later)
    corrected = sales[minus].with_columns(units=-1 - pl.col("units"), cancelled_at=pl.lit(None, pl.Date))
    place = np.argsort(np.concatenate([at, split, back, minus]), kind="stable")
    return pl.concat([first, second, taken_back, corrected])[place]


def _more(sales: pl.DataFrame, units: Array) -> pl.DataFrame:
    """Further rows of the same products and days, with units alone."""
    nothing = pl.lit(0.0)
    return sales.with_columns(
        units=pl.Series(units), page_views=nothing, returns=nothing, ad_spend=nothing, cancelled_at=pl.lit(None, pl.Date)
    )


def _products(config: SimulatorConfig, products: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """Titles mended later (two rows, told apart by known_at), titles that are none, launch dates nobody knows."""
    n = products.height
    u = draws.uniform("products-dirt", CHUNK, 6)[:n]
    start = np.datetime64(config.first_week, "D")
    launched = products["launch_date"].to_numpy()
    old = np.flatnonzero((u[:, 0] < RETITLED) & products["known_at"].is_null().to_numpy())
    titles = products["title"].to_list()
    wrong = [vocabulary.DAMAGED[int(u[r, 2] * 5)] if u[r, 1] < DAMAGED_TITLE / RETITLED else misspell(titles[r], u[r, 2]) for r in old]
    first_known = np.maximum(launched[old], start) - np.timedelta64(7, "D")
    mended = first_known + (21 + np.floor(u[old, 3] * 200)).astype("timedelta64[D]")
    known = products["known_at"].to_numpy().astype("datetime64[D]")
    known[old] = mended
    clean = products.with_columns(known_at=pl.Series(known).cast(pl.Date))
    before = products[old].with_columns(title=pl.Series(wrong, dtype=pl.String), known_at=pl.Series(first_known).cast(pl.Date))
    rows = pl.concat([clean, before])[np.argsort(np.concatenate([np.arange(n), old - 0.5]), kind="stable")]
    undated = products.filter(pl.Series((launched < start) & (u[:, 4] < UNDATED)))["sku_id"]
    return rows.with_columns(launch_date=pl.when(~pl.col("sku_id").is_in(undated.implode())).then("launch_date"))


def _reviews(reviews: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """A few ratings of 0, as left by a form without stars."""
    u = draws.hashed("reviews-dirt", np.arange(reviews.height))[: reviews.height]
    return reviews.with_columns(rating=pl.when(pl.Series(u < BAD_STARS)).then(0.0).otherwise("rating"))
