"""Tables larger than memory, split by SKU onto disk: each part is a small dataset of whole SKUs."""

from pathlib import Path

import polars as pl

BUCKET = "bucket"


def parts_of(column: str, parts: int) -> pl.Expr:
    """The part a SKU belongs to: the same one in every table, whatever other SKUs there are."""
    return (pl.col(column).hash(0) % parts).cast(pl.UInt32).alias(BUCKET)


def spill(tables: dict[str, pl.LazyFrame], parts: int, folder: Path) -> list[dict[str, pl.LazyFrame]]:
    """Split every table that has a SKU into `parts`, below `folder`. Streams: memory does not grow with the rows.

    Rows of a SKU keep their order. Columns without any value are not written, and come back as nulls.
    """
    if parts == 1:
        return [tables]
    tables = {name: table for name, table in tables.items() if "sku_id" in table.collect_schema()}
    kept = {name: filled(table) for name, table in tables.items()}
    for name, table in tables.items():
        if "sku_id" not in kept[name]:
            continue  # no rows
        target = pl.PartitionBy(folder / name, key=parts_of("sku_id", parts), include_key=False)
        table.select(kept[name]).sink_ipc(target, mkdir=True, maintain_order=True)
    return [{name: part(table, kept[name], folder / name / f"{BUCKET}={i}") for name, table in tables.items()} for i in range(parts)]


def part(table: pl.LazyFrame, kept: list[str], folder: Path) -> pl.LazyFrame:
    """One part of a table, as it was before."""
    schema = table.collect_schema()
    if not folder.exists():
        return pl.LazyFrame(schema=schema)
    empty = [pl.lit(None, schema[name]).alias(name) for name in schema if name not in kept]
    return pl.scan_ipc(folder / "*.ipc").with_columns(empty).select(list(schema))


def filled(table: pl.LazyFrame) -> list[str]:
    """The columns that hold anything. Photos are taken to: to look would be to read them all."""
    schema = table.collect_schema()
    asked = [name for name, kind in schema.items() if kind not in (pl.Binary, pl.List(pl.Binary))]
    found = table.select(pl.col(asked).is_not_null().any()).collect(engine="streaming").row(0, named=True)
    return [name for name in schema if found.get(name, True)]
