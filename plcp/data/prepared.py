"""PREPARED: a folder of shards, what is known of the whole shop, and a manifest, made from a dataset in the contract."""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
from pydantic import Field

from plcp import __version__
from plcp.base import Config, DataError
from plcp.data import neighbours, panel
from plcp.data.account import Account, account, net_units
from plcp.data.content import OWN_SIGNALS, PAIRS, build
from plcp.data.contract import Dataset
from plcp.data.shard_rows import write_shard
from plcp.data.shards import Shard
from plcp.data.shop import FILE, Shop
from plcp.data.shop_builder import ShopBuilder
from plcp.data.signals import Signals, weekly_signals
from plcp.data.spill import spill
from plcp.data.timeline import Timeline
from plcp.folders import replacing
from plcp.tables import PRODUCTS, SALES

FORMAT, MANIFEST = 7, "manifest.json"
BUILDERS = 2  # parts built at a time; Polars uses every core for each, numpy one


class PrepareConfig(Config):
    """How a dataset becomes shards."""

    skus_per_shard: int = Field(4096, ge=1, description="SKUs in one shard file")
    max_weeks: int = Field(520, ge=26, description="weeks kept, the last ones; a single misdated sale would stretch all to its own")


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
    holds: tuple[str, ...]  # the channels, and what else there is that cases can read
    signals: tuple[str, ...]  # their names
    digest: str  # of every shard and of the timeline: equal for equal content
    account: Account  # where every row of sales went

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
    def shop(self) -> Shop:
        return Shop.load(self.root)

    @cached_property
    def context(self) -> str:
        """SHA-256 of whatever the cases of a shard read beside the shard itself: the weeks, and the whole shop, neighbours included."""
        digest = hashlib.sha256(json.dumps([FORMAT, *map(str, (self.timeline, self.holds, self.signals))]).encode())
        for name in (FILE, neighbours.NAMES, neighbours.UNITS):
            path = self.root / name
            if path.exists():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Without the shop: another process reads its own, the neighbours by memory map."""
        return {name: value for name, value in self.__dict__.items() if name != "shop"}

    def read(self, index: int, columns: list[str] | None = None) -> Shard:
        """One shard, or some columns of it. Raises DataError naming the file if it cannot be read or has changed since."""
        info = self.shards[index]
        path = self.root / "shards" / info.file
        try:
            if columns:
                frame = pl.read_parquet(path, columns=columns)
            else:
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest() != info.digest:
                    raise DataError(f"{path}: not the shard that the manifest names: prepared anew since it was opened, or damaged")
                frame = pl.read_parquet(content)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: cannot be read as a shard ({error}); run `plcp prepare` again") from error
        return Shard(frame, self.timeline, self.shop)

    @staticmethod
    def open(root: Path) -> "Prepared":
        """Raises DataError where the folder is no finished PREPARED."""
        root = Path(root)
        path = root / MANIFEST
        if not path.exists():
            what = f"no {MANIFEST}, so this is no prepared data" if root.exists() else "does not exist"
            raise DataError(f"{root}: {what}; make it with `plcp prepare DATA --out PREPARED`, and give that folder")
        try:
            manifest = json.loads(path.read_text())
            if manifest["format"] != FORMAT:
                raise DataError(f"{path}: format {manifest['format']}, this version reads {FORMAT}; run `plcp prepare` again")
            timeline = Timeline(dt.date.fromisoformat(manifest["first_week"]), manifest["weeks"], tuple(manifest["closed"]))
            shards = tuple(ShardInfo(**shard) for shard in manifest["shards"])
            channels, holds, digest = tuple(manifest["channels"]), tuple(manifest["holds"]), manifest["digest"]
            signals = tuple(manifest["signals"])
            balance = Account.of(manifest["account"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error!r}); run `plcp prepare` again") from error
        if missing := [s.file for s in shards if not (root / "shards" / s.file).exists()]:
            raise DataError(f"{root}: shard {missing[0]} is missing ({len(missing)} of {len(shards)}); run `plcp prepare` again")
        return Prepared(root, timeline, shards, channels, holds, signals, digest, balance)


def prepare(
    dataset: Dataset, out: Path, config: PrepareConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Write a dataset as shards. `progress` is told (shards written, shards).

    What the same data and options made before is kept. Otherwise the folder is written aside and takes its place when complete;
    an unfinished attempt leaves `out` as it was. Raises DataError where the data holds no full week, or where `out` is
    something else than prepared data.
    """
    config, out = config or PrepareConfig(), Path(out)
    source = hashlib.sha256(f"{FORMAT}|{__version__}|{dataset.digest}|{config.model_dump_json()}".encode()).hexdigest()
    if made_from(out) == source:
        return Prepared.open(out)
    with replacing(out, MANIFEST) as folder:
        write(dataset, folder, config, source, progress or (lambda done, of: None))
    return Prepared.open(out)


