"""What the endpoint looks up: products in PREPARED, forecasts in the last run of SCORES, by memory map."""

import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl

from plcp.base import DataError
from plcp.data.panel import CHANNELS
from plcp.data.prepared import Prepared
from plcp.data.shard_rows import LISTS
from plcp.data.timeline import Timeline
from plcp.decisions import BY_SKU
from plcp.forecast.runs import Run, latest
from plcp.forecast.shelves import FACTS, forecasts, products
from plcp.forecast.snapshot import mapped
from plcp.serving.problems import ProblemError
from plcp.serving.texts import number_texts

LOOK_S = 0.1  # between two looks at whether something is newer: a request shall not wait for the disk
NAMED = 20  # unknown SKUs that an error spells out
OF_RUN = ("stage", "units", "ending", "reason")  # facts of a forecast, and why there is none
LISTED = ("sku_id", "title", "category", "brand", "list_price")

T = TypeVar("T")
Mark = TypeVar("Mark")


class Current(Generic[Mark, T]):
    """What was made of the newest state of something; its successor is made in the background, and this one used until it is there."""

    def __init__(self, mark: Callable[[], Mark | None], make: Callable[[], T]) -> None:
        self._mark, self._make = mark, make
        self._worker = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._coming: tuple[Mark, Future[T]] | None = None
        self._seen, self._looked = mark(), time.monotonic()
        self._value = make() if self._seen is not None else None

    def get(self) -> T | None:
        """At once, for any thread; None while there never was anything. Looks for something newer now and then."""
        return self._look() if time.monotonic() > self._looked + LOOK_S else self._value

    def _look(self) -> T | None:
        with self._lock:
            mark, self._looked = self._mark(), time.monotonic()
            if self._coming and self._coming[1].done():
                self._arrive(*self._coming)
            if mark is not None and mark != self._seen and self._coming is None:
                self._coming = mark, self._worker.submit(self._make)
            return self._value

    def wait(self) -> T | None:
        """As `get`, when the newest is there."""
        self._look()
        if coming := self._coming:
            coming[1].exception()
        return self._look()

    def _arrive(self, mark: Mark, coming: Future[T]) -> None:
        self._coming, self._seen = None, mark  # one that cannot be read is not tried again until it is replaced
        try:
            self._value = coming.result()
        except (DataError, OSError):
            logging.getLogger(__name__).exception("what was put in place cannot be read; the one before it stays in use")


class Catalogue:
    """Products of a PREPARED folder by key: found, searched by words, read with everything known of them."""

    def __init__(self, prepared: Prepared):
        self.prepared, self.snapshot = prepared, products(prepared)
        self.columns = ["sku_id", *(name for name in CHANNELS if name in prepared.channels), *LISTS]  # of a shard

    def places(self, sku_ids: Sequence[str]) -> np.ndarray:
        """Place of each SKU, (n,). Raises ProblemError (404) naming those that are not in the catalogue."""
        found = self.snapshot.find(sku_ids)
        if (found < 0).any():
            unknown = list(dict.fromkeys(sku for sku, place in zip(sku_ids, found, strict=True) if place < 0))
            more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
            raise ProblemError(404, f"not in the catalog: {', '.join(unknown[:NAMED])}{more}", sku_ids=unknown)
        return found

    def frame(self, places: np.ndarray) -> pl.DataFrame:
        """These products' rows as a shard has them, in their order."""
        return self.snapshot.take(places, self.columns)

    def facts(self, place: int) -> dict[str, Any]:
        """What is known of a product by name: sku_id and FACTS."""
        return self.snapshot.take(np.array([place]), ["sku_id", *FACTS]).row(0, named=True)

    def search(self, words: str) -> pl.LazyFrame:
        """LISTED of the products of whose key, title, category and brand every word given is a part."""
        found = pl.lit(True)
        for word in words.lower().split():
            found &= pl.col("words").str.contains(word, literal=True)
        return self.snapshot.scan().filter(found).select(LISTED)


