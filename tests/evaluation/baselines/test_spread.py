import numpy as np

from plcp.evaluation.baselines.spread import LEAST_ERRORS, LogSpread


def test_each_group_has_the_quantiles_of_its_own_errors_and_small_ones_those_of_all() -> None:
    rng = np.random.default_rng(0)
    forecast = np.full((2 * LEAST_ERRORS + 1, 4), 9.0)
    group = np.repeat([0, 1, 2], [LEAST_ERRORS, LEAST_ERRORS, 1])
    units = np.where(group[:, None] == 0, 9.0, rng.uniform(0, 40, forecast.shape))
    spread = LogSpread.of(units, forecast, group)
    found = spread.around(np.full((3, 1), 9.0), np.array([0, 1, 2]))[:, 0]
    np.testing.assert_allclose(found[0], 9)
    np.testing.assert_allclose(found[1], np.quantile(units[group == 1], np.arange(1, 10) / 10), rtol=0.02)
    np.testing.assert_allclose(found[2], np.quantile(units, np.arange(1, 10) / 10), rtol=0.02)


def test_the_mean_of_a_log_normal_demand_is_not_its_middle() -> None:
    units = np.random.default_rng(0).lognormal(3, 1, (4000, 1))
    forecast, group = np.full((4000, 1), np.exp(3.0)), np.zeros(4000)
    np.testing.assert_allclose(LogSpread.of(units, forecast, group).mean(forecast[:1], group[:1]), units.mean(), rtol=0.05)
