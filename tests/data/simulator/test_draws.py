import numpy as np
import pytest

from plcp.data.simulator.draws import Draws, pick


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    fresh = Draws(5, 2).uniform("orders", 10, 4)
    used = Draws(5, 2)
    used.uniform("late", 1000)
    assert np.array_equal(used.uniform("orders", 10, 4), fresh)
    assert np.array_equal(used.uniform("orders", 20, 4)[:10], fresh)


@pytest.mark.parametrize("other", [Draws(6, 2), Draws(5, 3)])
def test_seeds_and_chunks_have_their_own_numbers(other: Draws) -> None:
    ours, theirs = Draws(5, 2).uniform("orders", 5000), other.uniform("orders", 5000)
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.05
    assert abs(np.corrcoef(Draws(5, 2).hashed("x", np.arange(5000)), other.hashed("x", np.arange(5000)))[0, 1]) < 0.05


def test_philox_gives_the_published_bits() -> None:
    """The known answer of Random123 for Philox4x64-10 at counter 0 and key 0; NumPy counts up before it draws."""
    philox = np.random.Philox(key=np.zeros(2, np.uint64), counter=np.full(4, 2**64 - 1, np.uint64))
    assert [hex(x) for x in philox.random_raw(4)] == [
        "0x16554d9eca36314c",
        "0xdb20fe9d672d0fdc",
        "0xd7e772cee186176b",
        "0x7e68b68aec7ba23b",
    ]


def test_hashed_uniforms_are_uniform_and_uncorrelated() -> None:
    grid = Draws(1, 0).hashed("times", np.arange(500)[:, None], np.arange(400))
    assert 0 < grid.min() < grid.max() < 1
    assert grid.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.01


def test_pick_follows_the_weights() -> None:
    picked = pick(Draws(1, 0).uniform("p", 50_000), np.array([1, 0, 3]))
    assert np.bincount(picked, minlength=3) / 50_000 == pytest.approx([0.25, 0, 0.75], abs=0.01)
