"""What can only be said of a table, or of the folder, as a whole."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from plcp.data.problems import Problem
from plcp.data.validation import Examined
from plcp.tables import CONTRACT

MONDAY = 1
MANY_DATES = 8  # by chance all on one weekday for one product in 7⁷ ≈ 800,000 that is sold daily
KNOWN_FOLDERS = {*CONTRACT, "quarantine"}


def folder_problems(data: Path) -> list[Problem]:
    """Folders with Parquet files that are no table of the contract: a misspelt one would be lost in silence."""
    others = sorted(p.name for p in data.iterdir() if p.is_dir() and p.name not in KNOWN_FOLDERS and any(p.glob("*.parquet")))
    reason = f"no table of the contract ({', '.join(CONTRACT)}); ignored"
    unknown = [Problem(name, "unknown table", "", 0, reason, "noted", file=f"{name}/") for name in others]
    return unknown + [_no_files(data / name) for name in CONTRACT if (data / name).is_dir() and not any((data / name).glob("*.parquet"))]


def _no_files(folder: Path) -> Problem:
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
    return Problem(folder.name, "no files", "", 0, f"no Parquet file in the folder: found {there}", "noted", file=f"{folder.name}/")


def weekly_dates(dates: pl.DataFrame, label: Literal["start", "end"]) -> tuple[timedelta, list[Problem]]:
    """How far to move the dates of weekly sales so that each is a Monday, and what was noticed about the dates.

    Always to the Monday on or after the week's first day: a week that reaches beyond an origin must not count as known there.
    """
    days = dates["date"].dt.weekday().unique().to_list()
    if len(days) != 1 or len(dates) < 2:
        return timedelta(), _mixed(dates)
    first_day = days[0] - (6 if label == "end" else 0)
    ahead = (MONDAY - first_day) % 7
    shift = timedelta(days=ahead + first_day - days[0])
    if not shift:
        return shift, []
    name = dates["date"][0].strftime("%A")
    reason = f"weeks dated by their {label}, a {name}: each one counts as the week of the Monday on or after its first day"
    return shift, [Problem("sales", "weekly", "date", int(dates["rows"].sum()), reason, "noted")]


def _mixed(dates: pl.DataFrame) -> list[Problem]:
    """Daily data in which whole weeks have rows on their Monday alone, or the other way round."""
    weeks = dates.group_by(pl.col("date").dt.truncate("1w").alias("week")).agg(
        pl.col("date").dt.weekday().min().alias("first"), pl.len().alias("days"), pl.col("rows").sum()
    )
    weekly = weeks.filter((pl.col("days") == 1) & (pl.col("first") == MONDAY))
    if len(weekly) < 4 or len(weekly) == len(weeks):
        return []
    counts = f"{len(weekly)} weeks have rows on their Mondays alone, {len(weeks) - len(weekly)} on several days"
    reason = f"{counts}: weekly and daily data, added up alike"
    return [Problem("sales", "mixed granularity", "date", int(weekly["rows"].sum()), reason, "noted")]


def by_product(sales: pl.LazyFrame, adds_up: bool) -> list[Problem]:
    """What shows only in the dates of single SKUs. Holds every SKU's dates, so it is for a check, not for each reading."""
    day = pl.col("date")
    dates = {"rows": pl.len(), "dates": day.n_unique(), "weekdays": day.dt.weekday().n_unique()}
    products = sales.group_by("sku_id").agg(**dates).collect(engine="streaming").sort("sku_id")
    return (_summed(products) if adds_up else []) + _by_the_week(products)


def _summed(products: pl.DataFrame) -> list[Problem]:
    """Rows beyond the first of a SKU and date, which are added up."""
    found = products.filter(pl.col("rows") > pl.col("dates"))
    if found.is_empty():
        return []
    reason = f"{len(found):,} SKUs with several rows of one date: their units are added up (duplicate_sales)"
    beyond = int((found["rows"] - found["dates"]).sum())
    return [Problem("sales", "doubled", "sku_id, date", beyond, reason, "noted", value=found["sku_id"][0])]


