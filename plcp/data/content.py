"""What a shard says of its SKUs, built from contract tables."""

from collections.abc import Callable

import polars as pl

from plcp.data import panel
from plcp.data.neighbours import ranked
from plcp.data.shard_rows import LISTS, shard_frame
from plcp.data.signals import weekly_signals
from plcp.data.timeline import WEEK, Timeline
from plcp.tables import PLANS, REVIEWS, SIGNALS, VECTORS

Tables = dict[str, pl.LazyFrame]
PAIRS = "pairs"  # rows of neighbours.pairs
OWN_SIGNALS = "own_signals"  # rows of signals whose key is a SKU, with sku_id


def build(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    """One row per SKU of the tables, SKUs ascending. `sales` are panel.sales_rows, the other tables as the contract has them."""
    sales = tables["sales"].collect()
    reviews = panel.review_rows(tables.get("reviews", pl.LazyFrame(schema=REVIEWS.schema)), timeline).collect()
    products = tables["products"].select("sku_id").collect()
    skus = pl.concat([table["sku_id"].unique() for table in (products, sales, reviews)]).unique().sort()
    channels = panel.weekly_sales(sales, panel.Cells.of(sales, skus, timeline))
    if "reviews" in tables:
        channels |= panel.weekly_reviews(reviews, panel.Cells.of(reviews, skus, timeline))
    place = pl.DataFrame({"sku_id": skus}).with_row_index("row")
    lists = {name: entries(tables, timeline) for name, entries in ENTRIES.items()} | {"cancelled": panel.late_cancellations(sales)}
    return shard_frame(skus, channels, {name: placed(own, place) for name, own in lists.items()})


def placed(frame: pl.DataFrame, place: pl.DataFrame) -> pl.DataFrame:
    """A frame with its SKUs' places instead of their names."""
    return frame.join(place, on="sku_id", maintain_order="left").drop("sku_id")


def versions(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    """Product rows in the order in which they became known, without photos."""
    return known_from(tables["products"]).select("sku_id", *LISTS["versions"]).collect()


def photos(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    rows = known_from(tables["products"]).filter(pl.col("image").list.len() > 0)
    return rows.select("sku_id", "known_from", photos="image").collect()


def known_from(products: pl.LazyFrame) -> pl.LazyFrame:
    """Adds the first Monday after known_at, and sorts by it; a row without known_at comes first and always counts."""
    week = pl.col("known_at").dt.truncate("1w") + WEEK
    return products.with_columns(known_from=week).sort("sku_id", "known_at", nulls_last=False, maintain_order=True)


def review_texts(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    reviews = tables.get("reviews", pl.LazyFrame(schema=REVIEWS.schema))
    written = reviews.filter(pl.col("text").is_not_null() & (pl.col("date") < timeline.origin))
    return written.select("sku_id", "date", "text").sort("sku_id", "date", "text").collect()


def vectors(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    """In the order in which they became known; one without known_at always counts."""
    rows = tables.get("vectors", pl.LazyFrame(schema=VECTORS.schema))
    week = pl.col("known_at").dt.truncate("1w") + WEEK
    return rows.sort("sku_id", "kind", "known_at", nulls_last=False).select("sku_id", "kind", "vector", known_from=week).collect()


def signals(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    """Those whose key is the SKU."""
    rows = tables.get(OWN_SIGNALS, pl.LazyFrame(schema={"sku_id": pl.String, **SIGNALS.schema}))
    return (
        weekly_signals(rows.with_columns(key="sku_id"), timeline)
        .rename({"key": "sku_id"})
        .sort("sku_id", "name", "week", "known")
        .collect()
    )


def neighbours(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    empty = pl.LazyFrame(schema={"sku_id": pl.String, "other": pl.UInt64, "week": pl.Int32, "count": pl.UInt32})
    return ranked(tables.get(PAIRS, empty).collect(), timeline.weeks)


def plans(tables: Tables, timeline: Timeline) -> pl.DataFrame:
    rows = tables.get("plans", pl.LazyFrame(schema=PLANS.schema))
    return rows.select("sku_id", "week", "price", "promo").sort("sku_id", "week").collect()


ENTRIES: dict[str, Callable[[Tables, Timeline], pl.DataFrame]] = {
    "versions": versions,
    "photos": photos,
    "review_texts": review_texts,
    "vectors": vectors,
    "signals": signals,
    "neighbours": neighbours,
    "plans": plans,
}
