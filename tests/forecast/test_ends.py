"""Ends are shrunk towards what came of products that had been silent for as long."""

import numpy as np
import pytest

from plcp.data.lifecycle import CONFIRM
from plcp.data.prepared import Prepared
from plcp.forecast.ends import END, GROUPS, OWN, PastEnds, ends, group
from plcp.model.heads import BINS
from tests.forecast.shop import prepared_shop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=300, per_shard=128)


def curve(hazard: np.ndarray) -> np.ndarray:
    """Probability that the end has come by each bin, of logits (…, BINS)."""
    return 1 - np.cumprod(1 / (1 + np.exp(hazard)), -1)


def test_landmarks_count_what_was_seen_of_a_life() -> None:
    units = np.zeros((1, 40))
    units[0, :20] = 5  # ends with week 20, which is confirmed
    ended, at_risk = ends(units)
    # from each of weeks 8 to 20 the end was seen once, in the bin of its distance; from 21 on it lay behind
    assert ended.sum() == 40 - CONFIRM + 1 - 8
    assert ended[0, :, 1:].sum() == 12, "six bins of two weeks, from weeks in which it sold"
    assert ended[1:, :, 1:].sum() == 0, "once silent, it had ended"
    assert (at_risk >= ended).all()
    assert at_risk[0, :, 0].sum() == 13, "all that had just sold were at risk of having ended"


def test_an_end_that_is_not_confirmed_is_no_end_and_survival_counts_no_later() -> None:
    units = np.zeros((2, 40))
    units[0] = 5
    units[1, :35] = 5  # silent for five weeks: nobody knows
    ended, at_risk = ends(units)
    assert ended.sum() == 0
    assert at_risk[0, -1, 0] == 2 * (40 - CONFIRM + 1 - 25), "each week until the last of which an end could be known"


def test_longer_silence_is_a_likelier_end_and_a_model_is_moved_half_the_way(prepared: Prepared) -> None:
    past = PastEnds.of(prepared)
    assert past.hazard.shape == (*GROUPS, BINS)
    by_gap = curve(past.hazard)[:, 2, 2]
    assert by_gap[-1] > 2 * by_gap[0]
    units = np.zeros((3, 60))
    units[0, -26:] = 3  # sells every week
    units[1, 40:45] = 3  # has been silent for 15 weeks
    units[2, :20] = 3  # out of life
    own = np.full((3, 3, BINS), -3.0)
    shrunk = past.shrink(own, units)
    assert (own == -3).all(), "the model's own answer stays as it is"
    assert np.allclose(shrunk[:2, END], OWN * -3 + (1 - OWN) * past.hazard[group(units[:2, -26:])])
    assert curve(shrunk[1, END])[2] > curve(shrunk[0, END])[2]
    assert np.array_equal(shrunk[2], own[2])
    assert np.array_equal(np.delete(shrunk, END, 1), np.delete(own, END, 1))
    assert np.array_equal(PastEnds.none().shrink(own, units), own)
    again = PastEnds.from_dict(past.to_dict())
    assert np.allclose(again.hazard, past.hazard, atol=1e-4)


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        PastEnds.from_dict({"hazard": [0.0] * 5})
