"""Shards: Parquet files of whole SKUs, one row each, from which cases are cut when they are read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from plcp.data.alike import title_words
from plcp.data.hashing import hash_attributes, hash_products, pool_of
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.neighbours import NEAREST
from plcp.data.nested import Known, Nested, expand
from plcp.data.panel import CHANNELS
from plcp.data.prices import discounts, filled_forward
from plcp.data.shop import Shop
from plcp.data.signals import Signals, paths
from plcp.data.timeline import Timeline
from plcp.data.vectors import WIDTH, projected

REVIEW_CHARS = 160  # of a review that are read


@dataclass(frozen=True)
class Shard:
    """Whole SKUs: their weekly channels and everything else known of them, each with the week it became known."""

    frame: pl.DataFrame
    timeline: Timeline
    shop: Shop

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

    @property
    def told(self) -> np.ndarray:
        """Weeks whose units are the demand, (rows, weeks): the shop was open, and the product in stock throughout as far as is known."""
        open_ = ~np.isin(np.arange(self.timeline.weeks), self.timeline.closed)
        stock = self.channels.get("in_stock")
        return np.broadcast_to(open_, self.units.shape) if stock is None else open_ & ~(stock < 1)

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
    def attributes(self) -> np.ndarray:
        """Hash buckets of each version's attributes, (versions, ATTRIBUTES)."""
        return hash_attributes(self.versions.values["attributes"].to_list())

    @cached_property
    def words(self) -> np.ndarray:
        """Buckets of the words of each version's title, (versions, TITLE_WORDS)."""
        return title_words(self.versions.values["title"])

    @cached_property
    def review_texts(self) -> Nested:
        return Nested.of(self.frame["review_texts"])

    @cached_property
    def described(self) -> np.ndarray:
        """Each version's title, category, brand and description, (versions,) strings."""
        values = self.versions.values.select("title", "category", "brand", "description").select(pl.all().replace("", None))
        return strings(values.select(pl.concat_str(pl.all(), separator=". ", ignore_nulls=True)).to_series())

    @cached_property
    def latest_reviews(self) -> np.ndarray:
        """Each review and the one before it, the newer one first, both cut to REVIEW_CHARS; an empty one at the end. (reviews + 1,)."""
        text = pl.concat_str(pl.lit(". "), pl.col("text").str.head(REVIEW_CHARS))
        rows = self.review_texts.values.select(text.alias("text"), row=pl.Series(self.review_texts.row))
        before = pl.when(pl.col("row") == pl.col("row").shift(1)).then(pl.col("text").shift(1))  # rows ascend
        found = rows.select(pl.concat_str("text", before, ignore_nulls=True)).to_series()
        return strings(found.extend_constant("", 1))

    @cached_property
    def list_price(self) -> np.ndarray:
        """(versions,) float64, NaN where not given."""
        return self.versions.values["list_price"].fill_null(np.nan).to_numpy()

    @cached_property
    def vectors(self) -> list[tuple[Known, np.ndarray]]:
        """Of each kind, in order, the entries and their projected vectors (entries, WIDTH)."""
        every = Nested.of(self.frame["vectors"])
        kinds = every.values["kind"].to_numpy() if len(every.row) else np.zeros(0, dtype=object)
        parts = [Nested(every.row[kinds == kind], every.values.filter(kinds == kind)) for kind in sorted(set(kinds))]
        return [(part.known(self.index_of(part, "known_from")), projected(part.values)) for part in parts]

    @cached_property
    def _categories(self) -> pl.Series:
        return self.versions.values["category"].fill_null("")

    @cached_property
    def paths(self) -> np.ndarray:
        """Each version's category path as a place in `path_keys`, (versions,); 0 is the empty path."""
        names = {name: i for i, name in enumerate(sorted({"", *self._categories.unique().to_list()}))}
        return np.array([names[name] for name in self._categories.to_list()], np.int64)

    @cached_property
    def path_keys(self) -> list[list[str]]:
        """The keys of signals, nearest first: in each list one for every category path, "" where it has none as deep."""
        found = [paths(name) for name in sorted({"", *self._categories.unique().to_list()})]
        return [[keys[k] if k < len(keys) else "" for keys in found] for k in range(max(map(len, found)))]

    @cached_property
    def signals(self) -> Signals:
        """Signals of the rows' own SKUs, by the row's number."""
        own = Nested.of(self.frame["signals"])
        keyed = own.values.with_columns(key=pl.Series(own.row).cast(pl.String))
        return Signals.of(keyed, self.timeline.weeks)

    @property
    def holds(self) -> set[str]:
        """What there is beside the channels that cases can read."""
        found: dict[str, Any] = {
            "neighbours": len(self.neighbours.row),
            "attributes": self.versions.values["attributes"].is_not_null().any(),
            "vectors": bool(self.vectors),
        }
        return {name for name, there in found.items() if there}

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

    @cached_property
    def planned_week(self) -> np.ndarray:
        """Week index of each entry of `plans`, (plans,)."""
        return self.index_of(self.plans, "week").astype(np.int64)

    @cached_property
    def planned(self) -> dict[str, np.ndarray]:
        """Fields of `plans`, (plans,) float64 each; NaN where nothing is planned."""
        return {name: self.plans.values[name].fill_null(np.nan).to_numpy() for name in ("price", "promo")}

    @cached_property
    def neighbours(self) -> Nested:
        return Nested.of(self.frame["neighbours"])

    @cached_property
    def neighbour_rows(self) -> np.ndarray:
        """Where the units of each entry of `neighbours` stand in the whole shop, -1 nowhere. (neighbours,)."""
        return self.shop.neighbours.rows(self.neighbours.values["other"].to_numpy())

    def neighbours_at(self, rows: np.ndarray, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the whole shop of each case's neighbours, as ranked by its origin, and which of them there are. (b, NEAREST) each."""
        if not len(self.neighbours.row):
            return np.full((len(rows), NEAREST), -1), np.zeros((len(rows), NEAREST), bool)
        known = self._neighbours_known
        last = known.newest(rows, origins)
        entry = np.maximum(last[:, None] - np.arange(NEAREST), 0)
        same = (known.row[entry] == rows[:, None]) & (known.week[entry] == known.week[last][:, None])
        return self.neighbour_rows[entry], same & (last[:, None] >= np.arange(NEAREST))

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
        return self._versions_known.newest(rows, origins, announced)

    def photos_at(self, rows: np.ndarray, origins: np.ndarray, announced: np.ndarray) -> np.ndarray:
        """Index into `photos`, as version_at."""
        return self._photos_known.newest(rows, origins, announced)

    def review_at(self, rows: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Index into `latest_reviews` of the last review written before each origin, -1 without any. (b,)."""
        return self._reviews_known.newest(rows, origins)

    def vector_at(self, rows: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Sum over the kinds of the newest vector known at each origin, (b, WIDTH) float32; NaN where there is none."""
        total, there = np.zeros((len(rows), WIDTH), np.float32), np.zeros(len(rows), bool)
        for known, values in self.vectors:
            at = known.newest(rows, origins)
            total[at >= 0] += values[at[at >= 0]]
            there |= at >= 0
        return np.where(there[:, None], total, np.float32(np.nan))

    def index_of(self, nested: Nested, field: str) -> np.ndarray:
        """Week index of a date in each entry, (entries,) float64; NaN where it is null."""
        return nested.values.select(self.timeline.index_of(field).cast(pl.Float64).fill_null(np.nan)).to_series().to_numpy()

    @cached_property
    def _versions_known(self) -> Known:
        return self.versions.known(self.index_of(self.versions, "known_from"))

    @cached_property
    def _photos_known(self) -> Known:
        return self.photos.known(self.index_of(self.photos, "known_from"))

    @cached_property
    def _reviews_known(self) -> Known:
        return self.review_texts.known(self.index_of(self.review_texts, "date") + 1)

    @cached_property
    def _neighbours_known(self) -> Known:
        return self.neighbours.known(self.neighbours.values["known"].to_numpy())

    @cached_property
    def _launch_dates(self) -> np.ndarray:
        return self.index_of(self.versions, "launch_date")

    def launch(self, first: np.ndarray, version: np.ndarray) -> np.ndarray:
        """Week index of each case's launch, (b,) float64; NaN where it is not visible.

        The launch date its version gives, if not after the first sale; else the first sale (NaN: none yet), unless that lies in the
        data's first 8 weeks.
        """
        launch = np.where(first < LAUNCH_SEEN, np.nan, first)
        if not len(self.versions.row):
            return launch
        given = np.where(version >= 0, self._launch_dates[np.maximum(version, 0)], np.nan)
        return np.where(np.isnan(given), launch, np.fmin(given, first))


def strings(column: pl.Series) -> np.ndarray:
    """An array of Python strings, which numpy gathers and joins without touching their letters."""
    out = np.empty(len(column), dtype=object)
    out[:] = column.to_list()
    return out


def first_sale(units: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Week index of the first sale before each origin, (b,) float64; NaN without any. units (b, weeks)."""
    sold = (units > 0) & (np.arange(units.shape[1]) < origins[:, None])
    return np.where(sold.any(1), sold.argmax(1).astype(np.float64), np.nan)
