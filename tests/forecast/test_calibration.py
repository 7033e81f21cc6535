import numpy as np
import pytest

from plcp.data.features import inputs
from plcp.data.history import as_sold
from plcp.data.prepared import Prepared
from plcp.data.spec import CORE, Spec
from plcp.forecast.calibration import LAUNCH, TAIL, Calibration, bucket, ceiling, fit, velocity
from plcp.tables import LEVELS
from tests.forecast.shop import prepared_shop

UNLIKE = np.full((3, 2), np.nan)  # no launch of theirs is likened to any
NORMAL = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=200, per_shard=200)


def forecasts(n: int, centre: float = 3.0, spread: float = 0.5) -> np.ndarray:
    return np.tile(centre + spread * NORMAL, (n, 12, 1))


def coverage(quantiles: np.ndarray, units: np.ndarray) -> np.ndarray:
    return np.array([(np.log1p(units) <= quantiles[..., k]).mean() for k in range(9)])


def test_a_forecast_too_low_and_too_sure_is_set_right_on_new_cases() -> None:
    rng = np.random.default_rng(0)
    draw = lambda: np.expm1(rng.normal(3.4, 0.9, (1500, 12)).clip(0))  # noqa: E731
    age, speed = np.full(1500, 20.0), np.full(1500, 30.0)
    fitted = Calibration(fit(forecasts(1500), draw(), age, speed))
    fresh = draw()
    assert np.abs(coverage(forecasts(1500), fresh) - LEVELS).max() > 0.2
    assert np.abs(coverage(fitted.apply(forecasts(1500), age, speed), fresh) - LEVELS).max() < 0.02


def test_each_bucket_has_its_own_correction_and_small_ones_borrow() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    young = np.arange(n) % 2 == 0
    age, speed = np.where(young, 5.0, np.nan), np.full(n, 20.0)
    age[0], speed[0] = 5.0, 0.1  # a bucket of one case
    units = np.expm1(rng.normal(np.where(young, 4.0, 2.0)[:, None], 0.5, (n, 12)))
    shift = fit(forecasts(n), units, age, speed)
    fast = 2
    assert shift[0, fast, 4] > 0.5
    assert shift[2, fast, 4] < -0.5
    assert abs(shift[0, 0, 4]) < 0.1  # the whole shop's median is right


def test_what_is_surely_zero_stays_zero() -> None:
    units = np.zeros((300, 12))
    units[:100] = 5
    age = speed = np.full(300, 0.5)
    quantiles = np.zeros((300, 12, 9))
    quantiles[:100] = forecasts(100)
    corrected = Calibration(fit(quantiles, units, age, speed)).apply(quantiles, age, speed)
    assert (corrected[100:] == 0).all()


def test_corrected_quantiles_never_cross_nor_fall_below_zero() -> None:
    rng = np.random.default_rng(0)
    wild = Calibration(rng.normal(0, 2, Calibration.identity().shift.shape))
    quantiles = np.sort(rng.exponential(1, (200, 12, 9)), axis=2)
    corrected = wild.apply(quantiles, rng.uniform(0, 90, 200), rng.uniform(0, 90, 200))
    assert (np.diff(corrected, axis=2) >= 0).all()
    assert (corrected >= 0).all()


def test_identity_changes_nothing_and_a_written_one_comes_back() -> None:
    quantiles, age = forecasts(5), np.array([0, 12, 13, 60, np.nan])
    assert np.array_equal(Calibration.identity().apply(quantiles, age, age), quantiles)
    some = Calibration(np.random.default_rng(0).normal(0, 1, Calibration.identity().shift.shape))
    assert np.allclose(Calibration.from_dict(some.to_dict()).shift, some.shift, atol=1e-6)
    assert np.allclose(Calibration.from_dict(some.to_dict()).stage_share, 0.2)
    with pytest.raises(ValueError, match="shape"):
        Calibration.from_dict({"shift": [[1.0]]})


def test_weeks_not_observed_do_not_count() -> None:
    units = np.full((400, 12), 20.0)
    holes = units.copy()
    holes[:, 6:] = np.nan
    age = speed = np.full(400, 20.0)
    assert np.allclose(fit(forecasts(400), units, age, speed), fit(forecasts(400), holes, age, speed))
    assert (fit(forecasts(400), units * np.nan, age, speed) == 0).all()


def test_velocity_is_units_a_week_over_half_a_year() -> None:
    history = np.full((3, 104), np.nan)
    history[0, -13:] = 4  # thirteen weeks old
    history[1, :50] = 9  # all long ago
    history[1, 50:] = 0
    assert np.array_equal(velocity(history), [2, 0, np.nan], equal_nan=True)


def test_buckets_are_those_the_benchmark_reports() -> None:
    row, column = bucket(np.array([0, 12, 13, 52, 53, np.nan, 0]), np.array([0.5, 1, 9.9, 10, 50, 51, np.nan]))
    assert row.tolist() == [0, 0, 1, 1, 2, 2, LAUNCH]
    assert column.tolist() == [0, 1, 1, 2, 3, 3, 0]


