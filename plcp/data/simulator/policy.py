"""How the simulated shop runs itself: an order-up-to policy on smoothed sales, markdowns, and delisting by a rule."""

from dataclasses import dataclass

import numpy as np

from plcp.data.simulator.shop import Decisions

Array = np.ndarray

SMOOTHING = 0.2
FAST_SMOOTHING = 0.5  # in the first weeks, when little is known
LEARNING_WEEKS = 6
SAFETY = 4.0  # mean absolute deviations of the demand over the lead time
OPENING_WEEKS = 6  # of expected sales bought for a launch, beside the lead time
OLD_ENOUGH = 10  # weeks before which nothing is cleared
TREND_SMOOTHING = 0.1
FADING = 0.08  # of its best trend so far: below it for FADING_WEEKS the product is cleared
FADING_WEEKS = 6
FORGETTING = 0.985  # share of the best trend that is still expected a week later
MARKDOWNS = (0.14, 0.27, 0.5)  # depth, deeper every CLEARANCE_STEP weeks
CLEARANCE_STEP = 4
CLEARANCE_WEEKS = 16


@dataclass(frozen=True)
class Observation:
    """What the shop sees at the start of a week, shape (rows,) each."""

    week: int
    launch: Array  # week index, planned or past
    on_sale: Array  # bool
    on_hand: Array
    on_order: Array
    sales: Array  # of the week before
    in_stock: Array  # of the week before, NaN where not on sale
    list_price: Array  # planned for this week
    promo: Array  # planned for this week
    lead_time: Array
    case_pack: Array
    season_ahead: Array  # last years' demand over the lead time relative to this week's
    expected: Array  # weekly units the buyer expects of a launch


class ShopPolicy:
    """Decides week by week; remembers smoothed sales and their deviation, the best they were, and when clearance began."""

    def __init__(self, expected: Array) -> None:
        self.level = expected.copy()
        self.deviation = expected.copy()
        self.trend = expected.copy()
        self.best = np.zeros(len(expected))
        self.faded = np.zeros(len(expected))  # weeks in a row below FADING
        self.cleared_since = np.full(len(expected), -1)

    def decide(self, seen: Observation) -> Decisions:
        age = seen.week - seen.launch
        self._learn(seen, age)
        clearing = self.cleared_since >= 0
        weeks = np.where(clearing, seen.week - self.cleared_since, 0)
        markdown = np.array(MARKDOWNS)[np.minimum(weeks // CLEARANCE_STEP, len(MARKDOWNS) - 1)]
        empty = (seen.on_hand + seen.on_order <= 0) | (weeks >= CLEARANCE_WEEKS)
        return Decisions(
            order=np.where(clearing, 0.0, self._order(seen, age)),
            list_price=seen.list_price,
            promo=np.where(clearing, np.maximum(markdown, seen.promo), seen.promo),
            delist=clearing & empty & seen.on_sale,
        )

    def _learn(self, seen: Observation, age: Array) -> None:
        """A week sold out is no sign of less demand: it may only raise the level."""
        known = seen.on_sale & ~np.isnan(seen.in_stock)
        weight = np.where(age <= LEARNING_WEEKS, FAST_SMOOTHING, SMOOTHING)
        units = np.where(seen.in_stock < 1, np.maximum(seen.sales, self.level), seen.sales)
        error = np.where(known, units - self.level, 0.0)
        self.deviation = np.where(known, self.deviation + weight * (np.abs(error) - self.deviation), self.deviation)
        self.level = self.level + weight * error
        slow = np.where(age <= LEARNING_WEEKS, FAST_SMOOTHING, TREND_SMOOTHING)
        self.trend = np.where(known, self.trend + slow * (units - self.trend), self.trend)
        self.best = np.where(known & (age > LEARNING_WEEKS), np.maximum(FORGETTING * self.best, self.trend), self.best)
        fading = known & (age >= OLD_ENOUGH) & (self.trend < FADING * self.best)
        self.faded = np.where(fading, self.faded + 1, 0)
        self.cleared_since = np.where((self.faded >= FADING_WEEKS) & (self.cleared_since < 0), seen.week, self.cleared_since)

    def _order(self, seen: Observation, age: Array) -> Array:
        """Up to the expected demand of the lead time and the week after it, with safety stock, in whole cases."""
        over = seen.lead_time + 1.0
        mean = self.level * seen.season_ahead * over
        target = mean + SAFETY * self.deviation * np.sqrt(over)
        opening = seen.expected * OPENING_WEEKS
        target = np.where(seen.on_sale, target, np.where(age == -seen.lead_time, opening, 0.0))
        short = np.maximum(target - seen.on_hand - seen.on_order, 0.0)
        return np.floor(short / seen.case_pack + 0.5) * seen.case_pack
