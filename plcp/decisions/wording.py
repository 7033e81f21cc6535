"""Numbers as a merchant reads them, as Polars expressions."""

import polars as pl

UNITS_WITH_DECIMAL = 10  # below it a tenth of a unit matters: slow sellers


def count(column: str) -> pl.Expr:
    """Units: 0.4, 7.5, 1240."""
    value = pl.col(column)
    small = value.round(1).cast(pl.String).str.strip_suffix(".0")
    return pl.when(value < UNITS_WITH_DECIMAL).then(small).otherwise(value.round(0).cast(pl.Int64).cast(pl.String))


def money(column: str) -> pl.Expr:
    """Money in the shop's currency: two decimals below 100, whole above."""
    value = pl.col(column)
    cents = (value.abs() * 100).round(0).cast(pl.Int64)
    sign = pl.when(value <= -0.005).then(pl.lit("-")).otherwise(pl.lit(""))
    small = pl.format("{}{}.{}", sign, cents // 100, (cents % 100).cast(pl.String).str.zfill(2))
    return pl.when(value.abs() < 100).then(small).otherwise(value.round(0).cast(pl.Int64).cast(pl.String))


def percent(column: str) -> pl.Expr:
    """A share as 37%."""
    return pl.format("{}%", (pl.col(column) * 100).round(0).cast(pl.Int64))


def weeks(column: str) -> pl.Expr:
    """A whole number of weeks: 1 week, 5 weeks."""
    number = pl.col(column).round(0).cast(pl.Int64)
    return pl.format("{} {}", number, pl.when(number == 1).then(pl.lit("week")).otherwise(pl.lit("weeks")))


def day(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%d")
