"""The rows of a shard as they are stored: one per SKU, weekly channels as arrays, whatever else is known of it as lists."""

from pathlib import Path

import numpy as np
import polars as pl

from plcp.data.panel import CHANNELS

# the fields of each list column's entries
LISTS: dict[str, dict[str, pl.DataType]] = {
    "versions": {
        "known_from": pl.Date(),  # first origin that may use it; null: always
        "title": pl.String(),
        "description": pl.String(),
        "category": pl.String(),
        "brand": pl.String(),
        "list_price": pl.Float64(),
        "launch_date": pl.Date(),
        "attributes": pl.String(),
    },
    "photos": {"known_from": pl.Date(), "photos": pl.List(pl.Binary())},
    "cancelled": {"sold": pl.Int32(), "known": pl.Int32(), "units": pl.Float64()},
    "review_texts": {"date": pl.Date(), "text": pl.String()},
    "vectors": {"known_from": pl.Date(), "kind": pl.String(), "vector": pl.List(pl.Float32())},
    "signals": {"name": pl.String(), "week": pl.Int32(), "known": pl.Int32(), "value": pl.Float64()},  # weeks by index
    "neighbours": {"known": pl.Int32(), "other": pl.UInt64()},  # week by index; the nearest of each quarter first
    "plans": {"week": pl.Date(), "price": pl.Float64(), "promo": pl.Float64()},
}


def channel_type(name: str, weeks: int) -> pl.DataType:
    return pl.Array(pl.Float64() if name == "units" else pl.Float32(), weeks)


def shard_frame(skus: pl.Series, channels: dict[str, np.ndarray], lists: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of a shard, in the order of `skus`.

    channels: weekly arrays (skus, weeks); lists: for each of LISTS, row (place in `skus`) and the fields of its struct, in the order
    they are to stand.
    """
    columns = [skus.rename("sku_id")]
    for name in [c for c in CHANNELS if c in channels]:
        kind = np.float64 if name == "units" else np.float32
        columns.append(pl.Series(name, channels[name].astype(kind, copy=False), dtype=channel_type(name, channels[name].shape[1])))
    frame = pl.DataFrame(columns).with_row_index("row")
    for name, fields in LISTS.items():
        entry = pl.struct(list(fields)).cast(pl.Struct(fields)).alias(name)
        rows = lists[name].group_by("row", maintain_order=True).agg(entry)
        frame = frame.join(rows.with_columns(pl.col("row").cast(pl.UInt32)), on="row", how="left", maintain_order="left")
    return frame.drop("row")


def write_shard(frame: pl.DataFrame, path: Path) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f".{path.name}.writing")
    frame.write_parquet(aside, compression="zstd", compression_level=1, row_group_size=1024)
    aside.replace(path)
