"""One global LightGBM for all products: quantiles and mean of the curve, events, stages and launches, out of lagged sales.

Ke et al. (2017), https://papers.nips.cc/paper/6907; used as the winners of the M5 competition did (Makridakis et al. 2022,
https://doi.org/10.1016/j.ijforecast.2021.11.013): one model over all series, with lags, price, calendar and statics.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.data.lifecycle import CONFIRM, HINDSIGHT, Levels
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.lag_features import LAGS, LagFeatures
from plcp.evaluation.baselines.launch_features import Launches, LaunchFeatures
from plcp.evaluation.baselines.packages import require
from plcp.evaluation.baselines.recent import recent_curves, with_rules
from plcp.evaluation.baselines.titles import title_vectors
from plcp.evaluation.baselines.trees import LEAST_ROWS, Curve, fit_classes, fit_curve
from plcp.evaluation.cases import ACTIVE_WITHIN, END_WEEKS, Cases
from plcp.evaluation.contestant import EVENT_COLUMNS, Forecasts, curve_frame, event_frame, rows_of, stage_frame
from plcp.tables import STAGES
from plcp.training.boosting import TreeConfig, at_once

BALANCE = 0.5  # power of a stage's share that its probability is divided by: macro-F1 counts rare stages as much as common ones
LEARNED_FROM = 13  # weeks of data before the first week that is learned from, where there are more than twice as many


class LightGBMConfig(Config):
    """Trees of each kind of model; chosen on origins before those of the benchmark's test."""

    curves: TreeConfig = Field(default_factory=TreeConfig)
    classes: TreeConfig = Field(default_factory=lambda: TreeConfig(rounds=120, leaves=15))
    launches: TreeConfig = Field(default_factory=lambda: TreeConfig(rounds=60, leaves=8, least_leaf=60, features=0.5))
    rows: int = Field(150_000, ge=100, description="rows a model learns from at most, drawn at random")
    half_life: float = Field(26, gt=0, description="weeks after which what was seen counts half")
    scale_power: float = Field(0.85, ge=0, le=1, description="weight of a row by its units: 1 as wql weighs them, 0 all alike")


class LightGBM:
    """Where too little was seen to learn from, the rules of `recent` stand. Raises ConfigError without the extra `peers`."""

    def __init__(self, config: LightGBMConfig | None = None) -> None:
        require("lightgbm", "lightgbm", "sklearn")
        self.config = config or LightGBMConfig()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        words, titles = title_vectors(view, cases, seed)
        task = Task(self.config, cases, LagFeatures(view, titles[: len(view.units)]), LaunchFeatures(view, words, titles), rows, seed)
        return task.forecasts(with_rules(view, rows, cases, *recent_curves(view.units[rows], cases.horizon)))


@dataclass(frozen=True)
class Rows:
    """What is learned from: n products at past weeks."""

    x: np.ndarray  # (n, F) features
    y: np.ndarray  # (n,) units, or (n, labels), NaN where not yet known
    scale: np.ndarray  # (n,) units a week that the product moved about
    ago: np.ndarray  # (n,) weeks before the origin

    @staticmethod
    def concat(parts: "list[Rows]") -> "Rows":
        return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


