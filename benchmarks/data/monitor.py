"""How long `plcp monitor` takes over a catalog and how much memory, and at twice as many products.

make bench NAME=data.monitor                         50,000 SKUs × 104 weeks and as much again, four runs of forecasts over 26 weeks
make bench NAME=data.monitor ARGS='--skus 5000'      a smaller shop; its figures are printed, not kept
"""

import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks.data.shop import WEEKS, make_shop, sized
from benchmarks.measure import Cost, apart
from benchmarks.results import Figure, write_results
from plcp import tables
from plcp.data.asof import cut
from plcp.data.contract import open_dataset
from plcp.data.prepared import Prepared, prepare
from plcp.forecast import runs
from plcp.monitor import monitor

SKUS, NEW, HORIZON = 50_000, 4, 26
MILLION, MOST_MEMORY, MOST_GROWTH = 1_000_000, 4 * 2**30, 1.15


def prepare_both(root: Path) -> None:
    """The shop up to its newest week, and what a model was trained on NEW weeks before."""
    dataset = open_dataset(root / "shop")
    new = prepare(dataset, root / "new")
    prepare(cut(dataset, new.origin - dt.timedelta(weeks=NEW)), root / "training")


def publish_forecasts(new: Prepared, scores: Path) -> None:
    """A run for each new week, a file for each shard, as `plcp score` writes them; every curve lies about the mean of what was sold."""
    rng = np.random.default_rng(0)
    for ago in range(NEW, 0, -1):
        origin = new.origin - dt.timedelta(weeks=ago)
        for i in range(len(new.shards)):
            curve = curves(rng, new.read(i, ["sku_id", "units"]).frame, origin)
            tables.write(tables.CURVE, curve, scores / "runs" / str(origin) / "curve" / f"part-{i:05d}.parquet", {"origin": str(origin)})
        runs.publish(scores, str(origin))


def curves(rng: np.random.Generator, shard: pl.DataFrame, origin: dt.date) -> pl.DataFrame:
    level = np.repeat(shard["units"].to_numpy().mean(1), HORIZON) * rng.lognormal(0, 0.3, len(shard) * HORIZON)
    week = np.datetime64(origin) + 7 * np.tile(np.arange(HORIZON), len(shard))
    spread = {name: level * 2 * share for name, share in zip(tables.QUANTILES, tables.LEVELS, strict=True)}
    columns = {"sku_id": shard["sku_id"].gather(np.repeat(np.arange(len(shard)), HORIZON)), "week": pl.Series(week).cast(pl.Date)}
    return pl.DataFrame({**columns, "age": rng.integers(0, 80, len(level)), "mean": level, **spread}).with_columns(origin=origin)


def watch(root: Path, out: Path) -> int:
    """What the command does with prepared data; the number of findings."""
    return len(monitor(Prepared.open(root / "new"), Prepared.open(root / "training"), out, root / "scores"))


def measured(root: Path, skus: int) -> Cost:
    """The monitor's cost over a shop made for it."""
    make_shop(root / "shop", skus)
    apart(prepare_both, root)
    publish_forecasts(Prepared.open(root / "new"), root / "scores")
    return apart(watch, root, root / "out")


def figures(skus: int, once: Cost, twice: Cost, load: float) -> list[Figure]:
    longer, more = twice.seconds / once.seconds, twice.memory - once.memory
    million = twice.memory + more * max(0, MILLION - 2 * skus) / skus
    return [
        Figure(f"plcp monitor, {skus:,} SKUs × {WEEKS} weeks, {NEW} runs", round(once.seconds, 2), "s"),
        Figure("processor", round(once.processor, 2), "s"),
        Figure("SKUs a second", round(skus / once.seconds), "SKUs/s"),
        Figure("times as long at twice the SKUs", round(longer, 2), "×", target=f"≤ {2 * MOST_GROWTH:g}", met=longer <= 2 * MOST_GROWTH),
        Figure("most memory", once.memory >> 20, "MiB"),
        Figure("most memory at twice the SKUs", twice.memory >> 20, "MiB", reference=once.memory >> 20),
        Figure(
            "memory of a million SKUs, were it to go on growing so",
            int(million) >> 20,
            "MiB",
            target=f"≤ {MOST_MEMORY >> 20}",
            met=million <= MOST_MEMORY,
        ),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]


def main() -> None:
    skus = sized(__doc__, SKUS).parse_args().skus
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        once, twice = measured(Path(folder) / "once", skus), measured(Path(folder) / "twice", 2 * skus)
    write_results("data_monitor", figures(skus, once, twice, load), whole=skus == SKUS)


if __name__ == "__main__":
    main()
