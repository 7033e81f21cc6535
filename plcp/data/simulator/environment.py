"""The simulated shop step by step: each week takes decisions and returns sales, stock and money."""

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.demand import Latent, make_latent, season
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.plan import PLANNED_WEEKS, Plan, make_plan
from plcp.data.simulator.policy import Observation
from plcp.data.simulator.products import Products, make_products
from plcp.data.simulator.shop import Decisions, Outcome, Shop
from plcp.data.simulator.signals import make_signals

Array = np.ndarray

SEASON_TRUST = 0.7  # share of the log season that the shop foresees
GUESS_ERROR = 0.5  # sd of the log error of a buyer's guess before a launch


class ChunkEnvironment:
    """One chunk of the catalog as an environment.

    Two environments of the same config and chunk meet the same customers, suppliers and weather, whatever is decided.
    """

    def __init__(self, config: SimulatorConfig, chunk: int = 0) -> None:
        self.config, self.chunk = config, chunk
        self.products: Products = make_products(config, chunk)
        signals = make_signals(config, config.weeks + PLANNED_WEEKS)
        self.latent: Latent = make_latent(config, self.products, signals, chunk)
        self.plan: Plan = make_plan(config, self.products, chunk)
        self.shop = Shop(config, self.products, self.latent, chunk)
        self.season = arithmetic.exp(SEASON_TRUST * season(config, self.products, 0, config.weeks + PLANNED_WEEKS))
        guess = Draws(config.seed, chunk).normal("guess", CHUNK)[: self.products.size]
        self.expected = arithmetic.exp(self.products.log_scale - self.products.look + GUESS_ERROR * guess - 0.5 * GUESS_ERROR**2)
        self.last: Outcome | None = None
        self._open()

    def _open(self) -> None:
        """Whatever is on sale in week 0, or launched before an order could arrive, begins with stock."""
        p, state = self.products, self.shop.state
        begun = p.launch <= p.lead_time
        weeks = p.lead_time + 2.0
        level = np.where(p.launch < 0, arithmetic.exp(np.maximum(self.latent.life[:, 0], -20.0)), self.expected)
        self.expected = np.where(p.launch < 0, level, self.expected)
        state.on_hand = np.where(begun, np.ceil(level * weeks), 0.0)

    @property
    def finished(self) -> bool:
        return self.shop.finished

    def observe(self) -> Observation:
        """The state at the start of the coming week."""
        p, shop, week = self.products, self.shop, self.shop.state.week
        ahead = np.arange(self.season.shape[1])[None, :] - week
        window = (ahead >= 0) & (ahead <= p.lead_time[:, None])
        foreseen = np.where(window, self.season, 0.0).sum(1) / (p.lead_time + 1.0) / self.season[:, max(week - 1, 0)]
        rows = np.zeros(p.size)
        return Observation(
            week=week,
            launch=p.launch,
            on_sale=shop.on_sale,
            on_hand=shop.state.on_hand,
            on_order=shop.state.pipeline.sum(1),
            sales=self.last.sales if self.last else rows,
            in_stock=self.last.in_stock if self.last else np.full(p.size, np.nan),
            list_price=self.plan.list_price[:, week],
            promo=self.plan.promo[:, week],
            lead_time=p.lead_time,
            case_pack=p.case_pack,
            season_ahead=foreseen,
            expected=self.expected,
        )

    def step(self, decisions: Decisions) -> Outcome:
        """Lets a week pass. Raises IndexError after the last week."""
        if self.finished:
            raise IndexError(f"the simulated shop has only {self.config.weeks} weeks")
        self.last = self.shop.step(decisions)
        return self.last
