"""What trees add to a network's forecast."""

import json

import numpy as np
import pytest

from plcp.data.features import Arrays, inputs
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.forest import Forest
from plcp.forecast.trees import END, SHARE, SHARE_ENDS, SHARE_WEEKS, TOLD, Trees, all_levels, in_life
from plcp.model.heads import BINS
from tests.forecast.shop import lively_trees, prepared_shop

SPEC = Spec(history_weeks=52, horizon=6)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, Spec]:
    prepared: Prepared = prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=60, per_shard=60)
    shard, spec = prepared.read(0), SPEC.fitted(prepared)
    at = np.full(len(shard), prepared.weeks)
    found = inputs(shard, np.arange(len(shard)), at, at, spec)
    found["history"][:5] = np.nan  # launches
    found["future"][:] = np.nan  # nothing is planned
    return found, spec


def network(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).exponential(1, (n, 6, 9)), 2)


def test_quantiles_of_products_in_life_move_towards_the_trees_and_never_cross(cases: tuple[Arrays, Spec]) -> None:
    found, spec = cases
    trees, quantiles = lively_trees(found, spec), network(60)
    alive = in_life(found["history"], spec)
    assert alive.any()
    assert not alive[:5].any()
    after = trees.quantiles(quantiles, np.zeros((60, 6)), found, spec)
    assert np.array_equal(after[~alive], quantiles[~alive]), "launches, and what has been silent for half a year, trees know nothing of"
    assert (np.diff(after, axis=2) >= 0).all()
    assert (after >= 0).all()
    assert (after[alive] != quantiles[alive]).any((1, 2)).all()


def test_a_planned_price_moves_the_trees_as_it_moves_the_network(cases: tuple[Arrays, Spec]) -> None:
    found, spec = cases
    trees, quantiles = lively_trees(found, spec), np.zeros((60, 6, 9))
    cheap, dear = (trees.quantiles(quantiles, np.full((60, 6), response), found, spec) for response in (0.0, -0.5))
    cheap, dear = cheap[..., TOLD], dear[..., TOLD]  # those between them follow
    far = cheap > 0.5 * trees.share
    assert far.any()
    assert np.allclose((cheap - dear)[far], 0.5 * trees.share), "by as much, but where zero is reached"
    assert (dear <= cheap).all()


def test_fewer_weeks_of_data_trust_trees_less() -> None:
    assert [Trees(weeks=weeks).share for weeks in (0, SHARE_WEEKS // 2, SHARE_WEEKS, 300)] == [0, SHARE / 2, SHARE, SHARE]


def test_ends_are_told_half_by_trees_in_the_bins_they_know(cases: tuple[Arrays, Spec]) -> None:
    found, spec = cases
    trees, hazard = lively_trees(found, spec), np.full((60, 3, BINS), -3.0)
    alive, after = in_life(found["history"], spec), trees.hazard(hazard, found, spec)
    moved = after != hazard
    assert moved[alive, END, : trees.bins].mean() > 0.9
    assert not moved[~alive].any()
    assert not moved[:, :END].any()
    assert not moved[:, END, trees.bins :].any()
    own = (after[alive, END, : trees.bins] + 3 * (1 - SHARE_ENDS)) / SHARE_ENDS
    assert (np.abs(own) < 3).all(), "what random trees say"


def test_without_trees_nothing_changes(cases: tuple[Arrays, Spec]) -> None:
    found, spec = cases
    quantiles = network(60)
    assert Trees().quantiles(quantiles, np.zeros((60, 6)), found, spec) is quantiles
    hazard = np.zeros((60, 3, BINS))
    assert Trees().hazard(hazard, found, spec) is hazard


def test_levels_without_trees_lie_half_way() -> None:
    assert all_levels(np.array([[1.0, 3, 5, 9, 11]])).tolist() == [[1, 2, 3, 4, 5, 7, 9, 10, 11]]


def test_a_written_one_comes_back_and_another_shape_is_refused(cases: tuple[Arrays, Spec]) -> None:
    found, spec = cases
    trees = lively_trees(found, spec)
    stored = json.loads(json.dumps(trees.to_dict()))
    one, other = (own.quantiles(network(60), np.zeros((60, 6)), found, spec) for own in (trees, Trees.from_dict(stored)))
    assert np.array_equal(one, other)
    assert Trees.from_dict(json.loads(json.dumps(Trees().to_dict()))).share == 0
    for change in ({"curve": stored["ends"]}, {"bins": 0}, {"bins": BINS + 1}, {"weeks": -1}, {"ends": Forest.none().to_dict()}):
        with pytest.raises(ValueError, match=f"expected {len(TOLD)}"):
            Trees.from_dict({**stored, **change})
    for other_words in ({"told": [0, 4, 8]}, {"reads": {**stored["reads"], "lags": [4]}}):
        with pytest.raises(ValueError, match="trees were grown by"):
            Trees.from_dict({**stored, **other_words})
