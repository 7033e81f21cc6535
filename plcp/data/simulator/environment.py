"""The simulated shop step by step: each week takes decisions and returns sales, stock and money."""

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.demand import Latent, make_latent, season
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.plan import PLANNED_WEEKS, Plan, make_plan
from plcp.data.simulator.policy import Observation
from plcp.data.simulator.product import Products
from plcp.data.simulator.products import make_products
from plcp.data.simulator.shop import Decisions, Outcome, Shop
from plcp.data.simulator.signals import make_signals

Array = np.ndarray

SEASON_TRUST = 0.7  # share of the log season that the shop foresees
GUESS_ERROR = 0.5  # sd of the log error of a buyer's guess before a launch
OPENING_STOCK = 2  # weeks of sales in stock at the beginning, beside those of the lead time


class ShopEnvironment:
    """One chunk of the catalog, up to 1,000 SKUs, as an environment; a larger shop is several of them.

    Two environments of the same config and chunk meet the same customers, suppliers and weather, whatever is decided:

        environment, policy = ShopEnvironment(config), …
        while not environment.finished:
            outcome = environment.step(policy.decide(environment.observe()))
    """

    def __init__(self, config: SimulatorConfig, chunk: int = 0) -> None:
        self.config, self.chunk = config, chunk
        self.products: Products = make_products(config, chunk)
        self.latent: Latent = make_latent(config, self.products, make_signals(config, config.weeks), chunk)
        self.plan: Plan = make_plan(config, self.products, chunk)
        self.shop = Shop(config, self.products, self.latent, chunk)
        self.season = arithmetic.exp(SEASON_TRUST * season(config, self.products, -1, config.weeks + PLANNED_WEEKS))
        self.expected = self._expected()
        begun = self.products.launch <= self.products.lead_time
        self.shop.on_hand = np.where(begun, np.ceil(self.expected * (self.products.lead_time + OPENING_STOCK)), 0.0)
        self.last: Outcome | None = None

    def _expected(self) -> Array:
        """Weekly units that the shop expects in the beginning: what incumbents sell, and a guess for launches that knows no looks."""
        p = self.products
        guess = GUESS_ERROR * Draws(self.config.seed, self.chunk).normal("guess", CHUNK)[: p.size] - 0.5 * GUESS_ERROR**2
        selling = np.maximum(self.latent.life[:, 0], -20.0)
        return arithmetic.exp(np.where(p.launch < 0, selling, p.log_scale - p.look + guess))

    @property
    def finished(self) -> bool:
        return self.shop.week >= self.config.weeks

    def observe(self) -> Observation:
        """The state at the start of the coming week."""
        p, shop, week = self.products, self.shop, self.shop.week
        return Observation(
            week=week,
            launch=p.launch,
            on_sale=shop.on_sale,
            on_hand=shop.on_hand,
            on_order=shop.pipeline.sum(1),
            sales=self.last.sales if self.last else np.zeros(p.size),
            in_stock=self.last.in_stock if self.last else np.full(p.size, np.nan),
            list_price=self.plan.list_price[:, week],
            promo=self.plan.promo[:, week],
            lead_time=p.lead_time,
            case_pack=p.case_pack,
            season_ahead=self._season_ahead(week),
            expected=self.expected,
        )

    def _season_ahead(self, week: int) -> Array:
        """Mean season over the lead time and the week after it, relative to the week before."""
        weeks = np.arange(self.products.lead_time.max() + 1)
        ahead = self.season[:, week + 1 : week + 1 + len(weeks)]
        within = weeks <= self.products.lead_time[:, None]
        return np.where(within, ahead, 0.0).sum(1) / (self.products.lead_time + 1.0) / self.season[:, week]

    def step(self, decisions: Decisions) -> Outcome:
        """Lets a week pass. Raises IndexError after the last week, ValueError for orders, prices or depths that cannot be."""
        if self.finished:
            raise IndexError(f"the simulated shop has only {self.config.weeks} weeks")
        if not (decisions.order >= 0).all():
            raise ValueError("decisions.order: units must be 0 or more")
        if not (decisions.list_price > 0).all():
            raise ValueError("decisions.list_price: must be above 0")
        if not ((decisions.promo >= 0) & (decisions.promo < 1)).all():
            raise ValueError("decisions.promo: a depth lies from 0 to below 1")
        self.last = self.shop.step(decisions)
        return self.last
