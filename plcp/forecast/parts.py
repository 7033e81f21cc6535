"""One part of a catalog: a shard in, its forecast tables out."""

import datetime as dt
import shutil
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from plcp import tables
from plcp.base import DataError
from plcp.data.prepared import MANIFEST, Prepared
from plcp.data.shards import Shard
from plcp.folders import sha256
from plcp.forecast.forecaster import Forecast, ForecasterConfig
from plcp.forecast.runs import FileRecord, PartRecord, Run


@dataclass(frozen=True)
class Part:
    """What a replica must know to make one part. Rows never travel: the replica reads and writes Parquet itself."""

    index: int  # of the shard in PREPARED
    shard: str
    digest: str  # of the shard's file
    context: str  # digest of what is known of the shop as a whole
    input: str  # digest of all that it is made from but the model
    skus: int
    prepared: Path
    run: Path
    model: Path
    model_digest: str
    origin: dt.date
    forecaster: ForecasterConfig
    threads: int
    only: tuple[str, ...] = ()  # SKUs of the shard that were asked for; all if empty
    carried: tuple[Path, PartRecord] | None = None  # a run that made this part from the same inputs, and its record there

    @property
    def name(self) -> str:
        return f"part-{self.index:05d}"


def read(part: Part) -> Shard:
    """The part's shard, or what was asked for of it. Raises DataError naming the file if it, or the shop, is not what was planned."""
    path = part.prepared / MANIFEST
    prepared = opened(part.prepared, path.stat().st_mtime_ns)
    if prepared.context != part.context or part.digest not in {info.digest for info in prepared.shards[part.index : part.index + 1]}:
        raise DataError(f"{path}: the data was prepared anew during the run; run the command again")
    shard = prepared.read(part.index)
    return replace(shard, frame=shard.frame.filter(pl.col("sku_id").is_in(part.only))) if part.only else shard


@lru_cache(1)
def opened(prepared: Path, changed: int) -> Prepared:
    """PREPARED as it was at the time it `changed`; what is known of the shop as a whole is read once for all parts."""
    return Prepared.open(prepared)


def write(part: Part, shard: Shard, forecast: Forecast, skipped: pl.DataFrame) -> PartRecord:
    """Check that no SKU is lost or doubled, and store the part's tables."""
    frames = {
        "curve": forecast.curve,
        "events": forecast.events,
        "stage": forecast.stage,
        "embedding": forecast.embedding,
        "skipped": skipped,
    }
    answered = pl.concat([forecast.stage["sku_id"], skipped["sku_id"]])
    if sorted(answered.to_list()) != sorted(shard.sku_id):
        raise DataError(f"{part.shard}: {len(shard)} SKUs went in, {answered.n_unique()} came out in {len(answered)} rows")
    return store(part, frames, len(shard), len(skipped))


def carry(part: Part) -> PartRecord | None:
    """The part out of the run that it is to be carried over from; None where a file there is no longer what it was.

    Only the run's name in the files' metadata changes: they are, byte for byte, those that the model would make again.
    """
    if part.carried is None:
        return None
    root, record = part.carried
    if not Run(root).intact(record):
        return None
    frames = {name: pl.read_parquet(Run(root).file(name, record.part)) for name in tables.FORECAST}
    return store(part, frames, record.skus, record.skipped)


def store(part: Part, frames: dict[str, pl.DataFrame], skus: int, skipped: int) -> PartRecord:
    """Write the part's tables aside, and move them into place."""
    run = Run(part.run)
    aside = run.aside()
    metadata = {"model": part.model_digest, "origin": part.origin.isoformat(), "run": part.run.name}
    try:
        files = {}
        for name, frame in frames.items():
            path = aside / name / f"{part.name}.parquet"
            tables.write(tables.FORECAST[name], frame, path, metadata)
            files[name] = FileRecord(rows=len(frame), bytes=path.stat().st_size, sha256=sha256(path))
        record = PartRecord(
            part=part.name,
            shard=part.shard,
            input=part.input,
            skus=skus,
            skipped=skipped,
            files=files,
        )
        run.commit(record, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return record
