"""PREPARED moved on by weeks observed since it was made: what `prepare` would make of data that held them, without its rows."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data import neighbours, panel
from plcp.data.panel import CHANNELS, LINES, REVIEWED
from plcp.data.prepared import Prepared
from plcp.data.shard_rows import channel_type
from plcp.data.shards import Shard
from plcp.data.shop import FILE, Shop
from plcp.data.shop_builder import ShopBuilder
from plcp.data.timeline import Timeline
from plcp.folders import replacing

READ = ("units", "price", "in_stock", "cancelled", "versions", "neighbours", "vectors")  # what the shop as a whole is made of
NOTHING_SOLD = ("units", *LINES, *REVIEWED)  # channels that are 0 in a week without a row; the others are unknown there

SalesOf = Callable[[Sequence[str]], pl.DataFrame]  # rows of the table sales of these SKUs, from the origin on


def extended(frame: pl.DataFrame, sales: pl.DataFrame, old: Timeline, new: Timeline) -> pl.DataFrame:
    """Rows of a shard on the axis `old`, any SKU any number of times, on the longer axis `new`.

    sales: rows of the table sales of the weeks between; a week without one is a week in which nothing was sold.
    """
    weeks = new.weeks - old.weeks
    if not weeks:
        return frame
    names = [name for name in CHANNELS if name in frame.columns]
    observed, channels = weekly(sales, names, Timeline(old.origin, weeks))
    place = frame.select(pl.col("sku_id").replace_strict(observed, pl.int_range(len(observed), eager=True), default=-1)).to_series()
    row = place.to_numpy().astype(np.int64)
    columns = []
    for name in names:
        silent = np.full((len(frame), weeks), 0.0 if name in NOTHING_SOLD else np.nan)
        if name in channels:
            silent[row >= 0] = channels[name][row[row >= 0]]
        kind = channel_type(name, new.weeks)
        values = np.concatenate([frame[name].to_numpy(), silent.astype(np.float64 if name == "units" else np.float32)], 1)
        columns.append(pl.Series(name, values, dtype=kind))
    return frame.with_columns(columns)


def weekly(sales: pl.DataFrame, names: Sequence[str], weeks: Timeline) -> tuple[pl.Series, dict[str, np.ndarray]]:
    """The SKUs of sales rows, (n,), ascending, and their weekly channels of these names, (n, weeks) each."""
    present = [name for name in names if name in sales.columns or name in LINES]
    rows = panel.sales_rows(sales.lazy(), weeks, present).collect()
    observed = rows["sku_id"].unique().sort()
    if observed.is_empty():
        return observed, {}
    return observed, panel.weekly_sales(rows, panel.Cells.of(rows, observed, weeks))


def moved_on(prepared: Prepared, sales_of: SalesOf, timeline: Timeline, folder: Path) -> Prepared:
    """What is known of the whole shop on a longer axis, written to `folder`, as a Prepared without shards: its shop and its weeks.

    Reads every shard once, a few columns of it, one at a time. What an earlier call wrote there is kept.
    """
    if not (folder / FILE).exists():
        with replacing(folder, FILE) as aside:
            write(prepared, sales_of, timeline, aside)
    return replace(prepared, root=folder, timeline=timeline)


def write(prepared: Prepared, sales_of: SalesOf, timeline: Timeline, folder: Path) -> None:
    builder, parts = ShopBuilder(timeline), folder / "aside"
    parts.mkdir()
    columns = ["sku_id", *(name for name in READ if name in prepared.channels or name not in CHANNELS)]
    baskets = len(prepared.shop.neighbours.names) > 0
    for index in range(len(prepared.shards)):
        frame = prepared.read(index, columns).frame
        frame = extended(frame, sales_of(frame["sku_id"].to_list()), prepared.timeline, timeline)
        shard = Shard(frame, timeline, Shop.none())
        builder.add(shard)
        if baskets:
            neighbours.keep_part(parts, index, frame["sku_id"], shard.first_print)
    if baskets:
        neighbours.write(parts, folder)
    shutil.rmtree(parts)
    builder.done(prepared.shop.signals).save(folder)
