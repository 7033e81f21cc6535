"""Nearest neighbours: a launch sells as launches like it did, a product in life goes on as products whose last weeks looked like its own.

Launches have past launches for neighbours, alike in category, brand, title, price and season (van Steenbergen and Mes (2020), Forecasting
demand profiles of new products, https://doi.org/10.1016/j.dss.2020.113401), or in what a language model makes of the text. Products in life
are forecast by k nearest neighbours among the past windows of all products (Martínez et al. (2019), A methodology for applying k-nearest
neighbor to time series forecasting, https://doi.org/10.1007/s10462-017-9593-z). Events and stages are those of `recent`.

Numbers chosen on the benchmark's first dev origin, by wql. Launches: 0.835 with 60 neighbours, 0.803 with 120, 0.790 with 200, 0.793
with 300, whatever the weights of price and season; by embedding 0.825, 0.814, 0.818, 0.816. In life: windows of 26 weeks without their
level 0.730, with it 0.633; of 13 weeks with it 0.617, from 0.616 to 0.618 with 40 to 200 neighbours.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.attributes import attribute_points
from plcp.evaluation.baselines.lag_features import LEAST_SCALE
from plcp.evaluation.baselines.language import PACKAGE, embeddings
from plcp.evaluation.baselines.packages import require
from plcp.evaluation.baselines.recent import first_weeks, past_launches, recent_curves, with_rules
from plcp.evaluation.baselines.titles import product_texts
from plcp.evaluation.cases import Cases
from plcp.evaluation.contestant import Forecasts, curve_frame, rows_of
from plcp.tables import LEVELS

ALIKE_LAUNCHES = 200
ALIKE_WINDOWS = 100
WINDOW = 13  # weeks


class Neighbours:
    """Neighbours of launches by their attributes. Raises ConfigError without the extra `peers`."""

    config = Config()

    def __init__(self) -> None:
        require("neighbours", "sklearn")

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        rule = with_rules(view, rows, cases, *window_curves(view.units, rows, cases.horizon))
        past = past_launches(view, cases.launch_horizon)
        if not len(past) or not len(cases.launches):
            return rule
        points = self.points(view, cases)
        quantiles, mean = launch_curves(view, past, points[past], points[len(view.units) :], cases.launch_horizon)
        new, starts = cases.launches["sku_id"].to_list(), cases.launches["start"].to_list()
        return replace(rule, launch=curve_frame(new, cases.origin, starts, quantiles, mean))

    def points(self, view: PanelView, cases: Cases) -> Any:
        """Where n products and then m launches lie, (n + m, d); the nearest are the most alike."""
        return attribute_points(view, cases)


class NeighboursByEmbedding(Neighbours):
    """Neighbours of launches by the embeddings of their texts."""

    def __init__(self) -> None:
        require("neighbours_embedding", "sklearn", PACKAGE)

    def points(self, view: PanelView, cases: Cases) -> np.ndarray:
        return embeddings(product_texts(view, cases))


def launch_curves(view: PanelView, past: np.ndarray, known: Any, wanted: Any, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (m, horizon, 9) and mean (m, horizon) of launches at points `wanted` (m, d).

    They are those of the first weeks of the nearest past launches, of products `past` (p,) at points `known` (p, d).
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(ALIKE_LAUNCHES, len(past))).fit(known)
    sold = first_weeks(view, past, horizon)[search.kneighbors(wanted, return_distance=False)]
    return np.moveaxis(np.quantile(sold, LEVELS, axis=1), 0, 2), sold.mean(1)


def window_curves(units: np.ndarray, rows: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (b, horizon, 9) and mean (b, horizon) of products `rows` out of units (n, t).

    They are those of what followed the past windows, of any product, that are most like each one's last, in the window's scale. Where the
    past is too short for that, recent weeks stand.
    """
    from sklearn.neighbors import NearestNeighbors

    weeks = units.shape[1]
    if weeks < WINDOW + horizon or not len(rows):
        return recent_curves(units[rows], horizon)
    runs = np.lib.stride_tricks.sliding_window_view(units, WINDOW + horizon, axis=1).reshape(-1, WINDOW + horizon)
    runs = runs[(runs[:, :WINDOW] > 0).any(1)]
    before, last = runs[:, :WINDOW], units[rows, weeks - WINDOW :]
    search = NearestNeighbors(n_neighbors=min(ALIKE_WINDOWS, len(runs))).fit(window_points(before))
    near = search.kneighbors(window_points(last), return_distance=False)
    after = (runs[:, WINDOW:] / window_scale(before))[near] * window_scale(last)[:, :, None]
    return np.moveaxis(np.quantile(after, LEVELS, axis=1), 0, 2), after.mean(1)


def window_points(window: np.ndarray) -> np.ndarray:
    """The shape of windows (n, WINDOW) and, since few units are noise of another kind, their level. (n, WINDOW + 1)."""
    scale = window_scale(window)
    return np.concatenate([np.log1p(window / scale), np.log(scale)], 1)


def window_scale(window: np.ndarray) -> np.ndarray:
    """Mean units a week, (n, 1)."""
    return np.maximum(window.mean(1, keepdims=True), LEAST_SCALE)
