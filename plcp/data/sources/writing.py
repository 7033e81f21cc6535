"""What an importer leaves behind: tables of the contract, and an account of every row it read."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from plcp.base import DataError
from plcp.data.account import Entry

REPORT_FILE = "import.json"  # marks a folder as an import's own, which a new one may replace


@dataclass(frozen=True)
class ImportReport:
    """Rows read = rows kept + rows of every rule; the same of units."""

    source: str
    rows: int
    units: float
    kept: int
    kept_units: float
    excluded: tuple[Entry, ...]
    products: int

    def __str__(self) -> str:
        rules = [f"  {e.rows:>12,}  {e.rule} ({e.units:,.0f} units)" for e in self.excluded]
        head = f"{self.source}: {self.rows:,} rows read, {self.kept:,} kept ({self.kept_units:,.0f} units of {self.products:,} products)"
        return "\n".join([head, *rules])


def account(source: str, lines: pl.DataFrame, products: int) -> ImportReport:
    """From all lines with `units` and `rule` (null for those kept)."""
    sums = lines.group_by("rule").agg(pl.len().alias("rows"), pl.col("units").sum())
    kept = sums.filter(pl.col("rule").is_null())
    excluded = sums.filter(pl.col("rule").is_not_null()).sort("rows", "rule", descending=[True, False])
    return ImportReport(
        source,
        lines.height,
        float(lines["units"].sum()),
        int(kept["rows"].sum()),
        float(kept["units"].sum()),
        tuple(Entry(**row) for row in excluded.iter_rows(named=True)),
        products,
    )


def write_folder(out: Path, tables: Mapping[str, pl.DataFrame], report: ImportReport) -> None:
    """Write a data folder aside and rename it. An earlier import is replaced; anything else in its place is left alone.

    Raises DataError if `out` holds something that no import wrote.
    """
    if out.exists() and any(out.iterdir()) and not (out / REPORT_FILE).exists():
        raise DataError(f"{out}: holds files that no import wrote; remove them or choose another folder")
    aside, old = out.with_name(f".{out.name}.writing"), out.with_name(f".{out.name}.replaced")
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    for name, frame in tables.items():
        (aside / name).mkdir(parents=True)
        frame.write_parquet(aside / name / "part-00000.parquet", row_group_size=1 << 18)
    (aside / REPORT_FILE).write_text(json.dumps(asdict(report), indent=1) + "\n")
    if out.exists():
        out.replace(old)
    aside.replace(out)
    shutil.rmtree(old, ignore_errors=True)