@dataclass(frozen=True)
class Task:
    """The models of one origin."""

    config: LightGBMConfig
    cases: Cases
    features: LagFeatures
    launch_features: LaunchFeatures
    rows: np.ndarray  # (b,) the cases in life
    seed: int

    @property
    def view(self) -> PanelView:
        return self.features.view

    @property
    def origin(self) -> int:
        return self.view.origin

    def forecasts(self, rule: Forecasts) -> Forecasts:
        """`rule` stands where too little was seen to learn from."""
        events, stages = self.classes(rule)
        return Forecasts(self.in_life(rule), self.launch(rule), events, stages)

    def in_life(self, rule: Forecasts) -> pl.DataFrame:
        past = self.past_curves()
        if past is None or not len(self.rows):
            return rule.in_life
        weight = past.scale**self.config.scale_power * self.faded(past.ago)
        predict = fit_curve(past.x, past.y / past.scale, weight, self.config.curves, self.seed)
        ahead = self.features.curves(self.rows, self.origin, self.cases.horizon)
        quantiles, mean = unfold(predict, ahead)
        scale = self.features.scale(self.rows, self.origin)[:, None]
        starts = [self.cases.origin] * len(self.rows)
        return curve_frame(self.cases.in_life, self.cases.origin, starts, quantiles * scale[:, :, None], mean * scale)

    def launch(self, rule: Forecasts) -> pl.DataFrame:
        """From past launches, each as it was announced, in units. Their season is left out: there are too few to learn it from."""
        features, horizon, new = self.launch_features, self.cases.launch_horizon, self.cases.launches
        past = Launches.past(self.view)
        week = past.week[:, None] + np.arange(horizon)
        seen = week < self.origin
        if seen.sum() < LEAST_ROWS or not len(new):
            return rule.launch
        units = self.view.units[np.broadcast_to(past.place[:, None], week.shape)[seen], week[seen]]
        predict = fit_curve(features.curves(past, horizon)[seen], units, np.ones(len(units)), self.config.launches, self.seed)
        starts = new["start"].to_list()
        announced = Launches.announced(self.view, self.cases)
        return curve_frame(new["sku_id"].to_list(), self.cases.origin, starts, *unfold(predict, features.curves(announced, horizon)))

    def classes(self, rule: Forecasts) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Events and stages."""
        past = self.past_classes()
        if past is None or not len(self.rows):
            return rule.events, rule.stages
        weight, sizes = self.faded(past.ago), [2] * len(EVENT_COLUMNS) + [len(STAGES)]
        learn = [
            partial(fit_classes, past.x, label, size, weight, self.config.classes, self.seed)
            for label, size in zip(past.y.T, sizes, strict=True)
        ]
        ahead = self.features.curves(self.rows, self.origin, 1)[:, 0]
        *events, stage = (predict and predict(ahead) for predict in at_once(*learn))
        ruled = rule.events.select(EVENT_COLUMNS).to_numpy()
        p = np.stack([ruled[:, k] if own is None else own[:, 1] for k, own in enumerate(events)], 1)
        skus, origin = self.cases.in_life, self.cases.origin
        likely = None if stage is None else (stage / stage.mean(0) ** BALANCE).argmax(1)
        return event_frame(skus, origin, p[:, :-1], p[:, -1]), rule.stages if likely is None else stage_frame(skus, origin, likely)

    def past_curves(self) -> Rows | None:
        """Units of the weeks ahead of past weeks; None where they are too few."""
        weeks, parts = self.past_weeks(self.origin - 1), []
        active = {week: in_life_at(self.features, week) for week in weeks}
        ahead = {week: min(self.cases.horizon, self.origin - week) for week in weeks}
        share = self.config.rows / max(sum(len(active[week]) * ahead[week] for week in weeks), 1)
        for week in weeks:
            row, step = np.nonzero(np.random.default_rng([self.seed, week]).random((len(active[week]), ahead[week])) < share)
            rows = active[week][row]
            x = self.features.curves(active[week], week, ahead[week])[row, step]
            parts.append(
                Rows(x, self.view.units[rows, week + step], self.features.scale(rows, week), np.full(len(rows), self.origin - week))
            )
        return Rows.concat(parts) if sum(len(part.y) for part in parts) >= LEAST_ROWS else None

    def past_classes(self) -> Rows | None:
        """Per label of EVENT_COLUMNS, and the stage, what is known of past weeks; None where they are too few."""
        weeks, parts = self.past_weeks(self.origin - HINDSIGHT), []
        active = {week: in_life_at(self.features, week) for week in weeks}
        share, levels = self.config.rows / max(sum(map(len, active.values())), 1), Levels(self.view.units)
        for week, alive in active.items():
            rows = alive[np.random.default_rng([self.seed, week]).random(len(alive)) < share]
            starts = np.full(len(rows), week)
            ends = [np.where(week + w + CONFIRM <= self.origin, self.view.last[rows] < week + w, np.nan) for w in END_WEEKS]
            labels = np.stack([*ends, levels.new_peak(rows, starts), levels.stage(rows, starts)], 1)
            x = self.features.curves(rows, week, 1)[:, 0]
            parts.append(Rows(x, labels, self.features.scale(rows, week), self.origin - starts))
        return Rows.concat(parts) if sum(len(part.y) for part in parts) >= LEAST_ROWS else None

    def past_weeks(self, latest: int) -> range:
        """Weeks that are learned from, up to the latest one whose outcome is known."""
        return range(max(LAGS, min(LEARNED_FROM, self.origin // 2)), latest + 1)

    def faded(self, ago: np.ndarray) -> np.ndarray:
        return 0.5 ** (ago / self.config.half_life)


def in_life_at(features: LagFeatures, week: int) -> np.ndarray:
    """Rows of the products that sold within the 26 weeks before a week."""
    return np.flatnonzero(features.total[:, week] > features.total[:, max(0, week - ACTIVE_WITHIN)])


def unfold(predict: Curve, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (b, horizon, F) → quantiles (b, horizon, 9), mean (b, horizon)."""
    quantiles, mean = predict(ahead.reshape(-1, ahead.shape[2]))
    return quantiles.reshape(*ahead.shape[:2], -1), mean.reshape(ahead.shape[:2])
