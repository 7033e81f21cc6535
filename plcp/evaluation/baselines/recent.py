"""The reference that embarrasses: quantiles of the last 13 weeks, the curve of past launches, a rule for stages."""

from pathlib import Path

import numpy as np

from plcp.base import Config
from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.cases import END_WEEKS, Cases, rule_stage
from plcp.evaluation.contestant import Forecasts, curve_frame, event_frame, rows_of, stage_frame
from plcp.tables import LEVELS

QUANTILE_WEEKS = 13
MEAN_WEEKS = 8
FADING = 26  # empty weeks after which the rule calls an end certain
WEEKLY_RISK = 0.01  # that the rule adds for each week of the horizon
NEW_PEAK_RATE = 0.2


class Recent:
    """What was, goes on."""

    config = Config()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        quantiles, mean = recent_curves(view.units[rows], cases.horizon)
        return with_rules(view, rows, cases, quantiles, mean)


def with_rules(view: PanelView, rows: np.ndarray, cases: Cases, quantiles: np.ndarray, mean: np.ndarray) -> Forecasts:
    """In-life curves, (b, horizon, 9) and (b, horizon), completed by the launch curve and the rules for events and stages."""
    launch_quantiles, launch_mean = launch_curve(view, cases.launch_horizon)
    count = len(cases.launches)
    new, starts = cases.launches["sku_id"].to_list(), cases.launches["start"].to_list()
    empty = view.origin - 1 - view.last[rows]
    p_end = np.stack([empty / FADING + WEEKLY_RISK * weeks for weeks in END_WEEKS], 1)
    return Forecasts(
        in_life=curve_frame(cases.in_life, cases.origin, [cases.origin] * len(rows), quantiles, mean),
        launch=curve_frame(new, cases.origin, starts, np.tile(launch_quantiles, (count, 1, 1)), np.tile(launch_mean, (count, 1))),
        events=event_frame(cases.in_life, cases.origin, p_end, np.full(len(rows), NEW_PEAK_RATE)),
        stages=stage_frame(cases.in_life, cases.origin, rule_stage(view.units[rows])),
    )


def recent_curves(units: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the last 13 weeks and the mean of the last 8, for every week of the horizon.

    units (n, t) → (n, horizon, 9), (n, horizon).
    """
    quantiles = np.quantile(units[:, -QUANTILE_WEEKS:], LEVELS, axis=1).T
    mean = units[:, -MEAN_WEEKS:].mean(1)
    return np.repeat(quantiles[:, None], horizon, 1), np.repeat(mean[:, None], horizon, 1)


def launch_curve(view: PanelView, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles and mean of what visible launches sold in each week of their lives, (horizon, 9), (horizon,).

    Where no launch was seen over the whole horizon, what any product sold in a recent week stands for all of them.
    """
    past = past_launches(view, horizon)
    seen = first_weeks(view, past, horizon)
    if not len(past):
        recent = view.units[:, -QUANTILE_WEEKS:].ravel()
        seen = np.repeat(recent[:, None], horizon, 1)
    return np.quantile(seen, LEVELS, axis=0).T, seen.mean(0)


def first_weeks(view: PanelView, rows: np.ndarray, horizon: int) -> np.ndarray:
    """Units of products from their first sale on, (b, horizon); all these weeks must have been seen."""
    return view.units[rows[:, None], view.first[rows][:, None] + np.arange(horizon)]


def past_launches(view: PanelView, horizon: int) -> np.ndarray:
    """Rows of the products whose first sale was seen, and `horizon` weeks from it."""
    return np.flatnonzero((view.first >= LAUNCH_SEEN) & (view.first + horizon <= view.origin))
