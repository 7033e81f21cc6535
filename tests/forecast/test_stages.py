"""Stages are drawn towards what came of products whose past weeks looked alike."""

import json
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from scipy.special import log_softmax, softmax

from plcp.data.features import NUMERIC, POOL
from plcp.data.lifecycle import DECLINE, ENDED, GROWTH, HINDSIGHT, MATURITY, Levels
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.calibration import Calibration
from plcp.forecast.stages import FIRST_WEEK, KNOTS, LEAST, OWN, ROWS, WIDTH, PastStages, describe, fit, hat, landmarks
from plcp.forecast.values import calibrated
from plcp.model.heads import BINS
from plcp.tables import EVENTS, LEVELS, STAGES
from tests.forecast.shop import prepared_shop

HISTORY = Spec().history_weeks
UNDECIDED = np.full((1, len(STAGES)), 1 / len(STAGES))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=300, per_shard=128)


@pytest.fixture(scope="module")
def past(prepared: Prepared) -> PastStages:
    return PastStages.of(prepared, Spec())


def shop_of(units: np.ndarray) -> Prepared:
    """A prepared shop of one shard with these units."""
    return cast(Prepared, SimpleNamespace(shards=[0], weeks=units.shape[1], read=lambda index, columns: SimpleNamespace(units=units)))


def test_a_landmark_knows_the_weeks_before_it_and_its_stage_is_what_hindsight_says() -> None:
    rng = np.random.default_rng(1)
    units = rng.poisson(3, (50, 60)).astype(float)
    units[:, -HINDSIGHT:] = 0
    described, stage = landmarks(units, HISTORY, np.random.default_rng(0))
    later = units.copy()
    later[:, -HINDSIGHT:] = 300
    blind, otherwise = landmarks(later, HISTORY, np.random.default_rng(0))
    assert len(stage) == 50 * (60 - HINDSIGHT - FIRST_WEEK + 1)
    assert np.array_equal(described, blind), "no landmark reads a week of its hindsight"
    row, start = np.divmod(np.arange(len(stage)), 60 - HINDSIGHT - FIRST_WEEK + 1)
    assert np.array_equal(stage, Levels(units).stage(row, start + FIRST_WEEK))
    last = start + FIRST_WEEK == 60 - HINDSIGHT
    assert (stage[last] == ENDED).all()
    assert (otherwise[last] == GROWTH).all()


def test_what_is_described_looks_no_further_back_than_a_case() -> None:
    rng = np.random.default_rng(2)
    units = rng.poisson(1.5, (40, 130)).astype(float)
    units[:, -1] = 1  # each was in life
    older = units.copy()
    older[:, : 130 - HISTORY - HINDSIGHT] = 50
    few = np.random.default_rng(0)
    described, _ = landmarks(units[:, -HISTORY - HINDSIGHT :], HISTORY, few)
    whole, _ = landmarks(older, HISTORY, np.random.default_rng(0))
    assert described.shape[1] == WIDTH
    assert np.isfinite(described).all()
    assert np.allclose(whole[-1], described[-1])


def test_units_that_cancellations_took_away_again_and_rare_sales_are_described_too() -> None:
    shown = describe(np.array([[0] * 25 + [0.001], [1e6] * 26, [0] * 12 + [3] + [0] * 13]), np.array([False, True, True]))
    assert np.isfinite(shown).all()
    assert (shown[:, 0] == 1).all()


@given(st_np.arrays(np.float64, 30, elements=st.floats(-100, 100)), st.sampled_from(sorted(KNOTS)))
def test_hats_share_out_one_whole(values: np.ndarray, name: str) -> None:
    shares = hat(values, KNOTS[name])
    assert np.allclose(shares.sum(1), 1)
    assert ((shares > 0).sum(1) <= 2).all()
    at_knots = hat(np.array(KNOTS[name]), KNOTS[name])
    assert np.array_equal(at_knots, np.eye(len(KNOTS[name])))


def test_the_past_is_learned_and_rare_stages_are_not_ruled_out() -> None:
    rng = np.random.default_rng(0)
    described = np.zeros((4000, WIDTH))
    described[:, 0], described[:, 1] = 1, rng.random(4000) < 0.5
    stage = np.where(rng.random(4000) < np.where(described[:, 1] > 0, 0.9, 0.2), MATURITY, DECLINE)
    probability = softmax(described[:, :2] @ fit(described, stage)[:2], 1)
    for step, share in ((0, 0.2), (1, 0.9)):
        assert probability[described[:, 1] == step][0, MATURITY] == pytest.approx(share, abs=0.03)
    assert (probability[:, ENDED] > 1e-5).all(), "never seen is not impossible"


