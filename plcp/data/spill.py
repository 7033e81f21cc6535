"""Tables larger than memory, split by SKU onto disk: each part is a small dataset of whole SKUs."""

from pathlib import Path

import polars as pl

BUCKET = "bucket"
BATCH = 1 << 14  # rows written at a time, for each part: what waits to be written is all the memory that grows with the parts


def parts_of(column: str, parts: int) -> pl.Expr:
    """The part a SKU belongs to: the same one in every table, whatever other SKUs there are."""
    return (pl.col(column).hash(0) % parts).cast(pl.UInt32).alias(BUCKET)


def spill(tables: dict[str, pl.LazyFrame], parts: int, folder: Path) -> list[dict[str, pl.LazyFrame]]:
    """Split every table that has a SKU into `parts`, below `folder`. Streams: memory does not grow with the rows.

    Rows of a SKU keep their order. They are compressed: that takes less time than to write them as they are, and empty columns no space.
    """
    if parts == 1:
        return [tables]
    schemas = {name: schema for name, table in tables.items() if "sku_id" in (schema := table.collect_schema())}
    for name in schemas:
        target = pl.PartitionBy(folder / name, key=parts_of("sku_id", parts), include_key=False)
        tables[name].sink_ipc(target, mkdir=True, maintain_order=True, compression="lz4", record_batch_size=BATCH)
    return [{name: part(folder / name / f"{BUCKET}={i}", schema) for name, schema in schemas.items()} for i in range(parts)]


def part(folder: Path, schema: pl.Schema) -> pl.LazyFrame:
    """One part of a table; without rows where nothing fell into it."""
    return pl.scan_ipc(folder / "*.ipc") if folder.exists() else pl.LazyFrame(schema=schema)
