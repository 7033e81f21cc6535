"""The one cut: what was known before an origin, and what a shop announces of the products that come after it."""

from dataclasses import replace
from datetime import date

import polars as pl

from plcp.base import DataError
from plcp.data.contract import Dataset


def cut(dataset: Dataset, origin: date) -> Dataset:
    """The raw rows known before an origin (a Monday). Plans and supply stay whole: they are the known future, and the present.

    A sale taken back on the origin or later stands again. A product's row without known_at counts from its launch on: its launch_date
    or its first sale. Raises DataError if the origin is no Monday.
    """
    if origin.weekday():
        raise DataError(f"origin {origin} is a {origin:%A}; an origin is a Monday")
    tables = dataset.tables.copy()
    for name, known in _KNOWN.items():
        if name in tables:
            tables[name] = tables[name].filter(known < origin)
    if "sales" in tables:
        back = pl.col("cancelled_at")
        tables["sales"] = tables["sales"].with_columns(pl.when(back < origin).then(back).alias("cancelled_at"))
    first_sale = dataset.first_sale.filter(pl.col("first_sale") < origin)
    if "products" in tables:
        tables["products"] = _known_products(tables["products"], first_sale, origin)
    return replace(dataset, tables=tables, first_sale=first_sale, origin=min(origin, dataset.origin or origin))


# The day on which a row became known, per table. Vectors without known_at are taken for properties of the product.
_KNOWN = {
    "sales": pl.col("date"),
    "reviews": pl.col("date"),
    "baskets": pl.col("ts").dt.date(),
    "signals": pl.coalesce("known_at", "date"),
    "vectors": pl.col("known_at").fill_null(date.min),
}


def _known_products(products: pl.LazyFrame, first_sale: pl.LazyFrame, origin: date) -> pl.LazyFrame:
    launched = (pl.col("launch_date") < origin).fill_null(False) | pl.col("first_sale").is_not_null()
    known = (pl.col("known_at") < origin).fill_null(launched)
    return products.join(first_sale, on="sku_id", how="left", maintain_order="left").filter(known).drop("first_sale")


def launches(dataset: Dataset, origin: date, until: date) -> pl.DataFrame:
    """What a shop may announce of SKUs whose first sale, net of every cancellation, lies in [origin, until).

    Returns sku_id, start (Monday of the first sale), title, description, category, brand, list_price, image. The product's row is the one
    known on the day of the first sale; list_price is its own, else the price of the first sale.
    """
    net = dataset.tables["sales"].filter(pl.col("cancelled_at").is_null() & (pl.col("units") > 0))
    first = net.group_by("sku_id").agg(pl.col("date").min().alias("day")).filter(pl.col("day").is_between(origin, until, closed="left"))
    price = net.join(first, left_on=["sku_id", "date"], right_on=["sku_id", "day"], how="semi", maintain_order="left")
    prices = price.group_by("sku_id", maintain_order=True).agg(pl.col("price").first().alias("first_price"))
    starts = first.collect(engine="streaming").sort("sku_id")
    announced = _announced(dataset.tables["products"], starts)
    return (
        starts.join(announced, on="sku_id", how="left", maintain_order="left")
        .join(prices.collect(engine="streaming"), on="sku_id", how="left", maintain_order="left")
        .select(
            "sku_id",
            pl.col("day").dt.truncate("1w").alias("start"),
            "title",
            "description",
            "category",
            "brand",
            pl.coalesce("list_price", "first_price").alias("list_price"),
            "image",
        )
    )


def _announced(products: pl.LazyFrame, starts: pl.DataFrame) -> pl.DataFrame:
    """Per launched SKU the newest product row known on its first day; the earliest one where none was."""
    fields = ["title", "description", "category", "brand", "list_price", "image"]
    rows = products.select("sku_id", "known_at", *fields).join(starts.lazy(), on="sku_id").collect()
    late = pl.col("known_at") > pl.col("day")
    ordered = rows.with_columns(late=late.fill_null(False)).sort("sku_id", "known_at", nulls_last=False, maintain_order=True)
    known = ordered.filter(~pl.col("late")).group_by("sku_id", maintain_order=True).last()
    later = ordered.filter(pl.col("late")).group_by("sku_id", maintain_order=True).first().join(known, on="sku_id", how="anti")
    return pl.concat([known, later]).select("sku_id", *fields)
