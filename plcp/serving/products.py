"""Whole products of a request as a shard: the features the weekly run would see, had they been in its data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from plcp.base import DataError
from plcp.data.panel import REVIEWED
from plcp.data.prepared import Prepared, shard_of
from plcp.data.shard_rows import channel_type
from plcp.data.shards import Shard
from plcp.model.preprocess import open_image
from plcp.serving.problems import FieldError, invalid
from plcp.serving.schemas import Product
from plcp.tables import PRODUCTS, SALES


def shard_of_products(products: Sequence[Product], prepared: Prepared) -> Shard:
    """One row per product, in their order, under the name it bears in the request.

    Raises ProblemError (422) naming a sale that lies in no week of the prepared data.
    """
    check_dates(products, prepared)
    names = [f"{place:06d}" for place in range(len(products))]  # a shard's rows are sorted by name
    tables = {"products": product_rows(names, products, prepared), "sales": sale_rows(names, products)}
    shard = shard_of({name: frame.lazy() for name, frame in tables.items()}, prepared.timeline, prepared.shop)
    own = pl.Series("sku_id", [product.sku_id or f"product-{i}" for i, product in enumerate(products)])
    return Shard(like_prepared(shard.frame, prepared).with_columns(own), shard.timeline, shard.shop)


def check_dates(products: Sequence[Product], prepared: Prepared) -> None:
    early = f"is before the first week of the prepared data, {prepared.first_week}; leave such sales out and give launch_date"
    late = f"is not before the origin, {prepared.origin}"
    wrong = [
        FieldError(field=f"products[{i}].history[{j}].date", message=f"{sale.date} {late if sale.date >= prepared.origin else early}")
        for i, product in enumerate(products)
        for j, sale in enumerate(sales(product))
        if not prepared.first_week <= sale.date < prepared.origin
    ]
    if wrong:
        raise invalid(wrong)


def broken_photo(place: int, product: Product) -> FieldError | None:
    """What is wrong with the photo that counts of a request's product, found by decoding it; None where nothing is."""
    try:
        if product.image:
            open_image(product.image[0], "the photo")
    except DataError as error:
        return FieldError(field=f"products[{place}].image", message=str(error))
    return None


def sales(product: Product) -> list[Any]:
    """Its history; the class of its rows is made at run time."""
    return product.history


def product_rows(names: Sequence[str], products: Sequence[Product], prepared: Prepared) -> pl.DataFrame:
    """Rows of the table products; what was neither sold nor dated is launched at the origin."""
    rows = []
    for name, product in zip(names, products, strict=True):
        launch = product.launch_date or (None if product.history else prepared.origin)
        own = product.model_dump(exclude={"sku_id", "image", "history", "launch_date"})
        rows.append({**own, "sku_id": name, "image": product.image, "launch_date": launch, "image_path": None, "known_at": None})
    return pl.DataFrame(rows, schema={**PRODUCTS.schema, "image": pl.List(pl.Binary())})


def sale_rows(names: Sequence[str], products: Sequence[Product]) -> pl.DataFrame:
    rows = [{"sku_id": name, **sale.model_dump()} for name, product in zip(names, products, strict=True) for sale in sales(product)]
    return pl.DataFrame(rows, schema=SALES.schema)


def like_prepared(frame: pl.DataFrame, prepared: Prepared) -> pl.DataFrame:
    """The channels the prepared data has, and no others: the model knows those. A history by weeks does not say what single orders were."""
    weeks = prepared.weeks
    missing = [
        pl.Series(name, np.full((len(frame), weeks), 0.0 if name in REVIEWED else np.nan), dtype=channel_type(name, weeks))
        for name in prepared.channels
        if name not in frame.columns
    ]
    lists = [name for name in frame.columns if not isinstance(frame.schema[name], pl.Array)]
    return frame.with_columns(missing).select("sku_id", *prepared.channels, *(name for name in lists if name != "sku_id"))
