"""Global neural forecasters of the field, from the package neuralforecast (Nixtla): one network over all products in life.

Both learn the nine quantiles of log1p units by their quantile loss; the mean is that of the quantiles. The season is not given: at the
origins on which choices are made less than a year is known, and there it did harm.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.packages import require
from plcp.evaluation.baselines.recent import recent_curves, with_rules
from plcp.evaluation.baselines.threads import one_thread
from plcp.evaluation.cases import Cases
from plcp.evaluation.contestant import Forecasts, rows_of
from plcp.tables import LEVELS

PRODUCTS_PER_BATCH = 128
LOGGERS = ("pytorch_lightning", "lightning_fabric")  # each network would introduce itself


class NeuralConfig(Config):
    """Size and training of a network; chosen on an origin before those of the benchmark's test."""

    steps: int = Field(800, ge=1, description="batches learned from")
    input_weeks: int = Field(13, ge=1, description="last weeks that it reads")
    width: int = Field(128, ge=8, description="units of a layer")
    windows: int = Field(512, ge=1, description="windows of a batch")
    learning_rate: float = Field(1e-3, gt=0)


class TFTConfig(NeuralConfig):
    """The same of the Temporal Fusion Transformer, whose steps are dearer."""

    steps: int = Field(600, ge=1, description="batches learned from")
    width: int = Field(64, ge=8, multiple_of=4, description="units of a layer")
    windows: int = Field(256, ge=1, description="windows of a batch")
    learning_rate: float = Field(3e-3, gt=0)


class Neural:
    """Forecasts curves in life; where no product is known for longer than the horizon they go on as they did recently. Launches, events
    and stages, of which these methods do not speak, are forecast as `recent` does. Raises ConfigError without the extra `peers`."""

    def __init__(self, name: str, config: NeuralConfig) -> None:
        require(name, "neuralforecast")
        self.make, self.config = NETWORKS[name], config

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        quantiles, mean = recent_curves(view.units[rows], cases.horizon)
        if (view.origin - view.first[rows] > cases.horizon).any():
            quantiles = self.quantiles(view, rows, cases.horizon, seed, work)
            mean = quantiles.mean(2)
        return with_rules(view, rows, cases, quantiles, mean)

    def quantiles(self, view: PanelView, rows: np.ndarray, horizon: int, seed: int, work: Path) -> np.ndarray:
        """(b, horizon, 9) units of b products, no more than any product ever sold in a week."""
        from neuralforecast import NeuralForecast, models
        from neuralforecast.losses.pytorch import MQLoss

        options = {
            "h": horizon,
            "loss": MQLoss(quantiles=list(LEVELS)),
            "input_size": self.config.input_weeks,
            "max_steps": self.config.steps,
            "learning_rate": self.config.learning_rate,
            "num_lr_decays": 3,
            "batch_size": PRODUCTS_PER_BATCH,
            "windows_batch_size": self.config.windows,
            "inference_windows_batch_size": 1024,
            "scaler_type": "identity",
            "start_padding_enabled": True,
            "random_seed": seed,
            "accelerator": "cpu",
            "default_root_dir": work,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        with one_thread(), quiet():  # how many threads there are would decide on the last digits, too
            network = self.make(models, self.config.width, **options)
            forecaster = NeuralForecast([network], freq=1)
            forecaster.fit(history(view, rows))
            ahead = forecaster.predict().sort("unique_id", "ds").drop("unique_id", "ds").to_numpy().astype(float)
        return np.expm1(np.clip(ahead, 0, np.log1p(view.units.max()))).reshape(len(rows), horizon, len(LEVELS))


def history(view: PanelView, rows: np.ndarray) -> pl.DataFrame:
    """What neuralforecast reads: unique_id (place of the row), ds (week index), y (log1p units), from each first sale on."""
    row, week = np.nonzero(np.arange(view.origin) >= view.first[rows, None])
    return pl.DataFrame({"unique_id": row, "ds": week, "y": np.log1p(view.units[rows[row], week]).astype(np.float32)})


@contextmanager
def quiet() -> Iterator[None]:
    """Without lightning's messages."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


NETWORKS: dict[str, Callable[..., Any]] = {
    # Neural hierarchical interpolation: Challu et al. 2023, https://doi.org/10.1609/aaai.v37i6.25854.
    "nhits": lambda models, width, **shared: models.NHITS(mlp_units=[[width, width]] * 3, **shared),
    # The Temporal Fusion Transformer: Lim et al. 2021, https://doi.org/10.1016/j.ijforecast.2021.03.012.
    "tft": lambda models, width, **shared: models.TFT(hidden_size=width, **shared),
}
