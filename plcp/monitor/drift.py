"""Is a new week like those the model learned from?

Each week of a shop is counted into bins that the training data set: its products on sale by units, price, promotion and so on, by
category and brand. A measure of a week is a number: how far it lies from the training data as a whole. A limit is passed where the
number is beyond the configured threshold and beyond that of every week of the training data's last year, so that neither a small
shop's noise nor the season raises an alarm.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from scipy.special import rel_entr

from plcp.base import DataError
from plcp.data.lifecycle import CONFIRM
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.monitor.config import MonitorConfig

CHANNELS = ("units", "price", "promo", "in_stock", "page_views", "ad_spend", "returns")
WORDS = ("category", "brand")
BINS = 10  # of a number above zero: tenths of the training data
TOP = 20  # values of a word that have a bin of their own
YEAR = 52
JUMPS = "price jumps"

Counts = dict[str, np.ndarray]  # by field, (weeks, bins); the last bin counts what is missing, of words the one before it what is unseen


@dataclass(frozen=True)
class Bins:
    """Where the bins lie: upper edges of numbers; of words the bin of every value that the training data holds."""

    edges: dict[str, np.ndarray]
    words: dict[str, dict[str, int]]
    jump: float  # relative change of price that counts as a jump

    @staticmethod
    def of(training: Prepared, jump: float) -> "Bins":
        """Shards hold SKUs at random, so the first one's quantiles serve for all; the words of all are collected."""
        sample = training.read(0)
        on_sale = sold_lately(sample)
        there = {name: values[on_sale & ~np.isnan(values)] for name, values in sample.channels.items() if name in CHANNELS}
        edges = {name: _edges(values) for name, values in there.items() if len(values)}
        words: dict[str, Counter[str]] = {name: Counter() for name in WORDS}
        for i in range(len(training.shards)):
            shard = training.read(i, ["versions"])
            for name in WORDS:
                words[name].update(value for value in newest(shard, name) if value is not None)
        return Bins(edges, {name: _places(found) for name, found in words.items() if found}, jump)


def _edges(values: np.ndarray) -> np.ndarray:
    """Zero apart, as most weeks see no promotion and many no sale; the rest in tenths."""
    above = values[values > 0]
    inner = np.quantile(above, np.arange(1, BINS) / BINS) if len(above) else []
    return np.unique([np.nextafter(0, 1), *inner])


def _places(found: Counter[str]) -> dict[str, int]:
    """The most frequent values' own bins; all others share the next one."""
    ranked = sorted(found, key=lambda value: (-found[value], value))
    return {value: min(rank, TOP) for rank, value in enumerate(ranked)}


def newest(shard: Shard, name: str) -> list[str | None]:
    """A property of each SKU as its newest row tells it."""
    last = np.full(len(shard), -1)
    last[shard.versions.row] = np.arange(len(shard.versions.row))
    values = shard.versions.values[name].to_list()
    return [values[k] if k >= 0 else None for k in last]


def sold_lately(shard: Shard) -> np.ndarray:
    """Weeks in which a product is on sale: sold in this week or one of the seven before it, and the shop is open. (rows, weeks) bool."""
    sold = np.cumsum(np.pad(shard.units > 0, ((0, 0), (CONFIRM, 0))), axis=1)
    on_sale = np.greater(sold[:, CONFIRM:], sold[:, :-CONFIRM])
    on_sale[:, list(shard.timeline.closed)] = False
    return on_sale


def count(prepared: Prepared, bins: Bins) -> Counts:
    """Products on sale in each week, by bin; shard by shard."""
    counts: Counts = {}
    columns = ["versions", *(name for name in CHANNELS if name in prepared.channels)]
    for i in range(len(prepared.shards)):
        shard = prepared.read(i, columns)  # photos and texts stay where they are
        on_sale = sold_lately(shard)
        for name, (places, size) in placed(shard, bins):
            week = np.broadcast_to(np.arange(prepared.weeks), on_sale.shape)
            seen = np.bincount((week * size + places)[on_sale & (places >= 0)], minlength=prepared.weeks * size)
            counts[name] = counts.get(name, 0) + seen.reshape(prepared.weeks, size)
    return counts


