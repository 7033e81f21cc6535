"""A tower's vectors as the endpoint reads them: a snapshot by content, which the replicas of a machine share and none holds in memory."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from plcp.forecast import snapshot
from plcp.forecast.snapshot import MANIFEST, Snapshot

NOTHING = pl.DataFrame(schema={"sku_id": pl.String, "vector": pl.Binary})


def shelf_of(folder: Path) -> Path:
    """Where the snapshots of a tower's cache lie: beside it."""
    return folder.with_name(f".{folder.name}.shelf")


def build(folder: Path) -> None:
    """The snapshot of what a cache (embeddings.TowerCache) keeps in `folder`, unless there is one; the one before it stays, as it may still
    be read."""
    files = sorted(path.name for path in folder.glob("*.parquet"))
    if not files:
        return
    source = snapshot.source_of(*files)
    made = snapshot.build(shelf_of(folder) / source[:16], source, len(files), lambda i: rows_of(folder / files[i]))
    snapshot.clear_away(made.root)


def rows_of(path: Path) -> pl.DataFrame:
    """A file's keys, in hex, and vectors; none where it is damaged: the cache makes anew what it held."""
    try:
        return pl.read_parquet(path).select(pl.col("key").bin.encode("hex").alias("sku_id"), "vector")
    except (OSError, pl.exceptions.PolarsError):
        return NOTHING


class VectorShelf:
    """The newest snapshot of a tower's cache, whether or not there is one yet. For any number of threads."""

    def __init__(self, folder: Path) -> None:
        self.shelf = shelf_of(folder)
        self._alone = threading.Lock()
        self._seen = 0  # when the shelf last changed
        self._newest: Snapshot | None = None

    def find(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Which of the keys (n,) it holds, and their float16 vectors (found, width), in order."""
        newest = self._current()
        places = newest.find([key.hex() for key in keys]) if newest and keys else np.full(len(keys), -1)
        held = places >= 0
        if newest is None or not held.any():
            return held, np.zeros((0, 0), np.float16)
        vectors = newest.take(places[held], ["vector"])["vector"].to_list()
        return held, np.frombuffer(b"".join(vectors), np.float16).reshape(len(vectors), -1)

    def _current(self) -> Snapshot | None:
        with self._alone:
            try:
                changed = self.shelf.stat().st_mtime_ns
            except OSError:  # none yet
                return self._newest
            if changed != self._seen:
                self._seen = changed
                made = [path for path in self.shelf.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
                newest = max(made, key=lambda path: path.stat().st_mtime_ns, default=None)
                self._newest = Snapshot.open(newest.parent) if newest else None
            return self._newest
