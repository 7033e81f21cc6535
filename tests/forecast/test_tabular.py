"""What trees read of a product."""

import warnings

import numpy as np
import pytest

from plcp.data.calendar import CALENDAR
from plcp.data.features import NUMERIC, Arrays, inputs
from plcp.data.prepared import Prepared
from plcp.data.spec import CORE, Spec
from plcp.data.timeline import YEAR
from plcp.forecast import tabular
from tests.forecast.shop import prepared_shop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=60, per_shard=60)


def cases(prepared: Prepared, spec: Spec, back: int = 0) -> Arrays:
    shard = prepared.read(0)
    at = np.full(len(shard), prepared.weeks - back)
    return inputs(shard, np.arange(len(shard)), at, at, spec)


@pytest.mark.parametrize("weeks", [13, 52, 60, 104])
def test_a_product_alone_has_the_very_same_features_as_among_others(prepared: Prepared, weeks: int) -> None:
    spec = Spec(history_weeks=weeks, horizon=26).fitted(prepared)
    every = cases(prepared, spec)
    every["history"][:3, :, spec.history.index("price")] = 0  # given away
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = tabular.features(every, spec)
    assert together.dtype == np.float32
    assert together.shape[:2] == (60, 26)
    assert not np.isinf(together).any()
    for row in range(0, 60, 7):
        alone = tabular.features({name: every[name][row : row + 1] for name in tabular.READS}, spec)
        assert np.array_equal(alone[0], together[row], equal_nan=True), "to the last bit: a tree's threshold may lie between"


def with_history(history: np.ndarray, horizon: int) -> Arrays:
    steps = {"future": np.full((1, horizon, 2), np.nan), "due": np.zeros((1, horizon, 2))}
    calendar = {"calendar_future": np.zeros((1, horizon, len(CALENDAR)))}
    return {"history": history, "age": np.array([60.0]), "numeric": np.ones((1, len(NUMERIC))), **steps, **calendar}


def test_ten_times_the_units_are_the_same_shape() -> None:
    spec = Spec(history_weeks=104, horizon=4, channels=CORE, signals=(), attributes=False, vectors=False)
    history = np.full((1, 104, len(CORE)), np.nan, np.float32)
    history[0, :, 0] = np.random.default_rng(0).poisson(20, 104)
    few = with_history(history, horizon=4)
    many = {**few, "history": history * 10}
    same = np.isclose(tabular.features(few, spec), tabular.features(many, spec), rtol=1e-4, equal_nan=True).all((0, 1))
    assert np.flatnonzero(~same).tolist() == [0], "but for the level itself"
    assert np.allclose(tabular.level(many["history"], spec), 10 * tabular.level(history, spec))


def test_last_years_weeks_are_those_of_each_week_ahead() -> None:
    spec = Spec(history_weeks=104, horizon=3, channels=CORE, signals=(), attributes=False, vectors=False)
    history = np.ones((1, 104, len(CORE)), np.float32)
    history[0, :, 0] = np.arange(104)
    ahead = tabular.of_weeks(with_history(history, horizon=3), spec, np.ones(1))
    assert ahead[0, :, -3].tolist() == [104 - YEAR, 105 - YEAR, 106 - YEAR]
    assert ahead[0, :, -2].tolist() == [104 - YEAR, 105 - YEAR, 106 - YEAR], "and the mean of the five around them"
