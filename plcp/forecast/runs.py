"""Run folders of SCORES: what a run is called, what it holds, and which one readers see.

SCORES/runs/<run>/<table>/part-00000.parquet   the forecast tables, one file per input shard
SCORES/runs/<run>/manifest.json                 what the run was made from, and every file's checksum
SCORES/LATEST                                   the run that readers see; SCORES/HISTORY: the runs published up to it, oldest first

While a run is being made, `.parts/` holds a record of each finished part, `.aside/` what is being written, and `.lock`
keeps a second process waiting; they go when the run is complete. Nothing holds a time stamp: the same run gives the same bytes.
"""

import datetime as dt
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from plcp import __version__, folders
from plcp.base import DataError
from plcp.folders import sha256, sync
from plcp.tables import FORECAST, SCHEMA

PARTS, ASIDE, LOCK, MANIFEST, FAILURES = ".parts", ".aside", ".lock", "manifest.json", "failures.json"


class FileRecord(BaseModel, frozen=True):
    """One Parquet file of a part."""

    rows: int
    bytes: int
    sha256: str


class PartRecord(BaseModel, frozen=True):
    """A finished part: its input, and one file per forecast table."""

    part: str
    shard: str
    input: str  # digest of all that it is made from but the model
    skus: int
    skipped: int
    files: dict[str, FileRecord]


class Failure(BaseModel, frozen=True):
    """A part that was set aside after its last try."""

    part: str
    shard: str
    tries: int
    error: str
    traceback: str


class Source(BaseModel, frozen=True):
    """What a run is made from. Its digest names the run, so that submitting twice works on one and the same folder."""

    prepared: str  # digest of PREPARED
    model: str  # digest of the artifact
    origin: dt.date
    settings: dict[str, object]  # whatever else moves a bit of the output: precision, batch size, threads
    version: str = __version__  # of plcp, whose code it is that forecasts
    tables: str = SCHEMA  # version of their columns

    @property
    def run_id(self) -> str:
        return f"{self.origin}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]}"

    @property
    def threads(self) -> int:
        """CPU threads of each replica: sums made by other numbers of them round otherwise."""
        return int(str(self.settings["threads"]))

    @property
    def comparable(self) -> tuple[object, ...]:
        """What two runs must share for the same inputs to give the same forecasts."""
        return self.model, self.origin, self.settings, self.version, self.tables


