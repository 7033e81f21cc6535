"""The shop, week by week: one step takes decisions and returns what was sold, what is left and what it cost."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.customers import Customers, Wanted
from plcp.data.simulator.demand import Latent
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products
from plcp.data.simulator.suppliers import outages

Array = np.ndarray

LATEST = 3  # weeks that a late delivery is late at most
HOLDING_SHARE = 0.004  # of the unit cost, per unit and week
SALVAGE_SHARE = 0.25  # of the unit cost, per unit left when a product is delisted
TIMED_UNITS = 48  # of a week, drawn one by one


@dataclass(frozen=True)
class Decisions:
    """What the shop does at the start of a week, shape (rows,) each."""

    order: Array  # units ordered, delivered after the lead time
    list_price: Array
    promo: Array  # discount depth, 0 to 1
    delist: Array  # bool: taken off sale for good


@dataclass(frozen=True)
class Outcome:
    """What came of a week, shape (rows,) each."""

    on_sale: Array  # bool
    sales: Array  # units
    in_stock: Array  # share of the week on sale, NaN where not on sale
    price: Array  # paid per unit
    promo: Array
    reviews: Array  # new ones
    received: Array  # units delivered at its start
    on_hand: Array  # units left at its end
    money: Array  # revenue − purchases received − holding + salvage
    truth: Wanted  # what no shop sees


def price_tag(list_price: Array, promo: Array) -> Array:
    """What a customer pays: whole steps of five hundredths."""
    return np.maximum(np.round(list_price * (1.0 - promo) * 20.0) / 20.0, 0.05)


def gamma(shape: Array, u: Array) -> Array:
    """Gamma quantile of 0 < u < 1 by the cube of a normal (Wilson & Hilferty 1931)."""
    root = 1.0 - 1.0 / (9.0 * shape) + arithmetic.normal(u) / (3.0 * np.sqrt(shape))
    return shape * np.maximum(root, 0.05) * np.maximum(root, 0.05) * np.maximum(root, 0.05)


class Shop:
    """The stock of one chunk's products and the orders on their way."""

    def __init__(self, config: SimulatorConfig, products: Products, latent: Latent, chunk: int) -> None:
        self.products, self.late_share = products, config.world.late_share
        self.customers = Customers(config, products, latent, chunk)
        self.draws = Draws(config.seed, chunk)
        self.u_late = self.draws.uniform("late", CHUNK, config.weeks)[: products.size]
        self.outage = outages(config)
        self.week = 0
        self.on_hand = np.zeros(products.size)
        ahead = max(config.world.lead_times) + LATEST + config.world.outage_weeks[1] + 1
        self.pipeline = np.zeros((products.size, ahead))  # deliveries at the start of this week and those after it
        self.delisted = np.zeros(products.size, bool)

    @property
    def on_sale(self) -> Array:
        return (self.products.launch <= self.week) & ~self.delisted

    def step(self, decisions: Decisions) -> Outcome:
        """Deliveries arrive, customers come, reviews are written, orders go out."""
        received, salvaged = self._receive(decisions.delist)
        on_sale = self.on_sale
        wanted = self.customers.want(self.week, on_sale, decisions.list_price, decisions.promo)
        sales = np.minimum(wanted.demand, self.on_hand)
        in_stock = np.where(on_sale, self._share(wanted.demand), np.nan)
        self.on_hand = self.on_hand - sales
        reviews = self.customers.review(self.week, sales)
        self._send(np.where(self.delisted, 0.0, decisions.order))
        price = price_tag(decisions.list_price, decisions.promo)
        money = price * sales - self.products.unit_cost * (received + HOLDING_SHARE * self.on_hand - SALVAGE_SHARE * salvaged)
        self.week += 1
        return Outcome(on_sale, sales, in_stock, price, decisions.promo, reviews, received, self.on_hand, money, wanted)

    def _receive(self, delist: Array) -> tuple[Array, Array]:
        """Deliveries of this week, and what is sold off because its product is no longer on sale."""
        received = self.pipeline[:, 0]
        self.pipeline = np.concatenate([self.pipeline[:, 1:], np.zeros((self.products.size, 1))], axis=1)
        self.delisted = self.delisted | delist
        stock = self.on_hand + received
        salvaged = np.where(self.delisted, stock, 0.0)
        self.on_hand = stock - salvaged
        return received, salvaged

    def _share(self, demand: Array) -> Array:
        """Share of the week in stock: when the last unit went, the units asked for coming evenly over the week.

        The a-th of d evenly drawn times is Beta(a, d − a + 1); where d is large, it is made of two gamma variates.
        """
        share = np.where(self.on_hand > 0, 1.0, 0.0)
        out = np.flatnonzero((demand > self.on_hand) & (self.on_hand > 0))
        if out.size:
            wanted, had = demand[out], np.ceil(self.on_hand[out])
            number = np.arange(TIMED_UNITS)
            times = self.draws.hashed("times", out[:, None], self.week, number)
            last = np.minimum(had, TIMED_UNITS).astype(np.int64) - 1
            few = np.sort(np.where(number < wanted[:, None], times, 2.0), axis=1)[np.arange(out.size), last]
            early, late = gamma(had, times[:, 0]), gamma(wanted - had + 1.0, times[:, 1])
            share[out] = np.where(wanted <= TIMED_UNITS, few, early / (early + late))
        return share

    def _send(self, order: Array) -> None:
        """Orders go out; some come late, and none before the supplier's outage is over."""
        u = self.u_late[:, self.week] / self.late_share
        late = np.where(u < 1, 1.0 + np.floor(np.minimum(u, 0.999) * LATEST), 0.0)
        delay = self.products.lead_time - 1 + late + self.outage[self.products.supplier, self.week]
        self.pipeline[np.arange(self.products.size), delay.astype(np.int64)] += order
