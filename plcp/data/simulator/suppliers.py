"""When suppliers cannot deliver: what is ordered from one during an outage comes after its end."""

import numpy as np

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws

Array = np.ndarray


def outages(config: SimulatorConfig) -> Array:
    """Weeks until each supplier delivers again, shape (suppliers, weeks); 0 where it delivers as usual."""
    world, draws = config.world, Draws(config.seed)
    u = draws.uniform("outage", config.weeks, world.suppliers, 2)
    shortest, longest = world.outage_weeks
    length = shortest + np.floor(u[:, :, 1] * (longest - shortest + 1))
    left = np.zeros((world.suppliers, config.weeks))
    running = np.zeros(world.suppliers)
    for week in range(config.weeks):
        running = np.where(u[week, :, 0] < world.outage, np.maximum(running, length[week]), running)
        left[:, week] = running
        running = np.maximum(running - 1, 0)
    return left
