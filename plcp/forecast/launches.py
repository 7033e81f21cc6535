"""What launches of a shop have sold so far: what the forecast of a launch is shrunk towards."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from plcp.data.features import NUMERIC, POOL, Arrays, pooled, version_arrays
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard, first_sale
from plcp.data.spec import Spec
from plcp.tables import LEVELS

# The figures below were chosen on launches of Online Retail II before March 2011: they lowered their wql from .765 to .733 (a past of all
# launches alike, to this one), where twice or half of each changed it by no more than .006.
LEARNT = 600  # launches after which a model's own word counts half
STEP = 0.5  # standard deviations between two nodes, and of the kernel around each
BORROWED = 5.0  # launches' worth of all launches that each node starts from
NODES = np.arange(-2, 2 + STEP, STEP)
PLACES = len(NODES) + 1  # on each axis the nodes, and one for what is unknown there
LOOKED_AT = 20_000  # launches are enough to know their quantiles
LEAST = 30  # launches that must have reached a week of life for it to count
KIN = ("title", "category")  # siblings whose level tells launches apart, the nearest first
FIRST_AGES = 4  # weeks of the siblings' lives that make their level: those that all of them were seen at
LEAST_SPREAD = 0.05  # in logs: whatever differs by less is alike


@dataclass(frozen=True)
class PastLaunches:
    """Quantiles (PLACES, PLACES, weeks, 9) of log1p units and mean (PLACES, PLACES, weeks) units by week of life, of `count` launches.

    A shop has few launches, and they come in seasons: a model that is fitted to a few hundred of them forecasts the last season again.
    Its forecast is combined with what launches of such a price, with siblings that sold so well, have sold (as in van Steenbergen & Mes
    2020), with the less weight the fewer it has learned from (in the manner of Efron & Morris 1975). The past is told at nodes: near each,
    launches count by a normal kernel (Stone 1977), and between them it is interpolated.
    """

    quantiles: np.ndarray
    mean: np.ndarray
    middle: np.ndarray  # (2,) of the siblings' level in log1p units and of the log of the price: where the middle node lies
    spread: np.ndarray  # (2,) their standard deviations, in which nodes are spaced
    count: int

    @staticmethod
    def none() -> "PastLaunches":
        empty = np.zeros((PLACES, PLACES, 0, len(LEVELS)))
        return PastLaunches(empty, empty[..., 0], np.zeros(2), np.ones(2), 0)

    @staticmethod
    def of(prepared: Prepared, spec: Spec) -> "PastLaunches":
        """From the first `spec.horizon` weeks of the launches that the data shows, up to LOOKED_AT of them."""
        sold, kin = [np.zeros((0, spec.horizon))], [np.zeros((0, 2))]
        columns = ["units", "cancelled", "versions", *(c for c in prepared.channels if c == "in_stock")]
        for index in range(len(prepared.shards)):
            units, of_shard = past_launches(prepared.read(index, columns), spec)
            sold.append(units)
            kin.append(of_shard)
            if sum(map(len, sold)) >= LOOKED_AT:
                break
        return PastLaunches.told(np.concatenate(sold), np.concatenate(kin))

    @staticmethod
    def told(units: np.ndarray, kin: np.ndarray) -> "PastLaunches":
        """From units (n, weeks) of n launches, NaN unknown, and their kinship (n, 2)."""
        reached = int((np.isfinite(units).sum(0) >= LEAST).cumprod().sum())
        if not reached:
            return PastLaunches.none()
        known = [column[np.isfinite(column)] for column in kin.T]
        middle = np.array([np.median(column) if len(column) else 0.0 for column in known])
        spread = np.array([max(column.std(), LEAST_SPREAD) if len(column) else 1.0 for column in known])
        near = kernel((kin - middle) / spread)
        of_week = [weighted(units[:, week], near) for week in (neighbours(week, reached) for week in range(reached))]
        quantiles, mean = (np.stack(part, 2) for part in zip(*of_week, strict=True))
        return PastLaunches(quantiles, mean, middle, spread, len(units))

    @property
    def share(self) -> float:
        """Weight of the model's own forecast."""
        return self.count / (self.count + LEARNT) if self.mean.shape[2] else 1.0

    def shrink(self, quantiles: np.ndarray, mean: np.ndarray, kin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of n launches quantiles (n, h, 9) log1p and mean (n, h) units → the same, nearer to the past; kin (n, 2) as `kinship`."""
        if not self.mean.shape[2]:
            return quantiles, mean
        week = np.minimum(np.arange(mean.shape[1]), self.mean.shape[2] - 1)
        place = (np.clip((kin - self.middle) / self.spread, NODES[0], NODES[-1]) - NODES[0]) / STEP
        place = np.where(np.isnan(place), PLACES - 1, place)
        low = place.astype(np.int64)
        past, past_mean = np.zeros_like(quantiles), np.zeros_like(mean)
        for corner in itertools.product((0, 1), repeat=2):
            weight = np.where(corner, place - low, 1 - (place - low)).prod(1)
            level, price = np.minimum(low + corner, PLACES - 1).T
            past += weight[:, None, None] * self.quantiles[level, price][:, week]
            past_mean += weight[:, None] * self.mean[level, price][:, week]
        return self.share * quantiles + (1 - self.share) * past, self.share * mean + (1 - self.share) * past_mean

    def to_dict(self) -> dict[str, Any]:
        arrays = {"quantiles": self.quantiles, "mean": self.mean, "middle": self.middle, "spread": self.spread}
        return {name: array.round(4).tolist() for name, array in arrays.items()} | {"nodes": NODES.tolist(), "count": self.count}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastLaunches":
        """Raises ValueError or KeyError where the content has another shape, or holds what no launches have sold."""
        if content["nodes"] != NODES.tolist():
            raise ValueError(f"launches have nodes {content['nodes']}, expected {NODES.tolist()}")
        mean = np.asarray(content["mean"], np.float64).reshape(PLACES, PLACES, -1)
        quantiles = np.asarray(content["quantiles"], np.float64).reshape(*mean.shape, len(LEVELS))
        middle, spread = (np.asarray(content[name], np.float64).reshape(2) for name in ("middle", "spread"))
        count = int(content["count"])
        if not all(np.isfinite(part).all() for part in (quantiles, mean, middle, spread)) or (spread <= 0).any() or count < 0:
            raise ValueError(f"launches hold numbers that are none, a spread of {spread.tolist()}, or a count of {count}")
        return PastLaunches(quantiles, mean, middle, spread, count)


def kinship(cases: Arrays) -> np.ndarray:
    """By what launches are likened, (n, 2): the mean level of the nearest siblings known, in log1p units, in their FIRST_AGES, and the log
    of the price.

    NaN where unknown. cases: `pool` and `numeric` as features.inputs gives them.
    """
    return likeness(cases["pool"], cases["numeric"][:, NUMERIC.index("list_price")])


def likeness(pool: np.ndarray, price: np.ndarray) -> np.ndarray:
    """`kinship` of pool (n, horizon, len(POOL)) and price (n,)."""
    level = np.full(len(pool), np.nan)
    for name in KIN:
        siblings = pool[:, :FIRST_AGES, POOL.index(name)]
        known = np.isfinite(siblings)
        mean = np.nan_to_num(siblings).sum(1) / np.maximum(known.sum(1), 1)
        level = np.where(np.isnan(level) & known.any(1), mean, level)
    return np.stack([level, np.log(np.where(price > 0, price, np.nan))], 1)


def past_launches(shard: Shard, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """A shard's launches, from their launch date on where one is visible, else from the first sale, which must be seen: units of their
    first weeks (n, horizon), NaN where the data ends or they are no demand; and their kinship (n, 2) as it was known before they came."""
    first = first_sale(shard.units, np.full(len(shard), shard.timeline.weeks))
    rows = np.flatnonzero(np.isfinite(first))
    version = shard.version_at(rows, first[rows].astype(np.int64), np.ones(len(rows), bool))
    start = shard.launch(first[rows], version)
    rows, start = rows[start >= LAUNCH_SEEN], start[start >= LAUNCH_SEEN].astype(np.int64)
    new = np.isnan(first_sale(shard.units_as_of(rows, start), start))  # an order that was cancelled later had made it an old one
    rows, start = rows[new], start[new]
    week = start[:, None] + np.arange(spec.horizon)
    at = rows[:, None], np.minimum(week, shard.timeline.weeks - 1)
    units = np.where((week < shard.timeline.weeks) & shard.told[at], shard.units[at], np.nan)
    statics = version_arrays(shard, shard.version_at(rows, start, np.ones(len(rows), bool)), spec)
    return units, likeness(pooled(shard, statics, start, np.zeros(len(rows)), start, spec), statics["list_price"])


def kernel(place: np.ndarray) -> np.ndarray:
    """Weights (PLACES, PLACES, n) of launches in `place` (n, 2), in standard deviations from the middle, NaN unknown, at each node.

    A launch of which something is unknown counts as the others do on average; at the place of the unknown all do alike.
    """
    near = []
    for column in place.T:
        known = np.isfinite(column)
        weight = np.exp(-(((NODES[:, None] - np.where(known, column, 0)) / STEP) ** 2) / 2)
        average = (weight * known).sum(1, keepdims=True) / max(known.sum(), 1)
        near.append(np.concatenate([np.where(known, weight, average), np.ones((1, len(column)))]))
    level, price = near
    return level[:, None] * price + BORROWED / len(place)


def neighbours(week: int, weeks: int) -> slice:
    """The weeks of life that tell what is sold in one of them: itself and those beside it, lest one order make a peak. The first, which is
    often part of a week or the one of the first sale, is like no other."""
    return slice(max(week - 1, 1), min(week + 2, weeks)) if week else slice(1)


def weighted(units: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (PLACES, PLACES, 9) of log1p units and mean (PLACES, PLACES) units of (n, weeks), NaN unknown, by weights
    (PLACES, PLACES, n)."""
    flat = units.reshape(-1, order="F")  # week after week
    order = np.argsort(flat)[: np.isfinite(flat).sum()]
    values, weights = flat[order], near[..., order % len(units)]
    reached = np.cumsum(weights, 2) / weights.sum(2, keepdims=True)
    place = (reached[..., None] < np.array(LEVELS)).sum(2).clip(max=len(values) - 1)
    return np.log1p(values[place]), (weights @ values) / weights.sum(2)
