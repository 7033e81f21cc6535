"""Sales and reviews on the weekly axis.

Sums run over integers (units in ten-thousandths, money in millionths): exact, so that the same rows give the same
bits in whatever order a parallel engine meets them.
"""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from plcp.base import DataError
from plcp.data.timeline import WEEK, Timeline, monday

UNIT, MONEY = 10_000, 1_000_000
SAFE = 2.0**62  # half of what an integer holds, as the floats that watch over it are rounded
SUMMED = ("page_views", "ad_spend", "returns")
AVERAGED = ("promo", "in_stock")
LINES = ("lines", "largest")  # rows of sales, and the most units in one: many small orders promise more than a single large one
REVIEWED = ("reviews", "rating_sum")  # 0 where there is no row: nobody wrote
CHANNELS = ("units", "price", *AVERAGED, *SUMMED, *LINES, *REVIEWED)


def timeline_of(sales_by_date: pl.DataFrame, origin: dt.date | None, max_weeks: int) -> Timeline:
    """The observed weeks: from the first sale's week to the last full one, or to the origin the data was cut at; the last `max_weeks`.

    sales_by_date: date and units. The last week is full if sales reach the weekday on which this shop's weeks usually end (Monday for
    weekly data). Raises DataError where there is no full week.
    """
    days = sales_by_date.filter(pl.col("units") > 0)["date"].sort()
    if days.is_empty():
        raise DataError(
            "sales: no valid row with units above zero, so there is nothing to prepare; see the quarantine for what was refused"
        )
    if origin:
        if monday(days[0]) >= monday(origin):
            raise DataError(f"sales: no week lies before the origin {origin}; the data begins on {days[0]}")
        days = days.filter(days < origin)
    weeks = pl.DataFrame({"week": days.dt.truncate("1w"), "day": days.dt.weekday()}).group_by("week").agg(pl.col("day").max()).sort("week")
    if origin is None:
        usual = int(weeks.select(pl.col("day").median()).item())
        last = weeks["week"][-1] if weeks["day"][-1] >= usual else weeks["week"][-2] if len(weeks) > 1 else None
        if last is None:
            raise DataError(f"sales: the data ({days[0]} to {days[-1]}) holds no full week")
        origin = last + dt.timedelta(weeks=1)
    first = max(monday(days[0]), monday(origin) - max_weeks * WEEK)
    count = (monday(origin) - first).days // 7
    sold = set(weeks["week"].to_list())
    closed = tuple(i for i in range(count) if first + dt.timedelta(weeks=i) not in sold)
    return Timeline(first, count, closed)


def finer_than_weeks(dates: pl.Series) -> bool:
    """Whether sales are dated by the day: weekly data knows Mondays alone."""
    return bool((dates.dt.weekday() != 1).any())


def exact(value: pl.Expr, scale: int) -> pl.Expr:
    return (value * scale).round().cast(pl.Int64)


