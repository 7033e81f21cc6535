"""Shards: Parquet files of whole SKUs, one row each, from which cases are cut when they are read."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data.hashing import hash_products, pool_of
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.panel import CHANNELS
from plcp.data.prices import discounts, filled_forward
from plcp.data.shop import Shop
from plcp.data.timeline import Timeline

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
    "plans": {"week": pl.Date(), "price": pl.Float64(), "promo": pl.Float64()},
}


def channel_type(name: str, weeks: int) -> pl.DataType:
    return pl.Array(pl.Float64() if name == "units" else pl.Float32(), weeks)


SPAN = 1 << 20  # weeks: more than any calendar holds


@dataclass(frozen=True)
class Nested:
    """A list column, flattened: entry i belongs to row `row[i]`; rows ascend, entries keep their order."""

    row: np.ndarray
    values: pl.DataFrame

    @staticmethod
    def of(column: pl.Series) -> "Nested":
        row = np.repeat(np.arange(len(column)), column.list.len().fill_null(0).to_numpy())
        exploded = column.filter(column.list.len() > 0).explode()
        return Nested(row, exploded.struct.unnest() if len(exploded) else pl.DataFrame(schema=exploded.struct.schema))


@dataclass(frozen=True)
class Shard:
    """Whole SKUs: their weekly channels and everything else known of them, each with the week it became known."""

    frame: pl.DataFrame
    timeline: Timeline
    shop: Shop
    _weeks: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def sku_id(self) -> list[str]:
        return self.frame["sku_id"].to_list()

    @cached_property
    def channels(self) -> dict[str, np.ndarray]:
        """Weekly arrays by name, (rows, weeks); units are net of all cancellations, elsewhere NaN is unknown."""
        return {c: self.frame[c].to_numpy() for c in CHANNELS if c in self.frame.columns}

    @cached_property
    def units(self) -> np.ndarray:
        """Net units as known at the end of the data, (rows, weeks) float64."""
        return self.channels["units"]

    @cached_property
    def price(self) -> np.ndarray:
        """The last price known up to each week, (rows, weeks) float32; NaN before the first."""
        return filled_forward(self.channels["price"])

    @cached_property
    def discount(self) -> np.ndarray:
        """Depth of each week's price below the regular one, (rows, weeks) float32; NaN before the first price."""
        return discounts(self.price)

    @cached_property
    def first_print(self) -> np.ndarray:
        """Units as they stood at the end of their own week, before any later cancellation. (rows, weeks)."""
        units = self.units.copy()
        late = self.cancelled
        np.add.at(units, (late.row, late.values["sold"].to_numpy()), late.values["units"].to_numpy())
        return np.round(units, 4)

    @cached_property
    def cancelled(self) -> Nested:
        return Nested.of(self.frame["cancelled"])

    @cached_property
    def versions(self) -> Nested:
        return Nested.of(self.frame["versions"])

    @cached_property
    def hashed(self) -> np.ndarray:
        """Hash buckets of each version's category levels and brand, (versions, len(HASHED))."""
        return hash_products(self.versions.values["category"].to_list(), self.versions.values["brand"].to_list())

    @cached_property
    def pool(self) -> np.ndarray:
        """Sibling pool of each version's category, (versions,)."""
        return pool_of(self.versions.values["category"].to_list())

    @cached_property
    def reviews(self) -> np.ndarray:
        """Number of reviews up to each week, (rows, weeks)."""
        return np.cumsum(self.channels["reviews"].astype(np.float64), 1)

    @cached_property
    def rating(self) -> np.ndarray:
        """Mean rating of all reviews up to each week, (rows, weeks); NaN before the first."""
        count = self.reviews
        total = np.cumsum(self.channels["rating_sum"].astype(np.float64), 1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def photos(self) -> Nested:
        return Nested.of(self.frame["photos"])

    @cached_property
    def plans(self) -> Nested:
        return Nested.of(self.frame["plans"])

    def units_as_of(self, rows: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Units of each case as known at its origin (a week index), (b, weeks); weeks from the origin on are not to be read."""
        units = self.units[rows]
        late = self.cancelled
        if len(late.row):
            order, case = expand(late.row, rows)
            unknown = late.values["known"].to_numpy()[order] >= origins[case]
            at = (case[unknown], late.values["sold"].to_numpy()[order][unknown])
            np.add.at(units, at, late.values["units"].to_numpy()[order][unknown])
            units = np.round(units, 4)
        return units

    def version_at(self, rows: np.ndarray, origins: np.ndarray, announced: np.ndarray) -> np.ndarray:
        """Index into `versions` of the newest one known at each origin (a week index), -1 without any. (b,).

        Where `announced`, a product not yet known is described by its first version: what the shop plans to sell.
        """
        return self._newest("versions", rows, origins, announced)

    def photos_at(self, rows: np.ndarray, origins: np.ndarray, announced: np.ndarray) -> np.ndarray:
        """Index into `photos`, as version_at."""
        return self._newest("photos", rows, origins, announced)

    def weeks_of(self, column: str, field: str) -> np.ndarray:
        """Week index of a date in each entry of a list column, (entries,) float64; NaN where it is null."""
        if (column, field) not in self._weeks:
            weeks = getattr(self, column).values.select(self.timeline.index_of(field).cast(pl.Float64).fill_null(np.nan))
            self._weeks[column, field] = weeks.to_series().to_numpy()
        return self._weeks[column, field]

    def _newest(self, column: str, rows: np.ndarray, origins: np.ndarray, announced: np.ndarray) -> np.ndarray:
        nested: Nested = getattr(self, column)
        if not len(nested.row):
            return np.full(len(rows), -1)
        weeks = np.nan_to_num(self.weeks_of(column, "known_from"), nan=-SPAN).astype(np.int64)
        # rows ascend, and within a row the weeks: one search finds the newest of each case
        key = nested.row * (4 * SPAN) + np.clip(weeks, -SPAN, SPAN)
        at = np.searchsorted(key, rows * (4 * SPAN) + origins, side="right") - 1
        first = np.searchsorted(nested.row, rows, side="left")
        known = (at >= first) & (at >= 0)
        exists = nested.row[np.minimum(first, len(nested.row) - 1)] == rows
        return np.where(known, at, np.where(announced & exists, first, -1))

    def launch(self, first: np.ndarray, version: np.ndarray) -> np.ndarray:
        """Week index of each case's launch, (b,) float64; NaN where it is not visible.

        The launch date its version gives, if not after the first sale; else the first sale (NaN: none yet), unless that lies in the
        data's first 8 weeks.
        """
        launch = np.where(first < LAUNCH_SEEN, np.nan, first)
        if not len(self.versions.row):
            return launch
        given = np.where(version >= 0, self.weeks_of("versions", "launch_date")[np.maximum(version, 0)], np.nan)
        return np.where(np.isnan(given), launch, np.fmin(given, first))


def first_sale(units: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Week index of the first sale before each origin, (b,) float64; NaN without any. units (b, weeks)."""
    sold = (units > 0) & (np.arange(units.shape[1]) < origins[:, None])
    return np.where(sold.any(1), sold.argmax(1).astype(np.float64), np.nan)


def expand(owner: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (entry, case) with owner[entry] == rows[case]; owner ascends."""
    left, right = np.searchsorted(owner, rows, "left"), np.searchsorted(owner, rows, "right")
    count = right - left
    case = np.repeat(np.arange(len(rows)), count)
    entry = np.arange(len(case)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(left, count)
    return entry, case


COUNTED = ("units", "reviews", "rating_sum")  # channels in which no row means none, not unknown


def shard_frame(skus: pl.Series, weekly: pl.DataFrame, lists: dict[str, pl.DataFrame], timeline: Timeline) -> pl.DataFrame:
    """Rows of a shard, in the order of `skus`.

    weekly: row (place in `skus`), week (index) and channels, any order; lists: for each of LISTS, row and the fields of its
    struct, in the order they are to stand.
    """
    place = weekly["row"].to_numpy().astype(np.int64) * timeline.weeks + weekly["week"].to_numpy()
    columns = [skus.rename("sku_id")]
    for name in [c for c in CHANNELS if c in weekly.columns]:
        empty = 0 if name in COUNTED else np.nan
        dense = np.full(len(skus) * timeline.weeks, empty, np.float64 if name == "units" else np.float32)
        dense[place] = np.nan_to_num(weekly[name].to_numpy(), nan=empty)
        columns.append(pl.Series(name, dense.reshape(len(skus), timeline.weeks), dtype=channel_type(name, timeline.weeks)))
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
