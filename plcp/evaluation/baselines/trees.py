"""LightGBM models of curves and classes. Every model runs on one thread and several run at once: on a busy machine LightGBM's own
threads spend their time waiting for each other."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from plcp.base import Config
from plcp.tables import LEVELS

LEAST_ROWS = 50  # below which nothing is learned
TWEEDIE_POWER = 1.3  # between Poisson (1) and gamma (2): counts with many zeros
Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Classes = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")


class TreeConfig(Config):
    """How the trees of one kind of model are grown."""

    rounds: int = Field(200, ge=1, description="trees of a model")
    learning_rate: float = Field(0.05, gt=0, le=1)
    leaves: int = Field(31, ge=2, description="leaves of a tree")
    least_leaf: int = Field(100, ge=1, description="rows in a leaf at least")
    features: float = Field(0.6, gt=0, le=1, description="share of the features that a tree may use")


def fit(objective: dict[str, Any], x: np.ndarray, y: np.ndarray, weight: np.ndarray, config: TreeConfig, seed: int) -> Any:
    """One booster, the same for the same rows and seed."""
    import lightgbm

    params = {
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.least_leaf,
        "feature_fraction": config.features,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "max_bin": 127,
        "seed": seed,
        "num_threads": 1,
        "verbose": -1,
        **objective,
    }
    return lightgbm.train(params, lightgbm.Dataset(x, y, weight=weight), config.rounds)


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


def at_once(*tasks: Callable[[], T]) -> list[T]:
    """The results of tasks that run side by side, one for each processor."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]
