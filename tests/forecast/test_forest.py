"""Trees run as LightGBM runs them."""

import json
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest

from plcp.forecast.forest import DEPTH, ROWS, Forest, without_unknown


def learned(objective: str, y: Callable[[np.ndarray], np.ndarray], leaves: int = 31, **params: Any) -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(3000, 6)), 1).astype(np.float32)  # many values are equal, to each other and to thresholds
    x[rng.random(x.shape) < 0.1] = np.nan
    own = {
        "objective": objective,
        "num_leaves": leaves,
        "max_depth": DEPTH,
        "min_data_in_leaf": 5,
        "verbose": -1,
        **params,
    }
    return lightgbm.train(own, lightgbm.Dataset(without_unknown(x), y(np.nan_to_num(x))), 12), x


@pytest.fixture(scope="module")
def boosters() -> tuple[list[lightgbm.Booster], np.ndarray]:
    found = [learned("quantile", lambda x: x[:, 0] + x[:, 1] ** 2, leaves, alpha=0.7) for leaves in (2, 63)]
    found.append(learned("binary", lambda x: (x[:, 2] > x[:, 3]).astype(float)))
    return [booster for booster, _ in found], found[0][1]


def test_every_row_gets_what_lightgbm_gives_it(boosters: tuple[list[lightgbm.Booster], np.ndarray]) -> None:
    models, x = boosters
    expected = np.stack([model.predict(without_unknown(x), raw_score=True) for model in models], 1)
    assert np.allclose(Forest.of(models)(x), expected, atol=1e-5)
    assert len(x) > ROWS, "more than are run at once"


def test_one_that_found_nothing_more_to_split_runs_beside_the_others(boosters: tuple[list[lightgbm.Booster], np.ndarray]) -> None:
    constant, x = learned("quantile", lambda x: np.full(len(x), 3.0), alpha=0.5)
    few, _ = learned("binary", lambda x: (x[:, 0] > 0).astype(float), min_data_in_leaf=1400)
    models = [constant, few, boosters[0][0]]
    assert len({model.num_trees() for model in models}) > 1
    expected = np.stack([model.predict(without_unknown(x), raw_score=True) for model in models], 1)
    assert np.allclose(Forest.of(models)(x), expected, atol=1e-5)


def test_a_row_alone_gets_the_same_as_among_others(boosters: tuple[list[lightgbm.Booster], np.ndarray]) -> None:
    forest, x = Forest.of(boosters[0]), boosters[1]
    assert np.allclose(np.concatenate([forest(x[i : i + 1]) for i in range(50)]), forest(x)[:50], atol=1e-6)
    assert forest(x[:0]).shape == (0, 3)


def test_a_written_one_comes_back_and_another_shape_is_refused(boosters: tuple[list[lightgbm.Booster], np.ndarray]) -> None:
    forest, x = Forest.of(boosters[0]), boosters[1]
    stored = json.loads(json.dumps(forest.to_dict()))
    assert np.array_equal(Forest.from_dict(stored)(x), forest(x))
    assert Forest.from_dict(Forest.none().to_dict()).models == 0
    for change in ({"shape": [3, 11]}, {"leaf": stored["threshold"]}, {"feature": "not base64"}, {"shape": [3]}, {"width": 3}):
        with pytest.raises(ValueError, match=r"reshape|base64|unpack|padding|features beyond"):
            Forest.from_dict({**stored, **change})


def test_other_features_than_trees_were_grown_on_are_refused(boosters: tuple[list[lightgbm.Booster], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="read 6 features are given 5"):
        Forest.of(boosters[0])(boosters[1][:, 1:])
