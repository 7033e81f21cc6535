"""Markdowns: the price path that gets most money out of the stock of a product towards its end."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations_with_replacement

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config
from plcp.decisions.demand import NO_DEMAND, Array
from plcp.decisions.outlook import Mask, Outlook
from plcp.decisions.rows import decision
from plcp.decisions.wording import count, day, money, percent, weeks

# Mean and quantiles of a result over demand from three cases, the extended Swanson-Megill weights of its 10%, 50% and 90% quantiles
# (Keefer & Bodily, Management Science 29(5), 1983).
CASES, CASE_WEIGHTS = (0.1, 0.5, 0.9), np.array([0.3, 0.4, 0.3])
STARTS = (0, 2, 4)  # weeks from the origin at which a first cut is tried
SECOND_CUT_AFTER = 4  # weeks from the first cut to a second one


class PricingConfig(Config):
    """elasticity: of demand to price, the same for every product until it is estimated; -2.6 is the mean of 1,851 published estimates
    (Bijmolt, van Heerde & Pieters, Journal of Marketing Research 42(2), 2005). depths: cuts to choose from, as shares of the price now.
    ending: probability of the end within the horizon from which a product is marked down rather than held."""

    elasticity: float = Field(-2.6, lt=0)
    depths: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    ending: float = Field(0.5, gt=0, le=1)


@dataclass(frozen=True)
class Best:
    """The best path of every row: its place in the list of paths, the money gained beside today's price and units sold beside it, (n,)."""

    index: np.ndarray
    effect: Array
    effect_low: Array
    effect_high: Array
    more_units: Array


def best_path(outlook: Outlook, paths: list[Array], elasticity: float) -> Best:
    """The price path, of factors on today's price (horizon,), with the highest expected money from the stock in hand, for every row.

    Demand follows the expected curve at three levels (CASES) and answers a price factor f by f ** elasticity; weeks sell what is asked
    for until stock and open orders are gone; what is left at the horizon is worth Outlook.left_over_value. The purchase cost is spent
    and the same on every path.
    """
    horizon = outlook.demand.horizon
    demand = demand_cases(outlook)[:, :, None] * outlook.demand.mean  # (cases, n, horizon)
    terms = outlook["position"], outlook["price"], outlook["holding_cost"], outlook.left_over_value(horizon)
    now_money, now_units = _money(demand, np.ones(horizon), elasticity, *terms)
    gains = np.full(now_money.shape, -np.inf)
    index, more = np.zeros(now_money.shape[1], np.int64), np.zeros(now_money.shape[1])
    for i, path in enumerate(paths):
        money, units = _money(demand, path, elasticity, *terms)
        better = CASE_WEIGHTS @ (money - now_money) > CASE_WEIGHTS @ gains
        gains[:, better], index[better] = (money - now_money)[:, better], i
        more[better] = (CASE_WEIGHTS @ (units - now_units))[better]
    return Best(index, CASE_WEIGHTS @ gains, gains.min(axis=0), gains.max(axis=0), more)


def demand_cases(outlook: Outlook) -> Array:
    """The horizon's demand at the three levels of CASES relative to the expected one, (cases, n)."""
    total = outlook.demand.total(outlook.demand.horizon)
    return np.stack([total.quantile(level) / np.maximum(total.mean, NO_DEMAND) for level in CASES])


def _money(
    demand: Array, path: Array, elasticity: float, stock: Array, price: Array, holding: Array, left_value: Array
) -> tuple[Array, Array]:
    """Money until the horizon and units sold, each (cases, n)."""
    sold_by = np.minimum(np.cumsum(demand * path**elasticity, axis=2), stock[:, None])
    sold = np.diff(sold_by, axis=2, prepend=0)
    left = stock[:, None] - sold_by
    return price * (sold @ path) - holding * left.sum(axis=2) + left_value * left[:, :, -1], sold_by[:, :, -1]


def markdowns(outlook: Outlook, config: PricingConfig) -> pl.DataFrame:
    """`markdown` rows: one per cut, the path's whole effect on its first. Only where life probably ends within the horizon, stock is
    otherwise probably left, and a cut is expected to bring more money than today's price."""
    horizon = outlook.demand.horizon
    ending: Mask = (outlook.ended_by(horizon) >= config.ending) & (outlook["price"] > 0)
    left: Mask = outlook["position"] >= np.maximum(outlook.demand.total(horizon).quantile(0.5), 1)  # NaN compares false
    chosen = outlook.where(ending & left)
    cuts = _cuts(config.depths, horizon)
    best = best_path(chosen, [_price_path(cut, horizon) for cut in cuts], config.elasticity)
    start, first, second = (np.array([cut[i] for cut in cuts])[best.index] for i in range(3))
    total = chosen.demand.total(horizon)
    frame = chosen.frame.with_columns(
        first_week=pl.lit(outlook.origin) + pl.Series(start) * timedelta(weeks=1),
        first=first,
        second=second,
        expected=total.mean,
        horizon=pl.lit(horizon),
        ending=chosen.ended_by(horizon),
        new_price=chosen["price"] * (1 - first),
        last_price=chosen["price"] * (1 - second),
        more=best.more_units,
        left_value=chosen.left_over_value(horizon),
        gain=best.effect,
        gain_low=best.effect_low,
        gain_high=best.effect_high,
    ).with_columns(second_week=pl.col("first_week") + timedelta(weeks=SECOND_CUT_AFTER))
    pays = frame.filter(pl.col("gain") > 0)
    gain = {"expected_effect": pl.col("gain"), "effect_low": pl.col("gain_low"), "effect_high": pl.col("gain_high")}
    reason = _first_reason(config.elasticity)
    return pl.concat(
        [
            decision(pays, outlook.origin, "markdown", "discount", reason, week=pl.col("first_week"), value=pl.col("first"), **gain),
            decision(
                pays.filter(pl.col("second") > pl.col("first")),
                outlook.origin,
                "markdown",
                "discount",
                SECOND,
                week=pl.col("second_week"),
                value=pl.col("second"),
            ),
        ]
    )


def _cuts(depths: tuple[float, ...], horizon: int) -> list[tuple[int, float, float]]:
    """Price paths that never rise: (first week, first depth, depth from SECOND_CUT_AFTER weeks later on)."""
    return [(s, *pair) for s in STARTS if s + SECOND_CUT_AFTER < horizon for pair in combinations_with_replacement(sorted(depths), 2)]


def _price_path(cut: tuple[int, float, float], horizon: int) -> Array:
    start, first, second = cut
    path = np.ones(horizon)
    path[start:] = 1 - first
    path[start + SECOND_CUT_AFTER :] = 1 - second
    return path


def _first_reason(elasticity: float) -> pl.Expr:
    return pl.format(
        "Cut the price by {} to {} from {}: with {} probability sales end within {}, {} are in stock or on the way and about {} would"
        f" still be asked for at {{}}; about {{}} more sell (elasticity {elasticity:g} assumed), and a unit left over is worth {{}}.",
        percent("first"),
        money("new_price"),
        day("first_week"),
        percent("ending"),
        weeks("horizon"),
        count("position"),
        count("expected"),
        money("price"),
        count("more"),
        money("left_value"),
    )


SECOND = pl.format(
    "Second step of the markdown that begins on {} with {}: {} off, to {}; the money is counted there.",
    day("first_week"),
    percent("first"),
    percent("second"),
    money("last_price"),
)
