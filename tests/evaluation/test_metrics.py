"""By hand, and against scikit-learn where it has the metric."""

import numpy as np
import pytest
from sklearn import metrics as sk

from plcp.evaluation.metrics import (
    auc,
    calibration_gap,
    concordance,
    coverage,
    curve_metrics,
    event_metrics,
    hits,
    median_week,
    peak_week,
    peak_week_error,
    quantile_errors,
    quantile_loss,
    stage_metrics,
)
from plcp.tables import LEVELS, STAGES


def flat(values: list[list[float]]) -> np.ndarray:
    """The same for all nine quantiles."""
    return np.repeat(np.array(values)[:, :, None], 9, 2)


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units, quantiles and mean of 40 cases over 6 weeks."""
    rng = np.random.default_rng(0)
    actual = rng.poisson(3, (40, 6)).astype(float)
    return actual, np.sort(rng.gamma(3, 1, (40, 6, 9)), 2), rng.gamma(3, 1, (40, 6))


def test_a_certain_and_right_forecast_loses_nothing() -> None:
    actual = np.array([[3.0, 0.0, 7.0]])
    found = curve_metrics(actual, flat([[3, 0, 7]]), actual, np.array([2.0]))
    right = {"r2", *(f"{side}_q{level}" for side in ("below", "up_to") for level in range(10, 100, 10))}
    assert {name: value for name, value in found.items() if name not in right} == dict.fromkeys(found.keys() - right, 0)
    assert found["r2"] == 1


def test_the_quantile_loss_of_a_certain_forecast_is_its_absolute_error() -> None:
    loss = quantile_loss(np.array([[10.0, 4.0]]), flat([[7, 6]]))
    assert loss.mean(1) == pytest.approx([5])
    assert loss[0, 0] == pytest.approx(2 * (0.1 * 3 + 0.9 * 2))  # too little by 3, too much by 2, at q10


def test_the_quantile_loss_is_least_at_the_quantiles_of_what_comes() -> None:
    actual = np.random.default_rng(0).gamma(2, 5, (4000, 1))
    right = np.broadcast_to(np.quantile(actual, LEVELS), (4000, 1, 9))
    assert quantile_loss(actual, right).sum() < min(quantile_loss(actual, right * factor).sum() for factor in (0.9, 1.1))
    assert calibration_gap(actual, right) < 0.01
    assert calibration_gap(actual, right * 0.5) > 0.2


def test_curve_errors_are_those_of_scikit_learn() -> None:
    actual, quantiles, mean = drawn()
    found = curve_metrics(actual, quantiles, mean, np.ones(40))
    a, median, m = actual.ravel(), quantiles[:, :, 4].ravel(), mean.ravel()
    expected = {
        "mse": sk.mean_squared_error(a, m),
        "rmse": sk.root_mean_squared_error(a, m),
        "r2": sk.r2_score(a, m),
        "mae": sk.mean_absolute_error(a, median),
        "mape": sk.mean_absolute_percentage_error(a[a > 0], median[a > 0]),
        "mase": sk.mean_absolute_error(a, median),
        **{
            f"wql_q{round(level * 100)}": 2 * sk.mean_pinball_loss(a, quantiles[:, :, k].ravel(), alpha=level) * a.size / a.sum()
            for k, level in enumerate(LEVELS)
        },
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["wql"] == pytest.approx(np.mean([found[f"wql_q{level}"] for level in range(10, 100, 10)]))


def test_percentage_errors_leave_out_or_limit_what_zeros_would_make_infinite() -> None:
    actual = np.array([[4.0, 0.0, 0.0]])
    found = curve_metrics(actual, flat([[3, 2, 0]]), actual, np.array([np.nan]))
    assert found["mape"] == pytest.approx(1 / 4)  # the one week with a sale
    assert found["smape"] == pytest.approx((2 * 1 / 7 + 2 + 0) / 3)
    assert found["wape"] == pytest.approx(3 / 4)


def test_mase_divides_each_case_by_its_own_naive_error_and_leaves_out_those_without() -> None:
    actual = np.array([[2.0, 4.0], [1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    found = curve_metrics(actual, flat([[0, 0], [2, 4], [1, 1], [1, 1]]), actual, np.array([1.5, 0.5, 0.0, np.nan]))
    assert found["mase"] == pytest.approx((3 / 1.5 + 2 / 0.5) / 2)


def test_the_crps_of_a_known_distribution_is_nearly_the_mean_of_nine_quantile_losses() -> None:
    actual = np.random.default_rng(0).random((20000, 1))
    uniform = np.broadcast_to(np.array(LEVELS), (20000, 1, 9))
    assert quantile_errors(actual, uniform)["crps"] == pytest.approx(1 / 6, rel=0.11)  # the exact CRPS, with the outer levels
    assert quantile_errors(actual, uniform)["crps"] == pytest.approx(np.mean([level * (1 - level) for level in LEVELS]), rel=0.01)


def test_the_peaks_week_is_that_of_the_smoothed_level_and_the_middle_of_a_plateau() -> None:
    single = [0, 0, 0, 0, 0, 0, 10, 12, 10, 0, 0]
    freak = [11, 0, 0, 0, 0, 0, 10, 12, 10, 0, 0]
    assert peak_week(np.array([single, freak, [3.0] * 11])).tolist() == [7, 7, 5]
    actual = np.array([single, [0] * 11], float)  # the second has no peak
    assert peak_week_error(actual, np.full((2, 11), 3.0)) == 2


def test_a_forecast_of_nothing_is_calibrated_where_nothing_is_sold() -> None:
    assert calibration_gap(np.zeros((5, 3)), np.full((5, 3, 9), 0.3)) == 0


def test_coverage_counts_the_weeks_below_a_quantile_and_those_up_to_it() -> None:
    found = coverage(np.array([[0.0, 0.0, 1.0, 5.0]]), flat([[0.4, 2, 1, 1]]))
    assert found["below_q50"] == 1 / 4
    assert found["up_to_q50"] == 3 / 4


def test_without_any_units_there_is_no_relative_error() -> None:
    found = curve_metrics(np.zeros((2, 3)), np.ones((2, 3, 9)), np.ones((2, 3)), np.full(2, np.nan))
    undefined = {"wql", "wape", "wape_total", "bias", "mape", "mase", "r2", "peak_week_mae", *(f"wql_q{n}" for n in range(10, 100, 10))}
    assert {name for name, value in found.items() if np.isnan(value)} == undefined


def test_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() -> None:
    label, score = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])
    assert auc(label, score) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(np.array([True, True]), np.array([0.2, 0.3])))


def test_event_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    label, p = rng.random(300) < 0.3, rng.random(300).round(1)
    called = p >= 0.5
    expected = {
        "auc": sk.roc_auc_score(label, p),
        "brier": sk.brier_score_loss(label, p),
        "precision": sk.precision_score(label, called),
        "recall": sk.recall_score(label, called),
        "f1": sk.f1_score(label, called),
    }
    found = event_metrics(label, p)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_forecast_of_the_base_rate_has_no_skill() -> None:
    label = np.arange(10) < 3
    assert event_metrics(label, np.full(10, 0.3))["brier_skill"] == pytest.approx(0)
    assert event_metrics(label, label.astype(float))["brier_skill"] == 1
    assert np.isnan(event_metrics(np.ones(3, bool), np.ones(3))["brier_skill"])


def test_precision_and_recall_are_undefined_where_there_is_nothing_to_count() -> None:
    none, some = np.zeros(3, bool), np.array([True, False, False])
    assert hits(some, none) == pytest.approx({"precision": np.nan, "recall": 0, "f1": 0}, nan_ok=True)
    assert hits(none, some) == pytest.approx({"precision": 0, "recall": np.nan, "f1": 0}, nan_ok=True)
    assert np.isnan(hits(none, none)["f1"])


def test_concordance_counts_the_pairs_whose_order_censoring_leaves_known() -> None:
    time, seen = np.array([2, 5, 3, 5]), np.array([True, True, False, False])
    # known: 2 before 5, 2 before the one free of it until 3, 2 and 5 before the one free of it until 5
    assert concordance(time, seen, np.array([4.0, 3.0, 2.0, 1.0])) == 1
    assert concordance(time, seen, np.array([1.0, 3.0, 2.0, 1.0])) == pytest.approx((0 + 0 + 0.5 + 1) / 4)
    assert np.isnan(concordance(time, np.zeros(4, bool), time))


def test_concordance_without_censoring_and_two_times_is_the_auc() -> None:
    rng = np.random.default_rng(2)
    label, risk = rng.random(200) < 0.4, rng.random(200).round(1)
    assert concordance(np.where(label, 1, 2), np.ones(200, bool), risk) == pytest.approx(sk.roc_auc_score(label, risk))


def test_the_median_week_lies_where_the_probability_passes_one_half() -> None:
    p = np.array([[0.25, 0.75, 0.9], [1.0, 1.0, 1.0], [0.0, 0.0, 0.5], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    assert median_week(p, (4, 8, 12)).tolist() == [6, 2, 12, 12, 4]


def test_stage_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    actual, predicted = rng.integers(0, 5, 400), rng.integers(0, 5, 400)
    found = stage_metrics(actual, predicted)
    precision, recall, f1, support = sk.precision_recall_fscore_support(actual, predicted)
    for k, name in enumerate(STAGES):
        own = [found[f"{metric}_{name}"] for metric in ("precision", "recall", "f1", "share")]
        assert own == pytest.approx([precision[k], recall[k], f1[k], support[k] / 400])
    assert found["macro_f1"] == pytest.approx(sk.f1_score(actual, predicted, average="macro"))


def test_macro_f1_counts_each_stage_that_occurs_alike() -> None:
    actual = np.array([0, 0, 0, 3])
    assert stage_metrics(actual, actual)["macro_f1"] == 1
    found = stage_metrics(actual, np.zeros(4, int))
    assert found["macro_f1"] == pytest.approx((6 / 7) / 2)
    assert np.isnan(found["precision_decline"])  # never forecast
