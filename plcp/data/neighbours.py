"""Products bought together, known before an origin, and what their neighbours sold.

Neighbours are ranked once a quarter from all purchases before it, so a product keeps a few per quarter, however many its baskets. Their
weekly units stand in one file for the whole shop, read by memory map: a shard needs rows of others.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data.timeline import Timeline

NEAREST = 5
EVERY = 13  # weeks between rankings
MOST = (1 << 18) - 1  # purchases that are counted of a pair
LARGEST = 12  # products in a purchase; larger ones are a retailer's restocking, and their pairs grow with the square
UNITS, NAMES = "units.npy", "names.npy"


def name_hash(column: str) -> pl.Expr:
    """A SKU as UInt64."""
    return pl.col(column).hash(0)


def pairs(baskets: pl.LazyFrame, timeline: Timeline) -> pl.LazyFrame:
    """Every two products of one purchase: sku_id, other (name_hash), week, count. Streams.

    What bears one basket_id in different weeks are different purchases: a week is known as a whole or not at all.
    """
    purchase = ["basket_id", "week"]
    dated = baskets.with_columns(pl.col("ts").dt.date()).with_columns(timeline.index_of("ts").alias("week"))
    lines = dated.select(*purchase, "sku_id").unique()
    sizes = lines.group_by(purchase).len().filter(pl.col("len").is_between(2, LARGEST))
    small = lines.join(sizes, on=purchase, how="semi")
    both = small.join(small.select(*purchase, name_hash("sku_id").alias("other")), on=purchase)
    return both.filter(name_hash("sku_id") != pl.col("other")).group_by("sku_id", "other", "week").agg(pl.len().alias("count"))


def ranked(counted: pl.DataFrame, weeks: int) -> pl.DataFrame:
    """The NEAREST of each product at the start of each quarter: sku_id, known (week index), other; the nearest first.

    A product stands in every quarter from its first purchase with others on. Of equals the lower hash is nearer.
    """
    skus = counted.select(pl.col("sku_id").unique().sort())
    rows = counted.join(skus.with_row_index("sku"), on="sku_id").select("sku", "other", "week", "count").sort("sku", "other")
    week, sku = rows["week"].to_numpy(), rows["sku"].to_numpy().astype(np.int64)
    other, count = rows["other"].to_numpy(), rows["count"].to_numpy()
    begins = np.ones(len(rows), bool)
    begins[1:] = (sku[1:] != sku[:-1]) | (other[1:] != other[:-1])
    pair, sku, other = np.cumsum(begins) - 1, sku[begins], other[begins]
    local = np.arange(len(sku)) - np.searchsorted(sku, sku)  # place among the pairs of its product, by hash
    found: list[pl.DataFrame] = []
    so_far = np.zeros(len(sku), np.int64)
    for known in range(EVERY, weeks + EVERY, EVERY):
        new = (week < known) & (week >= known - EVERY) if found else week < known
        so_far += np.bincount(pair[new], count[new], len(sku)).astype(np.int64)
        nearest = _nearest(sku, so_far, local)
        found.append(pl.DataFrame({"sku": sku[nearest], "known": np.full(len(nearest), known, np.int32), "other": other[nearest]}))
    order = pl.concat(found).sort("sku", "known", maintain_order=True)
    return order.select(skus["sku_id"].gather(order["sku"]).alias("sku_id"), "known", "other")


def _nearest(sku: np.ndarray, count: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Indices of the NEAREST pairs of each product, the most frequent first. Pairs ascend by sku and `local`; those of count 0 are none."""
    there = np.flatnonzero(count)
    # sorted as one whole number each: several times as fast as by three columns
    frequent = MOST - np.minimum(count[there], MOST)
    key = np.sort((sku[there] << 42) | (frequent << 24) | local[there])
    owner = key >> 42
    best = key[np.arange(len(key)) - np.searchsorted(owner, owner) < NEAREST]
    return np.searchsorted(sku, best >> 42) + (best & ((1 << 24) - 1))


@dataclass(frozen=True)
class Neighbours:
    """Weekly log1p units of every product as first known, (products, weeks) float32; `names` (products,) their hashes, ascending."""

    names: np.ndarray
    units: np.ndarray

    @staticmethod
    def none() -> "Neighbours":
        return Neighbours(np.zeros(0, np.uint64), np.zeros((0, 0), np.float32))

    @staticmethod
    def load(folder: Path) -> "Neighbours":
        """What `write` left; none where there were no baskets."""
        if not (folder / UNITS).exists():
            return Neighbours.none()
        return Neighbours(np.load(folder / NAMES), np.load(folder / UNITS, mmap_mode="r"))

    def rows(self, names: np.ndarray) -> np.ndarray:
        """Row of each hash in `units`, -1 where the product is unknown."""
        if not len(self.names):
            return np.full(len(names), -1)
        at = np.minimum(np.searchsorted(self.names, names), len(self.names) - 1)
        return np.where(self.names[at] == names, at, -1)

    def mean(self, rows: np.ndarray, listed: np.ndarray, weeks: np.ndarray) -> np.ndarray:
        """exp(mean log1p) - 1 of neighbours' units, (b, w) float32; NaN without any.

        rows (b, k), -1 for one that never sold; listed (b, k), which of them are neighbours; weeks (b, w) indices, beyond the last
        one as in it.
        """
        weeks = np.minimum(weeks, self.units.shape[1] - 1)
        total = np.zeros(weeks.shape, np.float32)
        for column, known in zip(rows.T, (listed & (rows >= 0)).T, strict=True):
            if not known.any():
                continue
            total += np.where(known[:, None], self.units[np.maximum(column, 0)[:, None], weeks], np.float32(0))
        count = listed.sum(1)
        mean = np.expm1(total / np.maximum(count, 1)[:, None].astype(np.float32))
        return np.where(count[:, None] > 0, mean, np.float32(np.nan))


def keep_part(folder: Path, index: int, skus: pl.Series, units: np.ndarray) -> None:
    """Set the units (n, weeks) of some products aside, for `write`."""
    np.save(folder / f"{index:05d}-{NAMES}", skus.to_frame("sku_id").select(name_hash("sku_id")).to_series().to_numpy())
    np.save(folder / f"{index:05d}-{UNITS}", np.log1p(units).astype(np.float32))


def write(parts: Path, folder: Path) -> None:
    """All parts that were set aside as one file in the order of their names."""
    names = [np.load(path) for path in sorted(parts.glob(f"*-{NAMES}"))]
    units = [np.load(path, mmap_mode="r") for path in sorted(parts.glob(f"*-{UNITS}"))]
    order = np.argsort(np.concatenate(names))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    whole = np.lib.format.open_memmap(folder / UNITS, "w+", np.float32, (len(order), units[0].shape[1]))
    for at, values in zip(np.split(place, np.cumsum([len(own) for own in names])[:-1]), units, strict=True):
        whole[at] = values
    whole.flush()
    np.save(folder / NAMES, np.concatenate(names)[order])
