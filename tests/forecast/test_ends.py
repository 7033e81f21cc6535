"""Ends are shrunk towards what came of products that had been silent for as long."""

import json
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from plcp.data.features import NUMERIC, POOL
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.calibration import Calibration
from plcp.forecast.ends import END, GROUPS, OWN, PastEnds, ends, group
from plcp.forecast.values import calibrated
from plcp.model.heads import BINS
from tests.forecast.shop import prepared_shop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=300, per_shard=128)


def curve(hazard: np.ndarray) -> np.ndarray:
    """Probability that the end has come by each bin, of logits (…, BINS)."""
    return 1 - np.cumprod(1 / (1 + np.exp(hazard)), -1)


def test_landmarks_count_what_was_seen_of_a_life() -> None:
    units = np.zeros((1, 48))
    units[0, :30] = 5  # ends with week 30, which is confirmed
    ended, at_risk = ends(units)
    # from each of weeks 20 to 40: up to 30 the end was seen at its distance, from then on it lay behind
    assert ended.sum() == 21
    assert ended[0, :, 1:].sum() == 10, "from weeks in which it sold, and in bins of two weeks"
    assert np.array_equal(ended.sum((0, 1))[:7], [11, 2, 2, 2, 2, 2, 0])
    assert ended[1:, :, 1:].sum() == 0, "once silent, it had ended"
    assert np.array_equal(at_risk.sum((0, 1))[:7], [21, 10, 8, 6, 4, 2, 0]), "at risk of a bin are those that lived until then"


def test_an_end_that_is_not_confirmed_is_no_end_and_survival_counts_no_later() -> None:
    units = np.zeros((2, 48))
    units[0] = 5
    units[1, :43] = 5  # silent for five weeks: nobody knows
    ended, at_risk = ends(units)
    assert ended.sum() == 0
    assert np.array_equal(at_risk.sum((0, 1))[:3], [2 * 21, 2 * 19, 2 * 17]), "as far as an end could be known, by week 40"


def test_longer_silence_is_a_likelier_end_and_a_model_is_moved_half_the_way(prepared: Prepared) -> None:
    past = PastEnds.of(prepared)
    known = past.hazard.shape[2]
    assert past.hazard.shape[:2] == GROUPS
    assert 6 < known <= BINS
    by_gap = curve(past.hazard)[:, 2, 2]
    assert by_gap[-1] > 2 * by_gap[0]
    units = np.zeros((3, 60))
    units[0, -26:] = 3  # sells every week
    units[1, 40:45] = 3  # has been silent for 15 weeks
    units[2, :20] = 3  # out of life
    own = np.full((3, 3, BINS), -3.0)
    shrunk = past.shrink(own, units)
    assert (own == -3).all(), "the model's own answer stays as it is"
    assert np.allclose(shrunk[:2, END, :known], OWN * -3 + (1 - OWN) * past.hazard[group(units[:2, -26:])])
    assert curve(shrunk[1, END])[2] > curve(shrunk[0, END])[2]
    assert np.array_equal(shrunk[2], own[2])
    assert np.array_equal(np.delete(shrunk, END, 1), np.delete(own, END, 1))
    assert np.array_equal(PastEnds.none().shrink(own, units), own)


def test_of_what_nobody_was_followed_into_nothing_is_said() -> None:
    def of(units: np.ndarray) -> PastEnds:
        shard = SimpleNamespace(units=units)
        return PastEnds.of(cast(Prepared, SimpleNamespace(shards=[0, 1], read=lambda index, columns: shard)))

    rng = np.random.default_rng(0)
    units = np.where(np.arange(44) < rng.integers(10, 60, (500, 1)), 3.0, 0.0)
    known = of(units).hazard.shape[2]
    assert 5 < known < 12, "weeks 18 to 36 see nine bins ahead"
    own = np.full((500, 3, BINS), -3.0)
    assert (of(units).shrink(own, units)[:, :, known:] == -3).all()
    assert of(np.full((500, 44), 3.0)).hazard.shape[2] == 0, "none has ended yet"


def test_what_is_known_of_ends_survives_being_stored_and_another_shape_is_refused(prepared: Prepared) -> None:
    own = Calibration(Calibration.identity().shift, ends=PastEnds.of(prepared))
    again = Calibration.from_dict(json.loads(json.dumps(own.to_dict())))
    assert np.allclose(again.ends.hazard, own.ends.hazard, atol=1e-4)
    stored = own.ends.to_dict()
    for change in ({"hazard": [[[0.0] * BINS] * 7] * 3}, {"gaps": [1, 2]}):
        with pytest.raises(ValueError, match="ends have shape"):
            PastEnds.from_dict({**stored, **change})


def test_a_forecast_of_the_end_is_told_what_became_of_others(prepared: Prepared) -> None:
    ends, spec = PastEnds.of(prepared), Spec(horizon=2)
    history = np.full((1, 60, len(spec.history)), np.nan, np.float32)
    history[0, :, 0] = np.where(np.arange(60) < 45, 3, 0)  # silent for 15 weeks
    out = {
        "quantiles": np.zeros((1, 2, 9)),
        "mean": np.ones((1, 2)),
        "response": np.zeros((1, 2)),
        "hazard": np.full((1, 3, BINS), -3.0),
        "stage": np.zeros((1, 5)),
        "embedding": np.zeros((1, 4)),
    }
    cases = {"history": history, "age": np.array([60.0]), "pool": np.full((1, 2, len(POOL)), np.nan), "numeric": np.ones((1, len(NUMERIC)))}
    when = np.array(["2024-01-01"], "datetime64[D]")
    without, told = (
        calibrated(out, cases, spec, when, when, Calibration(Calibration.identity().shift, ends=known)).within[0, END]
        for known in (PastEnds.none(), ends)
    )
    assert (told[:3] > 1.5 * without[:3]).all()