class Manifest(BaseModel, frozen=True):
    """What a complete run holds."""

    run_id: str
    source: Source
    skus: int
    skipped: int
    parts: list[PartRecord]


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    root: Path

    def file(self, table: str, part: str) -> Path:
        return self.root / table / f"{part}.parquet"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process makes this run, then keep others waiting; a kill ends that too."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / LOCK
        with ExitStack() as held:
            while True:
                lock = held.enter_context(path.open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                        break  # or the one waited for has removed the file, and a third may hold a new one
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def manifest(self) -> Manifest | None:
        """What the run holds; None while it is being made. Raises DataError where the file is damaged."""
        path = self.root / MANIFEST
        if not path.exists():
            return None
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError(f"{path}: damaged ({first_error(error)}); run the same `plcp score` again, it mends the run") from error

    def record(self, part: str) -> PartRecord | None:
        """The record of a part finished while the run is being made; a damaged one is none, so that the part is made again."""
        try:
            return PartRecord.model_validate_json((self.root / PARTS / f"{part}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def made(self, part: str, digest: str) -> PartRecord | None:
        """The record of a part made from inputs of this digest, if its files are still what they were."""
        record = self.record(part)
        return record if record and record.input == digest and self.intact(record) else None

    def aside(self) -> Path:
        """A fresh folder for one attempt at a part, on the same file system as the run."""
        folder = self.root / ASIDE / uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def commit(self, record: PartRecord, aside: Path) -> None:
        """Move a part's files from its attempt's folder into place; its record comes last and makes it finished.

        An attempt that was given up may come after the run is complete: then its files are there already, and stay.
        """
        (aside / "record.json").write_text(record.model_dump_json())
        moves = [(aside / table / f"{record.part}.parquet", self.file(table, record.part)) for table in record.files]
        moves.append((aside / "record.json", self.root / PARTS / f"{record.part}.json"))
        for source, _ in moves:
            sync(source)
        if record in self.complete_parts() and self.intact(record):
            return
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)

    def complete_parts(self) -> list[PartRecord]:
        """Of the manifest; none where there is no readable one."""
        try:
            manifest = self.manifest()
        except DataError:  # the parts are made again, and the manifest with them
            manifest = None
        return manifest.parts if manifest else []

    def finished(self) -> dict[str, PartRecord]:
        """Records by part of everything finished whose files are still what they were."""
        records = {record.part: record for record in self.complete_parts()}
        found = (self.record(path.stem) for path in sorted((self.root / PARTS).glob("*.json")))
        records |= {record.part: record for record in found if record}
        return {part: record for part, record in records.items() if self.intact(record)}

    def intact(self, record: PartRecord) -> bool:
        paths = {name: self.file(name, record.part) for name in FORECAST}
        return all(name in record.files and path.exists() and sha256(path) == record.files[name].sha256 for name, path in paths.items())

    def fail(self, failures: list[Failure]) -> Path:
        path = self.root / FAILURES
        replace_text(path, json.dumps([f.model_dump() for f in failures], indent=1))
        return path

    def complete(self, manifest: Manifest) -> None:
        """Write the manifest, then clear away what was only needed on the way, a killed run's included."""
        for table in FORECAST:
            sync(self.root / table)
        replace_text(self.root / MANIFEST, manifest.model_dump_json(indent=1))
        for name in (PARTS, ASIDE):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / FAILURES).unlink(missing_ok=True)


def publish(scores: Path, run_id: str) -> None:
    """Show readers this run from now on: one rename, so that they see the old run or the new one whole."""
    with folders.alone(scores):
        history = published(scores)
        if not history or history[-1] != run_id:
            replace_text(scores / "HISTORY", "".join(f"{run}\n" for run in [*history, run_id]))
            replace_text(scores / "LATEST", f"{run_id}\n")


def published(scores: Path) -> list[str]:
    """The runs published, oldest first, up to the one that readers see."""
    if not (scores / "LATEST").exists():
        return []
    current = (scores / "LATEST").read_text().strip()
    history = (scores / "HISTORY").read_text().split() if (scores / "HISTORY").exists() else []
    while history and history[-1] != current:  # a kill between the two writes of publish or rollback leaves a line too many
        history.pop()
    return history or [current]


def latest(scores: Path) -> Path:
    """Folder of the run that readers see. Raises DataError where none was published."""
    runs = published(scores)
    if not runs:
        raise DataError(f"{scores}: no run was published here; score the catalog first (plcp score MODEL PREPARED --out {scores})")
    return scores / "runs" / runs[-1]


def rollback(scores: Path) -> Path:
    """Show readers the run published before the current one again; returns its folder. Raises DataError where there is none."""
    latest(scores)  # or there is nothing to go back from
    with folders.alone(scores):
        runs = [run for run in published(scores) if (scores / "runs" / run / MANIFEST).exists()]
        if len(runs) < 2:
            raise DataError(f"{scores}: no earlier run to go back to")
        replace_text(scores / "LATEST", f"{runs[-2]}\n")
        replace_text(scores / "HISTORY", "".join(f"{run}\n" for run in runs[:-1]))
    return scores / "runs" / runs[-2]


def replace_text(path: Path, text: str) -> None:
    """Write aside, then rename; on disk before the name is, so that a power cut leaves the old file or the new one whole. One writer at
    a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.writing")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync(path.parent)


def first_error(error: ValidationError) -> str:
    return str(error.errors(include_url=False)[0]["msg"])
