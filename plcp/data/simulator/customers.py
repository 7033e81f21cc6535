"""Customers: what they want in a week at the prices they see, and what they write about what they bought.

All chance lies in arrays drawn beforehand, so that two policies meet the same customers (common random numbers).
"""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.demand import Latent
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products

Array = np.ndarray

WIDEST = 5.0  # largest coefficient of variation of an order's size
LEAST_LEFT = 0.4  # share of a week's demand that earlier promotions cannot have taken away
MOST_REVIEWS = 200  # that an incumbent begins with
BEFORE_SHARE = 0.5  # of the velocity at the top, sold on average in an incumbent's weeks before the data


@dataclass(frozen=True)
class Wanted:
    """One week's demand, shape (rows,) each. All of it is truth: no shop sees it."""

    demand: Array  # units
    intensity: Array  # expected units
    log_price: Array  # parts of the log intensity: own list price and promotion, substitutes' prices
    log_rating: Array  # and the rating that customers believe in


class Customers:
    """The customers of one chunk of products."""

    def __init__(self, config: SimulatorConfig, products: Products, latent: Latent, chunk: int) -> None:
        self.world, self.products, self.latent = config.world, products, latent.total
        self.draws = Draws(config.seed, chunk)
        rows = products.size
        self.u_orders, self.u_reviews = (self.draws.uniform(s, CHUNK, config.weeks)[:rows] for s in ("orders", "reviews"))
        self.z_size = self.draws.normal("sizes", CHUNK, config.weeks)[:rows]
        median, log_sd = self.world.size_spread
        spread = np.minimum(median * arithmetic.exp(log_sd * self.draws.normal("size-spread", CHUNK)[:rows]), WIDEST)
        self.size_variance = spread * spread * (products.order_size - 1.0) / products.order_size
        self.borrowed = np.zeros(rows)  # units of demand that promotions have pulled forward
        sold_before = BEFORE_SHARE * arithmetic.exp(products.log_scale) * np.maximum(-products.launch, 0)
        self.reviews = np.floor(np.minimum(self.world.review_rate * sold_before, MOST_REVIEWS))
        self.stars = self.reviews * self.true_rating()  # the sum of all ratings so far

    def true_rating(self) -> Array:
        """The mean rating that each product's quality earns, before it is cut to whole stars."""
        mean, per_sd, _ = self.world.stars
        return mean + per_sd * self.products.quality

    def believed_rating(self) -> Array:
        """What customers take the rating to be: the reviews so far, shrunk to the shop's mean."""
        prior = self.world.rating_prior
        return (prior * self.world.stars[0] + self.stars) / (prior + self.reviews)

    def want(self, week: int, on_sale: Array, list_price: Array, promo: Array) -> Wanted:
        """The demand of a week, and what its promotions take from the weeks to come."""
        world, p = self.world, self.products
        ratio = arithmetic.log(np.maximum(list_price, 0.01) / p.list_price)
        paid = ratio + arithmetic.log(1.0 - np.minimum(promo, 0.95))
        log_rating = world.rating_effect * (self.believed_rating() - world.stars[0])
        log_plain = p.elasticity * ratio + world.cross_elasticity * self._substitutes(on_sale, paid)
        plain = arithmetic.exp(self.latent[:, week] + log_rating + log_plain)
        lifted = plain * arithmetic.exp(p.lift * promo)
        missing = np.minimum((1.0 - world.pull_memory) * self.borrowed, (1.0 - LEAST_LEFT) * lifted)
        intensity = np.where(on_sale, lifted - missing, 0.0)
        self.borrowed = world.pull_memory * self.borrowed + np.where(on_sale, world.pull_forward * (lifted - plain), 0.0)
        return Wanted(self._order(week, intensity), intensity, log_plain + p.lift * promo, log_rating)

    def _substitutes(self, on_sale: Array, log_price: Array) -> Array:
        """Mean log price, relative to its launch, of the others of the group that are on sale."""
        group, weight = self.products.group, on_sale.astype(np.float64)
        total, count = np.bincount(group, weight * log_price), np.bincount(group, weight)
        others = count[group] - weight
        return np.where(others > 0, (total[group] - weight * log_price) / np.maximum(others, 1.0), 0.0)

    def _order(self, week: int, intensity: Array) -> Array:
        """Units: Poisson orders, whose mean size is log-normal with less spread the more orders there are."""
        size = self.products.order_size
        orders = arithmetic.poisson(self.u_orders[:, week], intensity / size)
        variance = arithmetic.log(1.0 + self.size_variance / np.maximum(orders, 1.0))
        relative = arithmetic.exp(np.sqrt(variance) * self.z_size[:, week] - 0.5 * variance)
        return orders + np.floor(orders * (size - 1.0) * relative + 0.5)

    def review(self, week: int, sales: Array) -> Array:
        """New reviews of what was sold, shape (rows,)."""
        count = arithmetic.poisson(self.u_reviews[:, week], self.world.review_rate * sales)
        rows = np.repeat(np.arange(len(sales)), count.astype(np.int64))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count.astype(np.int64))
        stars = self.rating(rows, self.reviews[rows] + place)
        self.reviews = self.reviews + count
        self.stars = self.stars + np.bincount(rows, stars, minlength=len(sales))
        return count

    def rating(self, rows: Array, number: Array) -> Array:
        """Stars, 1 to 5, of the number-th review of each row: the same whenever it is written."""
        z = arithmetic.normal(self.draws.hashed("stars", rows, number.astype(np.int64)))
        return np.clip(np.floor(self.true_rating()[rows] + self.world.stars[2] * z + 0.5), 1.0, 5.0)
