"""What every simulated shop has in common: categories, families of life cycles, and the numbers that calibrate them.

VERSION_1 is frozen: figures quoted for it stay comparable. A later change makes another version beside it.
"""

from plcp.base import Config


class Bump(Config):
    """A season: extra log demand around a week of the year."""

    week: int
    height: float
    width: float


class Category(Config):
    """A leaf of the catalog: how its products look, cost, sell and age."""

    path: str
    noun: str  # key into the vocabulary, and the silhouette that is drawn
    weight: float  # share of the SKUs
    price: float  # median list price
    price_spread: float  # sd of the log price
    velocity: float  # median weekly units at the top of the life
    order_size: float  # mean units per order
    elasticity: float  # mean own-price elasticity
    families: tuple[float, ...]  # weights of World.families
    seasons: tuple[Bump, ...]
    complement: str  # noun of the category bought along with it
    weather: float  # log demand per unit of temperature anomaly


class Family(Config):
    """A shape of life over age a in weeks: 1/(1+e^((rise−a)/ramp)) · 1/(1+e^((a−fall)/slope)) · e^(−drift·a)."""

    name: str
    rise: float
    ramp: float
    fall: float
    slope: float
    drift: float
    spread: float  # sd of the log of its length


class World(Config):
    """All numbers of one version."""

    version: int
    families: tuple[Family, ...]
    categories: tuple[Category, ...]
    brands: int
    brand_tier: float  # sd of a brand's mean quality
    incumbent_share: float  # of the SKUs, on sale before the first week
    announced_share: float  # of the SKUs, launched in the eight weeks after the last
    launch_burst: float  # sd of the log launch rate by week
    successor_share: float
    look_effect: float  # sd of the log demand that shape, colour and pattern carry
    style_effect: float  # sd of the log demand that the style, named in the title, carries
    scale_spread: float  # sd of the log demand that nothing shows
    scale_skew: float  # how much longer its lower tail is: z − skew · (z² − 1)
    scale_lift: float  # added to the log velocity of every category
    elasticity_spread: float
    promo_lift: tuple[float, float]  # mean and sd of the log lift per unit of depth
    pull_forward: float  # share of the lift that later weeks lack
    pull_memory: float  # share of it still to come after each week
    cross_elasticity: float  # to the mean log price of the substitutes
    group: int  # SKUs that substitute each other
    rating_effect: float  # log demand per star that customers have learned
    rating_prior: float  # reviews that the first belief weighs
    review_rate: float  # reviews per unit sold
    stars: tuple[float, float, float]  # mean rating, stars per sd of quality, sd of one rating
    growth: tuple[float, float]  # mean and sd over categories of the log demand gained per year
    signal_effect: float  # log demand per sd of the category's search interest
    confidence_effect: float
    signal_lead: int  # weeks that search interest runs ahead
    noise: tuple[float, float]  # sd and weekly memory of the slow log noise per SKU
    shock: float  # sd of the log noise per SKU and week
    noise_spread: float  # sd of the log of a SKU's noise relative to others'
    common_shock: float  # sd of the log noise per category and week
    size_spread: tuple[float, float]  # coefficient of variation of an order's size: median and sd of its log over SKUs
    size_lift: float  # added to the log mean order size of every category
    size_own: float  # sd of the log mean order size within a category
    size_by_price: float  # elasticity of the order size to the price within its category
    price_revision: float  # probability of a new list price per week
    price_step: float  # its smallest log step, and the sd of what is above it
    promotions: tuple[int, ...]  # weeks of the year in which promotions begin
    promotion_share: float  # of the SKUs in each
    promotion_depths: tuple[float, ...]  # and their weights
    depth_weights: tuple[float, ...]
    margin: tuple[float, float]  # range of the unit cost as a share of the list price
    lead_times: tuple[int, ...]  # weeks, and their weights
    lead_weights: tuple[float, ...]
    late_share: float  # of the deliveries, one to three weeks late
    suppliers: int
    outage: float  # probability per supplier and week that one begins
    outage_weeks: tuple[int, int]  # shortest and longest
    chinese_share: float  # of the SKUs, with Chinese titles


def _family(name: str, rise: float, ramp: float, fall: float, slope: float, drift: float, spread: float) -> Family:
    return Family(name=name, rise=rise, ramp=ramp, fall=fall, slope=slope, drift=drift, spread=spread)


FAMILIES = (
    _family("fad", 2.5, 0.9, 14, 4, 0.02, 0.4),
    _family("classic", 5, 1.8, 155, 15, 0.005, 0.45),
    _family("evergreen", 8, 3, 330, 30, 0.001, 0.40),
    _family("slow", 22, 5, 115, 10, 0.0, 0.35),
)
CHRISTMAS = Bump(week=47, height=0.75, width=4.5)
GIFTS = Bump(week=47, height=0.35, width=5)
SPRING = Bump(week=16, height=0.5, width=5)
SUMMER = Bump(week=27, height=0.9, width=6)
AUTUMN = Bump(week=41, height=0.5, width=5)


