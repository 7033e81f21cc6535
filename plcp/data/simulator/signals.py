"""What happens outside the shop and moves its demand: search interest by category, weather, consumers' confidence."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from plcp.data.simulator import arithmetic
from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws

Array = np.ndarray

SEARCH_MEMORY, CONFIDENCE_MEMORY, WEATHER_MEMORY = 0.93, 0.97, 0.5
WEATHER_LEAD = 1  # weeks that a forecast runs ahead


@dataclass(frozen=True)
class Signals:
    """Standardised values for weeks 0 … weeks − 1: search (categories, weeks), confidence and weather (weeks,)."""

    search: Array
    confidence: Array
    weather: Array

    @property
    def weeks(self) -> int:
        return len(self.weather)


def autoregression(shocks: Array, memory: float) -> Array:
    """Stationary AR(1) with unit variance along the last axis, from standard normal shocks of the same shape."""
    values = np.empty_like(shocks)
    values[..., 0] = shocks[..., 0]
    fresh = np.sqrt(1.0 - memory * memory)
    for t in range(1, shocks.shape[-1]):
        values[..., t] = memory * values[..., t - 1] + fresh * shocks[..., t]
    return values


def make_signals(config: SimulatorConfig, weeks: int) -> Signals:
    draws, categories = Draws(config.seed), len(config.world.categories)
    # one row per stream, so that more weeks leave the first ones as they are
    search = np.stack([draws.normal(f"search-{c}", weeks) for c in range(categories)])
    return Signals(
        search=autoregression(search, SEARCH_MEMORY),
        confidence=autoregression(draws.normal("confidence", weeks), CONFIDENCE_MEMORY),
        weather=autoregression(draws.normal("weather", weeks), WEATHER_MEMORY),
    )


def signal_effect(config: SimulatorConfig, signals: Signals, category: Array) -> Array:
    """Log demand that the signals move, shape (rows, weeks)."""
    world = config.world
    weather = np.array([c.weather for c in world.categories])
    by_category = world.signal_effect * signals.search + world.confidence_effect * signals.confidence + weather[:, None] * signals.weather
    return by_category[category]


def signals_table(config: SimulatorConfig, signals: Signals) -> pl.DataFrame:
    """The contract's table: what is known of weeks ahead is dated by the week it speaks of and known before it.

    Search interest leads demand: the value dated w is what people looked for `signal_lead` weeks earlier.
    """
    world = config.world
    rows = [
        *((c.path, "search_interest", signals.search[k], world.signal_lead) for k, c in enumerate(world.categories)),
        ("*", "consumer_confidence", signals.confidence, 0),
        ("*", "temperature_anomaly", signals.weather, WEATHER_LEAD),
    ]
    frames = []
    for key, name, values, lead in rows:
        count = min(config.weeks + lead, signals.weeks)
        date = days(config.first_week, np.arange(count))
        level = 100.0 * arithmetic.exp(0.15 * values[:count]) if name == "search_interest" else values[:count]
        frames.append(
            pl.DataFrame(
                {"date": date, "value": np.round(level, 3), "known_at": date - np.timedelta64(timedelta(weeks=lead).days, "D")}
            ).select(
                pl.col("date").cast(pl.Date),
                pl.lit(key).alias("key"),
                pl.lit(name).alias("name"),
                "value",
                pl.col("known_at").cast(pl.Date),
            )
        )
    return pl.concat(frames)
