"""The LSTM that the literature on life cycles starts from: two layers of 50 units, windows of 12 weeks, mean squared error, Adam.

One network for all products, on log1p units, which keep the level in sight. All weeks of the horizon are forecast at once (direct, not
rolled forward). Quantiles and the mean lie around that as what came did in the last weeks before the origin, which a first network was not
shown; the network that forecasts has seen them all. Launches, events and stages are those of `recent`: before the first sale every window
is empty.

Chosen on the benchmark's first dev origin, by in-life wql. Before inputs were standardised, in 300 steps: units scaled by the window's
mean, 5 a week at least, 0.663; log1p units 0.629, in 800 steps 0.602. Standardised, without which a repeating signal is not learned in
so few steps: 0.607 in 300 steps, 0.617 in 800.
"""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.data.view import panel_view
from plcp.evaluation.baselines.recent import recent_curves, with_rules
from plcp.evaluation.baselines.seasonal_naive import velocity_class
from plcp.evaluation.baselines.spread import LogSpread
from plcp.evaluation.baselines.threads import one_thread
from plcp.evaluation.cases import Cases
from plcp.evaluation.contestant import Forecasts, rows_of

WINDOW = 12  # weeks
LAYERS, UNITS = 2, 50
LEAST_WINDOWS = 50
LEAST_STD = 0.01  # of log1p units


class LSTMConfig(Config):
    """How the network learns."""

    steps: int = Field(300, ge=1, description="batches learned from")
    batch: int = Field(512, ge=1, description="windows in a batch")
    learning_rate: float = Field(3e-3, gt=0)


class LSTM:
    """Where the past is too short for windows, recent weeks stand."""

    def __init__(self, config: LSTMConfig | None = None) -> None:
        self.config = config or LSTMConfig()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        return with_rules(view, rows, cases, *lstm_curves(view.units, rows, cases.horizon, self.config, seed))


class Network(nn.Module):
    """Inside, units are standardised by the mean and standard deviation of what is learned from."""

    def __init__(self, horizon: int, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, max(std, LEAST_STD)
        self.lstm = nn.LSTM(1, UNITS, LAYERS, batch_first=True)
        self.out = nn.Linear(UNITS, horizon)

    def forward(self, window: Tensor) -> Tensor:
        """log1p units of windows (b, WINDOW) → log1p units of the weeks ahead (b, horizon)."""
        scaled = ((window - self.mean) / self.std).unsqueeze(2)
        return self.out(self.lstm(scaled)[0][:, -1]) * self.std + self.mean


@one_thread()
def lstm_curves(units: np.ndarray, rows: np.ndarray, horizon: int, config: LSTMConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (b, horizon, 9) and mean (b, horizon) of products `rows` out of units (n, t)."""
    held = units.shape[1] - horizon  # the origin that a first network is judged at
    judged = np.flatnonzero((units[:, max(held - WINDOW, 0) : max(held, 0)] > 0).any(1))
    before, every = windows(units[:, : max(held, 0)], horizon), windows(units, horizon)
    if len(before[0]) < LEAST_WINDOWS or not len(judged):
        return recent_curves(units[rows], horizon)
    made = predict(learn(*before, config, seed), units[judged, held - WINDOW : held])
    spread = LogSpread.of(units[judged, held:], made, velocity_class(units[judged, :held]))
    middle, fast = predict(learn(*every, config, seed), units[rows, -WINDOW:]), velocity_class(units[rows])
    return spread.around(middle, fast), spread.mean(middle, fast)


def windows(units: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (w, WINDOW) with sales and what followed (w, horizon), NaN from the last week on, out of units (n, t)."""
    known = np.pad(units, ((0, 0), (0, horizon - 1)), constant_values=np.nan)
    if units.shape[1] <= WINDOW:
        return np.zeros((0, WINDOW)), np.zeros((0, horizon))
    runs = np.lib.stride_tricks.sliding_window_view(known, WINDOW + horizon, axis=1).reshape(-1, WINDOW + horizon)
    runs = runs[(runs[:, :WINDOW] > 0).any(1)]
    return runs[:, :WINDOW], runs[:, WINDOW:]


def learn(window: np.ndarray, ahead: np.ndarray, config: LSTMConfig, seed: int) -> Network:
    """The same network for the same windows and seed."""
    torch.manual_seed(seed)
    x, y = (torch.from_numpy(np.log1p(part)).float() for part in (window, ahead))
    network = Network(ahead.shape[1], float(x.mean()), float(x.std()))
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    known, y = ~y.isnan(), y.nan_to_num()
    for _ in range(config.steps):
        batch = torch.randint(len(x), (config.batch,))
        error = (network(x[batch]) - y[batch])[known[batch]]
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
    return network


def predict(network: Network, window: np.ndarray) -> np.ndarray:
    """Units of the weeks after windows (b, WINDOW), (b, horizon)."""
    with torch.inference_mode():
        return np.expm1(np.maximum(network(torch.from_numpy(np.log1p(window)).float()).double().numpy(), 0))
