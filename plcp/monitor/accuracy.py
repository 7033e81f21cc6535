"""Did past forecasts come true? Their error, bias and calibration, by week, category and age."""

from datetime import date
from pathlib import Path

import polars as pl

from plcp.data.prepared import Prepared
from plcp.forecast import runs
from plcp.monitor.config import MonitorConfig
from plcp.tables import CURVE

RECENT = 4  # weeks whose mean is the simplest forecast
ALL = "all products"
JUDGED = (("q10", 0.1), ("q50", 0.5), ("q90", 0.9))
AGES = pl.when(pl.col("age") <= 12).then(pl.lit("age up to 12")).when(pl.col("age") <= 52).then(pl.lit("age 13 to 52"))
GROUPS = {
    "all": pl.lit(ALL),
    "week": "week of " + pl.col("week").cast(pl.String),
    "category": pl.concat_str(pl.lit("category "), pl.col("category").fill_null("unknown")),
    "age": pl.col("ages"),
}
CELL = ("week", "category", "ages")  # what every group is made of
MEASURES = ("wape", "relative_error", "bias", "calibration_gap")


def accuracy(new: Prepared, scores: Path, config: MonitorConfig) -> pl.DataFrame:
    """group, of, week (null but for groups of weeks), cases and MEASURES, over all weeks of published forecasts that have come.

    No row where none has. Shut weeks and weeks in which a stock-out hid demand are left out. Streams: only the sums of CELLs are kept,
    and of each product the weeks that the forecasts speak of.
    """
    judged = beside_what_came(new, published(scores, config.runs))
    if judged is None:
        return pl.DataFrame(schema=SCHEMA)
    ages = AGES.otherwise(pl.lit("age over 52 or unknown")).alias("ages")
    cells = judged.with_columns(ages).group_by(CELL).agg(**sums()).collect(engine="streaming").sort(CELL)
    weeks = {"week": pl.col("week").first()}
    groups = [
        cells.group_by(of=of).agg(pl.col(sums()).sum(), group=pl.lit(name), week=weeks.get(name, pl.lit(None, pl.Date)))
        for name, of in GROUPS.items()
    ]
    found = pl.concat(groups).filter(pl.col("cases") > 0)  # grouped by a constant, no row is one group
    return found.select("group", "of", "week", pl.col("cases").cast(pl.Int64), **values()).sort("group", "of")


SCHEMA = pl.Schema({"group": pl.String, "of": pl.String, "week": pl.Date, "cases": pl.Int64, **dict.fromkeys(MEASURES, pl.Float64)})


def published(scores: Path, newest: int) -> dict[date, list[Path]]:
    """Curve files of the newest published runs, by origin; of two runs with one origin the later one's."""
    by_origin = {}
    for run in runs.published(scores)[-newest:]:
        files = sorted((scores / "runs" / run / CURVE.name).glob("*.parquet"))
        origin = pl.scan_parquet(files).select("origin").first().collect() if files else pl.DataFrame()
        if len(origin):
            by_origin[origin.item()] = files
    return by_origin


def beside_what_came(new: Prepared, curves: dict[date, list[Path]]) -> pl.LazyFrame | None:
    """The forecast rows whose week has been observed, with category, actual and recent (mean of the four weeks before the origin)."""
    if not curves:
        return None
    line = new.timeline
    first = max(0, min(map(line.index, curves)) - RECENT)
    if first >= line.weeks:
        return None
    shut = [line.date(week) for week in line.closed]
    came = pl.col("week").is_between(line.first_week, line.origin, closed="left") & ~pl.col("week").is_in(shut)
    weekly = [name for name in ("units", "in_stock") if name in new.channels]
    lately = pl.col(weekly).arr.slice(first, line.weeks - first, as_array=True)  # the join holds them of every product
    category = pl.col("versions").list.last().struct.field("category").alias("category")
    shards = pl.scan_parquet([new.root / "shards" / shard.file for shard in new.shards]).select("sku_id", category, lately)
    rows = pl.scan_parquet([file for files in curves.values() for file in files]).filter(came).join(shards, on="sku_id")
    at, origin = line.index_of("week") - first, line.index_of("origin") - first
    if "in_stock" in weekly:
        rows = rows.filter((pl.col("in_stock").arr.get(at) < 1).fill_null(False).not_())
    before = [pl.when(origin >= k).then(pl.col("units").arr.get(origin - k, null_on_oob=True)) for k in range(1, RECENT + 1)]
    return rows.with_columns(actual=pl.col("units").arr.get(at), recent=pl.mean_horizontal(before))


def sums() -> dict[str, pl.Expr]:
    """What every measure is made of, as sums over rows."""
    actual = pl.col("actual")
    found = {
        "cases": pl.len(),
        "sold": actual.sum(),
        "error": (actual - pl.col("q50")).abs().sum(),
        "naive": (actual - pl.col("recent")).abs().sum(),
        "excess": (pl.col("mean") - actual).sum(),
    }
    for name, _ in JUDGED:  # units are counts: a quantile under half a unit reads as zero, as in evaluation.metrics.calibration_gap
        q = pl.when(pl.col(name) < 0.5).then(0.0).otherwise(name)
        found |= {f"below_{name}": (actual < q).sum(), f"within_{name}": (actual <= q).sum()}
    return found


def values() -> dict[str, pl.Expr]:
    """MEASURES from the sums; null where nothing was sold."""
    ratio = {"wape": ("error", "sold"), "relative_error": ("error", "naive"), "bias": ("excess", "sold")}
    cases = pl.col("cases")
    gaps = [gap for q, level in JUDGED for gap in (pl.col(f"below_{q}") / cases - level, level - pl.col(f"within_{q}") / cases)]
    found = {name: pl.when(pl.col(of) > 0).then(pl.col(part) / pl.col(of)) for name, (part, of) in ratio.items()}
    return found | {"calibration_gap": pl.max_horizontal(pl.lit(0.0), *gaps)}