def made_from(folder: Path) -> str | None:
    """What a PREPARED folder was made from, as `prepare` notes it; None where there is no readable one."""
    try:
        return str(json.loads((folder / MANIFEST).read_text())["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(dataset: Dataset, folder: Path, config: PrepareConfig, source: str, progress: Callable[[int, int], None]) -> None:
    """Split the tables by SKU, then build and write the parts, some at a time."""
    (folder / "shards").mkdir()
    timeline = panel.timeline_of(dataset.sales_by_date, dataset.origin, config.max_weeks)
    skus = dataset.tables["products"].select(pl.col("sku_id").n_unique()).collect(engine="streaming").item()
    tables, signals, names = split_signals(dataset, timeline)
    tables["sales"] = panel.sales_rows(tables["sales"], timeline, present_in(tables["sales"], dataset.sales_by_date["date"]))
    aside = folder / "aside"  # what of the products is wanted together, or by others
    aside.mkdir()
    if baskets := "baskets" in tables:
        neighbours.pairs(tables.pop("baskets"), timeline).sink_ipc(aside / "pairs.ipc")
        tables[PAIRS] = pl.scan_ipc(aside / "pairs.ipc")
    parts = spill(tables, max(1, -(-skus // config.skus_per_shard)), folder / "spill")
    shop, lock, infos, sold = ShopBuilder(timeline), Lock(), [], []

    def write_part(index: int) -> ShardInfo:
        frame = build(parts[index], timeline)
        path = folder / "shards" / f"part-{index:05d}.parquet"
        write_shard(frame, path)
        shard = Shard(frame, timeline, Shop.none())
        if baskets:
            neighbours.keep_part(aside, index, frame["sku_id"], shard.first_print)
        with lock:
            shop.add(shard)
            sold.append(net_units(frame["units"].to_numpy()))
        return ShardInfo(path.name, len(frame), hashlib.sha256(path.read_bytes()).hexdigest())

    with ThreadPoolExecutor(BUILDERS) as pool:
        for info in pool.map(write_part, range(len(parts))):
            infos.append(info)
            progress(len(infos), len(parts))
    if baskets:
        neighbours.write(aside, folder)
    for done in (aside, folder / "spill"):
        shutil.rmtree(done, ignore_errors=True)
    shop.done(signals).save(folder)
    write_manifest(folder, timeline, infos, sorted(shop.holds), names, account(dataset, timeline, sum(sold)), source)


def present_in(sales: pl.LazyFrame, dates: pl.Series) -> list[str]:
    """What panel.sales_rows can take of a sales table: its columns that hold anything, and order lines where it is finer than weeks."""
    held = sales.select(pl.all().is_not_null().any()).collect(engine="streaming").row(0, named=True)
    return [*(name for name in held if held[name]), *(panel.LINES if panel.finer_than_weeks(dates) else ())]


def split_signals(dataset: Dataset, timeline: Timeline) -> tuple[dict[str, pl.LazyFrame], Signals, list[str]]:
    """The tables with the signals of single SKUs as one of their own, the other signals, and the names of all."""
    tables = dataset.tables
    if "signals" not in tables:
        return {**tables}, Signals.none(), []
    every = tables["signals"]
    skus = pl.concat([tables["products"].select("sku_id"), dataset.first_sale.select("sku_id")]).unique()
    own = every.with_columns(sku_id="key").join(skus, on="sku_id", how="semi", maintain_order="left")
    others = every.join(skus, left_on="key", right_on="sku_id", how="anti", maintain_order="left")
    names = every.select(pl.col("name").unique().sort()).collect(engine="streaming")["name"].to_list()
    shared = Signals.of(weekly_signals(others, timeline).collect(), timeline.weeks)
    return {**tables, OWN_SIGNALS: own}, shared, names


def write_manifest(
    folder: Path, timeline: Timeline, shards: list[ShardInfo], holds: list[str], signals: list[str], balance: Account, source: str
) -> None:
    found = pl.scan_parquet(folder / "shards" / shards[0].file).collect_schema()
    channels = [name for name in panel.CHANNELS if name in found]
    content = {
        "format": FORMAT,
        "first_week": timeline.first_week.isoformat(),
        "weeks": timeline.weeks,
        "closed": list(timeline.closed),
        "channels": channels,
        "holds": [*channels, *holds],
        "signals": signals,
        "shards": [asdict(shard) for shard in shards],
        "shop": hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({**content, "digest": digest, "source": source, "account": asdict(balance)}, indent=1))


def shard_of(tables: dict[str, pl.LazyFrame], timeline: Timeline, shop: Shop) -> Shard:
    """Contract tables held in memory as one shard, SKUs ascending: what `prepare` would write, on a given axis."""
    present = present_in(tables["sales"], tables["sales"].select("date").collect()["date"])
    rows = panel.sales_rows(tables["sales"], timeline, present)
    return Shard(build({**tables, "sales": rows}, timeline), timeline, shop)


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
    return shard_of(tables, prepared.timeline, prepared.shop)
