"""One table's rows against its rules: one streaming pass where all is well, another over the bad rows where not."""

from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Literal

import polars as pl

from plcp.data import conform
from plcp.data.checks import Check, photo_check, row_checks
from plcp.data.files import ROW, Piece, Source, without_unreadable
from plcp.data.panel import UNIT
from plcp.data.problems import Problem
from plcp.data.quarantine import COMPLAINT, complaint, remarks, set_aside
from plcp.tables import DATE, INT, PRODUCTS, SALES, STRING, Table

Doubled = Literal["sum", "last", "refuse"]
BY_DATE = pl.Schema({"date": DATE, "rows": pl.get_index_type(), "units": INT})  # units in ten-thousandths


@dataclass(frozen=True)
class Examined:
    """A table's valid rows, and what is known of the whole."""

    frame: pl.LazyFrame  # the contract's columns
    rows: int
    kept: int
    problems: list[Problem]
    ids: pl.DataFrame  # sku_id, rows, first_sale (day of the first row with units, where the table has them)
    dates: pl.DataFrame  # BY_DATE: sales alone


@dataclass(frozen=True)
class Rules:
    """What a table is held to. `doubled`: what several sales rows of one SKU and date are; elsewhere the last row of a key stands."""

    root: Path  # image paths lie below it
    today: date
    doubled: Doubled
    quarantine: Path | None


@dataclass(frozen=True)
class Verdict:
    """A piece of a table after the rules for its rows: those that some row breaks, and what is known of all rows."""

    piece: Piece
    broken: list[Check]
    photos: Check | None
    ids: pl.DataFrame
    dates: pl.DataFrame
    good_photos: bool = False

    @property
    def is_bad(self) -> pl.Expr:
        return pl.any_horizontal([c.bad for c in self.broken]) if self.broken else pl.lit(False)

    def valid(self, table: Table, root: Path, numbered: bool = False) -> pl.LazyFrame:
        scan = self.piece.numbered if numbered else self.piece.scan
        kept = scan.filter(~self.is_bad) if self.broken else scan
        columns = conform.columns(table, self.piece.schema, root, self.good_photos)
        return kept.select(ROW, *columns) if numbered else kept.select(columns)

    def complaints(self) -> list[pl.LazyFrame]:
        """Each bad row once, for the first rule that it breaks, and each valid row with a bad photo."""
        rows = [complaint(self.piece.numbered, self.broken)] if self.broken else []
        return rows + ([complaint(self.piece.numbered.filter(~self.is_bad), [self.photos])] if self.photos else [])


def examine(source: Source, bad_files: list[Problem], rules: Rules) -> Examined:
    """Check a table. What is bad, whole files included, is written to the quarantine where there is one."""
    table, root = source.table, rules.root
    try:
        verdicts = [_judge(table, piece, rules) for piece in source.pieces]
    except (pl.exceptions.PolarsError, OSError):
        source, unreadable = without_unreadable(source, root)
        if not unreadable:
            raise
        return examine(source, bad_files + unreadable, rules)
    doomed = _doubled_rows(table, verdicts, rules)
    complaints = [_twins(table, doomed, rules), *(c for verdict in verdicts for c in verdict.complaints())]
    problems = set_aside(source, complaints, bad_files, rules.quarantine)
    bad = sum(p.rows for p in problems if p.outcome == "quarantined" and p.row is not None)
    good_photos = not any(p.check == "image" for p in problems)
    frame = _without(doomed, [replace(v, good_photos=good_photos) for v in verdicts], table, root)
    if bad or not verdicts:
        ids, dates = _collect(_surveys(table, frame))
    else:
        ids, dates = _add_up([v.ids for v in verdicts]), _add_up([v.dates for v in verdicts])
    return Examined(frame, source.rows, source.rows - bad, problems + remarks(source), ids, dates)


def _judge(table: Table, piece: Piece, rules: Rules) -> Verdict:
    """The one pass over all rows. Rules for sku_id are tried on the distinct ones, which are far fewer than the rows."""
    checks = row_checks(table, piece.schema, rules.today)
    by_row = [c for c in checks if c.field != "sku_id"]
    by_sku = [c for c in checks if c.field == "sku_id"]
    conformed = piece.scan.select(conform.columns(table, piece.schema, rules.root))
    tries = piece.scan.select(pl.len().alias("rows"), *(c.bad.any().alias(str(k)) for k, c in enumerate(by_row)))
    tried, ids, dates = _collect([tries, *_surveys(table, conformed)])
    broken = [c for c in by_sku if ids.select(c.bad.any()).item()]
    broken += [c for k, c in enumerate(by_row) if tried[str(k)][0]]
    photos = photo_check(piece.schema, rules.root) if table is PRODUCTS and {"image", "image_path"} & set(piece.schema) else None
    return Verdict(piece, broken, photos, ids, dates)


