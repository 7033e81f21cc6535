"""The Parquet files of one table: which can be read, and where a row of the whole lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from plcp.data import conform
from plcp.data.problems import Problem
from plcp.tables import Table

IN_MEMORY = "memory"
ROW = "__row"  # a row's number in the whole table


@dataclass(frozen=True)
class Piece:
    """Neighbouring files of one schema, scanned as one. `first_row` is its first row's number in the whole table."""

    scan: pl.LazyFrame
    schema: pl.Schema
    first_row: int = 0

    @property
    def numbered(self) -> pl.LazyFrame:
        return self.scan.with_row_index(ROW, self.first_row)


@dataclass(frozen=True)
class Source:
    """A table as it lies there: its readable files in the order of their names, as pieces."""

    table: Table
    pieces: tuple[Piece, ...]
    files: tuple[str, ...]
    starts: tuple[int, ...]  # number of each file's first row in the whole table
    rows: int

    @classmethod
    def of_files(cls, table: Table, root: Path, paths: Sequence[Path], heights: Sequence[int]) -> "Source":
        """Paths must be readable and of usable schema; heights are their numbers of rows."""
        starts = [0, *np.cumsum(heights).tolist()]
        pieces = []
        schemas = [pl.read_parquet_schema(path) for path in paths]
        for _, run in groupby(range(len(paths)), key=lambda k: list(schemas[k].items())):
            members = list(run)
            scan = pl.scan_parquet([paths[k] for k in members], glob=False, hive_partitioning=False)
            pieces.append(Piece(scan, pl.Schema(schemas[members[0]]), starts[members[0]]))
        return cls(table, tuple(pieces), tuple(str(p.relative_to(root)) for p in paths), tuple(starts[:-1]), starts[-1])


def open_frame(table: Table, frame: pl.DataFrame) -> tuple[Source, list[Problem]]:
    """A frame in memory as a table's only file."""
    if fault := schema_fault(table, frame.schema):
        return Source(table, (), (), (), 0), [Problem(table.name, "file", "", frame.height, fault, file=IN_MEMORY)]
    return Source(table, (Piece(frame.lazy(), frame.schema),), (IN_MEMORY,), (0,), frame.height), []


def open_table(table: Table, root: Path) -> tuple[Source, list[Problem]]:
    """The table's readable files, and a problem for each of the others."""
    folder = root / table.name
    paths, heights, problems = [], [], []
    for path in sorted(p for p in folder.glob("*.parquet") if not p.name.startswith((".", "_"))):
        rows, reason = _inspect(table, path)
        if reason:
            problems.append(Problem(table.name, "file", "", rows, reason, file=str(path.relative_to(root))))
        else:
            paths.append(path)
            heights.append(rows)
    return Source.of_files(table, root, paths, heights), problems


def _inspect(table: Table, path: Path) -> tuple[int, str | None]:
    """Rows of a file, and why it cannot be used as this table, or None."""
    try:
        metadata = pq.read_metadata(path)
        schema = pl.read_parquet_schema(path)
    except (ArrowException, OSError, pl.exceptions.PolarsError) as error:
        kind = "empty file" if path.stat().st_size == 0 else f"not a readable Parquet file ({str(error).splitlines()[0][:120]})"
        return 0, kind
    return metadata.num_rows, schema_fault(table, pl.Schema(schema))


def schema_fault(table: Table, schema: pl.Schema) -> str | None:
    """Why these columns cannot be read as the table: what was found, and what was expected."""
    missing = [name for name in table.required_columns if name not in schema]
    if missing:
        return f"column {', '.join(missing)} is missing: found {', '.join(schema)}; expected {', '.join(table.required_columns)}"
    for column in table.columns:
        if column.name in schema and not conform.fits(column, schema[column.name]):
            return f"column {column.name} has type {schema[column.name]}, expected {column.type}"
    return None


def without_unreadable(source: Source, root: Path) -> tuple[Source, list[Problem]]:
    """The source without the files whose pages cannot be decoded, though their footers could; reads every file."""
    paths, heights, problems = [], [], []
    for name in source.files:
        try:
            last = pl.scan_parquet(root / name, glob=False).with_row_index(ROW).last().collect(engine="streaming")
            heights.append(int(last[ROW][0]) + 1 if len(last) else 0)
            paths.append(root / name)
        except pl.exceptions.PolarsError as error:
            reason = f"damaged Parquet file ({str(error).splitlines()[0][:120]})"
            problems.append(Problem(source.table.name, "file", "", 0, reason, file=name))
    return Source.of_files(source.table, root, paths, heights), problems