@dataclass(frozen=True)
class Cells:
    """Where the rows of a table lie in a panel of n SKUs × weeks: `place` (rows,) counts its cells row by row."""

    place: np.ndarray
    skus: pl.Series
    weeks: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.skus), self.weeks

    @staticmethod
    def of(rows: pl.DataFrame, skus: pl.Series, timeline: Timeline) -> "Cells":
        """rows: sku_id, all of them in `skus`, and week (index)."""
        row = rows["sku_id"].cast(pl.Enum(skus)).to_physical()
        return Cells(row.to_numpy().astype(np.int64) * timeline.weeks + rows["week"].to_numpy(), skus, timeline.weeks)

    def sums(self, values: pl.Series) -> np.ndarray:
        """Sums of whole numbers, 0 or more, (n, weeks) int64; nulls count nothing. Raises DataError where one is larger than an integer."""
        whole = values.fill_null(0).to_numpy()
        if float(whole.max(initial=0)) * len(whole) > SAFE:
            about = np.bincount(self.place, whole)
            if about.max() > SAFE:
                sku = self.skus[int(about.argmax()) // self.weeks]
                raise DataError(f"SKU {sku}: {values.name} of one week too large to be added up: is a unit of money or of goods mistaken?")
        total = np.zeros(self.shape, np.int64)
        np.add.at(total.reshape(-1), self.place, whole)
        return total

    @cached_property
    def rows(self) -> np.ndarray:
        """How many rows fall into each cell, (n, weeks)."""
        return np.bincount(self.place, minlength=self.shape[0] * self.shape[1]).reshape(self.shape)

    def counts(self, there: pl.Series) -> np.ndarray:
        """How many of the rows that are true fall into each cell, (n, weeks)."""
        return self.rows if there.all() else Cells(self.place[there.to_numpy()], self.skus, self.weeks).rows

    def most(self, values: pl.Series) -> np.ndarray:
        """The largest value of each cell, (n, weeks), 0 or more."""
        top = np.zeros(self.shape)
        np.maximum.at(top.reshape(-1), self.place, values.to_numpy())
        return top


def sales_rows(sales: pl.LazyFrame, timeline: Timeline, present: list[str]) -> pl.LazyFrame:
    """All that shards take of a sales table: rows of the observed weeks, sums as whole numbers.

    `present` names the optional columns that hold anything, and LINES where rows are finer than weeks. Returns sku_id, week (index), units
    (ten-thousandths); known (week index of the cancellation), price and paid (its product with the units; millionths), AVERAGED
    (millionths), SUMMED (ten-thousandths) and largest (units).
    """
    units, price = pl.col("units"), pl.col("price")
    columns = [timeline.index_of("date").alias("week"), exact(units, UNIT).alias("units")]
    if "cancelled_at" in present:
        columns.append(timeline.index_of("cancelled_at").alias("known"))
    if "price" in present:
        columns += [exact(price, MONEY).alias("price"), exact(price * units, MONEY).alias("paid")]
    columns += [exact(pl.col(name), MONEY).alias(name) for name in AVERAGED if name in present]
    columns += [exact(pl.col(name), UNIT).alias(name) for name in SUMMED if name in present]
    columns += [units.alias("largest")] if "lines" in present else []
    return sales.select("sku_id", *columns).filter(pl.col("week").is_between(0, timeline.weeks - 1))


def weekly_sales(rows: pl.DataFrame, cells: Cells) -> dict[str, np.ndarray]:
    """Per SKU and week, (n, weeks): units net of every cancellation, mean price and the other channels; NaN where nothing is known.

    rows: as sales_rows. Price is what was paid for a unit on average; where nothing was sold, the mean of the prices asked.
    """
    units = rows["units"]
    found = {"units": cells.sums(units * rows["known"].is_null() if "known" in rows.columns else units) / UNIT}
    if "price" in rows.columns:
        priced = rows["price"].is_not_null()
        bought = cells.sums(units if priced.all() else units * priced)
        asked = ratio(cells.sums(rows["price"]), cells.counts(priced), MONEY)
        found["price"] = ratio(cells.sums(rows["paid"]), bought, MONEY // UNIT, asked)
    for name in (c for c in (*AVERAGED, *SUMMED) if c in rows.columns):
        known = cells.counts(rows[name].is_not_null())
        found[name] = ratio(cells.sums(rows[name]), *((known, MONEY) if name in AVERAGED else (known > 0, UNIT)))
    if "largest" in rows.columns:  # as they were when they came: what was taken back later counts
        found |= {"lines": cells.counts(units > 0), "largest": cells.most(rows["largest"])}
    return found


def ratio(total: np.ndarray, count: np.ndarray, scale: int = 1, otherwise: np.ndarray | None = None) -> np.ndarray:
    """total / (count × scale), float32; `otherwise`, or NaN, where the count is 0."""
    out = np.full(total.shape, np.nan, np.float32) if otherwise is None else otherwise
    return np.divide(total, count * scale, out=out, where=count > 0, casting="same_kind")


def late_cancellations(rows: pl.DataFrame) -> pl.DataFrame:
    """Units that were taken back in a later week than they were sold: sku_id, sold, known (week indices), units. rows: as sales_rows.

    Origins up to the week `known` still count them as sold.
    """
    if "known" not in rows.columns:
        rows = rows.clear().with_columns(known=pl.lit(None, pl.Int32))
    late = rows.filter(pl.col("known") > pl.col("week")).group_by("sku_id", pl.col("week").alias("sold"), "known")
    return late.agg(pl.col("units").sum() / UNIT).sort("sku_id", "sold", "known")


def review_rows(reviews: pl.LazyFrame, timeline: Timeline) -> pl.LazyFrame:
    """sku_id, week (index) and rating (ten-thousandths) of the reviews of observed weeks."""
    rows = reviews.select("sku_id", timeline.index_of("date").alias("week"), exact(pl.col("rating"), UNIT))
    return rows.filter(pl.col("week").is_between(0, timeline.weeks - 1))


def weekly_reviews(rows: pl.DataFrame, cells: Cells) -> dict[str, np.ndarray]:
    """Per SKU and week, (n, weeks): how many reviews came, and the sum of their ratings. rows: as review_rows."""
    return {"reviews": cells.rows, "rating_sum": cells.sums(rows["rating"]) / UNIT}