def test_a_rare_stage_is_named_where_it_is_probable_for_how_rare_it_is() -> None:
    share = np.array([0.04, 0.06, 0.6, 0.25, 0.05])
    common = Calibration(Calibration.identity().shift, share)
    assert common.stage(np.stack([share, np.array([0.05, 0.4, 0.45, 0.05, 0.05])])).tolist() == [2, 1]


def test_launches_held_out_correct_nothing() -> None:
    never = np.full(900, np.nan)
    assert not fit(forecasts(900), np.full((900, 12), 200.0), np.zeros(900), never).any()


def test_a_mean_stays_within_reach_of_its_quantiles() -> None:
    quantiles, age = np.log1p(np.tile(np.arange(1.0, 10.0), (3, 2, 1))), np.full(3, 20.0)
    given = np.array([[3.0, 6.0], [6.7, 6.8], [40.0, 400.0]])  # the quantiles' own mean is 5
    _, mean = Calibration.identity().curve(quantiles, given, age, np.zeros((3, 52)), np.zeros((3, 52)), UNLIKE)
    assert np.allclose(mean, [[3.0, 6.0], [6.7, 6.75], [6.75, 6.75]])
    seldom, lumps = np.full(52, np.nan), np.zeros(52)
    seldom[-9:] = [0, 1, 0, 0, 0, 0, 30, 0, 0]
    lumps[::5] = 50  # six times in half a year
    steady = np.full(52, 50.0)  # and falls: what it sold does not hold the mean up
    zero, given = np.zeros((3, 2, 9)), np.array([[0.2, 6.0], [7.0, 9.0], [7.0, 9.0]])
    sold = np.stack([seldom, lumps, steady])
    _, mean = Calibration.identity().curve(zero, given, age, sold, sold, UNLIKE)
    assert np.allclose(mean[[0, 2]], [[0.2, 0.5], [0.5, 0.5]])
    assert 5 < mean[1, 0] < 7, "who is bought in lots is ordered in lots"


def test_no_quantile_lies_far_above_the_best_week_but_of_what_has_not_shown_it() -> None:
    sold = np.full((6, 52), np.nan)
    sold[:, -30:] = 0
    sold[:4, -20], sold[4, -5] = 100, 1
    sold[3] = np.nan  # never sold
    quantiles = np.log1p(np.tile(np.logspace(0, 6, 9), (6, 2, 1)))
    age = np.array([29.0, np.nan, 12.0, np.nan, np.nan, np.nan])
    corrected, mean = Calibration.identity().curve(
        quantiles, np.full((6, 2), 500.0), age, np.minimum(sold, 4.75), sold, np.full((6, 2), np.nan)
    )
    assert np.allclose(np.expm1(corrected[:2, :, -1]), 150), "past the introduction, or older than the data; by what was sold, not softened"
    assert (np.diff(corrected, axis=2) >= 0).all()
    assert np.allclose(np.expm1(corrected[2:, :, -1]), 1e6), "young, never sold, sold first of late, or silent all along"
    assert (mean[:2] <= 150).all()
    assert np.isinf(ceiling(age, sold[:, -26:])).all(), "half a year may lie out of season"


def test_who_sells_seldom_is_known_by_what_was_sold_and_not_by_what_is_left_of_it(prepared: Prepared) -> None:
    spec = Spec(horizon=4)
    rows = np.arange(len(prepared.read(0)))
    at = np.full(len(rows), prepared.weeks)
    history = inputs(prepared.read(0), rows, at, at, spec)["history"]
    softened, sold = history[..., 0], as_sold(history, spec)
    lower = np.nan_to_num(softened) < np.nan_to_num(sold) - 1
    assert lower.any(), "some week stood out"
    units = prepared.read(0).units[:, -spec.history_weeks :]
    assert np.allclose(sold[:, -units.shape[1] :][lower[:, -units.shape[1] :]], units[lower[:, -units.shape[1] :]], rtol=1e-4)
    assert np.isnan(as_sold(history, Spec(horizon=4, channels=CORE))).all()


def test_a_mean_of_what_sells_often_is_met_half_way_by_its_quantiles() -> None:
    quantiles, given = np.log1p(np.tile(np.arange(1.0, 10.0), (3, 1, 1))), np.full((3, 1), 3.0)  # the quantiles' own mean is 5
    sold = np.zeros((3, 52))
    sold[0, ::2] = sold[1, ::3] = 50
    sold[2] = np.nan  # a launch
    _, mean = Calibration.identity().curve(quantiles, given, np.full(3, 20.0), sold, sold, UNLIKE)
    assert np.allclose(mean[:, 0], [(3 + TAIL * 5) / 2, 3, 3])
