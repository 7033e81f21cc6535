"""Siblings by title: what products sold whose titles share a product's words, known before an origin.

Each word keeps the sums of all products that bear it, so a forecast needs no search and memory no pairs: it grows with the number of word
buckets, not of products. A product's siblings are the weighted mean over its words; rare words weigh more (inverse document frequency,
Spärck Jones 1972), words seen on few products less. Words are hashed (Weinberger et al. 2009): an unseen one has its place.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from plcp.data.hashing import bucket_of
from plcp.data.siblings import AGES, STEP, WeeksOfLife

WORDS = 2048  # buckets; 0 is none
TITLE_WORDS = 8  # of a title that count, the first distinct ones
WORD = r"\p{Han}|[\p{L}--\p{Han}]{2,}"  # Chinese sets no spaces between words: each sign tells
SPAN = 4  # weeks of life that are pooled together
BINS = AGES // SPAN
ON_SALE = 26  # weeks within which a product sold something that is on sale
LEVEL_WEEKS = 13
SHRINK = 3.0  # products of which a word must tell to weigh half


def title_words(titles: pl.Series) -> np.ndarray:
    """Buckets of each title's words, (n, TITLE_WORDS) int64, filled up with 0."""
    words = titles.fill_null("").str.to_lowercase().str.extract_all(WORD).list.unique(maintain_order=True).list.head(TITLE_WORDS)
    flat = words.explode(empty_as_null=False) if len(words) else pl.Series([], dtype=pl.String)
    bucket = bucket_of(flat.unique().drop_nulls().to_list(), WORDS)
    out = np.zeros((len(titles), TITLE_WORDS), np.int64)
    count = words.list.len().to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(titles)), count)
    column = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    found = flat.replace_strict(bucket, return_dtype=pl.Int64).to_numpy() if bucket else np.zeros(0, np.int64)
    out[row, column] = found
    return out


def word_weights(words: np.ndarray, seen: np.ndarray, every: np.ndarray) -> np.ndarray:
    """What each word counts for, (b, TITLE_WORDS): more if it is rare, less if it was `seen` on few products; of `every` (b, 1) product."""
    return np.where(words > 0, np.log1p(every / np.maximum(seen, 1)) * seen / (seen + SHRINK), 0)


