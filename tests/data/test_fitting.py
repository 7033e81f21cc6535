import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plcp.data import fitting
from plcp.data.families import FAMILIES

# free parameters of curves that rise, peak and decline within 104 weeks
KNOWN = (
    np.log([[0.15, 30.0], [0.3, 200.0], [0.08, 8.0]]),
    np.log([[10.0, 25.0, 30.0], [25.0, 10.0, 12.0], [3.0, 50.0, 20.0]]),
    np.log([[0.15, 20.0, 3.0], [0.1, 9.0, 0.4], [0.3, 60.0, 1.5]]),
    np.array([[40.0, np.log(10), 0.5], [30.0, np.log(14), -0.6], [55.0, np.log(18), 0.0]]),
)
WEEKS = 104
CASES = [pytest.param(k, id=family.name) for k, family in enumerate(FAMILIES)]


def curve(family: int, theta: np.ndarray) -> np.ndarray:
    log, _ = FAMILIES[family].shape(theta, fitting.middles(WEEKS))
    return np.exp(log - log.max(1, keepdims=True))


@pytest.mark.parametrize("family", CASES)
def test_parameters_of_noiseless_curves_are_recovered_whatever_their_level(family: int) -> None:
    level = np.array([[3.0], [50.0], [4e6]])
    theta = fitting.fit(family, level * curve(family, KNOWN[family]), np.ones((3, WEEKS)))
    found, true = FAMILIES[family].named(theta), FAMILIES[family].named(KNOWN[family])
    assert np.allclose(found, true, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("family", CASES)
def test_curves_are_recovered_through_stock_outs_and_unknown_weeks(family: int) -> None:
    rng = np.random.default_rng(1)
    exposure = np.where(rng.random((3, WEEKS)) < 0.3, rng.choice([0, 0.25, 0.5], (3, WEEKS)), 1)
    shape = curve(family, KNOWN[family])
    theta = fitting.fit(family, 40 * shape * exposure, exposure)
    assert np.allclose(curve(family, theta), shape, atol=0.02)


@pytest.mark.parametrize("family", CASES)
def test_curves_are_found_in_noise(family: int) -> None:
    rng = np.random.default_rng(2)
    shape = np.repeat(curve(family, KNOWN[family]), 30, 0)
    units = rng.poisson(30 * shape * rng.gamma(5, 1 / 5, shape.shape)).astype(float)  # more than Poisson noise
    log = fitting.relative(
        FAMILIES[family].shape(fitting.fit(family, units, np.ones_like(units)), fitting.middles(WEEKS))[0], np.ones_like(units)
    )
    fitted = fitting.level(log, units, np.ones_like(units))[:, None] * np.exp(log)
    assert np.abs(fitted - 30 * shape).sum() / (30 * shape).sum() < 0.12
    assert np.allclose(fitted.sum(1), units.sum(1))


def test_refining_never_makes_a_fit_less_likely() -> None:
    rng = np.random.default_rng(3)
    spread = rng.gamma(0.3, 1, (64, 60))
    spread /= spread.sum(1, keepdims=True)
    ones = np.ones_like(spread)
    for k, family in enumerate(FAMILIES):
        begin = family.clip(family.grid[fitting.search(k, spread, ones)])
        end = fitting.refine(family, begin, spread, ones)
        assert (fitting.climb(family, end, spread, ones)[0] >= fitting.climb(family, begin, spread, ones)[0]).all()


@settings(max_examples=60)
@given(
    arrays(np.float64, (3, 40), elements=st.sampled_from([0.0, 0.0, 1e-4, 1.0, 7.0, 1e9])),
    arrays(np.float64, (3, 40), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    st.integers(0, len(FAMILIES) - 1),
)
def test_fits_are_finite_and_within_bounds_whatever_was_sold(units: np.ndarray, exposure: np.ndarray, family: int) -> None:
    units[:, 5], exposure[:, 5] = 2.0, 1.0
    with np.errstate(all="raise", under="ignore"):
        theta = fitting.fit(family, units, exposure)
        log = fitting.relative(FAMILIES[family].shape(theta, fitting.middles(200))[0], exposure)
    low, high = np.array(FAMILIES[family].bounds).T
    assert ((theta >= low) & (theta <= high)).all()
    assert np.isfinite(fitting.level(log[:, :40], units, exposure)[:, None] * np.exp(log)).all()
