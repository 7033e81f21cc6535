"""A simulated shop of any size to Parquet: chunk by chunk, in any order, in bounded memory."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from plcp.base import DataError
from plcp.data.simulator.baskets import baskets_table
from plcp.data.simulator.catalog import plans_table, products_table, supply_table
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.dirt import soil
from plcp.data.simulator.history import run
from plcp.data.simulator.plan import PLANNED_WEEKS
from plcp.data.simulator.reviews import reviews_table
from plcp.data.simulator.sales import sales_table
from plcp.data.simulator.signals import make_signals, signals_table
from plcp.data.simulator.truth import demand_table, events_table, products_truth, relations_table

SETTINGS = "simulator.json"


def simulate(config: SimulatorConfig, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the contract's tables to OUT/<table>/ and the truth to OUT/truth/<table>/, one Parquet file per chunk and table.

    The bytes are a function of the config alone, but for `workers`. A run that was broken off goes on where it stopped.
    `progress` is called with the SKUs done and the SKUs to do.

    Raises DataError if OUT holds something else, or a shop of another config.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(config, out)
    _write(signals_table(config, make_signals(config, config.weeks + PLANNED_WEEKS)), out / "signals" / "part-00000.parquet")
    todo = [chunk for chunk in range(config.chunks) if not _file(out, "truth/products", chunk).exists()]
    done = config.skus - sum(config.chunk_size(chunk) for chunk in todo)
    workers = min(config.workers or os.cpu_count() or 1, len(todo))
    if progress:
        progress(done, config.skus)
    for chunk in _chunks_done(config, out, todo, workers):
        done += config.chunk_size(chunk)
        if progress:
            progress(done, config.skus)


def _chunks_done(config: SimulatorConfig, out: Path, todo: list[int], workers: int) -> Iterator[int]:
    """Writes the chunks, in this process or several, and yields each as it is finished."""
    if workers <= 1:
        for chunk in todo:
            yield write_chunk(config, out, chunk)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) as pool:
        for future in as_completed([pool.submit(write_chunk, config, out, chunk) for chunk in todo]):
            yield future.result()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def write_chunk(config: SimulatorConfig, out: Path, chunk: int) -> int:
    """All tables of one chunk; truth/products last, as the sign that it is whole."""
    history = run(config, chunk)
    tables = {
        "products": products_table(config, history, chunk),
        "sales": sales_table(config, history, chunk),
        "reviews": reviews_table(config, history, chunk),
        "baskets": baskets_table(config, history, chunk),
        "plans": plans_table(config, history),
        "supply": supply_table(history),
    }
    if config.dirt:
        tables |= soil(config, tables, chunk)
    truth = {
        "truth/demand": demand_table(config, history),
        "truth/events": events_table(config, history),
        "truth/relations": relations_table(history),
        "truth/products": products_truth(config, history),
    }
    for name, frame in (tables | truth).items():
        _write(frame, _file(out, name, chunk))
    return chunk


def _file(out: Path, table: str, chunk: int) -> Path:
    return out / table / f"part-{chunk:05d}.parquet"


def _write(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.writing")
    pq.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), aside, compression="zstd", row_group_size=1 << 20)
    aside.replace(path)


def _claim(config: SimulatorConfig, out: Path) -> None:
    """The settings beside the tables say whose they are."""
    settings = json.dumps(config.model_dump(mode="json", exclude={"workers"}), indent=1, sort_keys=True)
    path = out / SETTINGS
    if path.exists():
        if path.read_text() != settings:
            raise DataError(f"{path}: this folder holds a shop simulated with other settings; take another one for --out, or remove it")
    elif any(out.iterdir()):
        raise DataError(f"{out}: not empty, and no simulated shop; take another folder for --out")
    else:
        path.write_text(settings)
