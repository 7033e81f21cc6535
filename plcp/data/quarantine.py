"""Bad rows set aside: a file per table that says of each one where it stood and what is wrong with it."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data.checks import Check
from plcp.data.files import ROW, Source
from plcp.data.problems import Problem
from plcp.tables import INT, QUARANTINE, STRING

PLACE = "__place"  # a complaint's number among all of its table
COMPLAINT = ("field", "check", "value", "reason", "outcome")


def complaint(rows: pl.LazyFrame, checks: Sequence[Check]) -> pl.LazyFrame:
    """ROW and COMPLAINT of numbered rows that break a rule; where several are broken the first one is named."""

    def first(of: Callable[[Check], pl.Expr], name: str) -> pl.Expr:
        *earlier, last = checks
        return reduce(lambda rest, c: pl.when(c.bad).then(of(c)).otherwise(rest), reversed(earlier), of(last)).alias(name)

    of: dict[str, Callable[[Check], pl.Expr]] = {
        "field": lambda c: pl.lit(c.field),
        "check": lambda c: pl.lit(c.name),
        "value": lambda c: c.value,
        "reason": lambda c: c.reason,
    }
    bad = rows.filter(pl.any_horizontal([c.bad for c in checks]))
    return bad.select(ROW, *(first(get, name) for name, get in of.items()), pl.lit(checks[0].outcome).alias("outcome"))


def set_aside(source: Source, complaints: list[pl.LazyFrame], bad_files: list[Problem], quarantine: Path | None) -> list[Problem]:
    """Write QUARANTINE rows to `quarantine`/<table>.parquet, if there are any, and sum them up as problems."""
    table = source.table.name
    whole_files = pl.LazyFrame([{name: getattr(p, name) for name in QUARANTINE.schema} for p in bad_files], schema=QUARANTINE.schema)
    parts = [pl.concat(complaints).select(_located(source)), whole_files]
    with ExitStack() as stack:
        folder = Path(quarantine or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        path, aside = folder / f"{table}.parquet", folder / f".{table}.parquet.writing"
        pl.concat(parts).sink_parquet(aside)
        rows = pl.scan_parquet(aside).filter(pl.col("row").is_not_null())
        problems = bad_files + _summary(rows)
        if problems:
            aside.replace(path)
        else:  # what an earlier check set aside has been mended
            aside.unlink()
            path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder stays if it holds other tables' rows
                folder.rmdir()
    return problems


def _located(source: Source) -> list[pl.Expr]:
    """QUARANTINE's columns from numbered complaints."""
    starts, files = np.array(source.starts), pl.Series(source.files, dtype=STRING)

    def place(rows: pl.Series) -> pl.Series:
        k = np.searchsorted(starts, rows.to_numpy(), side="right") - 1
        return pl.DataFrame({"file": files.gather(k), "row": rows.cast(INT) - pl.Series(starts[k], dtype=INT)}).to_struct()

    struct = pl.Struct({"file": STRING, "row": INT})
    where = pl.col(ROW).map_batches(place, return_dtype=struct, is_elementwise=True)
    own = {"table": pl.lit(source.table.name), "file": where.struct["file"], "row": where.struct["row"]}
    return [own.get(name, pl.col(name)).alias(name) for name in QUARANTINE.schema]


def _summary(rows: pl.LazyFrame) -> list[Problem]:
    """One problem for each rule that rows break, with the first of them."""
    kinds = ["table", "check", "field", "reason", "outcome"]
    first = [pl.col(c).min_by(PLACE) for c in ("file", "row", "value")]
    found = rows.with_row_index(PLACE).group_by(kinds).agg(pl.len().alias("rows"), pl.col(PLACE).min(), *first)
    return [Problem(**row) for row in found.collect(engine="streaming").sort(PLACE).drop(PLACE).iter_rows(named=True)]


def remarks(source: Source) -> list[Problem]:
    """What is worth a word about a table's columns: those that the contract does not know, and clocks of another time zone."""
    found = {(name, type) for piece in source.pieces for name, type in piece.schema.items()}
    table, known = source.table.name, set(source.table.schema)
    extra = sorted({name for name, _ in found} - known)
    zones = sorted({(name, t.time_zone) for name, t in found if name in known and isinstance(t, pl.Datetime) and t.time_zone})
    ignored = [Problem(table, "extra column", name, source.rows, "no column of the contract; ignored", "noted") for name in extra]
    zoned = "times of {}: the day that this zone's clock showed is the one that counts"
    return ignored + [Problem(table, "time zone", name, source.rows, zoned.format(zone), "noted") for name, zone in zones]
