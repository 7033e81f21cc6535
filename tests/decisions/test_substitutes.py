"""Substitutes: the nearest that can be sold, as a search by hand finds them."""

import numpy as np
import polars as pl

from plcp.decisions.substitutes import SubstitutesConfig, directions, nearest, substitutes
from tests.decisions.shop import ORIGIN

RNG = np.random.default_rng(0)


def test_nearest_equals_the_full_sort_over_several_blocks() -> None:
    vectors = directions(pl.DataFrame({"vector": RNG.normal(size=(3000, 8)).tolist()}, schema={"vector": pl.List(pl.Float32)}))
    queries, candidates = np.arange(0, 3000, 2), np.arange(0, 3000, 3)
    found = nearest(queries, candidates, vectors, 4)
    cosines = vectors[queries] @ vectors[candidates].T
    cosines[queries[:, None] == candidates[None]] = -np.inf
    np.testing.assert_array_equal(found.index, candidates[np.argsort(-cosines, axis=1)[:, :4]])
    np.testing.assert_allclose(found.cosine, np.sort(cosines, axis=1)[:, ::-1][:, :4], rtol=1e-5)


def test_fewer_candidates_than_asked_leave_gaps() -> None:
    found = nearest(np.array([0]), np.array([0, 1]), np.eye(2, dtype=np.float32), 3)
    assert found.index.tolist() == [[1, -1, -1]]


def shop(**columns: list[object]) -> tuple[pl.DataFrame, pl.DataFrame]:
    sku_id = ["ending", "twin", "empty twin", "other kind", "far"]
    vectors = [[1, 0.1, 0], [1, 0, 0], [1, 0.1, 0], [1, 0.1, 0], [-1, 0, 1]]
    standing = pl.DataFrame(
        {
            "sku_id": sku_id,
            "title": [s.title() for s in sku_id],
            "group": ["Toys", "Toys", "Toys", "Cards", "Toys"],
            "on_hand": [0.0, 30.0, 0.0, 30.0, 30.0],
            "ending": [True, False, False, False, False],
            "short": [False] * 5,
            "available": [False, True, False, True, True],
        }
        | columns
    )
    return standing, pl.DataFrame({"sku_id": sku_id, "vector": vectors}, schema_overrides={"vector": pl.List(pl.Float32)})


def test_substitute_is_the_nearest_of_its_group_that_can_be_sold() -> None:
    frame = substitutes(*shop(), ORIGIN, SubstitutesConfig())
    assert frame.select("sku_id", "other_sku_id").rows() == [("ending", "twin")]
    assert "Twin (30 in stock)" in frame["reason"][0]


def test_without_categories_the_whole_catalog_is_searched() -> None:
    frame = substitutes(*shop(group=[None] * 5), ORIGIN, SubstitutesConfig())
    assert set(frame["other_sku_id"]) == {"twin", "other kind"}


def test_no_one_needs_a_substitute() -> None:
    assert substitutes(*shop(ending=[False] * 5), ORIGIN, SubstitutesConfig()).is_empty()
