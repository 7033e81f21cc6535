"""The products of one chunk: what they are, how they look, when they live and how customers respond to them."""

from dataclasses import dataclass, replace

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import week_of_year
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws, pick
from plcp.data.simulator.world import World

Array = np.ndarray

STYLES, SHAPES, COLOURS, PATTERNS = 6, 3, 10, 6
ANNOUNCED_WEEKS = 8  # launches already announced at the end of the data lie within these
LAUNCH_SEASON = {**dict.fromkeys(range(5, 12), 1.5), **dict.fromkeys(range(31, 43), 1.9), **dict.fromkeys(range(49, 54), 0.35)}
OLDEST = 156  # weeks that an incumbent may have been on sale


@dataclass(frozen=True)
class Products:
    """Column arrays, one entry per SKU of the chunk. Log effects are of weekly units."""

    index: Array  # number in the catalog
    category: Array  # index into world.categories
    brand: Array
    style: Array
    shape: Array
    colour: Array
    pattern: Array
    chinese: Array  # bool: title in Chinese
    quality: Array  # standard deviations; unknown to customers at first
    claim: Array  # quality as the title claims it: −1, 0, 1
    list_price: Array  # at launch
    unit_cost: Array
    log_scale: Array  # log weekly units at the top of the life, all static effects included
    look: Array  # the part of log_scale that only the image carries
    style_effect: Array  # the part that the title's style word carries
    hidden: Array  # the part that nothing shows but sales
    elasticity: Array
    lift: Array  # log demand per unit of promotion depth
    order_size: Array  # mean units per order
    launch: Array  # week index
    rise: Array
    ramp: Array
    fall: Array
    slope: Array
    drift: Array
    family: Array
    group: Array  # SKUs of one group substitute each other
    predecessor: Array  # row in the chunk that this one succeeds, −1 if none
    complement: Array  # row in the chunk bought along with it, −1 if none
    lead_time: Array  # weeks
    case_pack: Array
    supplier: Array

    @property
    def size(self) -> int:
        return len(self.index)

    def sku_ids(self) -> list[str]:
        return [f"S{i:08d}" for i in self.index.tolist()]


def look_effects(world: World, draws: Draws) -> tuple[Array, Array, Array]:
    """Log demand by (category, shape), (category, colour) and (category, pattern); each carries a third of the variance."""
    sd = world.look_effect / np.sqrt(3.0)
    n = len(world.categories)
    tables = (draws.normal(f"look-{k}", n, size) for k, size in (("shape", SHAPES), ("colour", COLOURS), ("pattern", PATTERNS)))
    shape, colour, pattern = (sd * (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True) for t in tables)
    return shape, colour, pattern


def make_products(config: SimulatorConfig, chunk: int) -> Products:
    """All products of a chunk. A chunk cut short has the first products of a full one."""
    world, draws, common = config.world, Draws(config.seed, chunk), Draws(config.seed)
    n = CHUNK
    category = draws.choice("category", n, np.array([c.weight for c in world.categories]))
    brand = draws.choice("brand", n, 1.0 / (1.0 + np.arange(world.brands)))
    style, shape, colour, pattern = (
        np.floor(draws.uniform(name, n) * size).astype(np.int64)
        for name, size in (("style", STYLES), ("shape", SHAPES), ("colour", COLOURS), ("pattern", PATTERNS))
    )
    tier = world.brand_tier * common.normal("brand-tier", world.brands)
    quality = tier[brand] + np.sqrt(1.0 - world.brand_tier**2) * draws.normal("quality", n)
    claim = np.sign(np.trunc(0.6 * quality + 0.8 * draws.normal("claim", n)))
    by_category = {
        f: np.array([getattr(c, f) for c in world.categories]) for f in ("price", "price_spread", "velocity", "order_size", "elasticity")
    }
    price_step = by_category["price_spread"][category] * draws.normal("price", n) + 0.25 * tier[brand] + 0.12 * claim
    list_price = _price_point(by_category["price"][category] * arithmetic.exp(price_step))
    looks = look_effects(world, common)
    look = looks[0][category, shape] + looks[1][category, colour] + looks[2][category, pattern]
    style_effect = world.style_effect * common.normal("style-effect", len(world.categories), STYLES)[category, style]
    log_scale = arithmetic.log(by_category["velocity"])[category] - 0.6 * price_step + look + style_effect + 0.15 * claim
    size = world.size_lift + world.size_by_price * price_step + world.size_own * draws.normal("order-size", n)
    order_size = by_category["order_size"][category] * arithmetic.exp(size)
    z = draws.normal("scale", n)
    hidden = world.scale_spread * (z - world.scale_skew * (z * z - 1.0))
    low, high = world.margin
    products = Products(
        index=chunk * CHUNK + np.arange(n),
        category=category,
        brand=brand,
        style=style,
        shape=shape,
        colour=colour,
        pattern=pattern,
        chinese=draws.uniform("language", n) < world.chinese_share,
        quality=quality,
        claim=claim,
        list_price=list_price,
        unit_cost=np.round(list_price * (low + (high - low) * draws.uniform("cost", n)), 2),
        log_scale=log_scale + world.scale_lift + hidden,
        look=look,
        style_effect=style_effect,
        hidden=hidden,
        elasticity=np.minimum(by_category["elasticity"][category] + world.elasticity_spread * draws.normal("elasticity", n), -0.3),
        lift=np.maximum(world.promo_lift[0] + world.promo_lift[1] * draws.normal("lift", n), 0.5),
        order_size=np.maximum(order_size, 1.0),
        **_lives(config, category, draws, n),
        group=_groups(world, category, style),
        predecessor=np.full(n, -1),
        complement=_complements(world, category, draws),
        lead_time=np.array(world.lead_times)[draws.choice("lead-time", n, np.array(world.lead_weights))],
        case_pack=np.array([1.0, 4.0, 6.0, 12.0, 24.0])[draws.choice("case-pack", n, np.array([2, 2, 3, 3, 1]))],
        supplier=np.floor(draws.uniform("supplier", n) * world.suppliers).astype(np.int64),
    )
    return take(_succeed(config, products, draws), config.chunk_size(chunk))


