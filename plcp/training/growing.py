"""Trees grown from a shop's past, to stand beside the network."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from plcp.data.features import inputs, targets
from plcp.data.lifecycle import Levels
from plcp.data.loader import PIECE, Cases, LoaderConfig, list_cases
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.spec import Spec
from plcp.forecast import tabular
from plcp.forecast.ends import SEEN_WEEKS, bins_before
from plcp.forecast.forest import DEPTH, Forest, without_unknown
from plcp.forecast.trees import END, TOLD, Trees, at_bins
from plcp.model.heads import BINS
from plcp.tables import LEVELS
from plcp.training.boosting import TreeConfig, at_once, fit

# Chosen on Online Retail II before March 2011.
CURVE = TreeConfig(rounds=60, learning_rate=0.1, least_leaf=400)
ENDS = TreeConfig(rounds=80, learning_rate=0.08, leaves=15, least_leaf=200, features=0.5)
LOOKED_AT = 20_000  # products whose past is drawn from
CASES = 60_000  # products at past weeks that are learned from at most
WEEKS_EACH = 3  # weeks ahead of each, drawn at random
SHARE_OF_BINS = 0.2  # of the bins that a case was at risk in, drawn at random
LEAST = 50_000  # rows: less of a past would be learned by heart
FIRST_WEEK = 13  # of data, from which on a case is learned from
SCALE_POWER = 0.85  # weight of a case by its units: 0 counts every product the same, 1 by what it sells
CURVE_FADES, ENDS_FADE = 26, 52  # weeks after which what was seen counts half
LEAST_FOLLOWED = 100  # cases followed into a bin, for trees to speak of it


class Rows(NamedTuple):
    """What a booster learns from."""

    x: np.ndarray  # (n, F) float32
    y: np.ndarray  # (n,)
    weight: np.ndarray  # (n,)

    @staticmethod
    def concat(parts: "list[Rows]") -> "Rows":
        return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def grown(prepared: Prepared, spec: Spec, loader: LoaderConfig, seed: int) -> Trees:
    """From what products in life have sold, and when they ended; no trees where that is too little. The same for the same seed."""
    parts = list(past(prepared, spec, loader, np.random.default_rng(seed)))
    if not parts:
        return Trees()
    curve, ends = (Rows.concat([part[k] for part in parts]) for k in (0, 1))
    ends, bins = followed(ends)
    levels = TOLD if len(curve.y) >= LEAST else ()
    quantiles = at_once(*(partial(_grow, {"objective": "quantile", "alpha": LEVELS[k]}, curve, CURVE, seed) for k in levels))
    end = [_grow({"objective": "binary"}, ends, ENDS, seed)] if len(ends.y) >= LEAST and 0 < ends.y.mean() < 1 else []
    return Trees(Forest.of(quantiles), Forest.of(end), prepared.weeks, bins if end else 0)


def followed(ends: Rows) -> tuple[Rows, int]:
    """Those of the first bins that enough cases were followed into, and how many bins these are."""
    place = ends.x[:, -1].astype(np.int64)
    bins = int((np.bincount(place, minlength=BINS) >= LEAST_FOLLOWED).cumprod().sum())
    return Rows(*(column[place < bins] for column in ends)), bins


def _grow(objective: dict[str, Any], rows: Rows, config: TreeConfig, seed: int) -> Any:
    return fit({**objective, "max_depth": DEPTH}, without_unknown(rows.x), rows.y, rows.weight, config, seed)


def past(prepared: Prepared, spec: Spec, loader: LoaderConfig, rng: np.random.Generator) -> Iterator[tuple[Rows, Rows]]:
    """Rows of the curve and of ends, from products drawn from all weeks in life of LOOKED_AT products."""
    total = min(sum(shard.rows for shard in prepared.shards), LOOKED_AT)
    same = {"active_within": SEEN_WEEKS, "cases_per_sku": 0}  # those that trees will speak of
    options = loader.model_copy(update={"min_history": max(loader.min_history, FIRST_WEEK), **same})
    looked_at = 0
    for index in range(len(prepared.shards)):
        shard = prepared.read(index)
        cases = list_cases(shard.units, options, "all", rng)
        in_life = np.flatnonzero(~cases.launch)
        some = rng.permutation(in_life)[: -(-CASES * len(shard) // total)]  # shards hold products at random
        levels = Levels(shard.units)
        for first in range(0, len(some), PIECE):
            yield _rows(shard, levels, cases.take(some[first : first + PIECE]), spec, rng)
        looked_at += len(shard)
        if looked_at >= LOOKED_AT:
            break


def _rows(shard: Shard, levels: Levels, cases: Cases, spec: Spec, rng: np.random.Generator) -> tuple[Rows, Rows]:
    arrays = inputs(shard, cases.row, cases.origin, cases.start, spec)
    came = targets(shard, levels, cases.row, cases.start, spec)
    level, ago = tabular.level(arrays["history"], spec), shard.timeline.weeks - cases.start
    product = tabular.of_product(arrays, spec, level)
    came["units"] = np.where(tabular.promoted(arrays), np.nan, came["units"])  # what a promotion does is the network's to say
    return _curve_rows(tabular.features(arrays, spec), came, level, ago, rng), _end_rows(product, came, ago, rng)


def _curve_rows(x: np.ndarray, came: dict[str, Any], level: np.ndarray, ago: np.ndarray, rng: np.random.Generator) -> Rows:
    """Some weeks ahead of n cases, x (n, h, F): log1p units, less those of the level (n,).

    A week without stock says nothing, unless it sold more than the level all the same: left out, it would make demand seem lower.
    """
    told = np.isfinite(came["units"]) & (~came["censored"] | (came["units"] > level[:, None]))
    order = np.argsort(np.where(told, rng.random(told.shape), 2), 1)[:, :WEEKS_EACH]
    row, week = np.nonzero(np.take_along_axis(told, order, 1))
    week = order[row, week]
    weight = level[row] ** SCALE_POWER * 0.5 ** (ago[row] / CURVE_FADES)
    return Rows(x[row, week], np.log1p(came["units"][row, week]) - np.log1p(level[row]), weight)


def _end_rows(product: np.ndarray, came: dict[str, Any], ago: np.ndarray, rng: np.random.Generator) -> Rows:
    """Some bins of the hazard that n cases, product (n, F), lived through or ended in: whether they ended."""
    weeks, seen = came["event_time"][:, END], came["event_seen"][:, END]
    known = np.isfinite(weeks)
    past, bins = bins_before(np.where(known, weeks, -1.0), seen)[:, None], np.arange(BINS)
    fell = seen[:, None] & (bins == past)
    at_risk = known[:, None] & ((bins < past) | fell)
    row, at = np.nonzero(at_risk & (rng.random(at_risk.shape) < SHARE_OF_BINS))
    return Rows(at_bins(product[row], at), fell[row, at].astype(np.float64), 0.5 ** (ago[row] / ENDS_FADE))
