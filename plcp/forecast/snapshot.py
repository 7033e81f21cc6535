"""A table of products as the endpoint reads it: Arrow files that its replicas share by memory map, and an index by SKU.

FOLDER/part-00000.arrow …   the rows, uncompressed, each file as the shard or part it is made from
FOLDER/keys.npy, rows.npy   hashes of the SKUs, ascending, and where each row stands: a lookup is one binary search
FOLDER/manifest.json        what it was made from

Made part by part: memory holds a few of them, and 24 bytes a SKU while the index is sorted. A killed build goes on where it was.
"""

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from plcp.base import DataError
from plcp.folders import alone

FORMAT, MANIFEST, KEYS, ROWS = 2, "manifest.json", "keys.npy", "rows.npy"
BUILDERS = min(8, os.cpu_count() or 1)  # parts made at a time
OPEN = 512  # parts kept mapped: what a replica holds of its own does not grow with the catalog


class Part:
    """The rows of one file."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._columns: dict[tuple[str, ...], pl.DataFrame] = {}

    def columns(self, names: tuple[str, ...]) -> pl.DataFrame:
        """Some of the columns: choosing them takes longer than taking a row of them, so the choice is kept."""
        if (chosen := self._columns.get(names)) is None:
            chosen = self._columns[names] = self.frame[list(names)]
        return chosen


class Snapshot:
    """An opened folder. A place is a row's number in the index."""

    def __init__(self, root: Path, source: str) -> None:
        self.root, self.source = root, source
        self.keys = np.asarray(np.load(root / KEYS, mmap_mode="r"))  # (n,) uint64, ascending
        self.rows = np.asarray(np.load(root / ROWS, mmap_mode="r"))  # (n, 2) uint32: part, row in it
        self._part = lru_cache(OPEN)(lambda number: Part(mapped(root / part_name(number))))  # goes with the snapshot
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(self.rows[:, 0]))]).astype(np.int64)  # rows before each part

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, number: int) -> pl.DataFrame:
        """All rows of a file, where they lie."""
        return self._part(number).frame

    def find(self, sku_ids: Sequence[str]) -> np.ndarray:
        """Place of each SKU, (n,) int64; -1 where it is unknown."""
        keys = hashes(sku_ids)
        if len(keys) == 1:
            return np.array([self._find_one(sku_ids[0], keys[0])])
        asked = pl.Series("sku_id", sku_ids, dtype=pl.String)
        place = np.searchsorted(self.keys, keys).astype(np.int64)
        found, open_ = np.full(len(asked), -1, np.int64), np.arange(len(asked))
        while len(open_ := open_[(place[open_] < len(self)) & (self.keys[np.minimum(place[open_], len(self) - 1)] == keys[open_])]):
            same = (self.take(place[open_], ["sku_id"])["sku_id"] == asked.gather(open_)).to_numpy()
            found[open_[same]] = place[open_[same]]
            open_ = open_[~same]  # another SKU of the same hash: look at the next
            place[open_] += 1
        return found

    def _find_one(self, sku_id: str, key: np.uint64) -> int:
        """As `find`, and quicker: none of Polars' threads is woken."""
        place = int(np.searchsorted(self.keys, key))
        while place < len(self) and self.keys[place] == key:
            part, row = self.rows[place].tolist()
            if self.part(part)["sku_id"][row] == sku_id:
                return place
            place += 1  # another SKU of the same hash
        return -1

    def take(self, places: np.ndarray, columns: Sequence[str]) -> pl.DataFrame:
        """Rows at places, in their order."""
        part, row = self.rows[places].T
        if len(places) == 1:  # a lookup: no row is copied, and none of Polars' threads woken
            return self._part(int(part[0])).columns(tuple(columns)).slice(int(row[0]), 1)
        if len(places) and (part == part[0]).all():
            return self.part(int(part[0])).select(columns)[row]
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        groups = np.split(order, edges) if len(order) else [order]
        frames = [self.part(int(part[g[0]]) if len(g) else 0).select(columns)[row[g]] for g in groups]
        return pl.concat(frames)[np.argsort(order, kind="stable")]

    def scan(self) -> pl.LazyFrame:
        """All rows, part by part. Streams."""
        return pl.scan_ipc(self.root / "part-*.arrow")

    @staticmethod
    def open(root: Path) -> "Snapshot | None":
        """None where there is none that is complete."""
        try:
            return Snapshot(root, json.loads((root / MANIFEST).read_text())["source"])
        except (OSError, ValueError, KeyError):
            return None


def source_of(*content: str) -> str:
    """What a snapshot is made from, and how."""
    return hashlib.sha256("|".join([str(FORMAT), *content]).encode()).hexdigest()


def build(root: Path, source: str, parts: int, frame_of: Callable[[int], pl.DataFrame]) -> Snapshot:
    """The snapshot of this source at `root`: the one that is there, or one made of `parts` frames with a column sku_id, no SKU twice.

    Several processes take turns. The same frames give the same bytes.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with alone(root.parent):
        found = Snapshot.open(root)
        if found and found.source == source:
            return found
        aside = root.with_name(f".{root.name}-{source[:12]}")
        aside.mkdir(exist_ok=True)
        todo = [number for number in range(parts) if not (aside / part_name(number)).exists()]
        with ThreadPoolExecutor(BUILDERS) as pool:
            deque(pool.map(lambda number: write(frame_of(number), aside / part_name(number)), todo), maxlen=0)
        write_index(aside, parts)
        (aside / MANIFEST).write_text(json.dumps({"source": source, "parts": parts}))
        shutil.rmtree(root, ignore_errors=True)
        aside.replace(root)
    return Snapshot(root, source)


def clear_away(current: Path) -> None:
    """Remove what lies beside a snapshot, but for the newest of the others, which may still be read."""
    with alone(current.parent):  # nobody builds or clears away here meanwhile
        others = sorted((path for path in current.parent.iterdir() if path != current), key=lambda path: path.stat().st_mtime_ns)
        killed = [path for path in others if path.name.startswith(".")]
        for gone in killed + [path for path in others if path not in killed][:-1]:
            shutil.rmtree(gone, ignore_errors=True)


def part_name(number: int) -> str:
    return f"part-{number:05d}.arrow"


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write aside, then rename. One batch, so that a row's number is its place in it."""
    aside = path.with_name(f".{path.name}.writing")
    frame.rechunk().write_ipc(aside, compression="uncompressed", record_batch_size=max(len(frame), 1))
    aside.replace(path)


def mapped(path: Path) -> pl.DataFrame:
    """An Arrow file's rows, which stay on disk and in the cache that all processes share. Raises DataError where there is none."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        return pl.DataFrame(reader.get_batch(0) if reader.num_record_batches else reader.read_all())
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def hashes(skus: Iterable[str]) -> np.ndarray:
    """(n,) uint64. Not Polars' own, which wakes its threads: on a busy machine that takes a lookup a thousand times as long as this."""
    return np.frombuffer(b"".join(hashlib.blake2b(sku.encode(), digest_size=8).digest() for sku in skus), np.uint64)


def write_index(folder: Path, parts: int) -> None:
    skus = [hashes(mapped(folder / part_name(number))["sku_id"]) for number in range(parts)]
    keys, counts = np.concatenate([np.zeros(0, np.uint64), *skus]), [len(part) for part in skus]
    place = np.stack([np.repeat(np.arange(parts), counts), np.concatenate([np.zeros(0, np.int64), *map(np.arange, counts)])], 1)
    order = np.argsort(keys, kind="stable")
    np.save(folder / KEYS, keys[order])
    np.save(folder / ROWS, place[order].astype(np.uint32))
