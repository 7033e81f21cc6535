"""A sample of the shop's purchases: what was bought together, complements above all."""

import numpy as np
import polars as pl

from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.history import History
from plcp.data.simulator.sales import sku_column

Array = np.ndarray

COMPLEMENT_BOUGHT = 0.45  # share of the baskets with the first product's complement
OTHERS = (0.5, 0.3, 0.2, 0.1)  # probability of each further product
CUSTOMERS_PER_SKU = 4
ANONYMOUS = 0.2  # share of the baskets without a customer


def baskets_table(config: SimulatorConfig, history: History, chunk: int) -> pl.DataFrame:
    """Basket lines in the order of time; every product in a basket was sold in that week."""
    draws, p = Draws(config.seed, chunk), history.environment.products
    weight = np.sqrt(history.sales)  # popular products less than in proportion, so that slow ones appear too
    edges = np.cumsum(weight.ravel())
    size = int(config.baskets_per_sku * p.size) if edges[-1] > 0 else 0
    u = draws.uniform("baskets", size, 12)
    cell = np.minimum(np.searchsorted(edges, u[:, 0] * edges[-1], side="right"), edges.size - 1)
    first, week = np.divmod(cell, config.weeks)
    columns = [first, np.where(u[:, 1] < COMPLEMENT_BOUGHT, p.complement[first], -1)]
    for k, chance in enumerate(OTHERS):
        other = np.floor(u[:, 2 + k] / chance * p.size).astype(np.int64)
        columns.append(np.where(u[:, 2 + k] < chance, other, -1))
    bought = np.stack(columns, axis=1)
    bought[:, 1:] = np.where((bought[:, 1:] >= 0) & (history.sales[bought[:, 1:], week[:, None]] > 0), bought[:, 1:], -1)
    bought[:, 1:] = np.where(bought[:, 1:] == first[:, None], -1, bought[:, 1:])
    seconds = np.floor(u[:, 8] * 7 * 86400).astype("timedelta64[s]")
    ts = days(config.first_week, week).astype("datetime64[us]") + seconds
    customer = np.floor(u[:, 9] * u[:, 9] * CUSTOMERS_PER_SKU * config.skus).astype(np.int64)
    order = np.argsort(ts, kind="stable")
    bought, ts, customer, known = bought[order], ts[order], customer[order], u[order, 10] >= ANONYMOUS
    basket, place = np.nonzero(bought >= 0)
    once = np.sort(np.unique(basket * p.size + bought[basket, place], return_index=True)[1])
    basket, row = basket[once], bought[basket[once], place[once]]
    lines = pl.DataFrame(
        {
            "number": basket,
            "sku_id": sku_column(p.index[row]),
            "ts": ts[basket],
            "customer": customer[basket],
            "known": known[basket],
        }
    )
    return lines.select(
        basket_id=pl.format("B{}-{}", pl.lit(chunk), "number"),
        sku_id="sku_id",
        ts="ts",
        customer_id=pl.when("known").then(pl.format("C{}", "customer")),
    )
