import numpy as np
import pytest

from plcp.evaluation.baselines.lstm import WINDOW, LSTMConfig, lstm_curves, windows

HORIZON = 4


def waves(skus: int, weeks: int) -> np.ndarray:
    """Units that rise and fall every four weeks, each product in its own phase and at its own level."""
    rng = np.random.default_rng(0)
    phase, level = rng.integers(0, 4, (skus, 1)), rng.uniform(20, 60, (skus, 1))
    return level * (1 + 0.8 * np.sin((np.arange(weeks) + phase) * 2 * np.pi / 4))


def test_a_repeating_signal_is_learned() -> None:
    units = waves(150, 50 + HORIZON)
    rows = np.arange(40)
    quantiles, mean = lstm_curves(units[:, :50], rows, HORIZON, LSTMConfig(steps=300, batch=64, learning_rate=5e-3), 1)
    ahead = units[:40, 50:]
    flat = units[:40, 42:50].mean(1, keepdims=True)
    assert np.abs(mean - ahead).mean() < 0.5 * np.abs(flat - ahead).mean()
    assert np.abs(quantiles[:, :, 4] - ahead).mean() < 0.5 * np.abs(flat - ahead).mean()
    covered = ((quantiles[:, :, 0] <= ahead) & (ahead <= quantiles[:, :, 8])).mean()
    assert 0.6 < covered < 0.98


def test_another_seed_is_another_network() -> None:
    units, config = waves(60, 50), LSTMConfig(steps=5, batch=16)
    first, again, other = (lstm_curves(units, np.arange(5), HORIZON, config, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_windows_end_before_what_followed_and_weeks_not_yet_seen_are_unknown() -> None:
    units = np.arange(1.0, WINDOW + 4)[None]
    before, ahead = windows(units, HORIZON)
    np.testing.assert_array_equal(before, [units[0, k : k + WINDOW] for k in range(3)])
    np.testing.assert_array_equal(ahead[0], [WINDOW + 1, WINDOW + 2, WINDOW + 3, np.nan])
    np.testing.assert_array_equal(ahead[2], [WINDOW + 3, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("weeks", [2, HORIZON, WINDOW, WINDOW + HORIZON])
def test_too_short_a_past_leaves_recent_weeks(weeks: int) -> None:
    units = waves(20, weeks)
    _, mean = lstm_curves(units, np.arange(20), HORIZON, LSTMConfig(steps=1), 1)
    np.testing.assert_allclose(mean[:, 0], units[:, -8:].mean(1))
