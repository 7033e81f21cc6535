"""How good forecasts are: the benchmark's metrics, for any data."""

from dataclasses import dataclass

import numpy as np

from plcp.tables import LEVELS, STAGES

Metrics = dict[str, float]
UNKNOWN_AGE = 999.0


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Quantile loss summed over weeks, mean over levels, times two. actual (n, h), quantiles (n, h, 9) → (n,)."""
    gap, levels = actual[:, :, None] - quantiles, np.array(LEVELS)
    return 2 * np.maximum(levels * gap, (levels - 1) * gap).mean(2).sum(1)


def calibration_gap(actual: np.ndarray, quantiles: np.ndarray) -> float:
    """How far q10, q50 and q90 are from their levels; 0 is right.

    Units are counts with many zeros, so a level is met where it lies between the share below the quantile and the share at or below
    it; a quantile under half a unit reads as zero.
    """
    gap = 0.0
    for k in (0, 4, 8):
        q = np.where(quantiles[:, :, k] < 0.5, 0.0, quantiles[:, :, k])
        gap = max(gap, (actual < q).mean() - LEVELS[k], LEVELS[k] - (actual <= q).mean())
    return float(gap)


def curve_metrics(actual: np.ndarray, quantiles: np.ndarray, mean: np.ndarray) -> Metrics:
    """actual (n, h), quantiles (n, h, 9), mean (n, h); units. Errors are relative to the units sold in all cases; NaN where none were."""
    total = actual.sum() or np.nan
    return {
        "wql": float(pinball(actual, quantiles).sum() / total),
        "wape": float(np.abs(actual - quantiles[:, :, 4]).sum() / total),
        "wape_total": float(np.abs(actual.sum(1) - mean.sum(1)).sum() / total),
        "bias": float((mean - actual).sum() / total),
        "calibration_gap": calibration_gap(actual, quantiles),
    }


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve; ties share their mean rank. NaN where all labels are equal."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    positives = int(label.sum())
    pairs = positives * (len(label) - positives) or np.nan
    return float((ranks[label].sum() - positives * (positives + 1) / 2) / pairs)


def event_metrics(label: np.ndarray, probability: np.ndarray) -> Metrics:
    """label (n,) bool, probability (n,). Skill is against a forecast of the base rate for all; NaN where that rate is 0 or 1."""
    rate, brier = float(label.mean()), float(((probability - label) ** 2).mean())
    return {"auc": auc(label, probability), "brier": brier, "brier_skill": 1 - brier / (rate * (1 - rate) or np.nan), "rate": rate}


def macro_f1(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the stages that occur."""
    scores = [
        2 * ((actual == k) & (predicted == k)).sum() / ((actual == k).sum() + (predicted == k).sum())
        for k in range(len(STAGES))
        if (actual == k).any()
    ]
    return float(np.mean(scores))


@dataclass(frozen=True)
class Curves:
    """Forecast curves of n cases beside what came."""

    actual: np.ndarray  # (n, h)
    quantiles: np.ndarray  # (n, h, 9)
    mean: np.ndarray  # (n, h)
    velocity: np.ndarray  # (n,) mean weekly units of the last 26 weeks
    age: np.ndarray  # (n,) weeks since launch

    def metrics(self, cases: np.ndarray | slice = slice(None)) -> Metrics:
        return curve_metrics(self.actual[cases], self.quantiles[cases], self.mean[cases])

    def buckets(self) -> dict[str, np.ndarray]:
        """Cases of each bucket of velocity and age, as masks."""
        v, age = self.velocity, np.nan_to_num(self.age, nan=UNKNOWN_AGE)
        return {
            "slow (<1/week)": v < 1,
            "medium (1-10)": (v >= 1) & (v < 10),
            "fast (10-50)": (v >= 10) & (v < 50),
            "very fast (>=50)": v >= 50,
            "age <=12": age <= 12,
            "age 13-52": (age > 12) & (age <= 52),
            "age >52 or unknown": age > 52,
        }


@dataclass(frozen=True)
class Events:
    label: np.ndarray  # (n,) bool
    probability: np.ndarray  # (n,)

    def metrics(self) -> Metrics:
        return event_metrics(self.label, self.probability)


@dataclass(frozen=True)
class Stages:
    actual: np.ndarray  # (n,) index into STAGES
    predicted: np.ndarray
    rule: np.ndarray  # what the causal rule says

    def metrics(self) -> Metrics:
        share = {f"share_{name}": float((self.actual == k).mean()) for k, name in enumerate(STAGES)}
        return {"macro_f1": macro_f1(self.actual, self.predicted), "rule_macro_f1": macro_f1(self.actual, self.rule), **share}
