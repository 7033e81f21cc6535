import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from plcp.config import load
from plcp.training.space import Range, TuneConfig


def test_a_space_is_given_by_dotted_or_nested_names() -> None:
    nested = TuneConfig.model_validate(
        {"space": {"engine": {"learning_rate": {"low": 1e-3, "high": 1e-2}}, "model": {"dropout": [0, 0.2]}}}
    )
    dotted = TuneConfig.model_validate({"space": {"engine.learning_rate": {"low": 1e-3, "high": 1e-2}, "model.dropout": [0, 0.2]}})
    assert nested == dotted
    told = load(overrides=["tune.space.engine.learning_rate={low: 1e-3, high: 1e-2}", "tune.space.model.dropout=[0, 0.2]"])
    assert told.tune == dotted


def test_a_trials_options_are_a_function_of_its_number_and_the_seed_within_the_space() -> None:
    config = TuneConfig.model_validate({"space": {"a": {"low": 1e-4, "high": 1.0}, "b": [1, 2, 3]}})
    drawn = [config.values(trial, seed=5) for trial in range(300)]
    assert drawn == [config.values(trial, seed=5) for trial in range(300)]
    assert drawn != [config.values(trial, seed=6) for trial in range(300)]
    assert {options["b"] for options in drawn} == {1, 2, 3}
    rates = np.array([options["a"] for options in drawn])
    assert rates.min() >= 1e-4
    assert rates.max() <= 1
    assert 0.3 < (rates < 1e-2).mean() < 0.7  # evenly over the logarithms
    even, rng = Range(low=-1, high=1, log=False), np.random.default_rng(0)
    assert abs(np.mean([even.draw(rng) for _ in range(300)])) < 0.1


def test_rungs_grow_by_the_reduction_and_end_with_the_whole_run() -> None:
    assert TuneConfig(first_rung=100, reduction=3).rungs(1000) == [100, 300, 900, 1000]
    assert TuneConfig(first_rung=100, reduction=3).rungs(900) == [100, 300, 900]
    assert TuneConfig(first_rung=100).rungs(50) == [50]


@pytest.mark.parametrize(
    "space", ["{}", "{model.preset: [tiny, base]}", "{a: []}", "{a: {low: 2, high: 1}}", "{a: {low: 0, high: 1}}", "{a: 3}"]
)
def test_a_space_that_cannot_be_searched_is_refused(space: str) -> None:
    with pytest.raises(ValidationError):
        TuneConfig.model_validate({"space": yaml.safe_load(space)})
