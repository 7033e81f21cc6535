"""Plain transactions: one line per item sold, as tills and shop systems export them."""

from pathlib import Path

import polars as pl

from plcp.data.sources import reading
from plcp.data.sources.titles import versions
from plcp.data.sources.writing import ImportReport, account, write_folder

COLUMNS = {
    "sku_id": ("sku", "product_id", "item_id", "article_id", "stock_code", "product_code", "item", "article"),
    "ts": ("date", "datetime", "timestamp", "order_date", "invoice_date", "transaction_date", "time", "day"),
    "units": ("quantity", "qty", "units_sold", "amount_sold", "count"),
    "price": ("unit_price", "price_per_unit", "sales_price"),
    "title": ("name", "product_name", "item_name", "description", "product_title"),
    "category": ("product_category", "category_path", "department"),
    "brand": ("maker", "manufacturer"),
    "basket_id": ("order_id", "invoice", "invoice_no", "transaction_id", "receipt_id", "order"),
    "customer_id": ("customer", "user_id", "client_id"),
}
NO_ID = "no product id"
UNREADABLE = "no readable date or quantity"
NO_QUANTITY = "quantity of zero"
NEGATIVE_PRICE = "price below zero"


def import_transactions(src: Path, out: Path) -> ImportReport:
    """Spreadsheet, CSV or Parquet with at least a product id, a date and a quantity → products, sales and baskets of the contract.

    A negative quantity is a return: it stands as `returns` on its own day, and takes nothing from earlier sales. Without titles the ids
    stand in for them. Raises DataError for a missing column or an unreadable file.
    """
    lines = classify(pl.concat([_typed(part) for part in reading.read_parts(Path(src))], how="diagonal"))
    kept = lines.filter(pl.col("rule").is_null()).with_columns(pl.col("ts").dt.date().alias("date"))
    sold = pl.col("units").clip(lower_bound=0)
    back = pl.when(pl.col("units") < 0).then(-pl.col("units"))
    tables = {
        "products": _products(kept),
        "sales": kept.select("sku_id", "date", sold, back.alias("returns"), *(c for c in ("price",) if c in kept.columns)),
    }
    if "basket_id" in kept.columns:
        bought = kept.filter(pl.col("basket_id").is_not_null() & (pl.col("units") > 0))
        tables["baskets"] = bought.select("basket_id", "sku_id", "ts", *(c for c in ("customer_id",) if c in kept.columns))
    report = account("transactions", lines.select("rule", "units"), kept["sku_id"].n_unique())
    write_folder(Path(out), tables, report)
    return report


def _typed(part: pl.DataFrame) -> pl.DataFrame:
    part = reading.recognise(part, COLUMNS, ("sku_id", "ts", "units"))
    readers = {"ts": reading.moment, "units": reading.number, "price": reading.number}
    return part.select(readers.get(name, reading.key)(name, type) for name, type in part.schema.items())


def classify(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines in order of time, with `rule`: why a line is left out, null for those kept."""
    rules = {
        NO_ID: pl.col("sku_id").is_null(),
        UNREADABLE: pl.col("ts").is_null() | ~pl.col("units").is_finite().fill_null(False),
        NO_QUANTITY: pl.col("units") == 0,
    }
    if "price" in lines.columns:
        rules[NEGATIVE_PRICE] = pl.col("price") < 0
    why = pl.coalesce(pl.when(broken).then(pl.lit(rule)) for rule, broken in rules.items())
    return lines.with_columns(why.alias("rule")).sort("ts", maintain_order=True)


def _products(lines: pl.DataFrame) -> pl.DataFrame:
    """Each SKU's states with the days from which they were known; the price of its first line is its list price."""
    title = pl.coalesce("title", "sku_id") if "title" in lines.columns else pl.col("sku_id")
    properties = [c for c in ("category", "brand") if c in lines.columns]
    products = versions(lines.with_columns(title.alias("title")), properties)
    if "price" not in lines.columns:
        return products
    first = lines.filter(pl.col("price").is_not_null()).group_by("sku_id").agg(pl.col("price").first().alias("list_price"))
    return products.join(first, on="sku_id", how="left", maintain_order="left")
