"""Quantiles around a point forecast, from the errors it made before."""

from dataclasses import dataclass

import numpy as np

from plcp.tables import LEVELS

LEAST_ERRORS = 100  # of a group; a smaller one takes those of all


@dataclass(frozen=True)
class LogSpread:
    """Errors in log1p units, of all cases and of the groups that have enough of them."""

    pooled: np.ndarray  # flat
    groups: dict[int, np.ndarray]  # flat, each

    @staticmethod
    def of(units: np.ndarray, forecast: np.ndarray, group: np.ndarray) -> "LogSpread":
        """What came and what was forecast for n ≥ 1 cases in groups (n,), both (n, weeks), in units."""
        error = np.log1p(units) - np.log1p(np.maximum(forecast, 0))
        own = {int(k): error[group == k].ravel() for k in np.unique(group)}
        return LogSpread(error.ravel(), {k: found for k, found in own.items() if found.size >= LEAST_ERRORS})

    def around(self, forecast: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Quantiles of b cases in groups (b,) around a forecast (b, weeks), (b, weeks, 9) in units."""
        spread = np.zeros((len(group), len(LEVELS)))
        for k in np.unique(group):
            spread[group == k] = np.quantile(self.groups.get(int(k), self.pooled), LEVELS)
        return np.expm1(np.log1p(np.maximum(forecast, 0))[:, :, None] + spread[:, None])

    def mean(self, forecast: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Mean units where the forecast (b, weeks) is the middle of log1p units, (b, weeks).

        N. Duan (1983), Smearing estimate: a nonparametric retransformation method, JASA 78(383).
        """
        smeared = np.zeros((len(group), 1))
        for k in np.unique(group):
            smeared[group == k] = np.exp(self.groups.get(int(k), self.pooled)).mean()
        return (1 + np.maximum(forecast, 0)) * smeared - 1
