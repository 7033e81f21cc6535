"""From a file's columns to the contract's: one expression per column, and nothing that raises on a bad value."""

from datetime import date
from pathlib import Path

import polars as pl

from plcp.data import images
from plcp.tables import BINARY, DATE, FLOAT, STRING, Column, Table

ISO_DATE = r"^\s*(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}.*)?\s*$"
YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # seconds since 1970
MAX_SHOWN = 100  # characters
PHOTOS = pl.List(pl.Binary())


def fits(column: Column, found: pl.DataType) -> bool:
    """Can a column of this type be read as the contract's? Single values may still fail, and are checked one by one."""
    if found == pl.Null:
        return True
    if column.name == "attributes":
        return isinstance(found, pl.Struct) or found == pl.String
    if column.type == STRING:
        return isinstance(found, (pl.String, pl.Categorical, pl.Enum)) or found.is_integer()
    if column.type == FLOAT:
        return found.is_numeric() or found == pl.String
    if column.type == DATE or isinstance(column.type, pl.Datetime):
        return isinstance(found, (pl.Date, pl.Datetime, pl.String))
    if column.type == BINARY:
        return found in (pl.Binary(), PHOTOS)
    return isinstance(found, (pl.List, pl.Array)) and (found.inner.is_numeric() or found.inner == pl.Null)


def may_fail(column: Column, found: pl.DataType) -> bool:
    """Can a single value of this type be unreadable?"""
    return isinstance(found, pl.Datetime) or (found == pl.String and column.type != STRING)


def read(column: Column, found: pl.DataType) -> pl.Expr:
    """The column in the contract's type, null where a value cannot be read. The clock shown in a time zone is the one that counts."""
    raw = pl.col(column.name)
    if found == pl.Null:
        return raw.cast(column.type)
    if isinstance(found, pl.Struct):
        return raw.struct.json_encode()
    if isinstance(found, pl.Datetime):
        raw = _clock(raw, found)
    if column.type == DATE:
        return _date(raw, found)
    if isinstance(column.type, pl.Datetime):
        return (raw.str.to_datetime(strict=False) if found == pl.String else raw).cast(column.type)
    if found == pl.String and column.type == FLOAT:
        return raw.str.strip_chars().cast(FLOAT, strict=False)
    return raw if found == column.type else raw.cast(column.type)


def shown(name: str, found: pl.DataType) -> pl.Expr:
    """A value as text for a person to read, null where it has no short one."""
    raw = pl.col(name)
    if found.is_nested() or found == pl.Binary:
        return pl.lit(None, STRING)
    if isinstance(found, pl.Datetime):
        raw = _clock(raw, found)
    if found == pl.Date:
        raw = pl.when(raw.is_between(date.min, date.max)).then(raw)
    return raw.cast(STRING).str.slice(0, MAX_SHOWN)


def _clock(raw: pl.Expr, found: pl.Datetime) -> pl.Expr:
    """What the clock showed; null beyond the years 1 to 9999, which no calendar function can take."""
    per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}[found.time_unit]
    sane = raw.to_physical().is_between(max(YEAR_1 * per_second, -(2**63)), min(YEAR_10000 * per_second, 2**63) - 1)
    kept = pl.when(sane).then(raw)
    return kept.dt.replace_time_zone(None) if found.time_zone else kept


def _date(raw: pl.Expr, found: pl.DataType) -> pl.Expr:
    if found == pl.Date:
        return raw
    return raw.str.extract(ISO_DATE).str.to_date("%Y-%m-%d", strict=False) if found == pl.String else raw.dt.date()


def schema(table: Table) -> pl.Schema:
    """The table's columns as they are passed on."""
    return pl.Schema({c.name: PHOTOS if c.name == "image" else c.type for c in table.columns})


def photo_struct(schema: pl.Schema) -> pl.Expr:
    return pl.struct([c for c in ("image", "image_path") if c in schema])


def columns(table: Table, schema: pl.Schema, root: Path, good_photos: bool = False) -> list[pl.Expr]:
    """Every column of the table, absent optional ones as nulls; `image` as a list of encoded photos, read only when it is asked for.

    Photos that are none are left out, unless it is known that there are only good ones.
    """
    found = []
    for column in table.columns:
        if column.name == "image":
            found.append(_photos(schema, root, good_photos).alias("image"))
        elif column.name in schema:
            found.append(read(column, schema[column.name]).alias(column.name))
        else:
            found.append(pl.lit(None, column.type).alias(column.name))
    return found


def _photos(schema: pl.Schema, root: Path, good: bool) -> pl.Expr:
    if not {"image", "image_path"} & set(schema):
        return pl.lit(None, PHOTOS)
    if good and "image_path" not in schema and schema["image"] != pl.Null:
        photos = pl.col("image").list.drop_nulls() if schema["image"] == PHOTOS else pl.concat_list("image")
        return pl.when(pl.col("image").is_not_null() & (photos.list.len() > 0)).then(photos)
    return photo_struct(schema).map_batches(lambda rows: images.photos(rows, root), return_dtype=PHOTOS, is_elementwise=True)
