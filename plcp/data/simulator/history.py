"""A chunk's shop run to the end by its own policy, every week kept."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.environment import ShopEnvironment
from plcp.data.simulator.policy import ShopPolicy

Array = np.ndarray

SEEN = ("on_sale", "sales", "in_stock", "price", "promo", "reviews")
UNSEEN = ("demand", "intensity", "log_price", "log_rating")


@dataclass(frozen=True)
class History:
    """Arrays (rows, weeks), as in shop.Outcome and customers.Wanted; and the environment as it stands after the last week."""

    on_sale: Array
    sales: Array
    in_stock: Array
    price: Array
    promo: Array
    reviews: Array
    demand: Array
    intensity: Array
    log_price: Array
    log_rating: Array
    environment: ShopEnvironment


def run(config: SimulatorConfig, chunk: int) -> History:
    environment = ShopEnvironment(config, chunk)
    policy = ShopPolicy(environment.expected)
    outcomes = []
    while not environment.finished:
        outcomes.append(environment.step(policy.decide(environment.observe())))
    seen = {name: np.stack([getattr(o, name) for o in outcomes], axis=1) for name in SEEN}
    unseen = {name: np.stack([getattr(o.truth, name) for o in outcomes], axis=1) for name in UNSEEN}
    return History(**seen, **unseen, environment=environment)
