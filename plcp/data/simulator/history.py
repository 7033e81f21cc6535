"""A chunk's shop run to the end by its own policy, every week kept."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.environment import ChunkEnvironment
from plcp.data.simulator.policy import ShopPolicy

Array = np.ndarray

KEPT = ("on_sale", "sales", "in_stock", "price", "promo", "reviews", "demand", "intensity", "money")


@dataclass(frozen=True)
class History:
    """Arrays (rows, weeks): see shop.Outcome; and the environment as it stood after the last week."""

    on_sale: Array
    sales: Array
    in_stock: Array
    price: Array
    promo: Array
    reviews: Array
    demand: Array
    intensity: Array
    money: Array
    list_price: Array
    environment: ChunkEnvironment


def run(config: SimulatorConfig, chunk: int) -> History:
    environment = ChunkEnvironment(config, chunk)
    policy = ShopPolicy(environment.expected)
    outcomes = []
    while not environment.finished:
        outcomes.append(environment.step(policy.decide(environment.observe())))
    kept = {name: np.stack([getattr(o, name) for o in outcomes], axis=1) for name in KEPT}
    return History(**kept, list_price=environment.plan.list_price[:, : config.weeks], environment=environment)
