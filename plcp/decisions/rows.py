"""Decisions as rows of the table: columns filled, ranks given."""

from datetime import date

import polars as pl
import polars.selectors as cs

from plcp.decisions.demand import Array
from plcp.tables import DECISIONS


def decision(
    frame: pl.DataFrame, origin: date, kind: str, unit: str, reason: pl.Expr, **columns: Array | pl.Series | pl.Expr | date
) -> pl.DataFrame:
    """Rows of one kind, without a rank: the reason may use the frame's columns and those given by name (value, expected_effect …)."""
    given = {name: column if isinstance(column, pl.Expr | pl.Series) else pl.lit(column) for name, column in columns.items()}
    frame = frame.with_columns(origin=pl.lit(origin), kind=pl.lit(kind), unit=pl.lit(unit), **given).with_columns(reason=reason)
    frame = frame.with_columns(cs.float().fill_nan(None) + 0.0)  # unknown price or cost: no figure; -0.0 becomes 0.0
    absent = [pl.lit(None, c.type).alias(c.name) for c in DECISIONS.columns if c.name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(c.name).cast(c.type) for c in DECISIONS.columns)


def ranked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """All kinds together, each ranked over the whole catalog by the money at stake, then by value; substitutes by nearness to their SKU."""
    frame = pl.concat([DECISIONS.conform(pl.DataFrame(schema=DECISIONS.schema)), *frames])
    stake = pl.col("expected_effect").abs().fill_null(0)
    order = {"kind": False, "stake": True, "value": True, "sku_id": False, "week": False, "other_sku_id": False}
    frame = frame.with_columns(stake=stake).sort(list(order), descending=list(order.values()))
    scope = pl.when(pl.col("kind") == "substitute").then(pl.col("sku_id"))
    return frame.with_columns(rank=pl.int_range(1, pl.len() + 1).over("kind", scope)).drop("stake")