def test_a_model_s_word_counts_half_of_products_in_life(past: PastStages) -> None:
    rng = np.random.default_rng(3)
    own = rng.dirichlet(np.ones(len(STAGES)), 4)
    units = rng.poisson(2, (4, 60)).astype(float)
    units[3, -26:] = 0  # out of life
    visible = np.array([True, False, True, True])
    mixed = past.probability(own, units, visible)
    said = log_softmax(describe(units[:3], visible[:3]) @ past.weights, 1)
    assert np.allclose(mixed[:3], softmax(OWN * np.log(own[:3]) + (1 - OWN) * said, 1))
    assert np.array_equal(mixed[3], own[3])
    assert np.array_equal(PastStages.none().probability(own, units, visible), own)
    assert np.allclose(past.probability(np.eye(len(STAGES))[:1], units[:1], visible[:1]).sum(), 1), "even where a model is sure"


def test_a_long_silence_is_nearer_to_the_end_than_steady_sales(past: PastStages) -> None:
    units = np.full((2, 60), 3.0)
    units[1, -15:] = 0
    steady, silent = past.probability(np.repeat(UNDECIDED, 2, 0), units, np.array([False, False]))
    assert silent[ENDED] > 3 * steady[ENDED]
    assert steady[MATURITY] > 2 * silent[MATURITY]


def test_a_shop_of_few_weeks_or_products_says_nothing() -> None:
    rng = np.random.default_rng(0)
    for skus, weeks in ((50, FIRST_WEEK + HINDSIGHT - 1), (LEAST // 20, 25), (0, 60)):
        assert len(PastStages.of(shop_of(rng.poisson(3, (skus, weeks)).astype(float)), Spec()).weights) == 0
    assert len(PastStages.of(shop_of(rng.poisson(3, (LEAST // 20, 60)).astype(float)), Spec()).weights) == WIDTH


def test_no_more_landmarks_are_drawn_than_are_needed() -> None:
    units = np.random.default_rng(0).poisson(3, (ROWS // 30, 60)).astype(float)
    described, stage = landmarks(units, HISTORY, np.random.default_rng(0))
    assert len(described) == len(stage) == ROWS


def test_what_is_known_of_stages_survives_being_stored_and_other_knots_are_refused(past: PastStages) -> None:
    own = Calibration(Calibration.identity().shift, stages=past)
    again = Calibration.from_dict(json.loads(json.dumps(own.to_dict())))
    assert np.allclose(again.stages.weights, past.weights, atol=1e-4)
    assert len(Calibration.from_dict(json.loads(json.dumps(Calibration.identity().to_dict()))).stages.weights) == 0
    stored = past.to_dict()
    for change in ({"weights": [[0.0] * 5] * 7}, {"knots": {**stored["knots"], "age": [1, 2]}}):
        with pytest.raises(ValueError, match="stages have"):
            PastStages.from_dict({**stored, **change})


def test_a_forecast_of_the_stage_reads_units_as_they_were_sold(past: PastStages) -> None:
    spec = Spec(horizon=2)
    units = np.where(np.arange(60) < 45, 3.0, 0.0)
    units[40] = 900
    history = np.full((1, 60, len(spec.history)), np.nan, np.float32)
    softened = np.minimum(units, 5)
    history[0, :, spec.history.index("units")] = softened
    history[0, :, spec.history.index("outlier")] = np.log1p(units) - np.log1p(softened)
    out = {
        "quantiles": np.zeros((1, 2, len(LEVELS))),
        "mean": np.ones((1, 2)),
        "response": np.zeros((1, 2)),
        "hazard": np.full((1, len(EVENTS), BINS), -3.0),
        "stage": np.zeros((1, len(STAGES))),
        "embedding": np.zeros((1, 4)),
    }
    cases = {
        "history": history,
        "age": np.array([np.nan]),
        "pool": np.full((1, 2, len(POOL)), np.nan),
        "numeric": np.ones((1, len(NUMERIC))),
    }
    when = np.array(["2024-01-01"], "datetime64[D]")
    told = calibrated(out, cases, spec, when, when, Calibration(Calibration.identity().shift, stages=past)).stage
    assert np.allclose(told, past.probability(UNDECIDED, units[None], np.array([False])), atol=1e-3)
    assert not np.allclose(told, past.probability(UNDECIDED, softened[None], np.array([False])), atol=1e-3)
