"""The contract's rules for single rows, derived from plcp.tables: each one a named check with a Polars expression."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from plcp.data import conform, images
from plcp.data.problems import Outcome
from plcp.tables import DATE, FLOAT, SALES, STRING, Column, Table

EARLIEST = date(1980, 1, 1)  # before it lie only defaults and lost epochs (1970-01-01, 1900-01-01)
FARTHEST = timedelta(days=20 * 365)  # plans and launches may lie ahead, but not in 2999
MAX_ID = 256  # bytes; longer ones are no keys but texts in the wrong column
MAX_NUMBER = 1e9  # beyond it lie keys in the wrong column and broken encodings; exact sums need a bound
MAX_REVENUE = 1e12  # of one row, for the same reason
KEYS = ("sku_id", "basket_id", "customer_id", "key", "name", "kind")
OBSERVED = ("sales.date", "sales.cancelled_at", "reviews.date", "baskets.ts")  # cannot lie in the future
CURRENCY = r"[£$€¥₹₩]|(?i)\b(gbp|usd|eur|cny|rmb|jpy)\b"
CONTROL = r"[\x00-\x1f\x7f]"

Rule = tuple[str, pl.Expr, str]  # name, true where it is broken, reason


@dataclass(frozen=True)
class Check:
    """One rule for one field: `bad` is true for rows that break it; `value` is what to show of them, `reason` says why."""

    name: str
    field: str
    bad: pl.Expr
    value: pl.Expr
    reason: pl.Expr
    outcome: Outcome = "quarantined"


def row_checks(table: Table, schema: pl.Schema, today: date) -> list[Check]:
    """All rules for rows of files with this schema, in the order of the columns; the first one a row breaks is its reason."""
    checks = []
    for column in table.columns:
        if column.name in schema and column.name != "image":
            found = schema[column.name]
            value, rules = conform.shown(column.name, found), _rules(table, column, found, today)
            checks += [Check(name, column.name, bad.fill_null(False), value, pl.lit(reason)) for name, bad, reason in rules]
    return checks + ([_revenue(schema)] if table is SALES and "price" in schema else [])


def _revenue(schema: pl.Schema) -> Check:
    price, units = (conform.read(SALES[name], schema[name]) for name in ("price", "units"))
    reason = f"price × units beyond {MAX_REVENUE:g}: a unit of money or of goods is mistaken"
    return Check(
        "revenue", "price", (price * units > MAX_REVENUE).fill_null(False), conform.shown("price", schema["price"]), pl.lit(reason)
    )


def photo_check(schema: pl.Schema, root: Path) -> Check:
    """Is there a photo that is none? It costs a look into every file, so it stands apart. The product stays, without that photo."""
    reason = conform.photo_struct(schema).map_batches(lambda rows: images.faults(rows, root), return_dtype=STRING, is_elementwise=True)
    path = pl.col("image_path").cast(STRING) if "image_path" in schema else pl.lit(None, STRING)
    return Check("image", "image", reason.is_not_null(), path, reason, "emptied")


def _rules(table: Table, column: Column, found: pl.DataType, today: date) -> Iterator[Rule]:
    raw, value = pl.col(column.name), conform.read(column, found)
    if column.required and not column.nullable:
        yield "missing", raw.is_null(), f"{column.name} is missing"
    if conform.may_fail(column, found):
        yield from _unreadable(column, raw, value)
    if column.type == FLOAT:
        yield from _number_rules(column, value)
    elif column.type == DATE:
        yield from _date_rules(f"{table.name}.{column.name}", value, today)
    elif isinstance(column.type, pl.Datetime):
        yield from _date_rules(f"{table.name}.{column.name}", value.dt.date(), today)
    elif column.type == STRING:
        yield from _string_rules(column, value)
    else:
        yield "empty", value.list.len() == 0, "an empty vector"
        yield "not finite", ~value.list.eval(pl.element().is_finite()).list.all(), "a vector with NaN or infinite values"


def _unreadable(column: Column, raw: pl.Expr, value: pl.Expr) -> Iterator[Rule]:
    unread = raw.is_not_null() & value.is_null()
    if column.type == FLOAT:
        yield "currency", unread & raw.str.contains(CURRENCY), "a currency in the number: give plain numbers in one currency"
        yield "type", unread, "no number"
    else:
        yield "type", unread, "no date: give YYYY-MM-DD"


def _number_rules(column: Column, value: pl.Expr) -> Iterator[Rule]:
    yield "not finite", ~value.is_finite(), "NaN or infinite; leave it empty where it is unknown"
    if column.minimum is not None:
        yield "too low", value < column.minimum, f"below {column.minimum:g}"
    if column.maximum is not None:
        percent = ": a share from 0 to 1 is meant, divide percentages by 100" if column.maximum == 1 else ""
        yield "too high", value > column.maximum, f"above {column.maximum:g}{percent}"
    else:
        yield "too high", value.abs() > MAX_NUMBER, f"beyond {MAX_NUMBER:g}: a key or a code in place of a number?"


def _date_rules(name: str, value: pl.Expr, today: date) -> Iterator[Rule]:
    yield "too early", value < EARLIEST, f"before {EARLIEST}: the default of an empty date?"
    if name in OBSERVED:
        yield "future", value > today, f"in the future (after {today}): it cannot have been observed"
    else:
        yield "too late", value > today + FARTHEST, f"after {today + FARTHEST}"
    if name == "plans.week":
        yield "monday", (value.cast(pl.Int32) + 3) % 7 != 0, "a plan's week is dated by its Monday"


def _string_rules(column: Column, value: pl.Expr) -> Iterator[Rule]:
    if column.required and not column.nullable:
        yield "blank", value.str.strip_chars() == "", f"{column.name} is blank"
    if column.name in KEYS:
        yield "too long", value.str.len_bytes() > MAX_ID, f"longer than {MAX_ID} bytes: a text in place of a key?"
        yield "control character", value.str.contains(CONTROL), "a line break or another control character in a key"
    if column.name == "attributes":
        yield "json", ~value.map_batches(_is_json_object, return_dtype=pl.Boolean, is_elementwise=True), "no JSON object"


def _is_json_object(texts: pl.Series) -> pl.Series:
    return pl.Series([None if text is None else _parses(text) for text in texts], dtype=pl.Boolean)


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
