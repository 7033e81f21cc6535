"""The field's statistical forecasters of single series, from the package statsforecast (Nixtla): a model per product.

All are fitted to log1p of the weekly units. Around their point forecasts are laid the quantiles of what they erred one week ahead in
the product's own past, up to the most it ever sold in a week; the mean is that of the nine quantiles. In units, with intervals of their
own (those that have any) and without the limit they were worse on an origin before those of the benchmark's test, where their variants
were chosen as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plcp.base import Config
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.packages import require
from plcp.evaluation.baselines.recent import recent_curves, with_rules
from plcp.evaluation.cases import Cases, sampled
from plcp.evaluation.contestant import Forecasts, rows_of
from plcp.tables import LEVELS

LEAST_WEEKS = 8  # from the first sale on, below which nothing is fitted
YEAR = 365.25 / 7  # weeks
TSB_ALPHAS = (0.3, 0.3)  # smoothing of sizes and of how probable a sale is


class Statistical:
    """Forecasts curves in life. A product with fewer than LEAST_WEEKS known weeks goes on as it did recently, and launches, events and
    stages, of which these methods do not speak, are forecast as `recent` does. Nothing is random. Raises ConfigError without the extra
    `peers`."""

    config = Config()

    def __init__(self, name: str) -> None:
        require(name, "statsforecast")
        self.method = METHODS[name]

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        quantiles, mean = recent_curves(view.units[rows], cases.horizon)
        for chosen, fourier in self.groups(view, rows, cases):
            if chosen.any():
                quantiles[chosen] = fitted_quantiles(self.method, view, rows[chosen], cases.horizon, fourier)
                mean[chosen] = quantiles[chosen].mean(2)
        return with_rules(view, rows, cases, quantiles, mean)

    def groups(self, view: PanelView, rows: np.ndarray, cases: Cases) -> list[tuple[np.ndarray, bool]]:
        """The cases that are fitted without and with the season, as masks."""
        known = (open_weeks(view) >= view.first[rows, None]).sum(1)
        fitted = (known >= LEAST_WEEKS) & (sampled(cases.in_life) | (not self.method.sampled))
        seasonal = (known >= YEAR) & self.method.fourier
        return [(fitted & ~seasonal, False), (fitted & seasonal, True)]


@dataclass(frozen=True)
class Method:
    """How a model of statsforecast is made, and what it is given."""

    make: Callable[[Any], Any]  # from the module statsforecast.models, by the alias "model"
    fourier: bool = False  # whether it reads the season, of products that were sold for a year
    sampled: bool = False  # whether it forecasts the fixed sample of cases alone, being slow


def fitted_quantiles(method: Method, view: PanelView, rows: np.ndarray, horizon: int, fourier: bool) -> np.ndarray:
    """(b, horizon, 9) units of b products."""
    from statsforecast import StatsForecast, models

    forecaster = StatsForecast(models=[method.make(models)], freq=1, fallback_model=models.Naive(alias="model"))
    ahead = future(view, len(rows), horizon) if fourier else None
    point = forecaster.forecast(h=horizon, df=history(view, rows, fourier), X_df=ahead, fitted=True).sort("unique_id", "ds")
    past = forecaster.forecast_fitted_values().filter(pl.col("model").is_not_nan())
    error = pl.col("y") - pl.col("model")
    around = past.group_by("unique_id").agg(error.quantile(level, "linear").alias(str(level)) for level in LEVELS).sort("unique_id")
    level = point["model"].to_numpy().reshape(len(rows), horizon, 1) + around.drop("unique_id").to_numpy()[:, None]
    most = view.units[rows].max(1)[:, None, None]
    return np.expm1(np.clip(level, 0, np.log1p(most)))


def open_weeks(view: PanelView) -> np.ndarray:
    """Week indices in which the shop was open."""
    return np.flatnonzero(~view.closed)


def history(view: PanelView, rows: np.ndarray, fourier: bool) -> pl.DataFrame:
    """What statsforecast reads: unique_id (place of the row), ds (a count of open weeks), y (log1p units), from each first sale on."""
    weeks = open_weeks(view)
    row, step = np.nonzero(weeks >= view.first[rows, None])
    columns = {"unique_id": row, "ds": step + view.origin - len(weeks), "y": np.log1p(view.units[rows[row], weeks[step]])}
    return pl.DataFrame(columns | (season(view, weeks[step]) if fourier else {}))


def future(view: PanelView, count: int, horizon: int) -> pl.DataFrame:
    """The season of the weeks ahead, for each of so many products."""
    weeks = np.tile(view.origin + np.arange(horizon), count)
    return pl.DataFrame({"unique_id": np.repeat(np.arange(count), horizon), "ds": weeks} | season(view, weeks))


def season(view: PanelView, weeks: np.ndarray) -> dict[str, np.ndarray]:
    """Fourier terms of the year's first harmonic, (b,) each, of week indices; few years are known to learn more from."""
    angle = 2 * np.pi * weeks / YEAR
    return {"sin": np.sin(angle), "cos": np.cos(angle)}


METHODS = {
    # Hyndman et al. 2002, https://doi.org/10.1016/S0169-2070(01)00110-8: a level without trend, which did harm twelve weeks ahead.
    "autoets": Method(lambda models: models.AutoETS(model="ZNN", alias="model")),
    # Fiorucci et al. 2016, https://doi.org/10.1016/j.ijforecast.2016.02.005: the dynamic optimised model, the best of AutoTheta's four.
    "theta": Method(lambda models: models.AutoTheta(model="DOTM", alias="model")),
    # Syntetos & Boylan 2005, https://doi.org/10.1016/j.ijforecast.2004.10.001.
    "croston_sba": Method(lambda models: models.CrostonSBA(alias="model")),
    # Teunter et al. 2011, https://doi.org/10.1016/j.ejor.2011.05.018.
    "tsb": Method(lambda models: models.TSB(*TSB_ALPHAS, alias="model")),
    # Hyndman & Khandakar 2008, https://doi.org/10.18637/jss.v027.i03: not seasonal, with Fourier terms of the year. Cases outside the
    # sample are forecast as `recent` does, and left out of its figures.
    "autoarima": Method(lambda models: models.AutoARIMA(alias="model"), fourier=True, sampled=True),
}
SAMPLED = tuple(name for name, method in METHODS.items() if method.sampled)
