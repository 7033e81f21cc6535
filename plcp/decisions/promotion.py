"""Promotions: a short discount on a product with stock to spare, where the units it adds earn more than the discount gives away."""

from datetime import timedelta

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.decisions.demand import Array
from plcp.decisions.outlook import Mask, Outlook
from plcp.decisions.pricing import demand_cases
from plcp.decisions.rows import decision
from plcp.decisions.wording import count, day, percent, weeks

STARTS = range(8)  # weeks from the origin at which a promotion is tried
SPARE_LEVEL = 0.9  # stock beyond this quantile of the demand until a later order could arrive is to spare
SOON_WEEKS = 12  # a product that probably ends within so many weeks is left to markdowns


class PromotionConfig(Config):
    """weeks: length of a promotion. pull_forward: share of its extra sales that is missing in as many weeks after it; about a third
    (van Heerde, Leeflang & Wittink, Marketing Science 23(3), 2004). ending: probability of the end within 12 weeks from which a product
    is not promoted."""

    depths: tuple[float, ...] = (0.1, 0.2, 0.3)
    weeks: int = Field(2, gt=0)
    pull_forward: float = Field(1 / 3, ge=0, le=1)
    ending: float = Field(0.5, gt=0, le=1)


def promotions(outlook: Outlook, config: PromotionConfig, elasticity: float) -> pl.DataFrame:
    """`promote` rows: the best start and depth of each product with stock to spare, where it is expected to pay.

    The product lives on and is bought again, so a unit sold costs what replacing it costs, less the holding that its early sale saves.
    """
    protection = outlook["lead_weeks"] + outlook["review_weeks"]
    needed = outlook.demand.total(np.nan_to_num(protection)).quantile(SPARE_LEVEL)
    living: Mask = outlook.stage_in("introduction", "growth", "maturity") & (outlook.ended_by(SOON_WEEKS) < config.ending)
    chosen = outlook.where(living & (outlook["price"] > 0) & (outlook["position"] > needed))  # NaN compares false
    offers = [(s, depth) for s in STARTS if s + 2 * config.weeks <= outlook.demand.horizon for depth in config.depths]
    gain, more = _gains(chosen, offers, config, elasticity)
    spare = chosen["position"] - chosen.demand.total(chosen["lead_weeks"] + chosen["review_weeks"]).quantile(SPARE_LEVEL)
    gain = np.where(more <= spare[:, None], gain, -np.inf)  # the extra units must be there
    best = gain.argmax(axis=1)[:, None]
    start, depth = (np.array([offer[i] for offer in offers])[best[:, 0]] for i in range(2))
    low, _, high = demand_cases(chosen) * np.take_along_axis(gain, best, axis=1)[:, 0]
    frame = chosen.frame.with_columns(
        week=pl.lit(outlook.origin) + pl.Series(start.astype(np.int64)) * timedelta(weeks=1),
        value=depth,
        spare=spare,
        more=np.take_along_axis(more, best, axis=1)[:, 0],
        protection=chosen["lead_weeks"] + chosen["review_weeks"],
        expected_effect=np.take_along_axis(gain, best, axis=1)[:, 0],
        effect_low=low,
        effect_high=high,
    ).filter(pl.col("expected_effect") > 0)
    return decision(frame, outlook.origin, "promote", "discount", _reason(config, elasticity))


def _gains(outlook: Outlook, offers: list[tuple[int, float]], config: PromotionConfig, elasticity: float) -> tuple[Array, Array]:
    """Expected money gained and units sold beside no promotion, of every offer, each (n, offers). Both grow in step with demand."""
    horizon = outlook.demand.horizon
    price, response = (np.stack(paths, axis=1) for paths in zip(*(_path(*o, horizon, config, elasticity) for o in offers), strict=True))
    demand = outlook.demand.mean
    cover = np.minimum(outlook["position"] / np.maximum(demand.mean(axis=1), 1 / horizon), horizon)  # weeks that the stock lasts
    unit = outlook.left_over_value(horizon) - outlook["holding_cost"] * cover
    more = demand @ (response - 1)
    return outlook["price"][:, None] * (demand @ (price * response - 1)) - unit[:, None] * more, more


def _path(start: int, depth: float, horizon: int, config: PromotionConfig, elasticity: float) -> tuple[Array, Array]:
    """Factors on today's price and on demand, each (horizon,)."""
    price, response = np.ones(horizon), np.ones(horizon)
    during, after = slice(start, start + config.weeks), slice(start + config.weeks, start + 2 * config.weeks)
    price[during] = 1 - depth
    response[during] = (1 - depth) ** elasticity
    response[after] = max(0.0, 1 - config.pull_forward * ((1 - depth) ** elasticity - 1))
    return price, response


def _reason(config: PromotionConfig, elasticity: float) -> pl.Expr:
    return pl.format(
        f"Offer {{}} off for {config.weeks} weeks from {{}}: of the {{}} in stock or on the way {{}} are not needed in the {{}} until"
        f" a later order could arrive; about {{}} more sell (elasticity {elasticity:g} assumed, {config.pull_forward:.0%} of them"
        " missing in the weeks after).",
        percent("value"),
        day("week"),
        count("position"),
        count("spare"),
        weeks("protection"),
        count("more"),
    )
