"""Latent demand: everything about its intensity that no decision of the shop changes."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import week_of_year
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products
from plcp.data.simulator.signals import Signals, autoregression, signal_effect
from plcp.data.simulator.world import World

Array = np.ndarray

CHRISTMAS_BREAK = (1, 52, 53)  # weeks of the year in which the shop sells little
BREAK_EFFECT = -0.9
MOST_NOISE = 2.2  # log: no week brings more than nine times what it should
MOST_OWN = 2.0  # no SKU is more than twice as noisy as the median
NEVER = -60.0  # log demand of a product before its launch


@dataclass(frozen=True)
class Latent:
    """Log weekly demand at the launch's list price without promotion, at the quality first believed in. Shape (rows, weeks) each."""

    life: Array  # scale × shape, NEVER before the launch
    season: Array
    trend: Array  # growth of the shop and of the category
    signal: Array
    noise: Array

    @property
    def total(self) -> Array:
        return self.life + self.season + self.trend + self.signal + self.noise


def life(products: Products, start: int, stop: int) -> Array:
    """Log of scale × shape over week indices start … stop − 1, normalised to the scale at its top."""
    age = np.arange(start, stop)[None, :] - products.launch[:, None] + 0.5
    rise, ramp, fall, slope, drift = (getattr(products, f)[:, None] for f in ("rise", "ramp", "fall", "slope", "drift"))
    shape = 1.0 / ((1.0 + arithmetic.exp((rise - age) / ramp)) * (1.0 + arithmetic.exp((age - fall) / slope)))
    log_shape = arithmetic.log(np.maximum(shape, 1e-12)) - drift * np.maximum(age - rise, 0.0)
    return np.where(age > 0, products.log_scale[:, None] + log_shape, NEVER)


def season_table(world: World) -> Array:
    """Log season by category and week of the year 0 … 53, mean about zero."""
    week = np.arange(54.0)
    table = np.zeros((len(world.categories), 54))
    for c, category in enumerate(world.categories):
        for bump in category.seasons:
            away = np.abs(week - bump.week)
            away = np.minimum(away, 52.0 - away) / bump.width
            table[c] += bump.height * arithmetic.exp(-0.5 * away * away)
    table -= table[:, 1:53].sum(1, keepdims=True) / 52.0
    table[:, CHRISTMAS_BREAK] += BREAK_EFFECT
    return table


def season(config: SimulatorConfig, products: Products, start: int, stop: int) -> Array:
    """Log season of each product, shape (rows, stop − start)."""
    return season_table(config.world)[products.category][:, week_of_year(config.first_week, start, stop)]


def make_latent(config: SimulatorConfig, products: Products, signals: Signals, chunk: int) -> Latent:
    """Latent demand of the config's weeks."""
    world, draws, common = config.world, Draws(config.seed, chunk), Draws(config.seed)
    rows, weeks = products.size, config.weeks
    slow_sd, memory = world.noise
    slow = autoregression(draws.normal("noise", CHUNK, weeks)[:rows], memory)
    shock = draws.normal("shock", CHUNK, weeks)[:rows]
    shared = common.normal("common-shock", len(world.categories), weeks)[products.category]
    growth = world.growth[0] + world.growth[1] * common.normal("growth", len(world.categories))
    own = np.minimum(arithmetic.exp(world.noise_spread * draws.normal("noise-spread", CHUNK)[:rows, None]), MOST_OWN)
    noise = np.minimum(own * (slow_sd * slow + world.shock * shock), MOST_NOISE) + world.common_shock * shared
    variance = own * own * (slow_sd**2 + world.shock**2) + world.common_shock**2
    return Latent(
        life=life(products, 0, weeks),
        season=season(config, products, 0, weeks),
        trend=growth[products.category][:, None] * np.arange(weeks) / 52.0,
        signal=signal_effect(config, signals, products.category)[:, :weeks],
        noise=noise - 0.5 * variance,  # its exponential has a mean of about one
    )
