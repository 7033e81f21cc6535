"""What launches of a shop have sold so far: what the forecast of a launch is shrunk towards."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from plcp.data.features import NUMERIC, POOL, Arrays, inputs
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.spec import Spec
from plcp.tables import LEVELS

LEARNT = 600  # launches after which a model's own word counts half
LOOKED_AT = 20_000  # launches are enough to know their quantiles
LEAST = 30  # launches that must have reached a week of life for it to count
KIN = ("title", "category")  # siblings whose level tells launches apart, the nearest first
STEP = 0.5  # standard deviations between two nodes, and of the kernel around each
NODES = np.arange(-2, 2 + STEP, STEP)
OTHERS = 0.1  # share of the weight that launches unlike a node have there


@dataclass(frozen=True)
class PastLaunches:
    """Quantiles (NODES, NODES, weeks, 9) of log1p units and mean (NODES, NODES, weeks) units by week of life, of `count` launches.

    A shop has few launches, and they come in seasons: a model that is fitted to a few hundred of them forecasts the last season again.
    Its forecast is combined with what launches of such a price, with siblings that sold so well, have sold (forecasting by analogy, Goodwin
    et al. 2013), with the less weight the fewer it has learned from (in the manner of Efron & Morris 1975). The past is told at nodes: near
    each, launches count by a normal kernel (Nadaraya 1964), and between them it is interpolated.
    """

    quantiles: np.ndarray
    mean: np.ndarray
    middle: np.ndarray  # (2,) of the siblings' level in log1p units and of the log of the price: where the middle node lies
    spread: np.ndarray  # (2,) their standard deviations, in which nodes are spaced
    count: int

    @staticmethod
    def none() -> "PastLaunches":
        empty = np.zeros((len(NODES), len(NODES), 0, len(LEVELS)))
        return PastLaunches(empty, empty[..., 0], np.zeros(2), np.ones(2), 0)

    @staticmethod
    def of(prepared: Prepared, spec: Spec) -> "PastLaunches":
        """The first `spec.horizon` weeks of life of all launches whose first sale the data shows."""
        sold, alike = [np.zeros((0, spec.horizon))], [np.zeros((0, 2))]
        for index in range(len(prepared.shards)):
            for found, part in zip(launches(prepared.read(index), spec), (sold, alike), strict=True):
                part.append(found)
            if sum(map(len, sold)) >= LOOKED_AT:
                break
        units, known = np.concatenate(sold), np.concatenate(alike)
        reached = int((np.isfinite(units).sum(0) >= LEAST).cumprod().sum())
        if not reached:
            return PastLaunches.none()
        middle, spread = scale_of(known)
        near = kernel(places(known, middle, spread))
        of_week = [weighted(units[:, week], near) for week in range(reached)]
        quantiles, mean = (np.stack(part, 2) for part in zip(*of_week, strict=True))
        return PastLaunches(quantiles, mean, middle, spread, len(units))

    @property
    def share(self) -> float:
        """Weight of the model's own forecast."""
        return self.count / (self.count + LEARNT) if self.mean.shape[2] else 1.0

    def shrink(self, quantiles: np.ndarray, mean: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of n launches quantiles (n, h, 9) log1p and mean (n, h) units → the same, nearer to the past; alike (n, 2) as `kinship`."""
        if not self.mean.shape[2]:
            return quantiles, mean
        week = np.minimum(np.arange(mean.shape[1]), self.mean.shape[2] - 1)
        place = (places(alike, self.middle, self.spread) - NODES[0]) / STEP
        low = np.minimum(place.astype(np.int64), len(NODES) - 2)
        past, past_mean = np.zeros_like(quantiles), np.zeros_like(mean)
        for corner in itertools.product((0, 1), repeat=2):
            weight = np.where(corner, place - low, 1 - (place - low)).prod(1)
            level, price = (low + corner).T
            past += weight[:, None, None] * self.quantiles[level, price][:, week]
            past_mean += weight[:, None] * self.mean[level, price][:, week]
        return self.share * quantiles + (1 - self.share) * past, self.share * mean + (1 - self.share) * past_mean

    def to_dict(self) -> dict[str, Any]:
        arrays = {"quantiles": self.quantiles, "mean": self.mean, "middle": self.middle, "spread": self.spread}
        return {name: array.round(4).tolist() for name, array in arrays.items()} | {"nodes": NODES.tolist(), "count": self.count}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastLaunches":
        """Raises ValueError or KeyError where the content has another shape."""
        if content["nodes"] != NODES.tolist():
            raise ValueError(f"launches have nodes {content['nodes']}, expected {NODES.tolist()}")
        shape = len(NODES), len(NODES), -1
        mean = np.asarray(content["mean"], np.float64).reshape(shape)
        quantiles = np.asarray(content["quantiles"], np.float64).reshape(*mean.shape, len(LEVELS))
        middle, spread = (np.asarray(content[name], np.float64).reshape(2) for name in ("middle", "spread"))
        return PastLaunches(quantiles, mean, middle, spread, int(content["count"]))


def kinship(cases: Arrays) -> np.ndarray:
    """By what launches are likened, (n, 2): the mean level of the nearest siblings known, in log1p units, and the log of the price.

    NaN where unknown. cases: `pool` and `numeric` as features.inputs gives them.
    """
    level = np.full(len(cases["pool"]), np.nan)
    for name in KIN:
        siblings = cases["pool"][:, :, POOL.index(name)]
        known = np.isfinite(siblings)
        mean = np.nan_to_num(siblings).sum(1) / np.maximum(known.sum(1), 1)
        level = np.where(np.isnan(level) & known.any(1), mean, level)
    price = cases["numeric"][:, NUMERIC.index("list_price")]
    return np.stack([level, np.log(np.where(price > 0, price, np.nan))], 1)


def launches(shard: Shard, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """A shard's launches whose first sale is seen: units of their first weeks (n, horizon), NaN where the data ends or they are no demand;
    and their kinship (n, 2) as it was known before they came."""
    sold, until = shard.units > 0, shard.timeline.weeks
    first = np.where(sold.any(1), sold.argmax(1), -1)
    rows = np.flatnonzero((first >= LAUNCH_SEEN) & (first < until))
    week = first[rows, None] + np.arange(spec.horizon)
    at = rows[:, None], np.minimum(week, until - 1)
    units = np.where((week < until) & shard.told[at], shard.units[at], np.nan)
    return units, kinship(inputs(shard, rows, first[rows], first[rows], spec))


def scale_of(alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation (2,) of what is known of kinship (n, 2); 0 and 1 of what never is."""
    known = [column[np.isfinite(column)] for column in alike.T]
    middle = np.array([np.median(column) if len(column) else 0.0 for column in known])
    return middle, np.array([column.std() or 1.0 if len(column) else 1.0 for column in known])


def places(alike: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Kinship (n, 2) in the nodes' units, within their bounds; in the middle where it is unknown."""
    return np.clip(np.nan_to_num((alike - middle) / spread), NODES[0], NODES[-1])


def kernel(place: np.ndarray) -> np.ndarray:
    """Weights (NODES, NODES, n) of launches in `place` (n, 2) at each node."""
    level, price = (np.exp(-(((NODES[:, None] - column) / STEP) ** 2) / 2) for column in place.T)
    near = level[:, None] * price
    return near + OTHERS * near.mean(2, keepdims=True)


def weighted(units: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (NODES, NODES, 9) of log1p units and mean (NODES, NODES) units of (n,), NaN unknown, by weights (NODES, NODES, n)."""
    order = np.argsort(units)[: np.isfinite(units).sum()]
    values, weights = units[order], near[..., order]
    reached = np.cumsum(weights, 2) / weights.sum(2, keepdims=True)
    place = (reached[..., None] < np.array(LEVELS)).sum(2).clip(max=len(values) - 1)
    return np.log1p(values[place]), (weights @ values) / weights.sum(2)
