import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.forecast import vector_shelf
from plcp.forecast.embeddings import TowerCache, content_key
from plcp.forecast.snapshot import MANIFEST
from plcp.forecast.vector_shelf import VectorShelf, shelf_of


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


def made(cache: TowerCache) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in shelf_of(folder_of(cache)).glob(f"*/{MANIFEST}")}


def test_what_did_not_change_is_not_written_again_and_the_one_before_stays(cache: TowerCache) -> None:
    vector_shelf.build(folder_of(cache))
    first = made(cache)
    vector_shelf.build(folder_of(cache))
    assert made(cache) == first
    for value, name in enumerate("xyz"):
        cache.put(keys(name), vectors(value))
        vector_shelf.build(folder_of(cache))
    assert len(made(cache)) == 2
    assert not {*first} & {*made(cache)}


def test_a_damaged_file_costs_its_own_vectors_alone(cache: TowerCache) -> None:
    broken = next(path for path in folder_of(cache).glob("*.parquet") if len(pl.read_parquet(path)) == 2)
    broken.write_bytes(b"broken")
    vector_shelf.build(folder_of(cache))
    found, held = VectorShelf(folder_of(cache)).find(keys("a", "b", "c", "d", "e"))
    assert found.tolist() == [False, False, True, True, True]
    assert np.array_equal(held, vectors(3, 4, 5))


def test_what_a_killed_build_left_disturbs_neither_the_cache_nor_the_next_build(cache: TowerCache) -> None:
    vector_shelf.build(folder_of(cache))
    (left,) = shelf_of(folder_of(cache)).iterdir()
    left.rename(left.with_name(f".{left.name}-half"))
    os.utime(left.with_name(f".{left.name}-half"), (0, 0))
    assert TowerCache(folder_of(cache)).find(keys("a", "f")).tolist()[1] == -1
    assert not VectorShelf(folder_of(cache)).find(keys("a"))[0].any()
    vector_shelf.build(folder_of(cache))
    assert VectorShelf(folder_of(cache)).find(keys("a"))[0].all()
    assert [path.name for path in shelf_of(folder_of(cache)).iterdir()] == [left.name]


def test_a_key_that_two_writers_put_is_found_once(cache: TowerCache) -> None:
    TowerCache(folder_of(cache)).put(keys("a", "z"), vectors(1, 9))
    vector_shelf.build(folder_of(cache))
    found, held = VectorShelf(folder_of(cache)).find(keys("z", "a"))
    assert found.all()
    assert np.array_equal(held, vectors(9, 1))
