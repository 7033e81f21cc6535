"""When products live: launches through time, and the family and shape of each life."""

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import week_of_year
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws, pick

Array = np.ndarray

ANNOUNCED_WEEKS = 8  # launches already announced at the end of the data lie within these
LAUNCH_SEASON = {**dict.fromkeys(range(5, 12), 1.5), **dict.fromkeys(range(31, 43), 1.9), **dict.fromkeys(range(49, 54), 0.35)}
OLDEST = 156  # weeks that an incumbent may have been on sale


def make_lives(config: SimulatorConfig, category: Array, draws: Draws, n: int) -> dict[str, Array]:
    """Launch week, family and shape of each product.

    Incumbents are at a uniform point of a life drawn in proportion to its length, as in a shop that has long been open.
    """
    world = config.world
    incumbent, launch = _launches(config, draws, n)
    length = np.array([min(f.fall, OLDEST) for f in world.families])
    family = np.empty(n, np.int64)
    u = draws.uniform("family", n)
    for c, described in enumerate(world.categories):
        weights = np.array(described.families)
        for old, w in ((False, weights), (True, weights * length)):
            rows = np.flatnonzero((category == c) & (incumbent == old))
            family[rows] = pick(u[rows], w)
    own = {f: np.array([getattr(x, f) for x in world.families])[family] for f in ("rise", "ramp", "fall", "slope", "drift", "spread")}
    stretch = arithmetic.exp(own["spread"] * draws.normal("length", n))
    quick = arithmetic.exp(0.25 * draws.normal("quickness", n))
    fall = np.maximum(own["fall"] * stretch, own["rise"] * quick + 2.0)
    age = 1.0 + np.floor(draws.uniform("age", n) * np.minimum(fall, OLDEST))
    return {
        "launch": np.where(incumbent, -age, launch).astype(np.int64),
        "family": family,
        "rise": own["rise"] * quick,
        "ramp": own["ramp"] * quick,
        "fall": fall,
        "slope": own["slope"] * stretch,
        "drift": own["drift"],
    }


def _launches(config: SimulatorConfig, draws: Draws, n: int) -> tuple[Array, Array]:
    """Who is on sale before week 0; for the others launch weeks by the season of launches, a few announced after the data."""
    world, common = config.world, Draws(config.seed)
    season = np.array([LAUNCH_SEASON.get(int(w), 1.0) for w in week_of_year(config.first_week, 0, config.weeks)])
    rate = season * arithmetic.exp(world.launch_burst * common.normal("launch-burst", config.weeks))
    u = draws.uniform("launch", n)
    inside = pick(draws.uniform("launch-week", n), rate)
    after = config.weeks + np.floor(draws.uniform("announced", n) * ANNOUNCED_WEEKS)
    return u < world.incumbent_share, np.where(u < 1 - world.announced_share, inside, after)