def take(products: Products, size: int) -> Products:
    """The first `size` products; partners cut off become none."""
    if size == products.size:
        return products
    short = {name: values[:size] for name, values in vars(products).items()}
    for name in ("predecessor", "complement"):
        short[name] = np.where(short[name] < size, short[name], -1)
    return Products(**short)


def _price_point(price: Array) -> Array:
    """Prices as shops write them: x.x5 below 10, x.95 above."""
    low = np.maximum(np.round(price * 20.0) / 20.0, 0.1)
    return np.where(price < 10.0, low, np.floor(price) + 0.95)


def _lives(config: SimulatorConfig, category: Array, draws: Draws, n: int) -> dict[str, Array]:
    """Launch week, family and shape of each product.

    Incumbents are at a uniform point of a life drawn in proportion to its length, as in a shop that has long been open.
    """
    world = config.world
    incumbent, launch = _launches(config, draws, n)
    length = np.array([min(f.fall, OLDEST) for f in world.families])
    family = np.empty(n, np.int64)
    u = draws.uniform("family", n)
    for c, described in enumerate(world.categories):
        weights = np.array(described.families)
        for old, w in ((False, weights), (True, weights * length)):
            rows = np.flatnonzero((category == c) & (incumbent == old))
            family[rows] = pick(u[rows], w)
    own = {f: np.array([getattr(x, f) for x in world.families])[family] for f in ("rise", "ramp", "fall", "slope", "drift", "spread")}
    stretch = arithmetic.exp(own["spread"] * draws.normal("length", n))
    quick = arithmetic.exp(0.25 * draws.normal("quickness", n))
    fall = np.maximum(own["fall"] * stretch, own["rise"] * quick + 2.0)
    age = 1.0 + np.floor(draws.uniform("age", n) * np.minimum(fall, OLDEST))
    return {
        "launch": np.where(incumbent, -age, launch).astype(np.int64),
        "family": family,
        "rise": own["rise"] * quick,
        "ramp": own["ramp"] * quick,
        "fall": fall,
        "slope": own["slope"] * stretch,
        "drift": own["drift"],
    }


def _launches(config: SimulatorConfig, draws: Draws, n: int) -> tuple[Array, Array]:
    """Who is on sale before week 0; for the others launch weeks by the season of launches, a few announced after the data."""
    world, common = config.world, Draws(config.seed)
    season = np.array([LAUNCH_SEASON.get(int(w), 1.0) for w in week_of_year(config.first_week, 0, config.weeks)])
    rate = season * arithmetic.exp(world.launch_burst * common.normal("launch-burst", config.weeks))
    u = draws.uniform("launch", n)
    inside = pick(draws.uniform("launch-week", n), rate)
    after = config.weeks + np.floor(draws.uniform("announced", n) * ANNOUNCED_WEEKS)
    return u < world.incumbent_share, np.where(u < 1 - world.announced_share, inside, after)


def _groups(world: World, category: Array, style: Array) -> Array:
    """Up to `world.group` SKUs of one category and style, in the order of their number."""
    kind = category * STYLES + style
    group = np.empty(len(kind), np.int64)
    for k in range(kind.max() + 1):
        rows = np.flatnonzero(kind == k)
        group[rows] = k * len(kind) + np.arange(len(rows)) // world.group
    return np.unique(group, return_inverse=True)[1]


def _complements(world: World, category: Array, draws: Draws) -> Array:
    """For each SKU one of the category that goes with its own."""
    nouns = [c.noun for c in world.categories]
    u = draws.uniform("complement", len(category))
    partner = np.full(len(category), -1)
    for c, described in enumerate(world.categories):
        mine, theirs = np.flatnonzero(category == c), np.flatnonzero(category == nouns.index(described.complement))
        if len(theirs):
            partner[mine] = theirs[np.floor(u[mine] * len(theirs)).astype(np.int64)]
    return partner


def _succeed(config: SimulatorConfig, products: Products, draws: Draws) -> Products:
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
