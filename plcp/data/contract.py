"""The data contract: a folder of tables, opened lazily, with every bad row named and set aside."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import field_validator

from plcp.base import Config, DataError
from plcp.data import files
from plcp.data.problems import Problem, Report
from plcp.data.validation import BY_DATE, Examined, Rules, examine
from plcp.data.whole import by_product, folder_problems, relations, weekly_dates
from plcp.tables import CONTRACT

MAX_BAD_SHARE = 0.01
Opened = tuple[files.Source, list[Problem]]


class ContractConfig(Config):
    """How strictly a data folder is read."""

    max_bad_share: float | dict[str, float] = MAX_BAD_SHARE  # share of bad rows above which a table is refused; or one per table
    duplicate_sales: Literal["sum", "last", "refuse"] = "sum"  # several rows of one SKU and date: add up, keep the last, quarantine all
    week_label: Literal["start", "end"] = "start"  # what the date of weekly rows is: the week's first day, or its last
    today: date | None = None  # nothing after it can have been observed; the clock's day unless set

    @field_validator("max_bad_share")
    @classmethod
    def _of_known_tables(cls, share: float | dict[str, float]) -> float | dict[str, float]:
        if isinstance(share, dict) and (unknown := set(share) - set(CONTRACT)):
            raise ValueError(f"{', '.join(sorted(unknown))} is no table of the contract ({', '.join(CONTRACT)})")
        return share

    def allowed(self, table: str) -> float:
        share = self.max_bad_share
        return share.get(table, MAX_BAD_SHARE) if isinstance(share, dict) else share


@dataclass(frozen=True)
class Dataset:
    """Valid rows of every contract table that is there, lazily, with all columns of the contract.

    `products.image` holds a list of encoded photos, read when it is asked for. `origin` is the first unknown day after asof.cut, else None.
    """

    tables: dict[str, pl.LazyFrame]
    root: Path
    report: Report
    first_sale: pl.LazyFrame  # sku_id, first_sale: day of the first row with units
    sales_by_date: pl.DataFrame  # date, rows, units (ten-thousandths) of all valid sales, those after a cut too
    origin: date | None = None
    content: str = ""  # what beside the files decides on the rows: the configuration; for frames in memory, their hash

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all files of the tables and the cut."""
        digest = hashlib.sha256(f"{self.content} {self.origin}".encode())
        for path in sorted(p for t in self.tables for p in (self.root / t).glob("*.parquet")):
            with path.open("rb") as file:
                digest.update(str(path.relative_to(self.root)).encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @classmethod
    def of(cls, frames: dict[str, pl.DataFrame], config: ContractConfig | None = None, root: Path | None = None) -> "Dataset":
        """The same checks over frames in memory; image paths are looked for below `root`. Raises DataError as open_dataset does."""
        tables = {t: files.open_frame(CONTRACT[t], frame) for t, frame in frames.items()}
        dataset = _examine(tables, [], root or Path(), config or ContractConfig(), None)
        hashes = [f"{name} {frame.hash_rows().sum()}" for name, frame in sorted(frames.items())]
        return _usable(replace(dataset, content=f"{dataset.content} {hashes}"))


def open_dataset(data: Path, config: ContractConfig | None = None, quarantine: Path | None = None) -> Dataset:
    """Check a data folder and open what is valid.

    Bad rows go to `quarantine`/<table>.parquet where it is given. Raises DataError, with the table of reasons, if a required
    table or column is missing or the share of bad rows or files of a table exceeds `max_bad_share`.
    """
    return _usable(_examine_folder(data, config, quarantine))


def check(data: Path, config: ContractConfig | None = None, quarantine: Path | None = None) -> Report:
    """What is wrong with a data folder and where, single products' dates included. Raises DataError only if there is no such folder."""
    dataset = _examine_folder(data, config, quarantine)
    report = dataset.report
    if "sales" in dataset.tables:
        adds_up = (config or ContractConfig()).duplicate_sales == "sum"
        report = replace(report, problems=report.problems + tuple(by_product(dataset.tables["sales"], adds_up)))
    return report


def _examine_folder(data: Path, config: ContractConfig | None, quarantine: Path | None) -> Dataset:
    data = Path(data)
    if not data.is_dir():
        raise DataError(f"{data}: no such data folder; expected a folder with products/*.parquet and sales/*.parquet")
    tables = {name: files.open_table(table, data) for name, table in CONTRACT.items() if (data / name).is_dir()}
    return _examine(tables, folder_problems(data), data, config or ContractConfig(), quarantine)


def _usable(dataset: Dataset) -> Dataset:
    if not dataset.report.ok:
        raise DataError(f"{dataset.root}: this data cannot be used.\n{dataset.report}")
    return dataset


def _examine(tables: Mapping[str, Opened], problems: list[Problem], root: Path, config: ContractConfig, quarantine: Path | None) -> Dataset:
    today = config.today or datetime.now().astimezone().date()
    rules = Rules(root, today, config.duplicate_sales, quarantine)
    examined = {name: examine(source, bad_files, rules) for name, (source, bad_files) in tables.items()}
    frames = {name: table.frame for name, table in examined.items()}
    problems = problems + [p for table in examined.values() for p in table.problems] + relations(examined)
    first_sale = pl.LazyFrame(schema={"sku_id": pl.String, "first_sale": pl.Date})
    by_date = pl.DataFrame(schema=BY_DATE)
    if "sales" in examined:
        shift, noticed = weekly_dates(examined["sales"].dates, config.week_label)
        frames["sales"] = frames["sales"].with_columns(pl.col("date") + shift) if shift else frames["sales"]
        by_date = examined["sales"].dates.with_columns(pl.col("date") + shift)
        first_sale = examined["sales"].ids.lazy().select("sku_id", pl.col("first_sale") + shift).drop_nulls()
        problems += noticed
    rows = {name: table.rows for name, table in examined.items()}
    kept = {name: table.kept for name, table in examined.items()}
    report = Report(tuple(problems), rows, kept, tuple(_stops(tables, examined, config)))
    return Dataset(frames, root, report, first_sale, by_date, content=config.model_dump_json())


def _stops(tables: Mapping[str, Opened], examined: Mapping[str, Examined], config: ContractConfig) -> list[str]:
    """Why the data cannot be used: a required table that is missing or empty, or too many bad rows or files."""
    found = []
    for name, table in CONTRACT.items():
        if name not in examined:
            if table.required:
                found.append(f"{name}: the table is missing; expected Parquet files with {', '.join(table.required_columns)} in {name}/")
            continue
        rows, kept, problems = examined[name].rows, examined[name].kept, examined[name].problems
        files_bad, files_good = sum(p.check == "file" for p in problems), len(tables[name][0].files)
        emptied = sum(p.rows for p in problems if p.outcome == "emptied")
        share = max(files_bad / max(files_bad + files_good, 1), (rows - kept + emptied) / max(rows, 1))
        if share > config.allowed(name):
            found.append(f"{name}: {share:.1%} of its rows or files are bad, {config.allowed(name):.1%} are allowed (max_bad_share)")
        elif table.required and not kept:
            found.append(f"{name}: no rows; expected {', '.join(table.required_columns)} in {name}/*.parquet")
    return found
