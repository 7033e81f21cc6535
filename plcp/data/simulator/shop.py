"""The shop and its customers, week by week: one step takes decisions and returns what was sold, what is left and what it cost.

All chance lies in arrays drawn beforehand, so that two policies meet the same customers (common random numbers).
"""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.demand import Latent
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.products import Products
from plcp.data.simulator.suppliers import outages

Array = np.ndarray

LATEST = 3  # weeks that a late delivery is late at most
HOLDING_SHARE = 0.004  # of the unit cost, per unit and week
SALVAGE_SHARE = 0.25  # of the unit cost, per unit left when a product is delisted
WIDEST = 5.0  # largest coefficient of variation of an order's size
SEARCHED = 48  # orders of a week whose times are drawn one by one; of more the mean time is taken


@dataclass(frozen=True)
class Decisions:
    """What the shop does at the start of a week, shape (rows,) each."""

    order: Array  # units ordered, delivered after the lead time
    list_price: Array
    promo: Array  # discount depth, 0 to 1
    delist: Array  # bool: taken off sale for good


@dataclass(frozen=True)
class Outcome:
    """What came of a week, shape (rows,) each. `demand` and `intensity` are truth: no shop sees them."""

    on_sale: Array  # bool
    sales: Array  # units
    in_stock: Array  # share of the week on sale, NaN where not on sale
    price: Array  # paid per unit
    promo: Array
    reviews: Array  # new ones
    received: Array  # units delivered at its start
    salvaged: Array  # units sold off because of delisting
    money: Array  # revenue − purchases received − holding + salvage
    demand: Array  # units that customers wanted
    intensity: Array  # expected units of demand, noise included


@dataclass
class State:
    """What a step changes, shape (rows,) each, and the deliveries to come (rows, weeks ahead)."""

    week: int
    on_hand: Array
    pipeline: Array
    delisted: Array
    borrowed: Array  # units of demand that promotions have pulled forward
    reviews: Array  # so far, those before the first week included
    stars: Array  # their sum


def price_tag(list_price: Array, promo: Array) -> Array:
    """What a customer pays: whole steps of five hundredths."""
    return np.maximum(np.round(list_price * (1.0 - promo) * 20.0) / 20.0, 0.05)


