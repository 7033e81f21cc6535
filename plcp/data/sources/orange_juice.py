"""The orange-juice panel (Montgomery 1997, Marketing Science 16(4) 315–337; the R package bayesm): eleven brands in 83 stores, weekly."""

from datetime import date
from pathlib import Path

import polars as pl

from plcp.data.sources import reading
from plcp.data.sources.writing import ImportReport, account, write_folder

BRANDS = (  # name and ounces of a package, in the order of `brand`
    ("Tropicana Premium", 64),
    ("Tropicana Premium", 96),
    ("Florida's Natural", 64),
    ("Tropicana", 64),
    ("Minute Maid", 64),
    ("Minute Maid", 96),
    ("Citrus Hill", 64),
    ("Tree Fresh", 64),
    ("Florida Gold", 64),
    ("Dominick's", 64),
    ("Dominick's", 128),
)
PRICES = tuple(f"price{k}" for k in range(1, len(BRANDS) + 1))  # dollars per ounce
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(("store", "brand", "week", "logmove", *PRICES, "deal", "feat"), ())
WEEK_0 = date(1989, 9, 11)  # week 1 begins on Thursday 1989-09-14; it counts as the week of the Monday that follows
REGULAR_WEEKS = 13  # the regular price is the highest one of so many weeks
UNREADABLE = "no readable store, brand, week or movement"


def import_orange_juice(src: Path, out: Path) -> ImportReport:
    """Parquet or CSV → products, sales and signals of the contract: a SKU is a brand in a store (07-123).

    `logmove` is the log of ounces sold: units are packages, and prices those of a package. `promo` is the depth below the highest
    price of the last 13 weeks; in-store coupon and advertisement are signals named deal and feat. A grocer sets its prices weeks ahead: the
    panel's own are its plans. Raises DataError for a missing column.
    """
    lines = pl.concat([_typed(part) for part in reading.read_parts(Path(src))]).sort("store", "brand", "week")
    kept = lines.filter(pl.col("rule").is_null())
    regular = pl.col("price").rolling_max_by("date", f"{REGULAR_WEEKS}w").over("sku_id")
    sales = kept.select("sku_id", "date", "units", "price", (1 - pl.col("price") / regular).alias("promo"))
    signals = kept.unpivot(["deal", "feat"], index=["date", "sku_id"], variable_name="name").rename({"sku_id": "key"})
    report = account("orange-juice", lines.select("rule", "units"), kept["sku_id"].n_unique())
    plans = sales.select("sku_id", pl.col("date").alias("week"), "price", "promo")
    write_folder(Path(out), {"products": _products(kept), "sales": sales, "signals": signals, "plans": plans}, report)
    return report


def _typed(part: pl.DataFrame) -> pl.DataFrame:
    part = reading.recognise(part, COLUMNS, tuple(COLUMNS))
    part = part.select(reading.number(name, type) for name, type in part.schema.items())
    brand, index = pl.col("brand").cast(pl.Int64), pl.col("brand").cast(pl.Int64) - 1
    known = brand.is_between(1, len(BRANDS)) & pl.all_horizontal(pl.col("store", "week", "logmove").is_finite())
    ounces = pl.lit(pl.Series([size for _, size in BRANDS])).gather(pl.when(known).then(index))
    per_ounce = pl.concat_list(PRICES).list.get(pl.when(known).then(index))
    return part.with_columns(
        pl.when(~known.fill_null(False)).then(pl.lit(UNREADABLE)).alias("rule"),
        pl.format("{}-{}", brand.cast(pl.String).str.zfill(2), pl.col("store").cast(pl.Int64).cast(pl.String).str.zfill(3)).alias("sku_id"),
        (pl.lit(WEEK_0) + pl.duration(weeks=pl.col("week").cast(pl.Int64))).alias("date"),
        (pl.col("logmove").exp() / ounces).round().alias("units"),
        (per_ounce * ounces).alias("price"),
    )


def _products(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per SKU; the price of its first week is its list price."""
    names = {
        "brand": [float(k + 1) for k in range(len(BRANDS))],
        "maker": [name for name, _ in BRANDS],
        "ounces": [size for _, size in BRANDS],
    }
    first = lines.group_by("sku_id", maintain_order=True).agg(pl.col("brand", "store").first(), pl.col("price").first().alias("list_price"))
    return first.join(pl.DataFrame(names), on="brand", how="left", maintain_order="left").select(
        "sku_id",
        pl.format("{} orange juice {} oz", "maker", "ounces").alias("title"),
        pl.lit("Orange juice").alias("category"),
        pl.col("maker").alias("brand"),
        "list_price",
        pl.struct(pl.col("store").cast(pl.Int64), "ounces").struct.json_encode().alias("attributes"),
    )
