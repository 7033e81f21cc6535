import numpy as np
import pytest

from plcp.data.prepared import Prepared
from plcp.data.view import panel_view
from plcp.evaluation.baselines import neighbours
from plcp.evaluation.baselines.attributes import attribute_points
from plcp.evaluation.baselines.language import embeddings
from plcp.evaluation.baselines.neighbours import WINDOW, launch_curves, window_curves
from plcp.evaluation.baselines.recent import past_launches
from plcp.evaluation.cases import Cases


def test_a_launch_at_the_place_of_a_past_one_takes_its_curve(past: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ALIKE_LAUNCHES", 1)
    view = panel_view(past)
    launched = past_launches(view, 4)
    places = np.arange(len(launched), dtype=float)[:, None]
    quantiles, mean = launch_curves(view, launched, places, places[[5]] + 0.1, 4)
    own = view.units[launched[5], view.first[launched[5]] + np.arange(4)]
    np.testing.assert_array_equal(mean[0], own)
    np.testing.assert_array_equal(quantiles[0], np.repeat(own[:, None], 9, 1))


def test_products_of_one_kind_lie_near_each_other(past: Prepared, cases: Cases) -> None:
    view = panel_view(past)
    points = attribute_points(view, cases).toarray()
    assert len(points) == len(view.units) + len(cases.launches)
    assert np.isfinite(points).all()
    lamp = view.products["title"].str.contains("lamp").to_numpy()
    points = points[: len(lamp), :-3]  # the words
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    assert apart[lamp][:, lamp].mean() < apart[lamp][:, ~lamp].mean()


def test_an_embedding_knows_what_words_mean() -> None:
    vectors = embeddings(["woollen winter gloves", "hand warmer", "garden chair", "winter gloves of wool"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 3] > 0.9
    assert alike[0, 1] > alike[0, 2]


def test_a_repeating_curve_is_found_again_at_its_own_level() -> None:
    rng = np.random.default_rng(0)
    weeks, horizon, phase = 60, 6, rng.integers(0, 10, 200)
    level = rng.uniform(20, 40, 200)
    wave = 1 + 0.8 * np.sin((np.arange(weeks + horizon) + phase[:, None]) * 2 * np.pi / 10)
    units = level[:, None] * wave
    quantiles, mean = window_curves(units[:, :weeks], np.arange(50), horizon)
    np.testing.assert_allclose(mean, units[:50, weeks:], rtol=0.1)
    np.testing.assert_allclose(quantiles[:, :, 4], units[:50, weeks:], rtol=0.1)


def test_a_past_shorter_than_a_window_and_what_follows_leaves_recent_weeks() -> None:
    units = np.random.default_rng(0).poisson(3.0, (9, WINDOW + 5)).astype(float)
    _, mean = window_curves(units, np.arange(9), 6)
    np.testing.assert_allclose(mean, np.repeat(units[:, -8:].mean(1)[:, None], 6, 1))
