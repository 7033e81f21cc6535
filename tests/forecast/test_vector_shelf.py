from pathlib import Path

import numpy as np
import pytest

from plcp.forecast import vector_shelf
from plcp.forecast.embeddings import TowerCache, content_key
from plcp.forecast.vector_shelf import SHELF, VectorShelf


def keys(*names: str) -> list[bytes]:
    return [content_key(name) for name in names]


def vectors(*values: float) -> np.ndarray:
    return np.repeat(np.array(values, np.float16)[:, None], 3, 1)


@pytest.fixture
def cache(tmp_path: Path) -> TowerCache:
    kept = TowerCache(tmp_path / "tower")
    kept.put(keys("a", "b"), vectors(1, 2))
    kept.put(keys("c", "d", "e"), vectors(3, 4, 5))
    return kept


def folder_of(cache: TowerCache) -> Path:
    assert cache.folder is not None
    return cache.folder


def test_it_gives_what_the_cache_was_given_in_the_order_asked_for(cache: TowerCache) -> None:
    vector_shelf.build(folder_of(cache))
    found, held = VectorShelf(folder_of(cache)).find(keys("e", "nobody", "a", "c", "a"))
    assert found.tolist() == [True, False, True, True, True]
    assert np.array_equal(held, vectors(5, 1, 3, 1))


def test_before_there_is_one_nothing_is_held_and_a_newer_one_is_taken_up(cache: TowerCache) -> None:
    shelf = VectorShelf(folder_of(cache))
    assert not shelf.find(keys("a"))[0].any()
    vector_shelf.build(folder_of(cache))
    assert shelf.find(keys("a", "f"))[0].tolist() == [True, False]
    cache.put(keys("f"), vectors(6))
    vector_shelf.build(folder_of(cache))
    found, held = shelf.find(keys("a", "f"))
    assert found.all()
    assert np.array_equal(held, vectors(1, 6))


def test_what_did_not_change_is_not_written_again(cache: TowerCache) -> None:
    vector_shelf.build(folder_of(cache))
    before = (folder_of(cache) / SHELF).stat().st_ino
    vector_shelf.build(folder_of(cache))
    assert (folder_of(cache) / SHELF).stat().st_ino == before


def test_a_damaged_file_costs_its_own_vectors_alone(cache: TowerCache) -> None:
    broken, _ = sorted(folder_of(cache).glob("*.parquet"))
    broken.write_bytes(b"broken")
    vector_shelf.build(folder_of(cache))
    assert VectorShelf(folder_of(cache)).find(keys("a", "b", "c", "d", "e"))[0].sum() in (2, 3)
    for path in folder_of(cache).glob("*.parquet"):
        path.write_bytes(b"broken")
    cache.put(keys("g"), vectors(7))
    for path in folder_of(cache).glob("*.parquet"):
        path.write_bytes(b"broken")
    vector_shelf.build(folder_of(cache))
    assert not VectorShelf(folder_of(cache)).find(keys("a", "g"))[0].any()
