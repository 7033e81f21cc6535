"""How long `plcp prepare` takes and how much memory, beside pandas and beside what Polars needs to scan, group and write the same files.

make bench NAME=data.prepare                         200,000 SKUs × 104 weeks, and memory at twice as many
make bench NAME=data.prepare ARGS='--skus 10000'     a smaller shop; its figures are printed, not kept
"""

import tempfile
from pathlib import Path

import polars as pl
import psutil

from benchmarks.data import pandas_prepare
from benchmarks.data.shop import WEEKS, make_shop, sized
from benchmarks.measure import Cost, apart
from benchmarks.results import Figure, write_results
from plcp.data import contract, prepared

SKUS = 200_000
FASTER_THAN_PANDAS, OF_POLARS, MOST_MEMORY, MOST_GROWTH = 8, 3, 3 * 2**30, 1.15


def plcp_prepare(data: Path, out: Path) -> int:
    """What the command does; the number of SKUs."""
    dataset = contract.open_dataset(data, quarantine=out.with_name(f"{out.name}-quarantine"))
    return prepared.prepare(dataset, out).skus


def scan_group_write(data: Path, out: Path) -> None:
    """The least that any preparation does: weekly sums and means of the sales, in one Parquet file."""
    standing = pl.col("cancelled_at").is_null()
    weekly = (
        pl.scan_parquet(data / "sales" / "*.parquet")
        .group_by("sku_id", pl.col("date").dt.truncate("1w").alias("week"))
        .agg(pl.col("units").filter(standing).sum(), pl.col("price", "promo", "in_stock").mean(), pl.col("page_views").sum())
    )
    weekly.sink_parquet(out, compression="zstd", compression_level=1)


def figures(skus: int, ours: Cost, pandas: Cost, polars: Cost, twice: Cost, load: float) -> list[Figure]:
    faster, slower, growth = pandas.seconds / ours.seconds, ours.seconds / polars.seconds, twice.memory / ours.memory
    mib = [round(cost.memory / 2**20) for cost in (ours, pandas, polars, twice)]
    names = (f"plcp prepare, {skus * WEEKS:,} rows", "pandas, the same steps", "Polars, scan, group and write")
    return [
        *(Figure(name, round(cost.seconds, 2), "s") for name, cost in zip(names, (ours, pandas, polars), strict=True)),
        *(Figure(f"{name}: processor", round(cost.processor, 2), "s") for name, cost in zip(names, (ours, pandas, polars), strict=True)),
        Figure("times as fast as pandas", round(faster, 2), "×", target=f"≥ {FASTER_THAN_PANDAS}", met=faster >= FASTER_THAN_PANDAS),
        Figure("times as long as scan, group, write", round(slower, 2), "×", target=f"≤ {OF_POLARS}", met=slower <= OF_POLARS),
        Figure(
            "most memory",
            mib[0],
            "MiB",
            reference=mib[1],
            ratio=round(mib[0] / mib[1], 3),
            target=f"≤ {MOST_MEMORY >> 20}",
            met=ours.memory <= MOST_MEMORY,
        ),
        Figure("most memory of scan, group, write", mib[2], "MiB"),
        Figure(
            "most memory at twice the rows",
            mib[3],
            "MiB",
            reference=mib[0],
            ratio=round(growth, 3),
            target=f"≤ {MOST_GROWTH} × as much",
            met=growth <= MOST_GROWTH,
        ),
        Figure("plcp prepare at twice the rows", round(twice.seconds, 2), "s"),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]


def main() -> None:
    skus = sized(__doc__, SKUS).parse_args().skus
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_shop(root / "shop", skus)
        ours = apart(plcp_prepare, root / "shop", root / "ours")
        assert ours.value == skus
        pandas = apart(pandas_prepare.prepare, root / "shop", root / "pandas")
        polars = apart(scan_group_write, root / "shop", root / "weekly.parquet")
        make_shop(root / "twice", 2 * skus)
        twice = apart(plcp_prepare, root / "twice", root / "ours-twice")
    write_results("data_prepare", figures(skus, ours, pandas, polars, twice, load), whole=skus == SKUS)


if __name__ == "__main__":
    main()
