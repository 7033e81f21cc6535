"""Online Retail II (Chen 2019, https://doi.org/10.24432/C5CG6D): order lines of a gift shop, two years, with all their dirt."""

from collections import defaultdict
from datetime import date
from pathlib import Path

import polars as pl

from plcp.data.sources import reading
from plcp.data.sources.titles import versions
from plcp.data.sources.writing import ImportReport, account, write_folder

COLUMNS = {
    "invoice": ("InvoiceNo",),
    "stock_code": (),
    "description": (),
    "quantity": (),
    "ts": ("InvoiceDate",),
    "unit_price": ("Price",),
    "customer_id": (),
}
PRODUCT_CODE = r"^\d{5}[A-Z]{0,2}$"  # five digits and up to two letters; all else is postage, fees, vouchers and tests
SECOND_COPY = "second copy of an invoice that two sheets or files share"
UNREADABLE = "no readable date or quantity"
NO_PRODUCT = "stock code of no product"
NO_PRICE = "price not above zero"
NO_QUANTITY = "quantity of zero"
NO_CUSTOMER = "taken back without a customer"
TOOK_BACK = "cancellation, applied to the line it takes back"
NOTHING_TO_TAKE_BACK = "cancellation without an earlier line of its customer, SKU and quantity"


def import_online_retail(src: Path, out: Path) -> ImportReport:
    """Spreadsheet, CSV or Parquet → products, sales and baskets of the contract in `out`.

    A cancellation takes back the latest earlier line of the same customer, SKU and quantity, one for one: that sale's `cancelled_at`.
    Titles are dated by the first line that bears them. Raises DataError for a missing column or an unreadable file.
    """
    lines = match_cancellations(classify(read_lines(Path(src))))
    sold = lines.filter(pl.col("rule").is_null()).with_columns(pl.col("ts").dt.date().alias("date"))
    products = versions(sold.select("sku_id", "date", title="description"))
    first_price = sold.group_by("sku_id").agg(pl.col("unit_price").first().alias("list_price"))
    tables = {
        "products": products.join(first_price, on="sku_id", how="left", maintain_order="left"),
        "sales": sold.select(
            "sku_id", "date", pl.col("quantity").cast(pl.Float64).alias("units"), pl.col("unit_price").alias("price"), "cancelled_at"
        ),
        "baskets": sold.select(pl.col("invoice").alias("basket_id"), "sku_id", "ts", "customer_id"),
    }
    report = account("online-retail", lines.select("rule", units="quantity"), sold["sku_id"].n_unique())
    write_folder(Path(out), tables, report)
    return report


def read_lines(src: Path) -> pl.DataFrame:
    """All lines in the order in which they lie there, typed: COLUMNS and `rule`, set for copies alone."""
    parts = [_typed(reading.recognise(part, COLUMNS, tuple(COLUMNS))) for part in reading.read_parts(src)]
    lines = pl.concat(part.with_columns(part=pl.lit(k)) for k, part in enumerate(parts))
    size = [pl.len().over("part", "invoice"), pl.col("quantity").sum().over("part", "invoice")]
    copy = pl.col("part") > pl.col("part").min().over("invoice", *size)
    return lines.with_columns(pl.when(copy).then(pl.lit(SECOND_COPY)).alias("rule")).drop("part")


def _typed(part: pl.DataFrame) -> pl.DataFrame:
    types = part.schema
    return part.select(
        reading.key("invoice", types["invoice"]),
        reading.key("stock_code", types["stock_code"]),
        pl.col("description").cast(pl.String),
        reading.number("quantity", types["quantity"]).cast(pl.Int64, strict=False),
        reading.moment("ts", types["ts"]),
        reading.number("unit_price", types["unit_price"]),
        reading.key("customer_id", types["customer_id"]),
    )


def classify(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines in order of time with sku_id, and `rule`: why a line is no sale; null for sales and for cancellations still to be matched."""
    rules = {
        UNREADABLE: pl.col("ts").is_null() | pl.col("quantity").is_null(),
        NO_PRODUCT: ~pl.col("sku_id").str.contains(PRODUCT_CODE).fill_null(False),
        NO_PRICE: ~(pl.col("unit_price") > 0).fill_null(False),
        NO_QUANTITY: pl.col("quantity") == 0,
        NO_CUSTOMER: (pl.col("quantity") < 0) & pl.col("customer_id").is_null(),
    }
    lines = lines.with_columns(sku_id=pl.col("stock_code").str.to_uppercase())
    why = pl.coalesce("rule", *(pl.when(broken).then(pl.lit(rule)) for rule, broken in rules.items()))
    return lines.with_columns(why.alias("rule")).sort("ts", maintain_order=True).with_row_index("line")


def match_cancellations(lines: pl.DataFrame) -> pl.DataFrame:
    """Adds `cancelled_at` to sales that were taken back, and a rule to every cancellation.

    Goes through time once, so what is matched up to a day does not depend on what came after it.
    """
    valid = lines.filter(pl.col("rule").is_null())
    backs = valid.filter(pl.col("quantity") < 0)
    wanted = backs.select("sku_id", "customer_id", -pl.col("quantity")).unique()
    sales = valid.filter(pl.col("quantity") > 0).join(wanted, on=["sku_id", "customer_id", "quantity"], how="semi")
    open_lines: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    cancelled: dict[int, date] = {}
    applied: list[int] = []
    both = pl.concat([sales, backs]).sort("line").select("line", "sku_id", "customer_id", "quantity", pl.col("ts").dt.date())
    for line, sku, customer, quantity, day in both.iter_rows():
        stack = open_lines[sku, customer, abs(quantity)]
        if quantity > 0:
            stack.append(line)
        elif stack:
            cancelled[stack.pop()] = day
            applied.append(line)
    taken = pl.DataFrame(
        {"line": list(cancelled), "cancelled_at": list(cancelled.values())}, schema={"line": lines["line"].dtype, "cancelled_at": pl.Date}
    )
    rule = pl.when(pl.col("line").is_in(applied)).then(pl.lit(TOOK_BACK)).when(pl.col("quantity") < 0).then(pl.lit(NOTHING_TO_TAKE_BACK))
    return lines.join(taken, on="line", how="left", maintain_order="left").with_columns(pl.coalesce("rule", rule).alias("rule"))
