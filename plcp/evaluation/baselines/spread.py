"""Quantiles around a point forecast, from the errors it made before."""

from dataclasses import dataclass

import numpy as np

from plcp.tables import LEVELS

LEAST_ERRORS = 100  # of a group; a smaller one takes those of all


@dataclass(frozen=True)
class LogSpread:
    """Quantiles of errors in log1p units, of all cases and of the groups that have enough of them."""

    pooled: np.ndarray  # (9,)
    groups: dict[int, np.ndarray]  # (9,) each

    @staticmethod
    def of(units: np.ndarray, forecast: np.ndarray, group: np.ndarray) -> "LogSpread":
        """What came and what was forecast for n ≥ 1 cases in groups (n,), both (n, weeks), in units."""
        error = np.log1p(units) - np.log1p(np.maximum(forecast, 0))
        own = {int(k): error[group == k] for k in np.unique(group)}
        return LogSpread(np.quantile(error, LEVELS), {k: np.quantile(e, LEVELS) for k, e in own.items() if e.size >= LEAST_ERRORS})

    def around(self, forecast: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Quantiles of b cases in groups (b,) around a forecast (b, weeks), (b, weeks, 9) in units."""
        spread = np.stack([self.groups.get(int(k), self.pooled) for k in group]) if len(group) else np.zeros((0, len(LEVELS)))
        return np.expm1(np.log1p(np.maximum(forecast, 0))[:, :, None] + spread[:, None])