def _collect(queries: list[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Run queries side by side. What they share is read twice: kept for both, it would lie in memory whole."""
    return pl.collect_all(queries, engine="streaming", optimizations=pl.QueryOptFlags(comm_subplan_elim=False))


def _surveys(table: Table, frame: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Examined.ids and Examined.dates of a frame, empty where the table has none."""
    ids = pl.LazyFrame(schema={"sku_id": STRING, "rows": pl.get_index_type(), "first_sale": DATE})
    dates = pl.LazyFrame(schema=BY_DATE)
    if table is SALES:
        units = (pl.col("units") * UNIT).round().cast(INT, strict=False)  # rows not yet judged may hold NaN
        dates = frame.group_by("date").agg(pl.len().alias("rows"), units.sum())
    if "sku_id" in table.schema:
        first = pl.when(pl.col("units") > 0).then("date").min() if table is SALES else pl.lit(None, DATE)
        ids = frame.group_by("sku_id").agg(pl.len().alias("rows"), first.alias("first_sale"))
    return [ids, dates]


def _add_up(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Surveys of pieces as one of the whole."""
    key, *others = parts[0].columns
    return pl.concat(parts).group_by(key).agg(pl.col(c).min() if c == "first_sale" else pl.col(c).sum() for c in others)


def _without(doomed: pl.DataFrame, verdicts: list[Verdict], table: Table, root: Path) -> pl.LazyFrame:
    """The valid rows of all pieces, doomed ones left out."""
    if not verdicts:
        return pl.LazyFrame(schema=conform.schema(table))
    if doomed.is_empty():
        return pl.concat([v.valid(table, root) for v in verdicts])
    rows = pl.concat([v.valid(table, root, numbered=True) for v in verdicts])
    return rows.filter(~pl.col(ROW).is_in(doomed[ROW].implode())).drop(ROW)


def _doubled_rows(table: Table, verdicts: list[Verdict], rules: Rules) -> pl.DataFrame:
    """ROW of every row that must go because of another one with the same key, with its key as `value`."""
    none = pl.DataFrame(schema={ROW: pl.get_index_type(), "value": STRING})
    if not table.key or not verdicts or (table is SALES and rules.doubled == "sum"):
        return none
    key = list(table.key)
    mark = reduce(xor, (pl.col(k).hash(seed) for seed, k in enumerate(key))).alias("mark")
    rows = pl.concat([v.valid(table, rules.root, numbered=True).select(ROW, *key) for v in verdicts]).with_columns(mark)
    repeated = rows.group_by("mark").agg(pl.len().alias("rows")).filter(pl.col("rows") > 1).collect(engine="streaming")
    if repeated.is_empty():  # no two hashes alike, so no two keys
        return none
    alike = rows.filter(pl.col("mark").is_in(repeated["mark"].implode())).collect(engine="streaming").lazy()
    groups = alike.group_by(key).agg(pl.len().alias("rows"), pl.col(ROW).max().alias("last")).filter(pl.col("rows") > 1)
    twins = alike.join(groups, on=key, nulls_equal=True)
    value = pl.concat_str([pl.col(k).cast(STRING).fill_null("") for k in key], separator=", ").alias("value")
    gone = twins if _refuses(table, rules) else twins.filter(pl.col(ROW) < pl.col("last"))
    return gone.select(ROW, value).sort(ROW).collect(engine="streaming")


def _refuses(table: Table, rules: Rules) -> bool:
    return table is SALES and rules.doubled == "refuse"


def _twins(table: Table, doomed: pl.DataFrame, rules: Rules) -> pl.LazyFrame:
    """Doubled rows as complaints."""
    key = ", ".join(table.key)
    stands = f"several rows have the same {key}: which one is right?"
    reason = stands if _refuses(table, rules) else f"a later row with the same {key} stands in its place"
    marks = {"field": key, "check": "doubled", "reason": reason, "outcome": "quarantined"}
    return doomed.lazy().with_columns(pl.lit(text).alias(name) for name, text in marks.items()).select(ROW, *COMPLAINT)
