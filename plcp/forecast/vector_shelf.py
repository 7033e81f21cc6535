"""A tower's vectors as the endpoint reads them: sorted and mapped, so that the replicas of a machine share them and none holds them."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from plcp.folders import replacing

SHELF = "mapped"  # in the folder of a tower's cache
KEYS, VECTORS, MANIFEST = "keys.npy", "vectors.npy", "manifest.json"


def build(folder: Path) -> None:
    """Sort the vectors that a cache (embeddings.TowerCache) keeps in `folder`, unless that was done since; a file's in memory at a time."""
    files = sorted(path.name for path in folder.glob("*.parquet"))
    if files and files_of(folder) != files:
        with replacing(folder / SHELF, MANIFEST) as aside:
            write(folder, files, aside)


def write(folder: Path, files: list[str], aside: Path) -> None:
    """What of the files can be read; the cache makes anew what a damaged one held."""
    held = {name: as_numbers(found) for name in files if (found := column_of(folder / name, "key")) is not None}
    keys = np.concatenate([np.zeros((0, 2), np.uint64), *held.values()])
    order = np.lexsort(keys.T[::-1])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    np.save(aside / KEYS, keys[order])
    first, vectors = 0, np.zeros((0, 0), np.float16)
    for name, of_file in held.items():
        own = np.frombuffer(b"".join(column_of(folder / name, "vector") or []), np.float16).reshape(len(of_file), -1)
        if not first:
            vectors = np.lib.format.open_memmap(aside / VECTORS, "w+", np.float16, (len(order), own.shape[1]))
        vectors[place[first : first + len(own)]] = own
        first += len(own)
    if isinstance(vectors, np.memmap):
        vectors.flush()
    else:
        np.save(aside / VECTORS, vectors)
    (aside / MANIFEST).write_text(json.dumps({"files": files}))


def column_of(path: Path, column: str) -> list[bytes] | None:
    """None where the file is damaged."""
    try:
        return pl.read_parquet(path, columns=[column])[column].to_list()
    except (OSError, pl.exceptions.PolarsError):
        return None


def files_of(folder: Path) -> list[str] | None:
    """The cache's files that the shelf holds; None where there is no shelf."""
    try:
        return list(json.loads((folder / SHELF / MANIFEST).read_text())["files"])
    except (OSError, ValueError, KeyError):
        return None


def as_numbers(keys: Sequence[bytes]) -> np.ndarray:
    """Keys of 16 bytes as two numbers each, (n, 2), in the same order."""
    return np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2).astype(np.uint64)


class VectorShelf:
    """The shelf of a tower's cache, whether or not there is one yet; a newer one is taken up as it comes. For any number of threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SHELF
        self._alone = threading.Lock()
        self._opened: tuple[int, np.ndarray, np.ndarray] | None = None  # when it was made, its keys and vectors

    def find(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Which of the keys (n,) it holds, and their float16 vectors (found, width), in order."""
        opened = self._open()
        if opened is None or not len(opened[0]) or not keys:
            return np.zeros(len(keys), bool), np.zeros((0, 0), np.float16)
        held, vectors = opened
        asked = as_numbers(keys)
        place = np.minimum(np.searchsorted(held[:, 0], asked[:, 0]), len(held) - 1)
        found = (held[place] == asked).all(1)  # of two keys that begin alike the second is made anew: one pair in 10^19
        return found, vectors[place[found]]

    def _open(self) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            made = (self.folder / MANIFEST).stat().st_mtime_ns
            with self._alone:
                if self._opened is None or self._opened[0] != made:
                    self._opened = made, *(np.load(self.folder / name, mmap_mode="r") for name in (KEYS, VECTORS))
                return self._opened[1:]
        except (OSError, ValueError):  # none, or one that is being replaced: the towers are there
            return None
