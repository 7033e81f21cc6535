import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plcp.data.families import FAMILIES, Family
from plcp.data.fitting import FLOOR, middles
from plcp.tables import CURVE_FAMILIES

T = middles(120)
NAMES = [f.name for f in FAMILIES]


def test_the_table_names_the_families() -> None:
    assert tuple(NAMES) == CURVE_FAMILIES


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
@given(seed=st.integers(0, 10_000))
def test_derivatives_are_those_of_the_log_shape(family: Family, seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = family.clip(family.grid[rng.integers(0, len(family.grid), 4)] + rng.normal(0, 0.01, (4, len(family.parameters))))
    log, slope = family.shape(theta, T)
    for k in range(len(family.parameters)):
        step = np.zeros(theta.shape[1])
        step[k] = 1e-6
        change = (family.shape(theta + step, T)[0] - family.shape(theta - step, T)[0]) / 2e-6
        seen = (log > log.max(1, keepdims=True) + FLOOR) & (log > -1e6)  # lower, exponents are held
        if not seen.any():
            continue
        assert np.quantile(np.abs(change - slope[k])[seen] / (1 + np.abs(change[seen])), 0.98) < 1e-4  # a trapezoid's corners have none


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_shapes_are_finite_everywhere_within_bounds(family: Family, place: list[float]) -> None:
    low, high = np.array(family.bounds).T
    theta = (low + np.array(place[: len(low)]) * (high - low))[None]
    log, slope = family.shape(theta, middles(700))
    assert np.isfinite(log).all()
    assert np.isfinite(slope).all()
    assert np.isfinite(family.named(theta)).all()


def test_bass_is_its_published_density() -> None:
    p, q = 0.01, 0.2
    log, _ = FAMILIES[0].shape(np.log([[p + q, q / p]]), T)
    decay = np.exp(-(p + q) * T)
    published = (p + q) ** 2 / p * decay / (1 + q / p * decay) ** 2
    assert np.ptp(log[0] - np.log(published)) < 1e-9
    assert np.allclose(FAMILIES[0].named(np.log([[p + q, q / p]])), [[p, q]])


def test_gamma_shifted_gompertz_is_the_derivative_of_its_published_distribution() -> None:
    b, beta, alpha = 0.15, 8.0, 2.5

    def distribution(t: np.ndarray) -> np.ndarray:
        return (1 - np.exp(-b * t)) * (1 + beta * np.exp(-b * t)) ** -alpha

    t = T[:60]
    log, _ = FAMILIES[2].shape(np.log([[b, beta, alpha]]), t)
    assert np.ptp(log[0] - np.log(distribution(t + 1e-4) - distribution(t - 1e-4))) < 1e-4


@pytest.mark.parametrize("skew", [-0.8, 0.6])
def test_tilted_gompertz_is_its_published_density(skew: float) -> None:
    peak, width = 30.0, 9.0
    tilt, delta = -skew / width, 1 / skew**2
    published = -tilt * delta * T - delta * np.exp(tilt * peak) * np.exp(-tilt * T)
    log, _ = FAMILIES[3].shape(np.array([[peak, np.log(width), skew]]), T)
    seen = log[0] > -20
    assert np.ptp((log[0] - published)[seen]) < 1e-8


def test_a_trapezoid_rises_stays_and_falls() -> None:
    log, _ = FAMILIES[1].shape(np.log([[10.0, 20.0, 8.0]]), np.array([5.0, 10, 25, 30, 34, 40]))
    assert np.allclose(np.exp(log[0]), [0.5, 1, 1, 1, 0.5, 0], atol=1e-9)
