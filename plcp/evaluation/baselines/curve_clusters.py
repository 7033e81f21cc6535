"""Parametric life-cycle curves by cluster: what products alike sold on average in each week of their lives, as one smooth curve.

K. Hu, J. Acimovic, F. Erize, D. J. Thomas and J. A. Van Mieghem (2019), Forecasting new product life cycle curves, M&SOM 21(1): past
lives are scaled to one level, clustered and averaged, a curve is fitted to each cluster's mean, and products take their cluster's. Here
products are clustered by k-means on what is known at their launch. Products whose launch was not seen, events
and stages are as in `recent`.

Chosen on the benchmark's first dev origin, before mean lives and levels were found in turn; in-life and launch wql of Bass: 1 cluster 0.622
and 0.811, 4 clusters 0.623 and 0.800, 8 clusters 0.623 and 0.800, 16 clusters 0.638 and 0.824; with levels from 8 weeks instead of 13
0.619; with the spread by cluster instead of by velocity 0.627; with the first week of the data taken for the launch of what was sold in
it 0.649.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plcp.base import Config
from plcp.data import fitting
from plcp.data.families import FAMILIES
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.attributes import attribute_points
from plcp.evaluation.baselines.packages import require
from plcp.evaluation.baselines.recent import past_launches, recent_curves, with_rules
from plcp.evaluation.baselines.seasonal_naive import velocity_class
from plcp.evaluation.baselines.spread import LogSpread
from plcp.evaluation.cases import ACTIVE_WITHIN, Cases
from plcp.evaluation.contestant import Forecasts, curve_frame, rows_of

CLUSTERS = 4
STARTS = 4  # of k-means
LEVEL_WEEKS = 8  # last weeks that a product's level is taken from
ROUNDS = 10  # in which levels and mean lives settle
LEAST_LIVES = 5  # lives that the mean of a week of life is taken over


class CurveClusters:
    """One family of curves. Raises ConfigError without the extra `peers`."""

    config = Config()

    def __init__(self, family: str) -> None:
        require(f"{family}_clusters", "sklearn")
        self.family = [known.name for known in FAMILIES].index(family)

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        quantiles, mean = recent_curves(view.units[rows], cases.horizon)
        past = past_launches(view, cases.launch_horizon)
        if len(past) < CLUSTERS * LEAST_LIVES:
            return with_rules(view, rows, cases, quantiles, mean)
        cluster = clusters(attribute_points(view, cases), past, seed)
        curves = Curves.fit(self.family, view, past, cluster, cases.horizon)
        seen = view.first[rows] >= LAUNCH_SEEN
        quantiles[seen], mean[seen] = in_life_curves(curves, rows[seen], cases.horizon)
        rule = with_rules(view, rows, cases, quantiles, mean)
        new, starts = cases.launches["sku_id"].to_list(), cases.launches["start"].to_list()
        own = cluster[len(view.units) :]
        return replace(rule, launch=curve_frame(new, cases.origin, starts, *launch_curves(curves, past, own, cases.launch_horizon)))


def clusters(points: Any, past: np.ndarray, seed: int) -> np.ndarray:
    """The cluster of each of n products and m launches at points (n + m, d), as past launches `past` (p,) fall into them. (n + m,)."""
    from sklearn.cluster import KMeans

    return KMeans(CLUSTERS, n_init=STARTS, random_state=seed).fit(points[past]).predict(points)


@dataclass(frozen=True)
class Curves:
    """The curve of each cluster, and the panel that its products are in."""

    view: PanelView
    cluster: np.ndarray  # (n + m,)
    shape: np.ndarray  # (CLUSTERS, ages) relative to the highest week of those that were seen

    @staticmethod
    def fit(family: int, view: PanelView, past: np.ndarray, cluster: np.ndarray, horizon: int) -> "Curves":
        """Fitted to the mean lives of products `past` (p,) in each cluster."""
        units, exposure = lives(view, past)
        member = cluster[past] == np.arange(CLUSTERS)[:, None]
        member[~member.any(1)] = True  # k-means leaves a cluster empty only where fewer points are different
        total, count = mean_lives(units, exposure, member.astype(np.float64))
        theta = fitting.fit(family, total, count)
        log = FAMILIES[family].shape(theta, fitting.middles(view.origin + horizon))[0]
        return Curves(view, cluster, np.exp(fitting.relative(log, count)))

    def at(self, rows: np.ndarray, weeks: np.ndarray) -> np.ndarray:
        """The shape of products in weeks (w,), (b, w); 0 before their launch and where the shop was shut in the past."""
        age = weeks - self.view.first[rows][:, None]
        on = (age >= 0) & ~np.isin(weeks, self.view.timeline.closed)
        return np.where(on, self.shape[self.cluster[rows][:, None], np.maximum(age, 0)], 0)

    def forecast(self, rows: np.ndarray, week: int, horizon: int) -> np.ndarray:
        """Units of the weeks from `week` on, at the level of the weeks before it, (b, horizon)."""
        before = np.arange(max(0, week - LEVEL_WEEKS), week)
        sold, expected = self.view.units[rows[:, None], before].sum(1), self.at(rows, before).sum(1)
        return (sold / np.maximum(expected, 1e-9))[:, None] * self.at(rows, week + np.arange(horizon))


def lives(view: PanelView, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units of products from their first sale on, and which of the weeks are known, both (b, origin)."""
    week = view.first[rows][:, None] + np.arange(view.origin)
    known = (week < view.origin) & ~np.isin(week, view.timeline.closed)
    return np.where(known, view.units[rows[:, None], np.minimum(week, view.origin - 1)], 0), known.astype(np.float64)


