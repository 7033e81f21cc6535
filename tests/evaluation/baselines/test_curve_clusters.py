import datetime as dt

import numpy as np
import polars as pl
import pytest

from plcp.data import fitting
from plcp.data.families import FAMILIES
from plcp.data.timeline import Timeline
from plcp.data.view import PanelView
from plcp.evaluation.baselines.curve_clusters import CLUSTERS, Curves, clusters, in_life_curves, launch_curves

WEEKS, HORIZON, SKUS = 60, 6, 200
THETA = {"bass": [np.log(0.25), 2.0], "trapezoid": np.log([4.0, 6.0, 25.0]), "tilted_gompertz": [7.0, np.log(8.0), 0.3]}


def lives_of(name: str) -> tuple[PanelView, np.ndarray, int]:
    """Products that all live by one curve at levels of their own; the panel, their units with what is to come, the family's index."""
    rng = np.random.default_rng(0)
    family = [known.name for known in FAMILIES].index(name)
    shape = np.exp(FAMILIES[family].shape(np.array([THETA[name]]), fitting.middles(WEEKS + HORIZON))[0][0])
    first, level = rng.integers(8, WEEKS - 10, SKUS), rng.uniform(50, 500, SKUS)
    age = np.arange(WEEKS + HORIZON) - first[:, None]
    units = np.where(age >= 0, level[:, None] * shape[np.maximum(age, 0)] / shape.max(), 0)
    products = pl.DataFrame({"sku_id": [f"A{k:03d}" for k in range(SKUS)]})
    view = PanelView(
        Timeline(dt.date(2024, 1, 1), WEEKS), WEEKS, products, units[:, :WEEKS], np.ones((SKUS, WEEKS)), first.astype(np.float64)
    )
    return view, units, family


@pytest.mark.parametrize("name", THETA)
def test_a_curve_that_products_live_by_is_found_and_followed(name: str) -> None:
    view, units, family = lives_of(name)
    cluster = np.arange(SKUS) % CLUSTERS
    curves = Curves.fit(family, view, np.arange(SKUS), cluster, HORIZON)
    quantiles, mean = in_life_curves(curves, np.arange(SKUS), HORIZON)
    alive = units[:, WEEKS] > 5
    assert alive.sum() > 50
    np.testing.assert_allclose(mean[alive], units[alive, WEEKS:], rtol=0.15, atol=0.1)
    assert np.abs(quantiles[alive, :, 4] - mean[alive]).max() < 1  # the curve never erred much, so it is certain


def test_launches_take_the_curve_and_the_level_of_their_cluster() -> None:
    view, units, family = lives_of("trapezoid")
    fast = view.units.max(1) > 250
    cluster = np.where(fast, 1, 0)
    quantiles, mean = launch_curves(Curves.fit(family, view, np.arange(SKUS), cluster, HORIZON), np.arange(SKUS), np.array([0, 1]), HORIZON)
    first = units[np.arange(SKUS)[:, None], view.first[:, None] + np.arange(HORIZON)]
    for k in (0, 1):
        np.testing.assert_allclose(mean[k], first[cluster == k].mean(0), rtol=0.1)
    assert (quantiles[1, :, 0] < mean[1]).all()
    assert (quantiles[1, :, 8] > mean[1]).all()


def test_products_alike_fall_into_one_cluster() -> None:
    corner = np.repeat(np.eye(CLUSTERS), 10, 0)
    found = clusters(corner, np.arange(0, 10 * CLUSTERS, 2), 1).reshape(CLUSTERS, 10)
    assert (found == found[:, :1]).all()
    assert len(set(found[:, 0])) == CLUSTERS
