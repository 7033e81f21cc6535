"""What the endpoint looks up: products in PREPARED, forecasts in the last run of SCORES."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plcp.base import DataError
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.view import shard_view
from plcp.forecast.runs import Run, latest
from plcp.serving.problems import ProblemError
from plcp.tables import CURVE, EVENT_TABLE, FORECAST, SKIPPED, STAGE_TABLE

CACHE_BYTES = 1 << 30  # of decoded shards kept
PHOTOS = "photos"
LOOKED_UP = ["sku_id", "units", "cancelled", "versions"]  # what `products` is made of
NAMED = 20  # unknown SKUs that an error spells out


class ShardCache:
    """Columns of shards, the ones read last kept, up to `limit` bytes."""

    def __init__(self, prepared: Prepared, limit: int = CACHE_BYTES):
        self.prepared, self.limit = prepared, limit
        self._kept: OrderedDict[tuple[int, bool], pl.DataFrame] = OrderedDict()
        self.columns = list(pl.read_parquet_schema(prepared.root / "shards" / prepared.shards[0].file))
        self._others = [name for name in self.columns if name != PHOTOS]

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(int(frame.estimated_size()) for frame in self._kept.values())

    def read(self, index: int, photos: bool) -> pl.DataFrame:
        """A shard's photos, which weigh more than all else and are only asked for by forecasts, or all its other columns."""
        key = (index, photos)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        whole = self.prepared.read(index).frame  # whole, as only that is checked against the manifest
        for half in (photos, False):
            self._kept[index, half] = whole.select([PHOTOS] if half else self._others)
        frame = self._kept[key]
        while self._kept and self.size > self.limit:
            self._kept.popitem(last=False)
        return frame


class Catalogue:
    """Products of a PREPARED folder by key: found, searched by words, read with everything known of them."""

    def __init__(self, prepared: Prepared):
        self.prepared = prepared
        self._cache = ShardCache(prepared)
        views = [shard_view(prepared.read(i, LOOKED_UP), prepared.weeks).products for i in range(len(prepared.shards))]
        words = pl.concat_str(["sku_id", "title", "category", "brand"], separator=" ", ignore_nulls=True).str.to_lowercase()
        products = pl.concat(views).with_row_index("row").with_columns(words=words).sort("sku_id")
        self._skus = products["sku_id"]
        self._rows = products["row"].to_numpy().astype(np.int64)  # where each product stands in the sequence of all shards
        self.products = products.drop("row")
        self._starts = np.cumsum([0, *(shard.rows for shard in prepared.shards)])

    def places(self, sku_ids: Sequence[str]) -> np.ndarray:
        """Row of each SKU in `products`, (n,). Raises ProblemError (404) naming those that are not in it."""
        asked = pl.Series("sku_id", sku_ids, dtype=pl.String)
        place = np.minimum(self._skus.search_sorted(asked).to_numpy(), len(self._skus) - 1)
        unknown = asked.filter(self._skus.gather(place) != asked).unique(maintain_order=True).to_list()
        if unknown:
            more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
            raise ProblemError(404, f"not in the catalog: {', '.join(unknown[:NAMED])}{more}", sku_ids=unknown)
        return place

    def shard(self, places: np.ndarray) -> Shard:
        """These products as one shard, in their order."""
        photos = self._rows_of(places, photos=True)
        frame = self._rows_of(places, photos=False).hstack(photos).select(self._cache.columns)
        return Shard(frame, self.prepared.timeline, self.prepared.shop)

    def _rows_of(self, places: np.ndarray, photos: bool) -> pl.DataFrame:
        rows = self._rows[places]
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(owner, kind="stable")
        frames = [self._cache.read(int(i), photos)[rows[order][owner[order] == i] - self._starts[i]] for i in np.unique(owner)]
        return pl.concat(frames)[np.argsort(order, kind="stable")]

    def facts(self, sku_id: str) -> dict[str, Any]:
        """What is known of a product by name: its row of `products`. Raises ProblemError (404)."""
        return self.products[self.places([sku_id])].drop("words").row(0, named=True)

    def search(self, words: str) -> pl.DataFrame:
        """Products of whose key, title, category and brand every word given is a part."""
        found = pl.lit(True)
        for word in words.lower().split():
            found &= pl.col("words").str.contains(word, literal=True)
        return self.products.filter(found).drop("words", "description")

    def history(self, sku_id: str) -> pl.DataFrame:
        """Columns week, units, price over the observed weeks; units are null where the shop was shut, price where unknown."""
        frame = self._rows_of(self.places([sku_id]), photos=False)
        view = shard_view(Shard(frame, self.prepared.timeline, self.prepared.shop), self.prepared.weeks)
        weeks = [self.prepared.timeline.date(i) for i in range(self.prepared.weeks)]
        units = np.where(view.closed, np.nan, view.units[0])
        return pl.DataFrame({"week": weeks, "units": units, "price": view.price[0].astype(np.float64)}).fill_nan(None)


