"""Which products stand in for each other, are bought together, or follow one another."""

from dataclasses import replace

import numpy as np

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products
from plcp.data.simulator.world import World

Array = np.ndarray


def make_groups(world: World, category: Array, style: Array) -> Array:
    """Up to `world.group` SKUs of one category and style, in the order of their number."""
    kind = category * (style.max() + 1) + style
    group = np.empty(len(kind), np.int64)
    for k in range(kind.max() + 1):
        rows = np.flatnonzero(kind == k)
        group[rows] = k * len(kind) + np.arange(len(rows)) // world.group
    return np.unique(group, return_inverse=True)[1]


def make_complements(world: World, category: Array, draws: Draws) -> Array:
    """For each SKU one of the category that goes with its own."""
    nouns = [c.noun for c in world.categories]
    u = draws.uniform("complement", len(category))
    partner = np.full(len(category), -1)
    for c, described in enumerate(world.categories):
        mine, theirs = np.flatnonzero(category == c), np.flatnonzero(category == nouns.index(described.complement))
        if len(theirs):
            partner[mine] = theirs[np.floor(u[mine] * len(theirs)).astype(np.int64)]
    return partner


def succeed(config: SimulatorConfig, products: Products, draws: Draws) -> Products:
    """Some launches within the data succeed the previous SKU of their group, which then declines."""
    order = np.lexsort((products.index, products.group))
    before = np.full(products.size, -1)
    before[order[1:]] = np.where(products.group[order[1:]] == products.group[order[:-1]], order[:-1], -1)
    within = (products.launch >= 0) & (before >= 0) & (draws.uniform("successor", products.size) < 2 * config.world.successor_share)
    older = within & (products.launch[before] < products.launch - 8)
    rows = np.flatnonzero(older)
    # a chain of successors would need an order of making; a predecessor that is itself a successor is left alone
    rows = rows[~np.isin(before[rows], rows)]
    old = before[rows]
    fall, slope, predecessor, brand = (a.copy() for a in (products.fall, products.slope, products.predecessor, products.brand))
    fall[old] = np.maximum(products.launch[rows] - products.launch[old] + 4.0, products.rise[old] + 4.0)
    slope[old] = np.minimum(slope[old], 4.0)
    predecessor[rows] = old
    brand[rows] = brand[old]
    return replace(products, fall=fall, slope=slope, predecessor=predecessor, brand=brand)


def take(products: Products, size: int) -> Products:
    """The first `size` products; partners cut off become none."""
    if size == products.size:
        return products
    short = {name: values[:size] for name, values in vars(products).items()}
    for name in ("predecessor", "complement"):
        short[name] = np.where(short[name] < size, short[name], -1)
    return Products(**short)
