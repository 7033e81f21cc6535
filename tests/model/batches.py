"""Small random batches in the shape of features.inputs and features.targets."""

import numpy as np
import torch
from torch import Tensor

from plcp.model.model import InputWidths

CHANNELS, CALENDAR, NUMERIC, HASHED, POOL, DUE = 7, 9, 6, 4, 6, 2


def widths(batch: dict[str, np.ndarray]) -> InputWidths:
    """The shape of a batch of features.inputs."""
    return InputWidths(
        weeks=batch["history"].shape[1],
        horizon=batch["future"].shape[1],
        channels=batch["history"].shape[2],
        calendar=batch["calendar_history"].shape[2],
        numeric=batch["numeric"].shape[1],
        future=batch["future"].shape[2],
        hashed=batch["hashed"].shape[1],
        pool=batch["pool"].shape[2],
        due=batch["due"].shape[2],
        vector=batch["vector"].shape[1] if "vector" in batch else 0,
    )


def inputs(cases: int = 8, weeks: int = 104, horizon: int = 26, seed: int = 0, texts: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = rng.lognormal(1.0, 1.5, (cases, 1))
    history = np.full((cases, weeks, CHANNELS), np.nan, np.float32)
    history[..., 0] = rng.poisson(level, (cases, weeks))
    history[..., 1] = rng.lognormal(1, 0.1, (cases, weeks))
    history[..., 3] = rng.uniform(0.5, 1, (cases, weeks))
    history[0] = np.nan  # a launch
    history[1, : weeks - 9] = np.nan  # nine weeks old
    age = np.full(cases, np.nan, np.float32)
    age[:2] = 0, 9
    return {
        "history": history,
        "future": np.full((cases, horizon, 2), np.nan, np.float32),
        "calendar_history": rng.uniform(-1, 1, (cases, weeks, CALENDAR)).astype(np.float32),
        "calendar_future": rng.uniform(-1, 1, (cases, horizon, CALENDAR)).astype(np.float32),
        "age": age,
        "numeric": np.where(rng.random((cases, NUMERIC)) < 0.3, np.nan, rng.lognormal(0, 1, (cases, NUMERIC))).astype(np.float32),
        "hashed": rng.integers(0, 4096, (cases, HASHED)),
        "pool": rng.uniform(0, 3, (cases, horizon, POOL)).astype(np.float32),
        "due": np.where(rng.random((cases, 1, DUE)) < 0.3, np.nan, rng.normal(0, 0.3, (cases, horizon, DUE))).astype(np.float32),
        "text": rng.integers(-1, texts, cases),
        "image": np.full(cases, -1),
    }


def targets(cases: int = 8, horizon: int = 26, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    units = rng.poisson(5, (cases, horizon)).astype(np.float32)
    units[0, 4:] = np.nan
    return {
        "units": units,
        "censored": rng.random((cases, horizon)) < 0.1,
        "event_time": rng.integers(-3, 60, (cases, 3)).astype(np.float32),
        "event_seen": rng.random((cases, 3)) < 0.5,
        "stage": rng.integers(-1, 5, cases),
        "new_peak": rng.choice([0.0, 1.0, np.nan], cases).astype(np.float32),
        "weight": np.ones(cases, np.float32),
    }


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(array) for name, array in arrays.items()}
