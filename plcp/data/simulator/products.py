"""Makes the products of one chunk: what they are, how they look, when they live and how customers respond to them."""

import numpy as np

from plcp.data.simulator import arithmetic
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.lives import make_lives
from plcp.data.simulator.product import Products
from plcp.data.simulator.relations import make_complements, make_groups, succeed, take
from plcp.data.simulator.world import World

Array = np.ndarray

STYLES, SHAPES, COLOURS, PATTERNS = 6, 3, 10, 6
CASE_PACKS, CASE_WEIGHTS = (1.0, 4.0, 6.0, 12.0, 24.0), (2, 2, 3, 3, 1)


def look_effects(world: World, draws: Draws) -> tuple[Array, Array, Array]:
    """Log demand by (category, shape), (category, colour) and (category, pattern); each carries a third of the variance."""
    sd = world.look_effect / np.sqrt(3.0)
    n = len(world.categories)
    tables = (draws.normal(f"look-{k}", n, size) for k, size in (("shape", SHAPES), ("colour", COLOURS), ("pattern", PATTERNS)))
    shape, colour, pattern = (sd * (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True) for t in tables)
    return shape, colour, pattern


def make_products(config: SimulatorConfig, chunk: int) -> Products:
    """All products of a chunk. A chunk cut short has the first products of a full one."""
    draws = Draws(config.seed, chunk)
    kind = _kinds(config, draws)
    category = kind["category"]
    products = Products(
        index=chunk * CHUNK + np.arange(CHUNK),
        chinese=draws.uniform("language", CHUNK) < config.world.chinese_share,
        **kind,
        **_demand(config, draws, kind),
        **_terms(config.world, draws),
        **make_lives(config, category, draws, CHUNK),
        group=make_groups(config.world, category, kind["style"]),
        predecessor=np.full(CHUNK, -1),
        complement=make_complements(config.world, category, draws),
    )
    return take(succeed(config, products, draws), config.chunk_size(chunk))


def _kinds(config: SimulatorConfig, draws: Draws) -> dict[str, Array]:
    """What each product is: category, brand and looks, its quality and what its title claims of it."""
    world, n = config.world, CHUNK
    brand = draws.choice("brand", n, 1.0 / (1.0 + np.arange(world.brands)))
    quality = brand_tiers(config)[brand] + np.sqrt(1.0 - world.brand_tier**2) * draws.normal("quality", n)
    return {
        "category": draws.choice("category", n, np.array([c.weight for c in world.categories])),
        "brand": brand,
        **{
            name: np.floor(draws.uniform(name, n) * size).astype(np.int64)
            for name, size in (("style", STYLES), ("shape", SHAPES), ("colour", COLOURS), ("pattern", PATTERNS))
        },
        "quality": quality,
        "claim": np.sign(np.trunc(0.6 * quality + 0.8 * draws.normal("claim", n))),
    }


def brand_tiers(config: SimulatorConfig) -> Array:
    """The mean quality of each brand."""
    return config.world.brand_tier * Draws(config.seed).normal("brand-tier", config.world.brands)


def _demand(config: SimulatorConfig, draws: Draws, kind: dict[str, Array]) -> dict[str, Array]:
    """Prices, the level of demand and its parts, and how customers respond."""
    world, common, n, category = config.world, Draws(config.seed), CHUNK, kind["category"]

    def of_category(field: str) -> Array:
        return np.array([getattr(c, field) for c in world.categories])[category]

    step = of_category("price_spread") * draws.normal("price", n) + 0.25 * brand_tiers(config)[kind["brand"]] + 0.12 * kind["claim"]
    list_price = _price_point(of_category("price") * arithmetic.exp(step))
    looks = look_effects(world, common)
    look = looks[0][category, kind["shape"]] + looks[1][category, kind["colour"]] + looks[2][category, kind["pattern"]]
    style_effect = world.style_effect * common.normal("style-effect", len(world.categories), STYLES)[category, kind["style"]]
    shown = arithmetic.log(of_category("velocity")) - 0.6 * step + look + style_effect + 0.15 * kind["claim"]
    z = draws.normal("scale", n)
    hidden = world.scale_spread * (z - world.scale_skew * (z * z - 1.0))
    size = world.size_lift + world.size_by_price * step + world.size_own * draws.normal("order-size", n)
    low, high = world.margin
    return {
        "list_price": list_price,
        "unit_cost": np.round(list_price * (low + (high - low) * draws.uniform("cost", n)), 2),
        "log_scale": shown + world.scale_lift + hidden,
        "look": look,
        "style_effect": style_effect,
        "hidden": hidden,
        "elasticity": np.minimum(of_category("elasticity") + world.elasticity_spread * draws.normal("elasticity", n), -0.3),
        "lift": np.maximum(world.promo_lift[0] + world.promo_lift[1] * draws.normal("lift", n), 0.5),
        "order_size": np.maximum(of_category("order_size") * arithmetic.exp(size), 1.0),
    }


def _terms(world: World, draws: Draws) -> dict[str, Array]:
    """The terms of supply."""
    return {
        "lead_time": np.array(world.lead_times)[draws.choice("lead-time", CHUNK, np.array(world.lead_weights))],
        "case_pack": np.array(CASE_PACKS)[draws.choice("case-pack", CHUNK, np.array(CASE_WEIGHTS))],
        "supplier": np.floor(draws.uniform("supplier", CHUNK) * world.suppliers).astype(np.int64),
    }


def _price_point(price: Array) -> Array:
    """Prices as shops write them: x.x5 below 10, x.95 above."""
    low = np.maximum(np.round(price * 20.0) / 20.0, 0.1)
    return np.where(price < 10.0, low, np.floor(price) + 0.95)