class Stock:
    """The catalogue of a PREPARED folder; moves on when the folder is replaced."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self._current = Current(self._mark, lambda: Catalogue(Prepared.open(self.root)))

    def catalogue(self) -> Catalogue:
        """The catalogue of what stands there now, or the last one while its successor is being put in place. Raises DataError."""
        return self._there(self._current.get())

    def newest(self) -> Catalogue:
        """The catalogue of what stands there now, as soon as it is made."""
        return self._there(self._current.wait())

    def _there(self, catalogue: Catalogue | None) -> Catalogue:
        if catalogue is None:
            raise DataError(f"{self.root}: no prepared data; run `plcp prepare DATA --out {self.root}`")
        return catalogue

    def _mark(self) -> tuple[int, int, int] | None:
        return mark_of(self.root / "manifest.json")


def mark_of(path: Path) -> tuple[int, int, int] | None:
    """What tells one file of a name from the next without reading it; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Shelf:
    """The forecasts of one run."""

    def __init__(self, run: Run) -> None:
        self.run, self.snapshot = run, forecasts(run)

    @property
    def name(self) -> str:
        return self.run.root.name

    def find(self, sku_id: str) -> tuple[dict[str, Any], bytes | None] | None:
        """What the run says of a product: stage, units, ending and reason (why there is no forecast), and its forecast in JSON. None where
        the run does not know it."""
        place = self.snapshot.find([sku_id])
        if place[0] < 0:
            return None
        facts = self.snapshot.take(place, OF_RUN).row(0, named=True)
        facts["stage"] = facts["stage"] and facts["stage"]["stage"]
        if facts["reason"] is not None:
            return facts, None
        return facts, self.snapshot.take(place, ["sku_id", "origin", "curve", "events", "stage"]).write_json()[1:-1].encode()

    def listed(self) -> pl.LazyFrame:
        """sku_id, stage (null where skipped), units and ending of every product."""
        return self.snapshot.scan().select("sku_id", pl.col("stage").struct.field("stage"), "units", "ending")


class Decisions:
    """A table of decisions as `plcp decide` wrote it, by SKU, and the run it speaks of."""

    def __init__(self, folder: Path) -> None:
        self.run = pl.read_parquet_metadata(folder / "part-00000.parquet").get("run")
        self.path = folder / BY_SKU
        rows = mapped(self.path)  # sorted by the bytes of the SKU, which is Python's order of strings too
        self._skus, self._rows = rows["sku_id"].to_arrow(compat_level=pl.CompatLevel.newest()), rows.drop("sku_id", "origin")

    def of(self, sku_id: str) -> list[dict[str, Any]]:
        """Its decisions, without its key."""
        first = bisect_left(self._skus, sku_id, key=str)
        after = bisect_right(self._skus, sku_id, first, key=str)
        return self._rows.slice(first, after - first).to_dicts() if first < after else []

    def scan(self) -> pl.LazyFrame:
        return pl.scan_ipc(self.path)


class Decided:
    """The decisions in a folder; moves on when they are replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "decisions"
        self._current = Current(lambda: mark_of(self.folder / BY_SKU), lambda: Decisions(self.folder))

    def decisions(self) -> Decisions | None:
        """None where nothing was decided."""
        return self._current.get()

    def newest(self) -> Decisions | None:
        """What was decided last, as soon as it can be read."""
        return self._current.wait()


class Published:
    """The last run of a SCORES folder; moves on when LATEST does."""

    def __init__(self, scores: Path):
        self.scores = scores
        self._current = Current(self._latest, lambda: Shelf(Run(latest(scores))))

    def shelf(self) -> Shelf | None:
        """The run that readers see; None while none is published."""
        return self._current.get()

    def newest(self) -> Shelf | None:
        """The run that was published last, as soon as it can be read."""
        return self._current.wait()

    def _latest(self) -> Path | None:
        try:
            return latest(self.scores)
        except DataError:
            return None


def history(frame: pl.DataFrame, timeline: Timeline) -> bytes:
    """week, units, price of the first row of a shard's frame as JSON; units are null where the shop was shut, price where unknown."""
    units = frame["units"].to_numpy().copy()
    units[:, list(timeline.closed)] = np.nan
    price = frame["price"].to_numpy() if "price" in frame.columns else np.full((1, timeline.weeks), np.nan)
    (sold,), (paid,) = number_texts(units), number_texts(price)
    return (weeks_form(timeline) % tuple(chain.from_iterable(zip(sold, paid, strict=True)))).encode()


@lru_cache(8)
def weeks_form(timeline: Timeline) -> str:
    """The rows of a history, with places for its numbers."""
    rows = (f'{{"week":"{timeline.date(index)}","units":%s,"price":%s}}' for index in range(timeline.weeks))
    return f"[{','.join(rows)}]"
