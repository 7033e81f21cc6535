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


def test_a_mean_is_raised_by_what_its_group_sold_above_the_forecast() -> None:
    units = np.random.default_rng(0).lognormal(3, 1, (4000, 1))
    units[2000:] = 7
    forecast, group = np.full((4000, 1), np.exp(3.0)), np.arange(4000) // 2000
    found = LogSpread.of(units, forecast, group).mean(forecast[[0, 2000]], np.array([0, 1]))
    np.testing.assert_allclose(found[:, 0], [units[:2000].mean(), 7])
