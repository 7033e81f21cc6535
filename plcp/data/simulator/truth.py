"""What no shop knows: true demand, how customers respond, when a life really turns, and who stands in for whom.

Nothing but tests and benchmarks may read these tables.
"""

import numpy as np
import polars as pl

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.demand import life, season
from plcp.data.simulator.history import History
from plcp.data.simulator.sales import sku_column

Array = np.ndarray

BEYOND = 52  # weeks after the data in which an event is still dated
BEFORE = 156  # weeks before the data in which it is
SMOOTH = 5  # weeks of the centred mean
RUN = 4  # weeks below half of the peak that make a decline
ENDED = 0.1  # of the peak: below it the natural life is over


def demand_table(config: SimulatorConfig, history: History) -> pl.DataFrame:
    """True demand of every week on sale: units wanted, expected units, and the parts of its logarithm."""
    rows, week = np.nonzero(history.on_sale)
    latent = history.environment.latent
    parts = {f"log_{name}": getattr(latent, name) for name in ("life", "season", "trend", "signal", "noise")}
    parts |= {"log_price": history.log_price, "log_rating": history.log_rating}
    return pl.DataFrame(
        {
            "sku_id": sku_column(history.environment.products.index[rows]),
            "week": days(config.first_week, week),
            "demand": history.demand[rows, week].astype(np.float32),
            "sales": history.sales[rows, week].astype(np.float32),
            "expected": history.intensity[rows, week].astype(np.float32),
            **{name: part[rows, week].astype(np.float32) for name, part in parts.items()},
        }
    ).with_columns(pl.col("week").cast(pl.Date))


def products_truth(config: SimulatorConfig, history: History) -> pl.DataFrame:
    """One row per product: every parameter that customers follow."""
    p, world = history.environment.products, config.world
    return pl.DataFrame(
        {
            "sku_id": sku_column(p.index),
            "quality": p.quality,
            "mean_rating": history.environment.shop.customers.true_rating(),
            "elasticity": p.elasticity,
            "lift": p.lift,
            "cross_elasticity": np.full(p.size, world.cross_elasticity),
            "log_scale": p.log_scale,
            "look_effect": p.look,
            "style_effect": p.style_effect,
            "hidden_effect": p.hidden,
            "order_size": p.order_size,
            "family": [world.families[f].name for f in p.family],
            **{name: getattr(p, name) for name in ("style", "shape", "colour", "pattern", "claim", "group", "launch")},
            "chinese": p.chinese,
        }
    )


def natural_curve(config: SimulatorConfig, history: History) -> Array:
    """Expected units by week from BEFORE weeks before the data to BEYOND after it, smoothed: no promotion, no noise, no signal."""
    p = history.environment.products
    start, stop = -BEFORE, config.weeks + BEYOND
    curve = arithmetic.exp(life(p, start, stop) + season(config, p, start, stop))
    total = np.cumsum(np.pad(curve, ((0, 0), (SMOOTH // 2 + 1, SMOOTH // 2))), axis=1)
    return (total[:, SMOOTH:] - total[:, :-SMOOTH]) / SMOOTH


def events_table(config: SimulatorConfig, history: History) -> pl.DataFrame:
    """Peak, decline, natural end and delisting of each product; null where later than BEYOND weeks after the data."""
    p = history.environment.products
    curve = natural_curve(config, history)
    weeks = np.arange(curve.shape[1])
    peak = curve.argmax(1)
    top = curve.max(1)[:, None]
    past = weeks > peak[:, None]
    decline = _first(_runs(past & (curve < 0.5 * top), RUN))
    over = past & (curve < ENDED * top)
    end = _first(np.flip(np.logical_and.accumulate(np.flip(over, 1), axis=1), 1))
    last = np.where(history.on_sale.any(1), config.weeks - history.on_sale[:, ::-1].argmax(1), 0)
    delisted = np.where(history.environment.shop.delisted, last + BEFORE, -1)
    found = {"peak": peak, "decline": decline, "end": end, "delisted": delisted}
    return pl.concat(
        pl.DataFrame(
            {"sku_id": sku_column(p.index), "event": [name] * p.size, "week": days(config.first_week, at - BEFORE), "dated": at >= 0}
        ).select("sku_id", "event", week=pl.when("dated").then(pl.col("week").cast(pl.Date)))
        for name, at in found.items()
    )


def _first(flags: Array) -> Array:
    """Index of the first True of each row, −1 if there is none."""
    return np.where(flags.any(1), flags.argmax(1), -1)


def _runs(flags: Array, length: int) -> Array:
    """True where `length` Trues begin."""
    found = flags.copy()
    for k in range(1, length):
        found[:, :-k] &= flags[:, k:]
        found[:, -k:] = False
    return found


def relations_table(history: History) -> pl.DataFrame:
    """Substitutes, complements and successors, one directed row each, with the strength of the relation."""
    p = history.environment.products
    order = np.argsort(p.group, kind="stable")
    pairs = []
    for step in range(1, history.environment.config.world.group):
        same = p.group[order[step:]] == p.group[order[:-step]]
        pairs.append((order[:-step][same], order[step:][same]))
    left, right = (np.concatenate([x[k] for x in pairs]) for k in (0, 1))
    size = np.bincount(p.group)[p.group]
    substitutes = (np.concatenate([left, right]), np.concatenate([right, left]))
    complements = (np.flatnonzero(p.complement >= 0), p.complement[p.complement >= 0])
    successors = (np.flatnonzero(p.predecessor >= 0), p.predecessor[p.predecessor >= 0])
    kinds = {
        "substitute": (*substitutes, history.environment.config.world.cross_elasticity / np.maximum(size - 1, 1)[substitutes[0]]),
        "complement": (*complements, np.ones(len(complements[0]))),
        "successor": (*successors, np.ones(len(successors[0]))),
    }
    return pl.concat(
        pl.DataFrame(
            {"sku_id": sku_column(p.index[a]), "other_sku_id": sku_column(p.index[b]), "kind": [kind] * len(a), "strength": strength}
        )
        for kind, (a, b, strength) in kinds.items()
    ).sort("sku_id", "kind", "other_sku_id")
