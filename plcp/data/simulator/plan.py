"""What the shop plans long beforehand: list prices and promotions by the calendar."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import week_of_year
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws, pick
from plcp.data.simulator.product import Products

Array = np.ndarray

PLANNED_WEEKS = 26  # beyond the data
QUIET_WEEKS = 6  # after the launch, without promotion


@dataclass(frozen=True)
class Plan:
    """List price and promotion depth, shape (rows, weeks + PLANNED_WEEKS) each."""

    list_price: Array
    promo: Array


def make_plan(config: SimulatorConfig, products: Products, chunk: int) -> Plan:
    draws = Draws(config.seed, chunk)
    return Plan(list_price=_list_prices(config, products, draws), promo=_promotions(config, products, draws))


def _list_prices(config: SimulatorConfig, products: Products, draws: Draws) -> Array:
    """The launch's price, revised now and then by a log-normal step, in cents."""
    world, weeks = config.world, config.weeks + PLANNED_WEEKS
    revised = draws.uniform("revised", CHUNK, weeks)[: products.size] < world.price_revision
    z = draws.normal("price-step", CHUNK, weeks)[: products.size] + 0.3  # more often up than down
    steps = world.price_step * np.where(z > 0, 1.0 + z, z - 1.0)
    launched = np.arange(weeks)[None, :] > products.launch[:, None]
    path = np.cumsum(np.where(revised & launched, steps, 0.0), axis=1)
    return np.maximum(np.round(products.list_price[:, None] * arithmetic.exp(np.clip(path, -0.5, 0.6)) * 20.0) / 20.0, 0.1)


def _promotions(config: SimulatorConfig, products: Products, draws: Draws) -> Array:
    """Depth by week: at each promotion of the calendar some of the products take part for one or two weeks."""
    world, weeks = config.world, config.weeks + PLANNED_WEEKS
    depths = np.array(world.promotion_depths)
    promo = np.zeros((products.size, weeks))
    year = week_of_year(config.first_week, 0, weeks)
    for start in np.flatnonzero(np.isin(year, world.promotions)):
        u = draws.uniform(f"promotion-{start}", 3, CHUNK)[:, : products.size]
        takes_part = (u[0] < world.promotion_share) & (start - products.launch >= QUIET_WEEKS)
        depth = np.where(takes_part, depths[pick(u[1], np.array(world.depth_weights))], 0.0)
        promo[:, start] = depth
        if start + 1 < weeks:
            promo[:, start + 1] = np.where(u[2] < 0.5, depth, 0.0)
    return promo
