"""What the endpoint reads of prepared data and of a run, as snapshots: built by the scoring run, or where that did not by the endpoint.
And the towers' vectors that the run has made, sorted; without them the endpoint makes its own."""

import errno
import logging
import sys
from pathlib import Path

import numpy as np
import polars as pl

from plcp.base import DataError, PlcpError
from plcp.data.prepared import Prepared
from plcp.data.view import shard_view
from plcp.folders import full
from plcp.forecast import snapshot, vector_shelf
from plcp.forecast.runs import Run
from plcp.forecast.snapshot import Snapshot
from plcp.tables import CURVE, EMBEDDING, EVENT_TABLE, SKIPPED, STAGE_TABLE, Table

FACTS = ("title", "description", "category", "brand", "list_price")
DIRECTIONS = "directions.npy"
SOON = "p_12w"  # of the end: what probably ends so soon is no substitute
KEY = ("sku_id", "origin")


def build(prepared: Path, run: Run, *caches: Path) -> None:
    """All, where they are not there; `caches` are the folders of the towers' vectors."""
    products(Prepared.open(prepared))
    forecasts(run)
    for tower in [path for cache in caches for path in cache.glob("*/*/")]:
        try:
            vector_shelf.build(tower)
        except OSError as error:
            if full(error):
                raise
            logging.getLogger(__name__).warning("%s: no shelf can be made there (%s); the endpoint runs its towers", tower, error)


def products(prepared: Prepared) -> Snapshot:
    """Every product's row of its shard, what is known of it by name (FACTS), and `words` to search by.

    Lies beside the prepared data and goes with its digest: an endpoint still reads the old one while new data take the folder's place.
    """
    root = prepared.root.resolve()
    shelf = root.with_name(f".{root.name}.catalog")
    source = snapshot.source_of(prepared.digest)
    made = snapshot.build(shelf / prepared.digest[:16], source, len(prepared.shards), lambda i: product_rows(prepared, i))
    snapshot.clear_away(made.root)
    return made


def product_rows(prepared: Prepared, index: int) -> pl.DataFrame:
    shard = prepared.read(index)
    words = pl.concat_str(["sku_id", "title", "category", "brand"], separator=" ", ignore_nulls=True).str.to_lowercase()
    facts = shard_view(shard, prepared.weeks).products.with_columns(words=words).drop("sku_id")
    return shard.frame.hstack(facts)


def forecasts(run: Run) -> Snapshot:
    """Every product's forecast of a run, nested: sku_id, origin, curve, events, stage, reason (why there is none), vector, units, ending.

    Raises DataError where the run is not complete.
    """
    manifest = run.manifest()
    if manifest is None:
        raise DataError(f"{run.root}: the run is not complete; finish it with the same `plcp score`")
    parts = [record.part for record in manifest.parts]
    source = snapshot.source_of(manifest.model_dump_json())
    made = snapshot.build(run.root / "snapshot", source, len(parts), lambda i: forecast_rows(run, parts[i]))
    if not (made.root / DIRECTIONS).exists():
        write_directions(made, len(parts))
    return made


def forecast_rows(run: Run, part: str) -> pl.DataFrame:
    """units is the expected demand over the horizon, ending the probability that the life ends within twelve weeks."""
    frames = {table.name: table.conform(pl.read_parquet(run.file(table.name, part))) for table in TABLES}
    joined = frames["stage"].select("sku_id", "origin", stage=pl.struct(own_columns(STAGE_TABLE)))
    for table in (CURVE, EVENT_TABLE):
        nested = frames[table.name].group_by("sku_id", maintain_order=True).agg(pl.struct(own_columns(table)).alias(table.name))
        joined = joined.join(nested, on="sku_id", how="left", maintain_order="left")
    demand = frames["curve"].group_by("sku_id").agg(units=pl.col("mean").sum())
    ending = frames["events"].filter(pl.col("event") == "end").select("sku_id", ending=SOON)
    for more in (frames["embedding"], demand, ending):
        joined = joined.join(more, on="sku_id", how="left", maintain_order="left")
    rows = pl.concat([joined, frames["skipped"]], how="diagonal").sort("sku_id")
    return rows.select("sku_id", "origin", "curve", "events", "stage", "reason", "vector", "units", "ending")


def write_directions(made: Snapshot, parts: int) -> None:
    """Every product's direction, (n, width) float16, in the order of the parts: its embedding about the mean of all, of length 1.

    As decisions.substitutes has it; 0 where there is no forecast. Two passes, a part in memory at a time.
    """
    total, count, width = 0.0, 0, 1
    for number in range(parts):
        vectors = vectors_of(made, number).drop_nulls()
        if len(vectors):
            width = len(vectors[0])
            total = total + vectors.list.to_array(width).to_numpy().astype(np.float64).sum(0)
            count += len(vectors)
    aside = made.root / f".{DIRECTIONS}.writing"
    with aside.open("wb") as file:
        kind = np.lib.format.dtype_to_descr(np.dtype(np.float16))
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": (len(made), width)})
        for number in range(parts):
            column = vectors_of(made, number)
            there, out = column.is_not_null().to_numpy(), np.zeros((len(column), width), np.float16)
            if there.any():
                about = column.drop_nulls().list.to_array(width).to_numpy() - total / count
                out[there] = about / np.maximum(np.linalg.norm(about, axis=1, keepdims=True), 1e-12)
            file.write(out.data)
    aside.replace(made.root / DIRECTIONS)


def vectors_of(made: Snapshot, number: int) -> pl.Series:
    """Of a part's products. Not by way of the snapshot, which would hold every part's pages in the memory of this process."""
    return snapshot.mapped(made.root / snapshot.part_name(number))["vector"]


TABLES = (CURVE, EVENT_TABLE, STAGE_TABLE, EMBEDDING, SKIPPED)


def own_columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in KEY]


def main() -> None:
    """PREPARED, a run's folder, the towers' caches. For catalog.make_snapshots, which is told of a full disk by the exit code."""
    try:
        build(Path(sys.argv[1]), Run(Path(sys.argv[2])), *map(Path, sys.argv[3:]))
    except PlcpError as error:
        sys.exit(str(error))
    except OSError as error:
        if full(error):
            sys.exit(errno.ENOSPC)
        raise


if __name__ == "__main__":
    main()
