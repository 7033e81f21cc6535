"""Foreign tables: spreadsheets, CSV and Parquet read alike, their columns recognised by the names people give them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import fastexcel
import polars as pl

from plcp.base import DataError

SUFFIXES = (".xlsx", ".csv", ".parquet")
DATE_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%m/%d/%Y %H:%M", "%m/%d/%y %H:%M", "%m/%d/%Y")


def read_parts(src: Path) -> list[pl.DataFrame]:
    """The tables of a file or of a folder of files, a spreadsheet's sheets each by itself. Raises DataError if there is nothing to read."""
    paths = sorted(p for p in src.iterdir() if p.suffix in SUFFIXES) if src.is_dir() else [src]
    if not src.exists() or not paths:
        raise DataError(f"{src}: no such file, or no {', '.join(SUFFIXES)} file in it")
    return [part for path in paths for part in _read(path)]


def _read(path: Path) -> list[pl.DataFrame]:
    try:
        if path.suffix == ".xlsx":
            sheets = pl.read_excel(path, sheet_id=0, read_options={"dtypes": "string"})
            return [sheet for sheet in sheets.values() if sheet.width]
        if path.suffix == ".csv":
            return [pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")]
        if path.suffix == ".parquet":
            return [pl.read_parquet(path, glob=False)]
    except (pl.exceptions.PolarsError, fastexcel.FastExcelError, OSError) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0][:200]})") from error
    raise DataError(f"{path}: expected one of {', '.join(SUFFIXES)}")


def recognise(part: pl.DataFrame, names: Mapping[str, Sequence[str]], required: Sequence[str]) -> pl.DataFrame:
    """Rename columns to ours; `names` lists what others call each, compared without case, spaces or signs. Other columns are dropped.

    Raises DataError if a required one is missing.
    """
    found = {_plain(c): c for c in part.columns}
    ours = {name: found[_plain(other)] for name, others in names.items() for other in reversed((name, *others)) if _plain(other) in found}
    if missing := [name for name in required if name not in ours]:
        raise DataError(f"no column {', '.join(missing)}: found {', '.join(part.columns)}")
    return part.select(pl.col(theirs).alias(name) for name, theirs in ours.items())


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def number(name: str, type: pl.DataType) -> pl.Expr:
    return pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) if type == pl.String else pl.col(name).cast(pl.Float64)


def moment(name: str, type: pl.DataType) -> pl.Expr:
    """A date or date and time as the clock showed it; null where it cannot be read. 12/1/2010 is the first of December."""
    if type != pl.String:
        raw = pl.col(name).dt.replace_time_zone(None) if isinstance(type, pl.Datetime) else pl.col(name)
        return raw.cast(pl.Datetime("us"))
    text = pl.col(name).str.strip_chars().str.replace("T", " ", literal=True)
    return pl.coalesce(text.str.to_datetime(f, strict=False, time_unit="us") for f in DATE_FORMATS)


def key(name: str, type: pl.DataType) -> pl.Expr:
    """An id as text, also where a spreadsheet made a number of it: 13085.0 is 13085."""
    whole = pl.col(name).cast(pl.Int64, strict=False) if type.is_float() else pl.col(name)
    text = whole.cast(pl.String).str.strip_chars().str.replace(r"^(\d+)\.0+$", "$1")
    return pl.when(text != "").then(text)
