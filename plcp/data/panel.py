"""Sales and reviews on the weekly axis.

Sums run over integers (units in ten-thousandths, money in millionths): exact, so that the same rows give the same
bits in whatever order a parallel engine meets them.
"""

import datetime as dt

import polars as pl

from plcp.base import DataError
from plcp.data.timeline import Timeline, monday

UNIT, MONEY = 10_000, 1_000_000
SUMMED = ("page_views", "ad_spend", "returns")
AVERAGED = ("promo", "in_stock")
LINES = ("lines", "largest")  # rows of sales, and the most units in one: many small orders promise more than a single large one
CHANNELS = ("units", "price", *AVERAGED, *SUMMED, *LINES, "reviews", "rating_sum")


def timeline_of(sales: pl.LazyFrame, origin: dt.date | None) -> Timeline:
    """The observed weeks: from the first sale's week to the last full one, or to the origin the data was cut at.

    The last week is full if sales reach the weekday on which this shop's weeks usually end (Monday for weekly data).
    Raises DataError where there is no full week.
    """
    days = sales.filter(pl.col("units") > 0).select(pl.col("date").unique()).collect(engine="streaming")["date"].sort()
    if days.is_empty():
        raise DataError("sales: no valid row, so there is nothing to prepare; see the quarantine for what was refused")
    first = monday(days[0])
    weeks = pl.DataFrame({"week": days.dt.truncate("1w"), "day": days.dt.weekday()}).group_by("week").agg(pl.col("day").max()).sort("week")
    if origin is None:
        usual = int(weeks["day"].median() or 0)  # type: ignore[arg-type]
        last = weeks["week"][-1] if weeks["day"][-1] >= usual else weeks["week"][-2] if len(weeks) > 1 else None
        if last is None:
            raise DataError(f"sales: the data ({days[0]} to {days[-1]}) holds no full week")
        origin = last + dt.timedelta(weeks=1)
    count = (monday(origin) - first).days // 7
    if count < 1:
        raise DataError(f"sales: no week lies before the origin {origin}; the data begins on {days[0]}")
    sold = set(weeks["week"].to_list())
    closed = tuple(i for i in range(count) if first + dt.timedelta(weeks=i) not in sold)
    return Timeline(first, count, closed)


def finer_than_weeks(dates: pl.Series) -> bool:
    """Whether sales are dated by the day: weekly data knows Mondays alone."""
    return bool((dates.dt.weekday() != 1).any())


def exact(value: pl.Expr, scale: int) -> pl.Expr:
    return (value * scale).round().cast(pl.Int64)


def weekly_sales(sales: pl.LazyFrame, timeline: Timeline, present: list[str]) -> pl.LazyFrame:
    """Per SKU and week: units net of every cancellation, mean price and the other channels found in the data.

    `present` names the optional columns that hold anything, and LINES where rows are finer than weeks. Price is what was
    paid for a unit on average; where nothing was sold, the mean of the prices asked.
    """
    cancelled = pl.col("cancelled_at").is_not_null()
    units, price = exact(pl.col("units"), UNIT), pl.col("price")
    priced = price.is_not_null()
    paid, bought = exact(price * pl.col("units"), MONEY).sum(), units.filter(priced).sum()
    asked = exact(price, MONEY).sum() / priced.sum() / MONEY
    net = units.filter(~cancelled) if "cancelled_at" in present else units
    columns = [(net.sum() / UNIT).alias("units")]
    if "price" in present:
        columns.append(pl.when(bought > 0).then(paid / bought * (UNIT / MONEY)).otherwise(asked).alias("price"))
    columns += [(exact(pl.col(c), MONEY).sum() / pl.col(c).is_not_null().sum() / MONEY).alias(c) for c in AVERAGED if c in present]
    columns += [pl.when(pl.col(c).is_not_null().any()).then(exact(pl.col(c), UNIT).sum() / UNIT).alias(c) for c in SUMMED if c in present]
    if "lines" in present:  # as they were when they came: what was taken back later counts
        columns += [(pl.col("units") > 0).sum().cast(pl.Float64).alias("lines"), pl.col("units").max().alias("largest")]
    week = timeline.index_of("date").alias("week")
    observed = sales.with_columns(week).filter(pl.col("week").is_between(0, timeline.weeks - 1))
    return observed.group_by("sku_id", "week").agg(columns)


def late_cancellations(sales: pl.LazyFrame, timeline: Timeline) -> pl.LazyFrame:
    """Units that were taken back in a later week than they were sold: sku_id, sold, known (week indices), units.

    Origins up to the week `known` still count them as sold.
    """
    weeks = [timeline.index_of("date").alias("sold"), timeline.index_of("cancelled_at").alias("known")]
    return (
        sales.filter(pl.col("cancelled_at").is_not_null())
        .with_columns(weeks)
        .filter((pl.col("known") > pl.col("sold")) & pl.col("sold").is_between(0, timeline.weeks - 1))
        .group_by("sku_id", "sold", "known")
        .agg((exact(pl.col("units"), UNIT).sum() / UNIT).alias("units"))
        .sort("sku_id", "sold", "known")
    )


def weekly_reviews(reviews: pl.LazyFrame, timeline: Timeline) -> pl.LazyFrame:
    """Per SKU and week: how many reviews came, and the sum of their ratings."""
    week = timeline.index_of("date").alias("week")
    return (
        reviews.with_columns(week)
        .filter(pl.col("week").is_between(0, timeline.weeks - 1))
        .group_by("sku_id", "week")
        .agg(pl.len().cast(pl.Float64).alias("reviews"), (exact(pl.col("rating"), UNIT).sum() / UNIT).alias("rating_sum"))
    )


def weekly(sales: pl.LazyFrame, reviews: pl.LazyFrame | None, timeline: Timeline, present: list[str]) -> pl.DataFrame:
    """Per SKU and week: every channel the data holds anything for."""
    panel = weekly_sales(sales, timeline, present)
    if reviews is not None:
        panel = panel.join(weekly_reviews(reviews, timeline), on=["sku_id", "week"], how="full", coalesce=True)
    return panel.collect()
