"""What images, reviews and signals carry that nothing else does: an oracle forecasts with and without each of them.

    python -m benchmarks.simulator.oracles

The oracle knows how the simulated shop works and every effect that can be known at the origin; what it lacks is the noise and the part
of a product's level that nothing shows, which it estimates from past demand. Left without images it does not know the effect of the
looks, without reviews not the rating (its past effect stays in the level that it estimates), without signals not the outside world. Its
quantiles come from another seed's shop: the ratio of demand to what was expected, per twentieth of the expected units; so do the two
settings of its level estimate, chosen anew for every variant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.results import Figure, write_results
from plcp.data.simulator import SimulatorConfig
from plcp.data.simulator.history import History, run
from plcp.data.simulator.signals import (
    CONFIDENCE_MEMORY,
    SEARCH_MEMORY,
    WEATHER_LEAD,
    WEATHER_MEMORY,
    Signals,
    make_signals,
    signal_effect,
)

Array = np.ndarray

CHUNKS = 30  # of 1,000 SKUs each, per shop
CHOICE_SEED, TEST_SEED = 101, 202
LEVELS = np.arange(1, 10) / 10
BINS = 20
PRIOR_UNITS = (1.0, 3.0, 10.0, 30.0)  # how many units of past demand the prior level weighs
HALF_LIVES = (6.0, 12.0, 26.0)  # weeks after which past demand weighs half
PARTS = ("images", "reviews", "signals")
DRAWS = 500
CARRIED_AT = {  # the track on which each part has to show what it carries
    "images": "launch, weeks 1-8",
    "reviews": "8 weeks after launch, weeks 1-20",
    "signals": "in life, weeks 1-4",
}


@dataclass(frozen=True)
class Track:
    """Cases of one kind: which rows at which origin, how many weeks ahead, from the how-manieth on."""

    name: str
    origins: Callable[[History], Iterator[tuple[int, Array]]]
    first: int
    horizon: int


def launches(history: History) -> Iterator[tuple[int, Array]]:
    """Every launch week within the data, with the products launched in it."""
    launch = history.environment.products.launch
    for origin in range(9, history.sales.shape[1] - 12):
        yield origin, np.flatnonzero(launch == origin)


def after_eight_weeks(history: History) -> Iterator[tuple[int, Array]]:
    for origin, rows in launches(history):
        if origin + 8 < history.sales.shape[1] - 20:
            yield origin + 8, rows


def in_life(history: History) -> Iterator[tuple[int, Array]]:
    """Every eighth week, with the products on sale for over half a year."""
    launch = history.environment.products.launch
    for origin in range(30, history.sales.shape[1] - 12, 8):
        yield origin, np.flatnonzero(history.on_sale[:, origin] & (launch < origin - 26))


TRACKS = (
    Track("launch, weeks 1-8", launches, 0, 8),
    Track("8 weeks after launch, weeks 1-20", after_eight_weeks, 0, 20),
    Track("in life, weeks 1-4", in_life, 0, 4),
    Track("in life, weeks 5-12", in_life, 4, 12),
)


def forecast_signals(config: SimulatorConfig, signals: Signals, origin: int, horizon: int) -> Signals:
    """The signals of weeks origin … origin + horizon − 1 as expected from what was known before the origin."""

    def ahead(values: Array, memory: float, lead: int) -> Array:
        known = np.minimum(np.arange(horizon), lead - 1)  # lead 0: the week before the origin is the last one known
        return values[..., origin + known] * memory ** (np.arange(horizon) - known)

    return Signals(
        ahead(signals.search, SEARCH_MEMORY, config.world.signal_lead),
        ahead(signals.confidence, CONFIDENCE_MEMORY, 0),
        ahead(signals.weather, WEATHER_MEMORY, WEATHER_LEAD),
    )


def forecast_rating(history: History, rows: Array, origin: int, expected: Array) -> Array:
    """Log effect of the rating that customers will believe in, from the reviews before the origin. Shape (rows, horizon).

    `expected` are units by week: they bring the reviews to come, whose mean is the posterior of the product's rating.
    """
    world, customers = history.environment.config.world, history.environment.shop.customers
    mean, sd_quality, sd_rating = world.stars
    count = customers.reviews[rows] - history.reviews[rows, origin:].sum(1)
    believed = mean + history.log_rating[rows, origin] / world.rating_effect
    stars = believed * (world.rating_prior + count) - world.rating_prior * mean
    weight = sd_rating**2 / sd_quality**2
    rating = (weight * mean + stars) / (weight + count)
    new = world.review_rate * np.cumsum(expected, axis=1)
    future = (world.rating_prior * mean + stars[:, None] + new * rating[:, None]) / (world.rating_prior + count[:, None] + new)
    return world.rating_effect * (future - mean)


def expected_units(history: History, track: Track, without: str, prior: float, half_life: float) -> tuple[Array, Array, Array]:
    """Expected units and true demand of every case and week (cases, weeks), and the SKU of each case."""
    config, latent, p = history.environment.config, history.environment.latent, history.environment.products
    signals = make_signals(config, config.weeks)
    known = latent.life + latent.season + latent.trend + history.log_price - p.hidden[:, None]
    past = known.copy()
    if without == "images":
        known, past = known - p.look[:, None], past - p.look[:, None]
    if without != "signals":
        past = past + latent.signal
    if without != "reviews":
        past = past + history.log_rating
    found = []
    for origin, rows in track.origins(history):
        weeks = np.arange(origin, origin + track.horizon)
        weight = 0.5 ** (np.arange(origin, 0, -1) / half_life) * history.on_sale[rows, :origin]
        seen = (weight * history.demand[rows, :origin]).sum(1) + prior
        level = seen / ((weight * np.exp(past[rows, :origin])).sum(1) + prior)
        log_rate = known[rows][:, weeks] + np.log(level)[:, None]
        if without != "signals":
            log_rate = log_rate + signal_effect(config, forecast_signals(config, signals, origin, track.horizon), p.category[rows])
        if without != "reviews":
            log_rate = log_rate + forecast_rating(history, rows, origin, np.exp(log_rate))
        kept = history.on_sale[rows][:, weeks].all(1)
        found.append((np.exp(log_rate)[kept, track.first :], history.demand[rows][:, weeks][kept, track.first :], p.index[rows][kept]))
    rate, demand, sku = (np.concatenate(x) for x in zip(*found, strict=True))
    return rate, demand, sku


@dataclass(frozen=True)
class Spread:
    """Quantiles of demand relative to the expected units, per bin of the expected units."""

    edges: Array  # (BINS − 1,)
    ratio: Array  # (BINS, levels)

    @classmethod
    def fit(cls, rate: Array, demand: Array) -> "Spread":
        edges = np.quantile(rate, np.arange(1, BINS) / BINS)
        place = np.searchsorted(edges, rate.ravel())
        relative = (demand / rate).ravel()
        return cls(edges, np.stack([np.quantile(relative[place == k], LEVELS) for k in range(BINS)]))

    def loss(self, rate: Array, demand: Array) -> Array:
        """Mean quantile loss over levels, times two, summed over the weeks. Shape (cases,)."""
        gap = demand[..., None] - rate[..., None] * self.ratio[np.searchsorted(self.edges, rate)]
        return 2 * np.maximum(LEVELS * gap, (LEVELS - 1) * gap).mean(2).sum(1)


def gather(shop: list[History], track: Track, without: str, prior: float, half_life: float) -> tuple[Array, Array, Array]:
    parts = [expected_units(h, track, without, prior, half_life) for h in shop]
    rate, demand, sku = (np.concatenate(x) for x in zip(*parts, strict=True))
    return rate, demand, sku


def losses(choice: list[History], test: list[History], track: Track, without: str) -> tuple[Array, Array, Array]:
    """Loss, units and SKU of every test case, with the settings and spread that were best on the choice shop."""
    best = None
    for prior, half_life in product(PRIOR_UNITS, HALF_LIVES):
        rate, demand, _ = gather(choice, track, without, prior, half_life)
        spread = Spread.fit(rate, demand)
        wql = spread.loss(rate, demand).sum() / demand.sum()
        if best is None or wql < best[0]:
            best = (wql, prior, half_life, spread)
        if track.origins is launches:
            break  # no past to estimate a level from
    assert best is not None
    rate, demand, sku = gather(test, track, without, best[1], best[2])
    return best[3].loss(rate, demand), demand.sum(1), sku


def interval(ours: Array, full: Array, sku: Array) -> tuple[float, float]:
    """95% bootstrap interval over SKUs of the ratio of two losses."""
    _, place = np.unique(sku, return_inverse=True)
    sums = np.stack([np.bincount(place, ours), np.bincount(place, full)])
    pick = np.random.default_rng(0).integers(0, sums.shape[1], (DRAWS, sums.shape[1]))
    drawn = sums[:, pick].sum(2)
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(low), float(high)


def compare(choice: list[History], test: list[History], track: Track) -> list[Figure]:
    """The full oracle's loss on a track and what each part left out adds to it."""
    full, units, _ = losses(choice, test, track, "nothing")
    wql = float(full.sum() / units.sum())
    figures = [Figure(f"{track.name}: wql of the oracle", round(wql, 4), "wql")]
    for part in PARTS:
        if part == "reviews" and track.origins is launches:
            continue  # nobody has written any
        loss, _, sku = losses(choice, test, track, part)
        low, high = interval(loss, full, sku)
        shown = CARRIED_AT[part] == track.name
        figures.append(
            Figure(
                name=f"{track.name}: without {part} [{low:.4f}, {high:.4f}]",
                value=round(float(loss.sum() / units.sum()), 4),
                unit="wql",
                reference=round(wql, 4),
                ratio=round(float(loss.sum() / full.sum()), 4),
                target="ratio above 1 by its interval" if shown else None,
                met=low > 1 if shown else None,
            )
        )
    return figures


def main() -> None:
    choice, test = ([run(SimulatorConfig(skus=CHUNKS * 1000, seed=seed), k) for k in range(CHUNKS)] for seed in (CHOICE_SEED, TEST_SEED))
    write_results("simulator_oracles", [figure for track in TRACKS for figure in compare(choice, test, track)])


if __name__ == "__main__":
    main()
