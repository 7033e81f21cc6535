"""Wide weekly tables: one row per product, one column per week, units in the cells."""

from pathlib import Path

import polars as pl

from plcp.base import DataError
from plcp.data.sources import reading
from plcp.data.sources.writing import ImportReport, account, write_folder

COLUMNS = {
    "sku_id": ("sku", "product_id", "item_id", "article_id", "stock_code", "product_code", "item", "product", "id"),
    "title": ("name", "product_name", "item_name", "description", "product_title"),
    "category": ("product_category", "category_path", "department"),
    "brand": ("maker", "manufacturer"),
    "list_price": ("price", "unit_price"),
}
ISO_WEEK = r"^\d{4}-?W\d{2}$"
NO_ID = "no product id"
EMPTY = "empty cell"
UNREADABLE = "no number in the cell"
NEGATIVE = "units below zero"


def import_wide(src: Path, out: Path) -> ImportReport:
    """Spreadsheet, CSV or Parquet with a column of ids and a column per week → products and sales of the contract.

    A column is a week if its name is a date (2024-01-29) or an ISO week (2024-W05). An empty cell is left out, a zero is none sold; rows
    of one product are added up. The report counts cells. Raises DataError where there is no such column, or an unreadable file.
    """
    cells, products = zip(*(_cells(part) for part in reading.read_parts(Path(src))), strict=True)
    lines = pl.concat(cells)
    kept = lines.filter(pl.col("rule").is_null())
    known = pl.concat(products, how="diagonal").unique("sku_id", keep="first", maintain_order=True)
    sales = kept.group_by("sku_id", "date", maintain_order=True).agg(pl.col("units").sum())
    report = account("wide", lines, kept["sku_id"].n_unique())
    write_folder(Path(out), {"products": known, "sales": sales}, report)
    return report


def _cells(part: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every cell as a line (sku_id, date, units, rule), and the products: sku_id, title and what else is told of them."""
    dates = _weeks(part.columns)
    if not dates:
        raise DataError(f"no column is a week: found {', '.join(part.columns[:12])}; expected names like 2024-01-29 or 2024-W05")
    named = reading.recognise(part.drop(dates), COLUMNS, ("sku_id",))
    readers = {"list_price": reading.number}
    named = named.select(readers.get(name, reading.key)(name, type) for name, type in named.schema.items())
    weeks = part.select(reading.number(week, part.schema[week]).alias(week) for week in dates)
    filled = part.select(pl.col(dates).cast(pl.String).str.strip_chars().replace("", None))
    ids = pl.concat([named.select("sku_id")] * len(dates))
    lines = ids.with_columns(
        date=pl.Series([day for day in dates.values() for _ in range(len(part))], dtype=pl.Date),
        units=pl.concat([weeks[week] for week in dates]),
        empty=pl.concat([filled[week].is_null() for week in dates]),
    )
    title = pl.coalesce("title", "sku_id") if "title" in named.columns else pl.col("sku_id")
    return _judged(lines), named.filter(pl.col("sku_id").is_not_null()).with_columns(title.alias("title"))


def _weeks(names: list[str]) -> dict:
    """Date of each column that is named after one."""
    texts = pl.DataFrame({"name": names})
    monday = (pl.col("name").str.replace("-", "", literal=True) + "-1").str.to_date("%GW%V-%u", strict=False)
    iso = pl.when(pl.col("name").str.contains(ISO_WEEK)).then(monday)
    dated = texts.with_columns(date=pl.coalesce(iso, reading.moment("name", pl.String()).dt.date()))
    return dict(dated.drop_nulls().iter_rows())


def _judged(lines: pl.DataFrame) -> pl.DataFrame:
    rules = {
        NO_ID: pl.col("sku_id").is_null(),
        EMPTY: pl.col("empty"),
        UNREADABLE: ~pl.col("units").is_finite().fill_null(False),
        NEGATIVE: pl.col("units") < 0,
    }
    why = pl.coalesce(pl.when(broken).then(pl.lit(rule)) for rule, broken in rules.items())
    return lines.with_columns(why.alias("rule")).drop("empty")
