"""One part of a catalog: a shard in, its forecast tables out."""

import datetime as dt
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from plcp import tables
from plcp.base import DataError, ModelError
from plcp.data.prepared import MANIFEST, Prepared
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecast, ForecasterConfig
from plcp.forecast.runs import FileRecord, PartRecord, Run, checksum


@dataclass(frozen=True)
class Part:
    """What a replica must know to make one part. Rows never travel: the replica reads and writes Parquet itself."""

    index: int  # of the shard in PREPARED
    shard: str
    digest: str  # of the shard's file
    skus: int
    prepared: Path
    run: Path
    model: Path
    model_digest: str
    origin: dt.date
    forecaster: ForecasterConfig
    threads: int

    @property
    def name(self) -> str:
        return f"part-{self.index:05d}"


def read(part: Part) -> Shard:
    """The part's shard. Raises DataError naming the file if it is not the one that was planned."""
    path = part.prepared / "shards" / part.shard
    if not path.exists() or checksum(path) != part.digest:
        raise DataError(f"{path}: missing, or changed since it was prepared; run `plcp prepare` again")
    return opened(part.prepared, (part.prepared / MANIFEST).stat().st_mtime_ns).read(part.index)


@lru_cache(1)
def opened(prepared: Path, changed: int) -> Prepared:
    """PREPARED as it was at the time it `changed`; what is known of the shop as a whole is read once for all parts."""
    return Prepared.open(prepared)


def write(part: Part, shard: Shard, forecast: Forecast, skipped: pl.DataFrame) -> PartRecord:
    """Write the part's tables aside, check that no SKU is lost or doubled, and move them into place."""
    frames = {
        "curve": forecast.curve,
        "events": forecast.events,
        "stage": forecast.stage,
        "embedding": forecast.embedding,
        "skipped": skipped,
    }
    answered = pl.concat([forecast.stage["sku_id"], skipped["sku_id"]])
    if sorted(answered.to_list()) != sorted(shard.sku_id):
        raise ModelError(f"{part.shard}: {len(shard)} SKUs went in, {answered.n_unique()} came out in {len(answered)} rows")
    run = Run(part.run)
    aside = run.aside()
    metadata = {"model": part.model_digest, "origin": part.origin.isoformat(), "run": part.run.name}
    try:
        files = {}
        for name, frame in frames.items():
            path = aside / name / f"{part.name}.parquet"
            tables.write(tables.FORECAST[name], frame, path, metadata)
            files[name] = FileRecord(rows=len(frame), bytes=path.stat().st_size, sha256=checksum(path))
        record = PartRecord(
            part=part.name,
            shard=part.shard,
            input=part.digest,
            skus=len(shard),
            skipped=len(skipped),
            files=files,
        )
        run.commit(record, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return record