def placed(shard: Shard, bins: Bins) -> Iterator[tuple[str, tuple[np.ndarray, int]]]:
    """The bin of every SKU and week, (rows, weeks), -1 where it counts in none; and how many bins there are. By field."""
    shape = shard.units.shape
    for name, edges in bins.edges.items():
        values = shard.channels.get(name, np.full(shape, np.nan))
        missing = len(edges) + 1
        yield name, (np.where(np.isnan(values), missing, np.searchsorted(edges, values, side="right")), missing + 1)
    for name, known in bins.words.items():
        codes = [TOP + 2 if value is None else known.get(value, TOP + 1) for value in newest(shard, name)]
        yield name, (np.broadcast_to(np.array(codes, np.int64)[:, None], shape), TOP + 3)
    if "price" in bins.edges and "price" in shard.channels:
        change = np.abs(price_changes(shard.channels["price"]))
        yield JUMPS, (np.where(np.isnan(change), -1, change > bins.jump).astype(np.int64), 2)


def price_changes(price: np.ndarray) -> np.ndarray:
    """Relative change from the last known price, NaN where either is unknown or the last was 0. (rows, weeks)."""
    at = np.where(np.isnan(price), -1, np.arange(price.shape[1]))
    last = np.pad(np.maximum.accumulate(at, axis=1), ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    before = np.where(last >= 0, np.take_along_axis(price, np.maximum(last, 0), axis=1), np.nan)
    return np.divide(price, before, out=np.full(price.shape, np.nan), where=before > 0) - 1


def stability(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Population stability index of each week's bins, (weeks, bins), against the reference's (bins,). (weeks,).

    Σ (a − e) ln(a / e): the symmetric Kullback–Leibler divergence (Yurdakul & Naranjo 2020, Journal of Risk Model Validation 14(4)).
    One product, spread as the reference is, is added to each week, so that an empty bin is no infinity.
    """
    expected = (reference + 0.5) / (reference + 0.5).sum()
    actual = (counts + expected) / (counts.sum(-1, keepdims=True) + 1)
    return (rel_entr(actual, expected) + rel_entr(expected, actual)).sum(-1)


@dataclass(frozen=True)
class Series:
    """One measure over time. `past`: the training data's last year; `new`: the weeks since. NaN where nothing was on sale."""

    measure: str
    of: str
    first: date
    past: np.ndarray
    new: np.ndarray
    threshold: float
    cases: int  # products on sale in the newest week
    limit: float = field(init=False)

    def __post_init__(self) -> None:
        usual = self.past[~np.isnan(self.past)]
        object.__setattr__(self, "limit", max(self.threshold, usual.max(initial=0.0)))

    @property
    def value(self) -> float:
        return float(self.new[-1])


def drift(new: Prepared, training: Prepared, config: MonitorConfig) -> list[Series]:
    """Every measure up to the newest week in which the shop was open.

    Raises DataError where the new data holds no week after the training data, or begins too late to tell what is on sale.
    """
    start = new.timeline.index(training.origin)
    open_weeks = [w for w in range(start, new.weeks) if w not in new.timeline.closed]
    if not open_weeks:
        raise DataError(f"the new data ends before {new.origin}, the training data before {training.origin}: no week is new")
    if start < CONFIRM:
        raise DataError(f"the new data begins on {new.first_week}: give {CONFIRM} weeks before {training.origin}, better the whole history")
    bins = Bins.of(training, config.price_jump)
    before, after = count(training, bins), count(new, bins)
    year = slice(max(0, training.weeks - YEAR), training.weeks)
    weeks = slice(start, open_weeks[-1] + 1)
    found = []
    for name, counts in before.items():
        reference = counts.sum(0)
        now = after.get(name, np.zeros((new.weeks, counts.shape[1]), np.int64))
        for measure, (threshold, value) in measures(name, config).items():
            past, since = value(counts[year], reference), value(now[weeks], reference)
            cases = int(now[weeks][-1].sum())
            found.append(Series(measure, name, training.timeline.date(year.start), past, since, threshold, cases))
    return found


def measures(name: str, config: MonitorConfig) -> dict[str, tuple[float, Callable[[np.ndarray, np.ndarray], np.ndarray]]]:
    """What is measured of a field: threshold, and the function of (weeks, bins) and the reference (bins,)."""
    if name == JUMPS:
        return {"share": (config.price_jumps, lambda c, r: share(c, 1))}
    found: dict = {
        "stability": (config.stability, lambda c, r: np.where(c.sum(1) > 0, stability(c[:, :-1], r[:-1]), np.nan)),
        "missing": (config.missing, lambda c, r: np.maximum(share(c, -1) - share(r[None], -1), 0)),
    }
    return found | ({"unseen": (config.unseen, lambda c, r: share(c, TOP + 1))} if name in WORDS else {})


def share(counts: np.ndarray, place: int) -> np.ndarray:
    """One bin's share of each week, (weeks,); NaN in weeks without any product."""
    total = counts.sum(1)
    return np.divide(counts[:, place], total, out=np.full(len(total), np.nan), where=total > 0)