def mean_lives(units: np.ndarray, exposure: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units of p lives, all at one level, summed over each cluster's members, and how many lives know a week, both (CLUSTERS, ages).

    units, exposure (p, ages); member (CLUSTERS, p) 0 or 1. A life is scaled by what its cluster's mean sold in the weeks that it is known
    of: a young one's level is not its mean, so levels and means are found in turn.
    """
    count = member @ exposure
    level = units.sum(1) / exposure.sum(1)
    for _ in range(ROUNDS):
        mean = member @ (units / level[:, None]) / np.maximum(count, 1)
        level = units.sum(1) / (member.T @ mean / member.sum(0)[:, None] * exposure).sum(1)
    total = member @ (units / level[:, None])
    known = count >= np.minimum(LEAST_LIVES, count.max(1, keepdims=True))
    return np.where(known, total, 0), np.where(known, count, 0)


def in_life_curves(curves: Curves, rows: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (b, horizon, 9) and mean (b, horizon).

    Quantiles lie around the mean as the units around a forecast made a horizon before the origin, or as soon as a launch was seen.
    """
    view, mean = curves.view, curves.forecast(rows, curves.view.origin, horizon)
    week = max(view.origin - horizon, view.first[view.first >= LAUNCH_SEEN].min() + 1)
    before = view.units[:, max(0, week - ACTIVE_WITHIN) : week]
    judged = np.flatnonzero((view.first >= LAUNCH_SEEN) & (before > 0).any(1))
    made = curves.forecast(judged, week, view.origin - week)
    spread = LogSpread.of(view.units[judged, week:], made, velocity_class(before[judged]))
    return spread.around(mean, velocity_class(view.units[rows])), mean


def launch_curves(curves: Curves, past: np.ndarray, cluster: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (m, horizon, 9) and mean (m, horizon) of launches in clusters (m,): around the mean level of past launches `past` there."""
    own = curves.cluster[past]
    first = lives(curves.view, past)[0][:, :horizon]
    level = np.array([first[own == k].mean() if (own == k).any() else first.mean() for k in range(CLUSTERS)])
    shape = curves.shape[:, :horizon]
    mean = shape * (level / shape.mean(1))[:, None]
    spread = LogSpread.of(first, mean[own], own)
    return spread.around(mean[cluster], cluster), mean[cluster]
