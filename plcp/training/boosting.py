"""LightGBM boosters (Ke et al. 2017, https://papers.nips.cc/paper/6907), each grown on one thread, several at once: on a busy machine
LightGBM's own threads spend their time waiting for each other."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from plcp.base import Config, ConfigError

T = TypeVar("T")


class TreeConfig(Config):
    """How the trees of one kind of model are grown."""

    rounds: int = Field(200, ge=1, description="trees of a model")
    learning_rate: float = Field(0.05, gt=0, le=1)
    leaves: int = Field(31, ge=2, description="leaves of a tree")
    least_leaf: int = Field(100, ge=1, description="rows in a leaf at least")
    features: float = Field(0.6, gt=0, le=1, description="share of the features that a tree may use")


def fit(objective: dict[str, Any], x: np.ndarray, y: np.ndarray, weight: np.ndarray, config: TreeConfig, seed: int) -> Any:
    """One booster of y (n,) on x (n, F), the same for the same rows and seed. Raises ConfigError where LightGBM's library is missing."""
    try:
        import lightgbm  # takes a second, and only who trains needs it
    except OSError as error:
        raise ConfigError(f"LightGBM cannot be loaded ({error}); install libgomp1, or leave the trees out (train.trees=false)") from error

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
        "deterministic": True,
        "force_row_wise": True,  # else the quicker way in a first try
        "verbose": -1,
        **objective,
    }
    return lightgbm.train(params, lightgbm.Dataset(x, y, weight=weight), config.rounds)


def at_once(*tasks: Callable[[], T]) -> list[T]:
    """The results of tasks that run side by side, one for each processor."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]