def _category(
    path: str,
    noun: str,
    weight: float,
    price: float,
    velocity: float,
    order_size: float,
    elasticity: float,
    families: tuple[float, ...],
    seasons: tuple[Bump, ...],
    complement: str,
    weather: float = 0.0,
) -> Category:
    return Category(
        path=path,
        noun=noun,
        weight=weight,
        price=price,
        price_spread=0.45,
        velocity=velocity,
        order_size=order_size,
        elasticity=elasticity,
        families=families,
        seasons=seasons,
        complement=complement,
        weather=weather,
    )


CATEGORIES = (
    _category("Home > Kitchen > Mugs", "mug", 1.2, 2.6, 22, 7, -2.2, (1, 4, 4, 1), (GIFTS,), "plate"),
    _category("Home > Kitchen > Plates", "plate", 1.0, 3.4, 18, 8, -2.0, (1, 4, 4, 1), (), "mug"),
    _category("Home > Kitchen > Bottles", "bottle", 0.8, 4.5, 16, 6, -2.4, (2, 4, 2, 2), (SUMMER,), "bag", 0.10),
    _category("Home > Living > Lamps", "lamp", 0.7, 12.0, 8, 3, -1.8, (1, 4, 3, 2), (AUTUMN,), "clock", -0.05),
    _category("Home > Living > Cushions", "cushion", 1.0, 6.5, 12, 4, -1.7, (2, 5, 2, 1), (SPRING,), "lamp"),
    _category("Home > Living > Clocks", "clock", 0.6, 9.0, 8, 3, -1.6, (1, 4, 4, 1), (GIFTS,), "lamp"),
    _category("Home > Scent > Candles", "candle", 1.0, 2.2, 26, 10, -2.6, (3, 4, 1, 2), (CHRISTMAS,), "box", -0.06),
    _category("Fashion > Bags > Totes", "bag", 1.1, 5.0, 20, 8, -2.3, (4, 4, 1, 1), (SPRING,), "bottle", 0.05),
    _category("Fashion > Tops > Shirts", "shirt", 1.0, 11.0, 10, 3, -2.5, (6, 3, 0.5, 0.5), (SUMMER,), "bag", 0.12),
    _category("Gifts > Wrapping > Boxes", "box", 0.9, 1.4, 30, 14, -2.8, (2, 4, 2, 1), (CHRISTMAS,), "candle"),
    _category("Gifts > Toys > Bears", "bear", 0.9, 7.0, 14, 4, -1.9, (4, 4, 1, 1), (CHRISTMAS,), "box"),
    _category("Garden > Pots > Planters", "planter", 0.8, 5.5, 14, 5, -1.8, (2, 4, 3, 1), (SPRING, SUMMER), "lamp", 0.12),
)

VERSION_1 = World(
    version=1,
    families=FAMILIES,
    categories=CATEGORIES,
    brands=36,
    brand_tier=0.5,
    incumbent_share=0.73,
    announced_share=0.01,
    launch_burst=1.7,
    successor_share=0.12,
    look_effect=0.8,
    style_effect=0.35,
    scale_spread=1.42,
    scale_skew=0.4,
    scale_lift=0.32,
    elasticity_spread=0.35,
    promo_lift=(2.8, 0.6),
    pull_forward=0.35,
    pull_memory=0.6,
    cross_elasticity=0.5,
    group=6,
    rating_effect=1.1,
    rating_prior=10,
    review_rate=0.04,
    stars=(3.9, 0.6, 0.8),
    growth=(0.03, 0.08),
    signal_effect=0.35,
    confidence_effect=0.10,
    signal_lead=4,
    noise=(0.8, 0.9),
    shock=0.55,
    noise_spread=0.55,
    common_shock=0.12,
    size_spread=(2.4, 1.0),
    size_by_price=-0.5,
    size_lift=0.35,
    size_own=0.8,
    price_revision=0.006,
    price_step=0.11,
    promotions=(4, 11, 19, 27, 36, 46),
    promotion_share=0.12,
    promotion_depths=(0.1, 0.13, 0.15, 0.2, 0.3, 0.5),
    depth_weights=(1.5, 2.5, 4.5, 1, 1, 6),
    margin=(0.35, 0.6),
    lead_times=(1, 2, 3, 4, 6),
    lead_weights=(2, 3, 3, 2, 1),
    late_share=0.1,
    suppliers=25,
    outage=0.008,
    outage_weeks=(3, 9),
    chinese_share=0.3,
)
VERSIONS = {1: VERSION_1}
