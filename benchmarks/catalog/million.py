"""One run of `plcp score` over a million SKUs with `tiny`: the memory of the driver and of the replica, and whether it slows down.

    make bench NAME=catalog.million                          the whole million
    make bench NAME=catalog.million ARGS='--skus 50000'      a smaller one; its figures are printed, not kept

It is long: let it run by itself (nohup make bench NAME=catalog.million > million.log &); the log tells how far it is. BASE products are
simulated and prepared; the others are copies of these shards under SKU keys and titles of their own, so that every title goes through
the tower. What is known of the shop as a whole is that of the BASE products.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks.catalog.scene import copied, make_catalog, make_model, retitled, sized
from benchmarks.measure import resident
from benchmarks.results import Figure, write_results
from plcp.data.prepared import Prepared
from plcp.forecast.runs import latest

SKUS, BASE, SKUS_PER_SHARD = 1_000_000, 20_000, 4000
SAMPLE_SECONDS, TELL_SECONDS = 1.0, 30.0
MOST_DRIVER, MOST_REPLICA, STEADY = 600 << 20, 3 << 30, 0.95
ENDS = 0.2  # share of the parts that counts as a run's start, and as its end


def renamed(shards: int) -> Callable[[pl.DataFrame, int], pl.DataFrame]:
    """For `scene.copied`: SKU keys and titles that say which copy of the `shards` it is; the first keeps its own."""

    def change(frame: pl.DataFrame, number: int) -> pl.DataFrame:
        copy = number // shards
        if not copy:
            return frame
        named = frame.with_columns(pl.concat_str("sku_id", pl.lit(f"-{copy}")))
        return retitled(f"no {copy}", 1.0)(named, number)

    return change


def make_million(root: Path, skus: int) -> Path:
    """A PREPARED of at least so many products."""
    base = make_catalog(root, min(BASE, skus), SKUS_PER_SHARD)
    opened = Prepared.open(base)
    count = len(opened.shards)
    return copied(base, root / "catalog", renamed(count), shards=-(-skus * count // opened.skus))


@dataclass
class Watch:
    """The most memory of a run's driver and of its largest replica, in bytes, looked at every second."""

    driver: int = 0
    replica: int = 0
    told: float = field(default_factory=time.monotonic)

    def until_done(self, run: subprocess.Popen[bytes], scores: Path, parts: int) -> None:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            self.driver = max(self.driver, resident(process))
            self.replica = max([self.replica, *(resident(p) for p in replicas(process))])
            self.tell(len(finished(scores)), parts)
            time.sleep(SAMPLE_SECONDS)

    def tell(self, done: int, parts: int) -> None:
        if time.monotonic() - self.told > TELL_SECONDS:
            self.told = time.monotonic()
            print(f"{done}/{parts} parts, driver {self.driver >> 20} MiB, replica {self.replica >> 20} MiB", flush=True)


def replicas(driver: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in driver.children(recursive=True):
        try:
            found += [process] if "ServeReplica" in " ".join(process.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found


def finished(scores: Path) -> list[float]:
    """When each part's curve was in its place, ascending."""
    return sorted(path.stat().st_mtime for path in scores.glob("runs/*/curve/*.parquet"))


def rates(done: list[float], skus: int) -> tuple[float, float]:
    """SKUs a second over the first and over the last ENDS of the parts; the time before the first part is start-up."""
    size = max(1, round(ENDS * (len(done) - 1)))
    per_part = skus / len(done)
    at = np.array(done)
    return size * per_part / (at[size] - at[0]), size * per_part / (at[-1] - at[-1 - size])


def score(model: Path, catalog: Path, scores: Path, parts: int) -> Watch:
    """`plcp score`, watched."""
    plcp = Path(sys.executable).with_name("plcp")
    options = ["--set", "score.replica.threads=2", "--set", "score.replica.replicas=1"]
    watch = Watch()
    with subprocess.Popen([plcp, "score", model, catalog, "--out", scores, *options]) as run:
        watch.until_done(run, scores, parts)
    assert run.returncode == 0
    return watch


def main() -> None:
    options = sized(__doc__, SKUS).parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        catalog = make_million(root, options.skus)
        model = make_model(root / "model", catalog, "tiny")
        made, opened = time.perf_counter() - started, Prepared.open(catalog)
        print(f"{opened.skus:,} SKUs in {len(opened.shards)} shards after {made:.0f} s", flush=True)
        started = time.perf_counter()
        watch = score(model, catalog, root / "scores", len(opened.shards))
        seconds = time.perf_counter() - started
        first, last = rates(finished(root / "scores"), opened.skus)
        size = sum(path.stat().st_size for path in latest(root / "scores").rglob("*.parquet"))
    steady = last / first
    figures = [
        Figure(f"plcp score, {opened.skus:,} SKUs, start-up included", round(seconds), "s"),
        Figure("SKUs a second at the start", round(first), "SKUs/s"),
        Figure("SKUs a second at the end", round(last), "SKUs/s", round(first), round(steady, 3), f"≥ {STEADY} × start", steady >= STEADY),
        Figure("most memory of the driver", watch.driver >> 20, "MiB", target=f"< {MOST_DRIVER >> 20}", met=watch.driver < MOST_DRIVER),
        Figure(
            "most memory of the replica", watch.replica >> 20, "MiB", target=f"< {MOST_REPLICA >> 20}", met=watch.replica < MOST_REPLICA
        ),
        Figure("forecasts on disk", round(size / opened.skus), "bytes/SKU"),
        Figure("to make the catalog", round(made), "s"),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]
    write_results("catalog_million", figures, whole=options.skus == SKUS)


if __name__ == "__main__":
    main()