class Shop:
    """One chunk's shop. `observe()` gives the state before a week, `step(decisions)` lets the week pass."""

    def __init__(self, config: SimulatorConfig, products: Products, latent: Latent, chunk: int) -> None:
        self.config, self.products = config, products
        self.latent = latent.total
        self.draws = Draws(config.seed, chunk)
        shape = (CHUNK, config.weeks)
        rows = products.size
        self.u_orders, self.u_reviews, self.u_late = (self.draws.uniform(s, *shape)[:rows] for s in ("orders", "reviews", "late"))
        self.z_size = self.draws.normal("sizes", *shape)[:rows]
        median, log_sd = config.world.size_spread
        spread = np.minimum(median * arithmetic.exp(log_sd * self.draws.normal("size-spread", CHUNK)[:rows]), WIDEST)
        self.size_variance = spread * spread * (products.order_size - 1.0) / products.order_size
        self.outage = outages(config)
        self.state = self._start()

    def _start(self) -> State:
        """Incumbents begin with the reviews that a year of sales would have left; stock is the first decisions' task."""
        world, p = self.config.world, self.products
        age = np.maximum(-p.launch, 0)
        before = np.floor(np.minimum(world.review_rate * 0.5 * arithmetic.exp(p.log_scale) * age, 200.0))
        zero = np.zeros(p.size)
        ahead = max(world.lead_times) + LATEST + world.outage_weeks[1] + 1
        return State(0, zero, np.zeros((p.size, ahead)), zero.astype(bool), zero, before, before * self.true_rating())

    def true_rating(self) -> Array:
        """The mean rating that each product's quality earns."""
        mean, per_sd, _ = self.config.world.stars
        return mean + per_sd * self.products.quality

    @property
    def finished(self) -> bool:
        return self.state.week >= self.config.weeks

    @property
    def on_sale(self) -> Array:
        return (self.products.launch <= self.state.week) & ~self.state.delisted

    def believed_rating(self) -> Array:
        """What customers take the rating to be: the reviews so far, shrunk to the shop's mean."""
        world, s = self.config.world, self.state
        return (world.rating_prior * world.stars[0] + s.stars) / (world.rating_prior + s.reviews)

    def intensity(self, list_price: Array, promo: Array) -> tuple[Array, Array]:
        """Expected units of demand this week, and how many of them the promotion brings."""
        world, p, s = self.config.world, self.products, self.state
        ratio = arithmetic.log(np.maximum(list_price, 0.01) / p.list_price)
        log_rate = self.latent[:, s.week] + p.elasticity * ratio + world.rating_effect * (self.believed_rating() - world.stars[0])
        log_rate += world.cross_elasticity * self._substitutes(ratio + arithmetic.log(1.0 - np.minimum(promo, 0.95)))
        plain = arithmetic.exp(log_rate)
        lifted = plain * arithmetic.exp(p.lift * promo)
        missing = np.minimum((1.0 - world.pull_memory) * s.borrowed, 0.6 * lifted)
        return lifted - missing, lifted - plain

    def _substitutes(self, log_price: Array) -> Array:
        """Mean log price, relative to its launch, of the others of the group that are on sale."""
        group, on_sale = self.products.group, self.on_sale
        weight = on_sale.astype(np.float64)
        total, count = np.bincount(group, weight * log_price), np.bincount(group, weight)
        others = count[group] - weight
        return np.where(others > 0, (total[group] - weight * log_price) / np.maximum(others, 1.0), 0.0)

    def step(self, decisions: Decisions) -> Outcome:
        """Deliveries arrive, customers come, reviews are written, orders go out."""
        p, s, world = self.products, self.state, self.config.world
        received = s.pipeline[:, 0].copy()
        s.on_hand = s.on_hand + received
        gone = decisions.delist & ~s.delisted
        salvaged = np.where(gone, s.on_hand, 0.0)
        s.on_hand = s.on_hand - salvaged
        s.delisted = s.delisted | decisions.delist
        on_sale = self.on_sale
        intensity, extra = self.intensity(decisions.list_price, decisions.promo)
        intensity = np.where(on_sale, intensity, 0.0)
        demand, orders = self._demand(intensity)
        sales = np.minimum(demand, s.on_hand)
        in_stock = np.where(on_sale, self._share(demand, orders), np.nan)
        s.on_hand = s.on_hand - sales
        price = price_tag(decisions.list_price, decisions.promo)
        s.borrowed = world.pull_memory * s.borrowed + np.where(on_sale, world.pull_forward * extra, 0.0)
        reviews = self._review(sales)
        self._send(np.where(s.delisted, 0.0, decisions.order))
        money = price * sales - p.unit_cost * (received + HOLDING_SHARE * s.on_hand - SALVAGE_SHARE * salvaged)
        s.week += 1
        return Outcome(on_sale, sales, in_stock, price, decisions.promo, reviews, received, salvaged, money, demand, intensity)

    def _demand(self, intensity: Array) -> tuple[Array, Array]:
        """Units and orders: Poisson orders of over-dispersed size (the customers of the week are fixed beforehand)."""
        week, p = self.state.week, self.products
        orders = arithmetic.poisson(self.u_orders[:, week], intensity / p.order_size)
        variance = arithmetic.log(1.0 + self.size_variance / np.maximum(orders, 1.0))
        size = arithmetic.exp(np.sqrt(variance) * self.z_size[:, week] - 0.5 * variance)
        return orders + np.floor(orders * (p.order_size - 1.0) * size + 0.5), orders

    def _share(self, demand: Array, orders: Array) -> Array:
        """Share of the week in stock: the time of the order that took the last unit, orders coming evenly over the week."""
        share = np.ones(len(demand))
        on_hand = self.state.on_hand
        share[on_hand <= 0] = 0.0
        out = np.flatnonzero((demand > on_hand) & (on_hand > 0))
        if out.size:
            n = orders[out]
            last = np.maximum(np.ceil(n * on_hand[out] / demand[out]), 1.0)
            width = int(min(n.max(), SEARCHED))
            times = self.draws.hashed("times", out[:, None], self.state.week, np.arange(width))
            times = np.sort(np.where(np.arange(width) < n[:, None], times, 2.0), axis=1)
            drawn = np.take_along_axis(times, np.minimum(last, width).astype(np.int64)[:, None] - 1, axis=1)[:, 0]
            share[out] = np.where(n <= SEARCHED, drawn, last / (n + 1.0))
        return share

    def _review(self, sales: Array) -> Array:
        """New reviews; the j-th of a product has the same rating whenever it is written."""
        s, world = self.state, self.config.world
        count = arithmetic.poisson(self.u_reviews[:, s.week], world.review_rate * sales)
        rows = np.repeat(np.arange(len(sales)), count.astype(np.int64))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count.astype(np.int64))
        stars = self.rating(rows, s.reviews[rows] + place)
        s.reviews = s.reviews + count
        s.stars = s.stars + np.bincount(rows, stars, minlength=len(sales))
        return count

    def rating(self, rows: Array, number: Array) -> Array:
        """Stars, 1 to 5, of the number-th review of each row."""
        z = arithmetic.normal(self.draws.hashed("stars", rows, number.astype(np.int64)))
        return np.clip(np.floor(self.true_rating()[rows] + self.config.world.stars[2] * z + 0.5), 1.0, 5.0)

    def _send(self, order: Array) -> None:
        """Orders go out; some come late, and none before the supplier's outage is over."""
        s, p = self.state, self.products
        s.pipeline = np.concatenate([s.pipeline[:, 1:], np.zeros((p.size, 1))], axis=1)
        u = self.u_late[:, s.week] / self.config.world.late_share
        late = np.where(u < 1, 1.0 + np.floor(np.minimum(u, 0.999) * LATEST), 0.0)
        delay = p.lead_time - 1 + late + self.outage[p.supplier, s.week]
        s.pipeline[np.arange(p.size), delay.astype(np.int64)] += order