@dataclass(frozen=True)
class TitlePools:
    """Sums of log1p units and counts of product weeks, (WORDS, BINS, weeks + 1): at index o, what was seen before origin o.

    `products` (WORDS, weeks + 1): how many products had sold by then.
    """

    total: np.ndarray
    count: np.ndarray
    products: np.ndarray

    @staticmethod
    def none() -> "TitlePools":
        empty = np.zeros((WORDS, BINS, 1), np.float32)
        return TitlePools(empty, empty, empty[:, 0])

    def mean(self, words: np.ndarray, age: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Mean log1p units of the siblings at each age. words (b, TITLE_WORDS), age (b, h) weeks or NaN, origins (b,) → (b, h) float32."""
        out = np.full(age.shape, np.nan, np.float32)
        cases = np.flatnonzero(((age >= 0) & (age < SPAN * BINS)).any(1) & (words > 0).any(1))
        if len(cases):
            words, week = words[cases], np.clip(origins[cases], 0, self.total.shape[2] - 1)[:, None]
            by_age = self._by_age(words, week)
            bins = np.where((age[cases] >= 0) & (age[cases] < SPAN * BINS), age[cases] // SPAN, BINS).astype(np.int64)
            out[cases] = np.take_along_axis(by_age, bins, 1)
        return out

    def _by_age(self, words: np.ndarray, week: np.ndarray) -> np.ndarray:
        """(b, BINS + 1), the last bin NaN."""
        total, count = self.total[words, :, week].astype(np.float64), self.count[words, :, week].astype(np.float64)
        weight = word_weights(words, self.products[words, week], self.products[0, week])[..., None] * (count > 0)
        whole = weight.sum(1)
        mean = (weight * total / np.maximum(count, 1)).sum(1) / np.where(whole > 0, whole, 1)
        return np.pad(np.where(whole > 0, mean, np.nan), ((0, 0), (0, 1)), constant_values=np.nan).astype(np.float32)


class TitlePoolBuilder:
    """Adds products, shard by shard, in any order."""

    def __init__(self, weeks: int):
        self.total, self.count = np.zeros((2, WORDS, BINS, weeks + 1))
        self.products = np.zeros((WORDS, weeks + 1))

    def add(self, lives: WeeksOfLife, launch: np.ndarray, first: np.ndarray, words: np.ndarray) -> None:
        """launch and first sale (n,) week indices or NaN; words (n, TITLE_WORDS)."""
        launched = np.flatnonzero(launch >= 0)
        sold = first[launched].astype(np.int64) + 1
        row, value, weeks = lives.row, lives.value, self.products.shape[1]
        cell = lives.age // SPAN * weeks + lives.known
        for column in words.T:
            bears = np.flatnonzero(column[row])
            place = column[row[bears]] * (BINS * weeks) + cell[bears]
            np.add.at(self.total.reshape(-1), place, value[bears])
            np.add.at(self.count.reshape(-1), place, np.ones(len(place)))
            told = column[launched] > 0
            np.add.at(self.products, (column[launched][told], sold[told]), 1)
        np.add.at(self.products, (np.zeros_like(sold), sold), 1)  # bucket 0 counts all products

    def done(self) -> TitlePools:
        return TitlePools(*(np.cumsum(x, -1).astype(np.float32) for x in (self.total, self.count, self.products)))


@dataclass(frozen=True)
class TitleLevels:
    """Sums of log1p units of the products on sale whose titles bear a word, and counts of them, over the weeks before each one, (WORDS,
    weeks + 1) float64; bucket 0 is every product."""

    total: np.ndarray
    count: np.ndarray

    @staticmethod
    def none() -> "TitleLevels":
        return TitleLevels(np.zeros((WORDS, 1)), np.zeros((WORDS, 1)))

    def mean(self, words: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Mean log1p units a week that products with these words sold in the LEVEL_WEEKS before each origin; NaN where none was on sale.
        words (b, TITLE_WORDS), origins (b,) → (b,)."""
        until = np.clip(origins, 0, self.total.shape[1] - 1)[:, None]
        since = np.maximum(until - LEVEL_WEEKS, 0)
        total, count = (x[words, until] - x[words, since] for x in (self.total, self.count))
        every = self.count[0, until] - self.count[0, since]
        weight = word_weights(words, count / LEVEL_WEEKS, every / LEVEL_WEEKS)
        whole = weight.sum(1)
        mean = (weight * total / np.maximum(count, 1)).sum(1) / np.where(whole > 0, whole, 1)
        return np.where(whole > 0, mean, np.nan)


class TitleLevelBuilder:
    """Adds products, shard by shard, in any order."""

    def __init__(self, weeks: int):
        self.total, self.count = np.zeros((2, WORDS, weeks))

    def add(self, units: np.ndarray, words: np.ndarray) -> None:
        """units (n, weeks) as they stood at the end of their own week; words (n, TITLE_WORDS)."""
        sold = np.pad(np.cumsum(units > 0, 1), ((0, 0), (ON_SALE, 0)))
        on_sale = sold[:, ON_SALE:] > sold[:, :-ON_SALE]
        value = np.where(on_sale, np.round(np.log1p(np.maximum(units, 0)) / STEP) * STEP, 0)
        for column in words.T:
            bears = column > 0
            np.add.at(self.total, column[bears], value[bears])
            np.add.at(self.count, column[bears], on_sale[bears])
        self.total[0] += value.sum(0)
        self.count[0] += on_sale.sum(0)

    def done(self) -> TitleLevels:
        return TitleLevels(*(np.pad(np.cumsum(x, 1), ((0, 0), (1, 0))) for x in (self.total, self.count)))
