import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plcp.data.simulator import arithmetic
from plcp.data.simulator.draws import Draws


def test_exp_and_log_agree_with_numpy() -> None:
    x = np.linspace(-600, 600, 100_001)
    assert np.abs(arithmetic.exp(x) / np.exp(x) - 1).max() < 1e-13
    y = np.exp(np.linspace(-40, 40, 10_001))
    assert np.abs(arithmetic.log(y) - np.log(y)).max() < 1e-13


def test_the_normal_quantile_agrees_with_scipy() -> None:
    u = Draws(0, 0).uniform("u", 100_000)
    assert np.abs(arithmetic.normal(u) - stats.norm.ppf(u)).max() < 1e-7


@pytest.mark.parametrize("mean", [0.02, 0.7, 5, 15.9, 16.1, 80, 2000])
def test_poisson_has_the_right_mean_and_variance(mean: float) -> None:
    u = Draws(1, 0).uniform("u", 200_000)
    count = arithmetic.poisson(u, np.full(len(u), mean))
    assert count.mean() == pytest.approx(mean, rel=0.02)
    assert count.var() == pytest.approx(mean, rel=0.03)
    assert (count == stats.poisson.ppf(u, mean)).mean() > 0.98


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0, 15), st.floats(0, 50))
def test_the_same_customers_never_want_less_at_a_higher_mean(u: float, mean: float, more: float) -> None:
    counts = arithmetic.poisson(np.array([u, u]), np.array([mean, mean + more]))
    assert counts[1] >= counts[0]
