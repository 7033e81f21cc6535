"""Weekly quantiles to totals: the moments come back, and totals behave as demand does."""

import numpy as np
import pytest
from scipy import stats

from plcp.decisions.demand import Demand, Total, weekly_variance
from plcp.tables import LEVELS


@pytest.mark.parametrize(
    ("distribution", "tolerance"),
    [(stats.norm(50, 10), 0.2), (stats.gamma(1, scale=10), 0.1), (stats.gamma(4, scale=3), 0.1), (stats.nbinom(0.5, 0.05), 0.1)],
)
def test_variance_comes_back_from_quantiles_and_mean(distribution: stats.rv_continuous, tolerance: float) -> None:
    variance = weekly_variance(distribution.ppf(LEVELS)[None], np.array([distribution.mean()]))
    assert variance[0] == pytest.approx(distribution.var(), rel=tolerance)


def test_rare_large_orders_seen_only_in_the_mean_widen_the_week() -> None:
    quantiles = np.array([[0, 0, 0, 0, 1, 1, 2, 2, 3.0]])
    assert weekly_variance(quantiles, np.array([6.0]))[0] > 3 * weekly_variance(quantiles, np.array([1.5]))[0]


def test_a_week_varies_at_least_as_poisson_does() -> None:
    assert weekly_variance(np.zeros((1, 9)), np.array([0.05]))[0] >= 0.05


def test_total_of_correlated_weeks_varies_more_than_of_independent_ones_and_less_than_of_one_repeated() -> None:
    mean, variance = np.full((1, 4), 10.0), np.full((1, 4), 25.0)
    independent, correlated, repeated = (Demand(mean, variance, rho).total(4).variance[0] for rho in (0.0, 0.3, 1.0))
    assert independent == pytest.approx(100)
    assert repeated == pytest.approx(400)
    assert correlated == pytest.approx(0.7 * 100 + 0.3 * 400)


def test_weeks_past_the_horizon_repeat_its_last_week() -> None:
    demand = Demand(np.array([[4.0, 2.0]]), np.array([[4.0, 2.0]]), 0.0)
    assert demand.total(np.array([5])).mean[0] == pytest.approx(4 + 2 * 4)


def test_sold_never_exceeds_stock_or_demand_and_matches_simulation() -> None:
    total = Total(np.array([30.0]), np.array([150.0]))
    draws = np.random.default_rng(0).gamma(30 * 30 / 150, 150 / 30, 200_000)
    for stock in (0.0, 10.0, 30.0, 100.0):
        assert total.sold(np.array([stock]))[0] == pytest.approx(np.minimum(draws, stock).mean(), rel=0.01)


def test_sellable_demand_matches_simulation() -> None:
    rng = np.random.default_rng(0)
    weeks = rng.gamma(4, 2.5, (200_000, 5))  # independent, mean 10, variance 25
    demand = Demand(np.full((1, 5), 10.0), np.full((1, 5), 25.0), 0.0)
    for stock in (0.0, 15.0, 30.0, 300.0):
        simulated = np.minimum(weeks[:, :3].sum(1), stock) + weeks[:, 3:].sum(1)
        sellable = demand.sellable(np.array([3]), np.array([5]), np.array([stock]))
        assert sellable.mean[0] == pytest.approx(simulated.mean(), rel=0.01)
        assert sellable.variance[0] == pytest.approx(simulated.var(), rel=0.02)


def test_no_demand_needs_no_stock() -> None:
    none = Total(np.zeros(1), np.zeros(1))
    assert none.quantile(0.98)[0] == pytest.approx(0, abs=1e-6)
    assert none.within(np.zeros(1))[0] == pytest.approx(1)
    assert none.sold(np.full(1, 5.0))[0] == pytest.approx(0, abs=1e-6)
