"""LightGBM models of curves and classes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from plcp.tables import LEVELS
from plcp.training.boosting import TreeConfig, at_once, fit

LEAST_ROWS = 50  # below which nothing is learned
TWEEDIE_POWER = 1.3  # between Poisson (1) and gamma (2): counts with many zeros
Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Classes = Callable[[np.ndarray], np.ndarray]


def fit_curve(x: np.ndarray, y: np.ndarray, weight: np.ndarray, config: TreeConfig, seed: int) -> Curve:
    """Nine quantile models and a Tweedie mean of y ≥ 0: a function from features (b, F) to quantiles (b, 9) and mean (b,)."""
    objectives: list[dict[str, Any]] = [{"objective": "quantile", "alpha": level} for level in LEVELS]
    objectives.append({"objective": "tweedie", "tweedie_variance_power": TWEEDIE_POWER})
    models = at_once(*(partial(fit, objective, x, y, weight, config, seed) for objective in objectives))

    def predict(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        *quantiles, mean = (model.predict(features) for model in models)
        return np.stack(quantiles, 1), mean

    return predict


def fit_classes(x: np.ndarray, label: np.ndarray, classes: int, weight: np.ndarray, config: TreeConfig, seed: int) -> Classes | None:
    """A function from features (b, F) to probabilities (b, classes); None where too little is known to learn from.

    label (n,): the class of each row, NaN where unknown.
    """
    known = ~np.isnan(label)
    x, y, weight = x[known], label[known], weight[known]
    if len(y) < LEAST_ROWS or len(np.unique(y)) < 2:
        return None
    objective = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
    model = fit(objective, x, y, weight, config, seed)

    def predict(features: np.ndarray) -> np.ndarray:
        p = model.predict(features)
        return np.stack([1 - p, p], 1) if classes == 2 else p

    return predict
