"""Quantiles around a point forecast, from the errors it made before."""

from dataclasses import dataclass

import numpy as np

from plcp.tables import LEVELS

LEAST_ERRORS = 100  # of a group; a smaller one takes those of all


@dataclass(frozen=True)
class LogSpread:
    """What a forecast missed, over all cases and in the groups that have enough of them."""

    pooled: "Missed"
    groups: "dict[int, Missed]"

    @staticmethod
    def of(units: np.ndarray, forecast: np.ndarray, group: np.ndarray) -> "LogSpread":
        """What came and what was forecast for n ≥ 1 cases in groups (n,), both (n, weeks), in units."""
        made = np.maximum(forecast, 0)
        own = {int(k): group == k for k in np.unique(group)}
        large = {k: mask for k, mask in own.items() if mask.sum() * units.shape[1] >= LEAST_ERRORS}
        return LogSpread(Missed.of(units, made), {k: Missed.of(units[mask], made[mask]) for k, mask in large.items()})

    def around(self, forecast: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Quantiles of b cases in groups (b,) around a forecast (b, weeks), (b, weeks, 9) in units."""
        errors = np.array([self._of(k).errors for k in group]).reshape(-1, 1, len(LEVELS))
        return np.expm1(np.log1p(np.maximum(forecast, 0))[:, :, None] + errors)

    def mean(self, forecast: np.ndarray, group: np.ndarray) -> np.ndarray:
        """The forecast (b, weeks), raised or lowered so that its sum over a group would have been right, (b, weeks)."""
        return np.maximum(forecast, 0) * np.array([self._of(k).ratio for k in group]).reshape(-1, 1)

    def _of(self, group: int) -> "Missed":
        return self.groups.get(int(group), self.pooled)


@dataclass(frozen=True)
class Missed:
    errors: np.ndarray  # (9,) quantiles of errors in log1p units
    ratio: float  # units that came for each that was forecast

    @staticmethod
    def of(units: np.ndarray, forecast: np.ndarray) -> "Missed":
        error = np.log1p(units) - np.log1p(forecast)
        return Missed(np.quantile(error, LEVELS), float(units.sum() / max(forecast.sum(), 1e-9)))