def _by_the_week(products: pl.DataFrame) -> list[Problem]:
    """SKUs of which every one of many dates is the same weekday, where others have several."""
    found = products.filter((pl.col("weekdays") == 1) & (pl.col("dates") >= MANY_DATES))
    if found.is_empty() or (products["weekdays"] == 1).all():
        return []
    reason = f"{len(found):,} SKUs sold on one and the same weekday alone, others on several: weekly and daily data?"
    return [Problem("sales", "mixed granularity", "date", int(found["rows"].sum()), reason, "noted", value=found["sku_id"][0])]


def relations(examined: Mapping[str, Examined]) -> list[Problem]:
    """What tables say of each other: unknown products, ids that differ in form alone, launches after sales, gaps in plans."""
    found = []
    if "products" in examined:
        known = examined["products"].ids
        for name, table in examined.items():
            found += _unknown(name, table.ids, known)
        found += _look_alikes(examined)
    if {"products", "sales"} <= set(examined):
        found += _late_launches(examined["products"].frame, examined["sales"].ids)
    if "plans" in examined:
        found += _gaps(examined["plans"].frame)
    return found


def _unknown(table: str, ids: pl.DataFrame, known: pl.DataFrame) -> list[Problem]:
    strangers = ids.join(known, on="sku_id", how="anti").sort("sku_id")
    if strangers.is_empty():
        return []
    use = "kept, but without title or category" if table == "sales" else "of use only where the SKU was sold"
    reason = f"{len(strangers):,} SKUs that are in no row of products: {use}"
    return [Problem(table, "unknown product", "sku_id", int(strangers["rows"].sum()), reason, "noted", value=strangers["sku_id"][0])]


def _look_alikes(examined: Mapping[str, Examined]) -> list[Problem]:
    """SKUs that a person would take for one: they differ in case, Unicode form or surrounding spaces."""
    ids = pl.concat([e.ids.select("sku_id") for e in examined.values()]).unique()
    folded = pl.col("sku_id").str.normalize("NFKC").str.to_lowercase().str.strip_chars()
    alike = ids.group_by(folded.alias("folded")).agg(pl.col("sku_id").sort()).filter(pl.col("sku_id").list.len() > 1)
    if alike.is_empty():
        return []
    example = alike.sort("folded")["sku_id"][0].to_list()
    reason = "ids that differ in case, Unicode form or surrounding spaces alone: kept as different products"
    return [Problem("products", "look-alike ids", "sku_id", len(alike), reason, "noted", value=" / ".join(example))]


def _late_launches(products: pl.LazyFrame, ids: pl.DataFrame) -> list[Problem]:
    launches = products.select("sku_id", "launch_date").filter(pl.col("launch_date").is_not_null())
    late = launches.join(ids.lazy(), on="sku_id").filter(pl.col("launch_date") > pl.col("first_sale")).collect(engine="streaming")
    if late.is_empty():
        return []
    first = late.sort("sku_id").row(0, named=True)
    reason = f"launch_date lies after the first sale ({first['first_sale']} for {first['sku_id']}): the first sale counts"
    return [Problem("products", "late launch", "launch_date", len(late), reason, "noted", value=str(first["launch_date"]))]


def _gaps(plans: pl.LazyFrame) -> list[Problem]:
    week = pl.col("week")
    span = ((week.max() - week.min()).dt.total_days() // 7 + 1).alias("span")
    gapped = plans.group_by("sku_id").agg(span, pl.len().alias("weeks")).filter(pl.col("weeks") < pl.col("span"))
    found = gapped.sort("sku_id").collect(engine="streaming")
    if found.is_empty():
        return []
    reason = f"{len(found):,} SKUs with weeks missing between their first and their last planned one: unknown there"
    missing = int((found["span"] - found["weeks"]).sum())
    return [Problem("plans", "gap", "week", missing, reason, "noted", value=found["sku_id"][0])]
