"""Sales as the shop's own tables show them: one row per product and week or day on sale."""

import numpy as np
import polars as pl

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.history import History

Array = np.ndarray

VIEWS_PER_UNIT = 14.0
VIEW_NOISE = 0.25  # sd of the log page views per unit of expected demand
RETURN_SHARE = 0.03  # of the units sold, at mean quality
ADS_PER_UNIT = 0.05  # share of the price spent on advertising a promoted product, per expected unit
DAY_WEIGHTS = np.array([1.1, 1.15, 1.15, 1.2, 1.1, 0.5, 0.8])


def sku_column(index: Array) -> pl.Series:
    """Numbers in the catalog → keys."""
    low = int(index.min(initial=0))
    names = pl.Series([f"S{i:08d}" for i in range(low, int(index.max(initial=low)) + 1)])
    return names.gather(index - low)


def sales_table(config: SimulatorConfig, history: History, chunk: int) -> pl.DataFrame:
    rows, week = np.nonzero(history.on_sale)
    if config.frequency == "weekly":
        return _table(config, history, rows, week, np.zeros_like(week), history.sales[rows, week], history.in_stock[rows, week], 1.0, chunk)
    units, in_stock = split_by_day(config, history, rows, week, chunk)
    cells, day = np.divmod(np.arange(units.size), 7)
    share = (DAY_WEIGHTS / DAY_WEIGHTS.sum())[day]
    return _table(config, history, rows[cells], week[cells], day, units.ravel(), in_stock.ravel(), share, chunk)


def _table(
    config: SimulatorConfig,
    history: History,
    rows: Array,
    week: Array,
    day: Array,
    units: Array,
    in_stock: Array,
    share: Array | float,
    chunk: int,
) -> pl.DataFrame:
    draws, p = Draws(config.seed, chunk), history.environment.products
    intensity = history.intensity[rows, week] * share
    z = arithmetic.normal(draws.hashed("views", rows, week * 7 + day))
    views = np.floor(VIEWS_PER_UNIT * (intensity + 0.3 * share) * arithmetic.exp(VIEW_NOISE * z) + 0.5)
    # those unhappy with the quality send it back
    chance = RETURN_SHARE * arithmetic.exp(-0.5 * p.quality)
    returns = np.minimum(arithmetic.poisson(draws.hashed("returns", rows, week * 7 + day), chance[rows] * units), units)
    price, promo = history.price[rows, week], history.promo[rows, week]
    return pl.DataFrame(
        {
            "sku_id": sku_column(p.index[rows]),
            "date": days(config.first_week, week, day),
            "units": units,
            "price": price,
            "promo": promo,
            "in_stock": np.round(in_stock, 3),
            "page_views": views,
            "ad_spend": np.round(np.where(promo > 0, ADS_PER_UNIT * price * intensity, 0.0), 2),
            "returns": returns,
        }
    ).with_columns(pl.col("date").cast(pl.Date))


def split_by_day(config: SimulatorConfig, history: History, rows: Array, week: Array, chunk: int) -> tuple[Array, Array]:
    """Units sold and share in stock by day, shape (cells, 7) each, adding up to the week's units.

    A day's part of the week's demand is drawn about its weight; stock goes to the earlier days first.
    """
    weight = DAY_WEIGHTS / DAY_WEIGHTS.sum()
    demand, sold = history.demand[rows, week], history.sales[rows, week]
    u = Draws(config.seed, chunk).hashed("days", rows[:, None], week[:, None], np.arange(6))
    wanted = np.zeros((len(rows), 7))
    left, rest = demand.copy(), 1.0
    for day in range(6):
        part = weight[day] / rest
        # a binomial's mean and variance, from the normal's quantile: rounding keeps it whole
        spread = np.sqrt(left * part * (1.0 - part)) * arithmetic.normal(u[:, day])
        wanted[:, day] = np.clip(np.floor(left * part + spread + u[:, (day + 1) % 6]), 0.0, left)
        left = left - wanted[:, day]
        rest -= weight[day]
    wanted[:, 6] = left
    stock_before = sold[:, None] - (np.cumsum(wanted, axis=1) - wanted)
    units = np.clip(stock_before, 0.0, wanted)
    out = demand > sold
    share = np.where(out[:, None], np.where(wanted > 0, units / np.maximum(wanted, 1.0), (stock_before > 0) * 1.0), 1.0)
    return units, share
