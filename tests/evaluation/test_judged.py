import numpy as np
import pytest

from plcp.evaluation.cases import SAMPLE
from plcp.evaluation.judged import IN_SAMPLE, Ends, Events, Traits, pooled, those


def test_a_case_stands_in_its_bucket_of_every_kind_and_in_none_of_a_kind_that_it_has_not() -> None:
    nan = float("nan")
    traits = Traits(np.array([0.5, 60.0, nan]), np.array([3.0, nan, 0.0]), np.array(["Home", "", "Home"]), np.array([True, False, False]))
    found = {name: np.flatnonzero(mask).tolist() for name, mask in traits.buckets()}
    assert found == {
        "slow (<1/week)": [0],
        "very fast (>=50)": [1],
        "age <=12": [0, 2],
        "age >52 or unknown": [1],
        IN_SAMPLE: [0],
        "category Home": [0, 2],
    }
    assert str(SAMPLE) in IN_SAMPLE


def test_the_date_of_the_end_is_judged_over_those_seen() -> None:
    p = np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 0.2], [0.1, 0.1, 0.1], [0.0, 0.0, 0.1]])
    ends = Ends(np.array([5, 9, 12, 12]), np.array([True, True, False, False]), p)
    found = ends.metrics()
    assert found["date_mae"] == pytest.approx((3 + 3) / 2)  # the median of the second lies past week 12
    assert found["dated"] == 1 / 2
    assert found["concordance"] == pytest.approx(4 / 5)  # the third was held for likelier to end than the second


def test_cases_are_pooled_and_taken_apart_again() -> None:
    early, late = Events(np.array([True, False]), np.array([0.9, 0.1])), Events(np.array([False]), np.array([0.3]))
    both = pooled([early, late])
    assert both.probability.tolist() == [0.9, 0.1, 0.3]
    assert those(both, np.array([False, False, True])).probability.tolist() == late.probability.tolist()
