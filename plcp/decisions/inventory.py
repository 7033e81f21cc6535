"""How much to order: the newsvendor's level over the time an order has to cover, and the last order of a life.

Periodic review: an order placed now arrives after the lead time and has to last until the one placed a review later arrives, so the
order-up-to level S is a quantile of the demand over lead time + review (Silver, Pyke & Thomas, 4th ed., 2017, ch. 6 and 9). The quantile
is the newsvendor's: margin / (margin + cost of a unit too many), where a unit too many costs its holding and, with the probability that
the life ends before it is sold, what its salvage does not bring back. Both are counted until the expected demand will have used it up,
however far beyond the next order that lies: rare large orders alone justify no stock that would take years to sell. Customers who find
an empty shelf do not wait: what is asked for after the stock has gone and before the delivery is lost, and not ordered for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.decisions.demand import HALF_UNIT, Array, Total
from plcp.decisions.outlook import Mask, Outlook
from plcp.decisions.rows import decision
from plcp.decisions.wording import count, money, percent, weeks

BISECTIONS = 24  # of the range of a level: to less than a unit of ten million


class InventoryConfig(Config):
    """service_max: no level covers more of the cases than this, whatever the margin: nine quantiles say little of what lies beyond.
    last_buy_end: probability that the life ends before a later order could arrive from which this order is the last one."""

    service_max: float = Field(0.98, gt=0, lt=1)
    last_buy_end: float = Field(0.5, gt=0, le=1)


@dataclass(frozen=True)
class Plan:
    """What is ordered and what it brings, each (n,): expected stock left when it arrives, weeks it must last for and units asked for in
    them, service level, units, and money as mean, 10% and 90% quantile."""

    left: Array
    lasts: Array
    asked: Array
    service: Array
    quantity: Array
    effect: Array
    effect_low: Array
    effect_high: Array


def orders(outlook: Outlook, config: InventoryConfig) -> pl.DataFrame:
    """`reorder` and `last_buy` rows for products with supply, price and a margin, where the order is expected to pay."""
    chosen = outlook.where(outlook["price"] > outlook["unit_cost"])  # NaN compares false: without supply or price no order
    last = chosen.ended_by(chosen["lead_weeks"] + chosen["review_weeks"]) >= config.last_buy_end
    return pl.concat([_rows(chosen.where(~last), "reorder", REORDER, config), _rows(chosen.where(last), "last_buy", LAST_BUY, config)])


def plan(outlook: Outlook, last: bool, config: InventoryConfig) -> Plan:
    """The order of every row of an outlook; a last order covers the whole horizon."""
    lead, protection = outlook["lead_weeks"], outlook["lead_weeks"] + outlook["review_weeks"]
    span = np.maximum(outlook.demand.horizon, protection) if last else protection
    stock, margin = outlook["position"], outlook["price"] - outlook["unit_cost"]
    sellable, until = outlook.demand.sellable(lead, span, stock), outlook.demand.total(lead)
    lost = until.mean - until.sold(stock)

    def cost_of_too_many(level: Array) -> Array:
        """Of the last unit up to a level of sellable demand."""
        sold_by = np.maximum(span, outlook.demand.lasts(level + lost))
        return outlook["unit_cost"] - outlook.left_over_value(sold_by) + outlook["holding_cost"] * (sold_by - lead)

    level = _newsvendor_level(sellable, margin, cost_of_too_many, config.service_max)
    quantity = _orderable(level - stock, outlook["case_pack"], outlook["min_order"])
    too_many = cost_of_too_many(np.maximum(level, stock + quantity))  # whole cases may lie longer than what is wanted
    service = 1 - sellable.exceeded(level)

    def profit(sold: Array) -> Array:
        return margin * sold - too_many * (quantity - sold)

    low, high = (profit(np.clip(sellable.quantile(level) - stock, 0, quantity)) for level in (0.1, 0.9))
    effect = profit(sellable.sold(stock + quantity) - sellable.sold(stock))
    left, asked = stock - until.sold(stock), outlook.demand.total(span).mean - until.mean
    return Plan(left, span - lead, asked, service, quantity, effect, low, high)


def _newsvendor_level(demand: Total, margin: Array, cost_of_too_many: Callable[[Array], Array], service_max: float) -> Array:
    """The level whose last unit earns as much where it is asked for as it costs where it is not, (n,); that cost grows with the level."""
    low, high = np.zeros_like(margin), demand.quantile(service_max)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        pays = demand.exceeded(middle) * (margin + (cost := cost_of_too_many(middle))) > cost
        low, high = np.where(pays, middle, low), np.where(pays, high, middle)
    return high


def _orderable(wanted: Array, case_pack: Array, min_order: Array) -> Array:
    """Units in whole cases and not below the smallest order; 0 where less than half a unit is wanted."""
    return np.where(wanted < HALF_UNIT, 0, np.ceil(np.maximum(np.maximum(wanted, min_order) - HALF_UNIT, 1) / case_pack) * case_pack)


def _rows(outlook: Outlook, kind: str, reason: pl.Expr, config: InventoryConfig) -> pl.DataFrame:
    order = plan(outlook, kind == "last_buy", config)
    pays: Mask = (order.quantity > 0) & (order.effect > 0)
    return decision(
        outlook.frame.with_columns(
            left=order.left,
            lasts=order.lasts,
            asked=order.asked,
            service=order.service,
            margin=outlook["price"] - outlook["unit_cost"],
            ending=outlook.ended_by(outlook["lead_weeks"] + outlook["review_weeks"]),
            value=order.quantity,
            expected_effect=order.effect,
            effect_low=order.effect_low,
            effect_high=order.effect_high,
        ).filter(pl.Series(pays)),
        outlook.origin,
        kind,
        "units",
        reason,
        week=outlook.origin,
    )


REORDER = pl.format(
    "Order {} now, to arrive in {}: of {} in stock or on the way about {} will be left by then, about {} will be asked for in the {} that"
    " the order must last for, and at a margin of {} a unit it pays to be ready for {} of cases.",
    count("value"),
    weeks("lead_weeks"),
    count("position"),
    count("left"),
    count("asked"),
    weeks("lasts"),
    money("margin"),
    percent("service"),
)
LAST_BUY = pl.format(
    "Order {} for the last time, to arrive in {}: with {} probability sales end before a later order could arrive; of {} in stock or on the"
    " way about {} will be left by then, about {} will still be asked for, and a unit left over brings {} of its cost of {}.",
    count("value"),
    weeks("lead_weeks"),
    percent("ending"),
    count("position"),
    count("left"),
    count("asked"),
    money("salvage"),
    money("unit_cost"),
)
