"""PREPARED: a folder of shards, the siblings' pools and a manifest, made from a dataset in the contract."""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config, DataError
from plcp.data import panel
from plcp.data.contract import Dataset
from plcp.data.shards import LISTS, Shard, first_sale, shard_frame, write_shard
from plcp.data.siblings import PoolBuilder, Pools
from plcp.data.timeline import WEEK, Timeline
from plcp.tables import PLANS, PRODUCTS, REVIEWS, SALES

FORMAT = 1


class PrepareConfig(Config):
    """How a dataset becomes shards."""

    skus_per_shard: int = Field(4096, ge=1, description="SKUs in one shard file")


@dataclass(frozen=True)
class ShardInfo:
    file: str
    rows: int
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class Prepared:
    """An opened PREPARED folder."""

    root: Path
    timeline: Timeline
    shards: tuple[ShardInfo, ...]
    channels: tuple[str, ...]
    digest: str  # of every shard and of the timeline: equal for equal content

    @property
    def first_week(self) -> dt.date:
        return self.timeline.first_week

    @property
    def origin(self) -> dt.date:
        """The first week that is not observed: the default origin of a forecast."""
        return self.timeline.origin

    @property
    def weeks(self) -> int:
        return self.timeline.weeks

    @property
    def skus(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @cached_property
    def pools(self) -> Pools:
        with np.load(self.root / "pools.npz", allow_pickle=False) as arrays:
            return Pools(arrays["total"], arrays["count"])

    def read(self, index: int, columns: list[str] | None = None) -> Shard:
        """One shard. Raises DataError naming the file if it cannot be read."""
        path = self.root / "shards" / self.shards[index].file
        try:
            frame = pl.read_parquet(path, columns=columns)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: cannot be read as a shard ({error}); run `plcp prepare` again") from error
        return Shard(frame, self.timeline, self.pools)

    @staticmethod
    def open(root: Path) -> "Prepared":
        """Raises DataError where the folder is no finished PREPARED."""
        root = Path(root)
        path = root / "manifest.json"
        if not path.exists():
            raise DataError(f"{root}: no manifest.json, so this is no prepared data; run `plcp prepare DATA --out {root}`")
        manifest = json.loads(path.read_text())
        if manifest.get("format") != FORMAT:
            raise DataError(f"{path}: format {manifest.get('format')}, this version reads {FORMAT}; run `plcp prepare` again")
        timeline = Timeline(dt.date.fromisoformat(manifest["first_week"]), manifest["weeks"], tuple(manifest["closed"]))
        shards = tuple(ShardInfo(**shard) for shard in manifest["shards"])
        if missing := [s.file for s in shards if not (root / "shards" / s.file).exists()]:
            raise DataError(f"{root}: shard {missing[0]} is missing ({len(missing)} of {len(shards)}); run `plcp prepare` again")
        return Prepared(root, timeline, shards, tuple(manifest["channels"]), manifest["digest"])


def prepare(
    dataset: Dataset, out: Path, config: PrepareConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Write a dataset as shards. `progress` is told (shards written, shards).

    Written aside and renamed when complete; an unfinished attempt leaves nothing at `out`.
    Raises DataError where the data holds no full week.
    """
    config, out = config or PrepareConfig(), Path(out)
    aside = out.with_name(f".{out.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "shards").mkdir(parents=True)
    timeline = panel.timeline_of(dataset.tables["sales"], dataset.origin)
    content = Content.collect(dataset.tables, timeline)
    pools = PoolBuilder(timeline.weeks)
    starts = range(0, len(content.skus), config.skus_per_shard)
    infos = []
    for index, start in enumerate(starts):
        frame = content.shard(start, config.skus_per_shard)
        add_to_pools(pools, Shard(frame, timeline, Pools.none()))
        path = aside / "shards" / f"part-{index:05d}.parquet"
        write_shard(frame, path)
        infos.append(ShardInfo(path.name, len(frame), hashlib.sha256(path.read_bytes()).hexdigest()))
        if progress:
            progress(index + 1, len(starts))
    done = pools.done()
    np.savez(aside / "pools.npz", total=done.total, count=done.count)
    write_manifest(aside, timeline, infos, content.channels)
    shutil.rmtree(out, ignore_errors=True)
    aside.replace(out)
    return Prepared.open(out)


def add_to_pools(pools: PoolBuilder, shard: Shard) -> None:
    """A product counts in its pools as it was known in the week after its first sale; what came later changes nothing."""
    units = shard.first_print
    rows = np.arange(len(shard))
    first = first_sale(units, np.full(len(shard), shard.timeline.weeks))
    version = shard.version_at(rows, np.nan_to_num(first).astype(np.int64) + 1, np.zeros(len(rows), bool))
    pool = np.where(version >= 0, shard.pool[np.maximum(version, 0)], 0) if len(shard.pool) else np.zeros(len(rows), np.int64)
    pools.add(units, np.where(np.isnan(first), np.nan, shard.launch(first, version)), pool)


def write_manifest(folder: Path, timeline: Timeline, shards: list[ShardInfo], channels: list[str]) -> None:
    content = {
        "format": FORMAT,
        "first_week": timeline.first_week.isoformat(),
        "weeks": timeline.weeks,
        "closed": list(timeline.closed),
        "channels": channels,
        "shards": [asdict(shard) for shard in shards],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**content, "digest": digest}, indent=1))


@dataclass(frozen=True)
class Content:
    """A dataset on the weekly axis, every row with its SKU's place, in the order of places."""

    skus: pl.Series
    timeline: Timeline
    weekly: pl.DataFrame
    lists: dict[str, pl.DataFrame]

    @property
    def channels(self) -> list[str]:
        return [c for c in panel.CHANNELS if c in self.weekly.columns]

    @staticmethod
    def collect(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> "Content":
        weekly = panel.weekly(tables["sales"], tables.get("reviews"), timeline)
        named = [tables["products"].select("sku_id").unique().collect(engine="streaming")["sku_id"], weekly["sku_id"].unique()]
        skus = pl.concat(named).unique().sort()
        place = pl.DataFrame({"sku_id": skus}).with_row_index("row")
        lists = {name: make(tables, timeline) for name, make in ENTRIES.items()}
        return Content(skus, timeline, placed(weekly, place), {name: placed(frame, place) for name, frame in lists.items()})

    def shard(self, start: int, length: int) -> pl.DataFrame:
        """Rows of the SKUs at places start … start + length."""
        own = self.skus.slice(start, length)
        lists = {name: part(frame, start, length) for name, frame in self.lists.items()}
        return shard_frame(own, part(self.weekly, start, length), lists, self.timeline)


def placed(frame: pl.DataFrame, place: pl.DataFrame) -> pl.DataFrame:
    """A frame with its SKUs' places in front, sorted by them; rows of a SKU keep their order."""
    return frame.join(place, on="sku_id").drop("sku_id").sort("row", maintain_order=True)


def part(frame: pl.DataFrame, start: int, length: int) -> pl.DataFrame:
    left, right = np.searchsorted(frame["row"].to_numpy(), [start, start + length])
    return frame.slice(left, right - left).with_columns(pl.col("row") - start)


def versions(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> pl.DataFrame:
    """Product rows in the order in which they became known, without photos."""
    return known_from(tables["products"]).select("sku_id", *LISTS["versions"]).collect()


def photos(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> pl.DataFrame:
    rows = known_from(tables["products"]).filter(pl.col("image").list.len() > 0)
    return rows.select("sku_id", "known_from", photos="image").collect()


def known_from(products: pl.LazyFrame) -> pl.LazyFrame:
    """Adds the first Monday after known_at, and sorts by it; a row without known_at comes first and always counts."""
    week = pl.col("known_at").dt.truncate("1w") + WEEK
    return products.with_columns(known_from=week).sort("sku_id", "known_at", nulls_last=False, maintain_order=True)


def cancelled(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> pl.DataFrame:
    return panel.late_cancellations(tables["sales"], timeline).collect(engine="streaming")


def review_texts(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> pl.DataFrame:
    reviews = tables.get("reviews", pl.LazyFrame(schema=REVIEWS.schema))
    written = reviews.filter(pl.col("text").is_not_null() & (pl.col("date") < timeline.origin))
    return written.select("sku_id", "date", "text").collect().sort("sku_id", "date", "text")


def plans(tables: dict[str, pl.LazyFrame], timeline: Timeline) -> pl.DataFrame:
    rows = tables.get("plans", pl.LazyFrame(schema=PLANS.schema))
    return rows.select("sku_id", "week", "price", "promo").sort("sku_id", "week").collect()


ENTRIES = {"versions": versions, "photos": photos, "cancelled": cancelled, "review_texts": review_texts, "plans": plans}


def shard_of(tables: dict[str, pl.LazyFrame], timeline: Timeline, pools: Pools) -> Shard:
    """Contract tables held in memory as one shard, SKUs ascending: what `prepare` would write, on a given axis."""
    content = Content.collect(tables, timeline)
    return Shard(content.shard(0, len(content.skus)), timeline, pools)


def announced(launches: pl.DataFrame, prepared: Prepared) -> Shard:
    """Products that are planned and not yet sold, as one shard, SKUs ascending.

    launches: sku_id, start (a Monday) and any columns of the products table.
    """
    products = launches.with_columns(launch_date=pl.col("start"))
    missing = [pl.lit(None, c.type).alias(c.name) for c in PRODUCTS.columns if c.name not in products.columns]
    image = pl.col("image").cast(pl.List(pl.Binary()))
    tables = {
        "products": products.with_columns(missing).with_columns(image).select(PRODUCTS.schema.names()).lazy(),
        "sales": pl.LazyFrame(schema=SALES.schema),
    }
    return shard_of(tables, prepared.timeline, prepared.pools)
