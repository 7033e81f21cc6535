import numpy as np
import pytest

from plcp.evaluation.metrics import auc, calibration_gap, curve_metrics, event_metrics, macro_f1, pinball
from plcp.tables import LEVELS


def test_a_certain_and_right_forecast_loses_nothing() -> None:
    actual = np.array([[3.0, 0.0, 7.0]])
    quantiles = np.repeat(actual[:, :, None], 9, 2)
    found = curve_metrics(actual, quantiles, actual)
    assert found == {"wql": 0, "wape": 0, "wape_total": 0, "bias": 0, "calibration_gap": 0}


def test_the_quantile_loss_of_a_certain_forecast_is_its_absolute_error() -> None:
    assert pinball(np.array([[10.0, 4.0]]), np.repeat(np.array([[[7.0], [6.0]]]), 9, 2)) == pytest.approx([5])


def test_the_quantile_loss_is_least_at_the_quantiles_of_what_comes() -> None:
    actual = np.random.default_rng(0).gamma(2, 5, (4000, 1))
    right = np.broadcast_to(np.quantile(actual, LEVELS), (4000, 1, 9))
    assert pinball(actual, right).sum() < min(pinball(actual, right * factor).sum() for factor in (0.9, 1.1))
    assert calibration_gap(actual, right) < 0.01
    assert calibration_gap(actual, right * 0.5) > 0.2


def test_a_forecast_of_nothing_is_calibrated_where_nothing_is_sold() -> None:
    assert calibration_gap(np.zeros((5, 3)), np.full((5, 3, 9), 0.3)) == 0


def test_without_any_units_there_is_no_relative_error() -> None:
    found = curve_metrics(np.zeros((2, 3)), np.ones((2, 3, 9)), np.ones((2, 3)))
    assert np.isnan([found["wql"], found["wape"], found["bias"]]).all()


def test_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() -> None:
    label, score = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])
    assert auc(label, score) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(np.array([True, True]), np.array([0.2, 0.3])))


def test_a_forecast_of_the_base_rate_has_no_skill() -> None:
    label = np.arange(10) < 3
    assert event_metrics(label, np.full(10, 0.3))["brier_skill"] == pytest.approx(0)
    assert event_metrics(label, label.astype(float))["brier_skill"] == 1
    assert np.isnan(event_metrics(np.ones(3, bool), np.ones(3))["brier_skill"])


def test_macro_f1_counts_each_stage_that_occurs_alike() -> None:
    actual = np.array([0, 0, 0, 3])
    assert macro_f1(actual, actual) == 1
    assert macro_f1(actual, np.zeros(4, int)) == pytest.approx((6 / 7) / 2)
