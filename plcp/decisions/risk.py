"""What may go wrong: empty shelves before a delivery, more stock than the life will sell, stock of what is over, early decline."""

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.decisions.demand import Array
from plcp.decisions.outlook import Mask, Outlook
from plcp.decisions.rows import decision
from plcp.decisions.wording import count, day, money, percent, weeks

DEAD_WEEKS = 8  # a life that ends within so many weeks has no time left to sell its stock
EARLY_WEEKS = 12  # a decline within so many weeks is near for a product that still rises; one of EVENT_WEEKS


class RiskConfig(Config):
    """Probabilities from which a risk is reported."""

    stockout: float = Field(0.2, gt=0, lt=1)
    overstock: float = Field(0.5, gt=0, lt=1)
    early_decline: float = Field(0.5, gt=0, lt=1)
    dead_stock: float = Field(0.5, gt=0, lt=1)


def stockout_probability(outlook: Outlook) -> Array:
    """P(demand over the lead time > stock and open orders), (n,); NaN without supply. Open orders are taken to arrive in time."""
    lead = outlook["lead_weeks"]
    known = np.isfinite(lead)
    total = outlook.demand.total(np.where(known, lead, 1))
    return np.where(known, 1 - total.within(outlook["position"]), np.nan)


def shortages(outlook: Outlook, config: RiskConfig) -> pl.DataFrame:
    """`risk_stockout` rows. Effects are losses: negative money beside having enough."""
    outlook = outlook.where(stockout_probability(outlook) >= config.stockout)  # NaN compares false
    total, position = outlook.demand.total(outlook["lead_weeks"]), outlook["position"]
    margin = np.maximum(outlook["price"] - outlook["unit_cost"], 0)
    short = total.mean - total.sold(position)
    low, high = (-margin * np.maximum(total.quantile(level) - position, 0) for level in (0.9, 0.1))
    return decision(
        outlook.frame.with_columns(expected=total.mean, short=short, empty=_empty_week(outlook)),
        outlook.origin,
        "risk_stockout",
        "probability",
        STOCKOUT,
        week=pl.col("empty"),
        value=pl.Series(stockout_probability(outlook)),
        expected_effect=pl.Series(-margin * short),
        effect_low=pl.Series(low),
        effect_high=pl.Series(high),
    )


def _empty_week(outlook: Outlook) -> pl.Series:
    """The week in which the expected demand will have used up stock and open orders, the last of the horizon at the latest."""
    used = np.cumsum(outlook.demand.mean, axis=1) > outlook["position"][:, None]
    week = np.where(used.any(axis=1), used.argmax(axis=1), outlook.demand.horizon - 1)
    return pl.Series(np.datetime64(outlook.origin, "D") + 7 * week.astype("timedelta64[D]")).cast(pl.Date)


def surpluses(outlook: Outlook, config: RiskConfig) -> pl.DataFrame:
    """`risk_overstock` and `risk_dead_stock` rows. Effects are losses: negative money beside not owning the surplus."""
    stocked = outlook.where(np.isfinite(outlook["position"]))
    over = stocked.ended_by(DEAD_WEEKS) >= config.dead_stock
    return pl.concat(
        [
            _surplus(stocked.where(~over), "risk_overstock", OVERSTOCK, config.overstock),
            _surplus(stocked.where(over), "risk_dead_stock", DEAD_STOCK, config.dead_stock),
        ]
    )


def _surplus(outlook: Outlook, kind: str, reason: pl.Expr, threshold: float) -> pl.DataFrame:
    """Stock that the horizon will probably not sell: expected units left, and what holding and writing them down costs."""
    demand, stock = outlook.demand, outlook["position"]
    total = demand.total(demand.horizon)
    probability = total.within(stock - 1)
    unit_loss = outlook["unit_cost"] - outlook.left_over_value(demand.horizon) + outlook["holding_cost"] * demand.horizon
    left = stock - total.sold(stock)
    low, high = (-unit_loss * np.maximum(stock - total.quantile(level), 0) for level in (0.1, 0.9))
    keep: Mask = outlook.launched & (probability >= threshold) & (left >= 1)
    return decision(
        outlook.frame.with_columns(
            expected=total.mean,
            horizon=pl.lit(demand.horizon),
            ending=outlook.ended_by(DEAD_WEEKS),
            probability=probability,
            value=left,
            expected_effect=-unit_loss * left,
            effect_low=low,
            effect_high=high,
        ).filter(pl.Series(keep)),
        outlook.origin,
        kind,
        "units",
        reason,
        week=outlook.origin,
    )


def early_declines(outlook: Outlook, config: RiskConfig) -> pl.DataFrame:
    """`risk_early_decline` rows: products still rising whose decline is probable soon. What it costs depends on
    what is planned: no effect is given."""
    column = f"p_decline_{EARLY_WEEKS}w"
    early: Mask = outlook.stage_in("introduction", "growth") & (outlook[column] >= config.early_decline)
    chosen = outlook.where(early)
    return decision(
        chosen.frame.with_columns(expected=chosen.demand.mean.sum(axis=1), horizon=pl.lit(chosen.demand.horizon)),
        outlook.origin,
        "risk_early_decline",
        "probability",
        EARLY_DECLINE,
        week=pl.col("decline_p50"),
        value=pl.col(column),
    )


STOCKOUT = pl.format(
    "{} are in stock or on the way, about {} will be asked for before an order placed now arrives in {}: with {} probability the"
    " shelf is empty before, around {}; {} units are then lost on average.",
    count("position"),
    count("expected"),
    weeks("lead_weeks"),
    percent("value"),
    day("empty"),
    count("short"),
)
OVERSTOCK = pl.format(
    "{} are in stock or on the way, about {} will be asked for in the next {}: with {} probability some are left, {} on average,"
    " each costing {} a week.",
    count("position"),
    count("expected"),
    weeks("horizon"),
    percent("probability"),
    count("value"),
    money("holding_cost"),
)
DEAD_STOCK = pl.format(
    f"With {{}} probability sales end within {DEAD_WEEKS} weeks, and {{}} are in stock or on the way: about {{}} will still be asked for"
    " and {} be left, worth {} each instead of {}.",
    percent("ending"),
    count("position"),
    count("expected"),
    count("value"),
    money("salvage"),
    money("unit_cost"),
)
EARLY_DECLINE = pl.format(
    f"Still in {{}}, yet with {{}} probability sales fall below half of their peak within {EARLY_WEEKS} weeks; about {{}} units are"
    " expected in the next {}: keep orders small.",
    pl.col("stage"),
    percent("value"),
    count("expected"),
    weeks("horizon"),
)
