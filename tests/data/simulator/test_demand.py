import numpy as np
import pytest

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.demand import NEVER, life, make_latent, season_table
from plcp.data.simulator.products import make_products
from plcp.data.simulator.signals import make_signals, signals_table

CONFIG = SimulatorConfig(skus=400, weeks=60, seed=4)


def test_there_is_no_demand_before_the_launch_and_the_top_is_the_scale() -> None:
    products = make_products(CONFIG, 0)
    curve = life(products, -200, 400)
    weeks = np.arange(-200, 400)
    assert (curve[weeks < products.launch[:, None]] == NEVER).all()
    assert (curve.max(1) <= products.log_scale).all()
    assert (curve.max(1) > products.log_scale - 1.6).all()


def test_noise_leaves_the_mean_and_differs_by_product() -> None:
    noise = make_latent(CONFIG, make_products(CONFIG, 0), make_signals(CONFIG, 60), 0).noise
    assert np.exp(noise).mean() == pytest.approx(1, abs=0.2)
    assert noise.std(1).max() > 2 * noise.std(1).min()


def test_seasons_peak_where_the_world_says() -> None:
    table = season_table(CONFIG.world)
    candle = next(i for i, c in enumerate(CONFIG.world.categories) if c.noun == "candle")
    assert table[candle, 2:52].argmax() + 2 == 47
    plate = next(i for i, c in enumerate(CONFIG.world.categories) if not c.seasons)
    assert (table[plate, 2:52] == 0).all()


def test_signals_are_known_before_the_week_they_speak_of_and_longer_ones_begin_the_same() -> None:
    short, long = make_signals(CONFIG, 60), make_signals(CONFIG, 90)
    assert np.array_equal(short.search, long.search[:, :60])
    table = signals_table(CONFIG, long)
    lead = (table["date"] - table["known_at"]).dt.total_days()
    assert set(lead.filter(table["name"] == "search_interest")) == {7 * CONFIG.world.signal_lead}
    assert table.group_by("name", "key").len().height == len(CONFIG.world.categories) + 2