class Stock:
    """The catalogue of a PREPARED folder; opened anew when the folder is replaced."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self._seen = self._mark()
        self._catalogue = Catalogue(Prepared.open(self.root))

    def at_hand(self) -> Catalogue | None:
        """The catalogue, at once; None where another one is to be opened, which takes its time."""
        return self._catalogue if self._mark() in (None, self._seen) else None

    def catalogue(self) -> Catalogue:
        """The catalogue of what stands there now, or the last one while its successor is being put in place."""
        mark = self._mark()
        if mark is None or mark == self._seen:
            return self._catalogue
        try:
            successor = Catalogue(Prepared.open(self.root))
        except DataError:
            logging.getLogger(__name__).exception("the prepared data was replaced by what cannot be read; the old one stays in use")
        else:
            if self._mark() == mark:  # or it was replaced once more while it was read
                self._catalogue, self._seen = successor, mark
        return self._catalogue

    def _mark(self) -> tuple[int, int, int] | None:
        """What tells one manifest from another without reading it; None where there is none."""
        try:
            status = (self.root / "manifest.json").stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


class Published:
    """The last run of a SCORES folder; moves on by itself when LATEST does."""

    def __init__(self, scores: Path):
        self.scores = scores
        self._run: Run | None = None
        self._index = EMPTY

    def run(self) -> Run | None:
        """The run readers see; None while none is published."""
        try:
            root = latest(self.scores)
        except DataError:
            return None
        if self._run is None or self._run.root != root:
            self._run, self._index = Run(root), index(Run(root))
        return self._run

    def tables_of(self, sku_id: str) -> dict[str, pl.DataFrame] | None:
        """Rows of one SKU in curve, events, stage and skipped; None where the run does not know it."""
        run = self.run()
        place = self._index["sku_id"].search_sorted(sku_id)
        if run is None or place == len(self._index) or self._index["sku_id"][place] != sku_id:
            return None
        own, part = pl.col("sku_id") == sku_id, self._index["part"][place]
        names = (CURVE.name, EVENT_TABLE.name, STAGE_TABLE.name, SKIPPED.name)
        return {name: FORECAST[name].conform(pl.scan_parquet(run.file(name, part)).filter(own).collect()) for name in names}

    def stages(self) -> pl.DataFrame:
        """sku_id and stage of every product of the run; empty without one."""
        return self._index.select("sku_id", "stage") if self.run() else EMPTY.select("sku_id", "stage")


EMPTY = pl.DataFrame(schema={"sku_id": pl.String, "stage": pl.String, "part": pl.String})


def index(run: Run) -> pl.DataFrame:
    """sku_id (ascending), stage (null where skipped) and part of every product of a run."""
    manifest = run.manifest()
    found = [EMPTY]
    for part in (record.part for record in manifest.parts) if manifest else ():
        for table in (STAGE_TABLE, SKIPPED):
            columns = ["sku_id", "stage"] if table is STAGE_TABLE else ["sku_id"]
            rows = pl.read_parquet(run.file(table.name, part), columns=columns)
            found.append(rows.with_columns(part=pl.lit(part)))
    return pl.concat(found, how="diagonal").sort("sku_id")
