"""Seasonal naive: the same week of last year, with the errors that this made before."""

from pathlib import Path

import numpy as np

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.data.view import panel_view
from plcp.evaluation.baselines.recent import recent_curves, with_rules
from plcp.evaluation.cases import ACTIVE_WITHIN, Cases
from plcp.evaluation.contestant import Forecasts, rows_of
from plcp.tables import LEVELS

YEAR = 52  # weeks
ERROR_WEEKS = 13  # last weeks whose errors make the quantiles
LEAST_ERRORS = 100  # SKU-weeks that quantiles are drawn from


class SeasonalNaive:
    """Last year's week; a product without one goes on as it did recently (`recent`)."""

    config = Config()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        quantiles, mean = recent_curves(view.units[rows], cases.horizon)
        old = view.first[rows] <= view.origin - YEAR
        if cases.horizon <= YEAR and old.any():
            quantiles[old], mean[old] = seasonal_curves(view.units[rows[old]], cases.horizon)
        return with_rules(view, rows, cases, quantiles, mean)


def seasonal_curves(units: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (n, horizon, 9) and mean (n, horizon) of products with units (n, t ≥ 52) that sold a year ago already.

    The mean is last year's week; quantiles lay the errors of the last 13 weeks, pooled by velocity in log1p units, around it. Where too
    few errors were seen, the spread of each product's recent weeks takes their place.
    """
    weeks = units.shape[1]
    same = units[:, weeks - YEAR : weeks - YEAR + horizon]
    recent = np.log1p(recent_curves(units, horizon)[0])
    spread = recent - recent[:, :, 4:5]
    fast = velocity_class(units)
    judged = np.arange(max(YEAR, weeks - ERROR_WEEKS), weeks)
    error = np.log1p(units[:, judged]) - np.log1p(units[:, judged - YEAR])
    sold_before = np.cumsum(units, 1)[:, judged - YEAR] > 0
    for k in np.unique(fast):
        own = error[fast == k][sold_before[fast == k]]
        if len(own) >= LEAST_ERRORS:
            spread[fast == k] = np.quantile(own, LEVELS)
    return np.expm1(np.log1p(same)[:, :, None] + spread), same


def velocity_class(units: np.ndarray) -> np.ndarray:
    """Below 1, 10, 50 units a week over the last 26 weeks, or above. (n,) int."""
    return np.digitize(units[:, -ACTIVE_WITHIN:].mean(1), (1, 10, 50))
