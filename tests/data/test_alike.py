import numpy as np
import polars as pl
import pytest

from plcp.data.alike import TITLE_WORDS, TitleLevelBuilder, TitleLevels, TitlePoolBuilder, TitlePools, title_words
from plcp.data.siblings import WeeksOfLife

TITLES = pl.Series(["RED MUG", "Red mug!", "blue mug", "blue lamp", None, "", "Кружка 杯子 x 12"])


def test_words_are_those_of_any_script_whatever_their_case() -> None:
    words = title_words(TITLES)
    assert words.shape == (7, TITLE_WORDS)
    assert np.array_equal(words[0], words[1])
    assert set(words[2]) & set(words[3]) > {0}
    assert not words[4:6].any()
    assert (words[6] > 0).sum() == 3  # a word, and two Chinese signs
    cup, bowl = title_words(pl.Series(["手工陶瓷杯", "蓝色陶瓷碗"]))
    assert len({*cup} & {*bowl} - {0}) == 2  # what both are made of


def pools(units: np.ndarray, launch: np.ndarray, titles: pl.Series) -> TitlePools:
    builder = TitlePoolBuilder(units.shape[1])
    for part in np.array_split(np.arange(len(units)), 2):
        lives = WeeksOfLife.of(units[part], np.ones_like(units[part], bool), launch[part], launch[part])
        builder.add(lives, launch[part], launch[part], title_words(titles)[part])
    return builder.done()


def test_siblings_are_those_who_share_rare_words() -> None:
    titles = pl.Series(["gold lamp"] * 20 + ["gold mug"] * 20 + ["tin mug"] * 20)
    units = np.repeat([100.0, 3.0, 3.0], 20)[:, None] * np.ones(30)
    found = pools(units, np.zeros(60), titles).mean(
        title_words(pl.Series(["lamp", "mug", "gold lamp", "chair"])), np.zeros((4, 1)), np.full(4, 30)
    )
    lamp, mug, gold_lamp, chair = np.expm1(found[:, 0])
    assert lamp == pytest.approx(100, rel=0.01)
    assert mug == pytest.approx(3, rel=0.01)
    assert mug < gold_lamp < lamp
    assert np.isnan(chair)


def test_what_comes_after_the_origin_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    units, launch = rng.poisson(5, (60, 30)).astype(float), rng.integers(0, 30, 60).astype(float)
    titles = pl.Series([f"w{'abcdefgh'[k % 8] * 3} thing" for k in range(60)])
    words, ages, origin = title_words(titles), np.tile(np.arange(10.0), (60, 1)), np.full(60, 12)
    changed = units.copy()
    changed[:, 12:] = 900
    early = launch < 12
    whole, other = (pools(u, launch, titles).mean(words, ages, origin) for u in (units, changed))
    cut = pools(units[early, :12], launch[early], titles.filter(early)).mean(words, ages, origin)
    assert whole.tobytes() == other.tobytes() == cut.tobytes()
    assert np.isfinite(whole).any()


def levels(units: np.ndarray, titles: pl.Series) -> TitleLevels:
    builder = TitleLevelBuilder(units.shape[1])
    for part in np.array_split(np.arange(len(units)), 2):
        builder.add(units[part], title_words(titles)[part])
    return builder.done()


def test_a_new_product_is_held_against_what_sells_under_its_words_now() -> None:
    titles = pl.Series(["gold lamp"] * 20 + ["gold mug"] * 20 + ["tin mug"] * 20)
    units = np.repeat([100.0, 3.0, 3.0], 20)[:, None] * np.ones(60)
    asked = title_words(pl.Series(["lamp", "mug", "gold lamp", "chair"]))
    lamp, mug, gold_lamp, chair = np.expm1(levels(units, titles).mean(asked, np.full(4, 60)))
    assert lamp == pytest.approx(100, rel=0.01)
    assert mug == pytest.approx(3, rel=0.01)
    assert mug < gold_lamp < lamp
    assert np.isnan(chair)
    units[:20, 20:] = 0  # off sale 26 weeks later
    gone = levels(units, titles)
    assert gone.mean(asked[:1], np.array([45]))[0] == pytest.approx(0, abs=0.01)
    assert np.isnan(gone.mean(asked[:1], np.array([60]))[0])


@pytest.mark.parametrize("origin", [0, 5, 30, 59, 60, 80])
def test_levels_know_nothing_of_the_origin_and_later(origin: int) -> None:
    rng = np.random.default_rng(0)
    units, titles = rng.poisson(3, (60, 60)).astype(float), pl.Series(["gold lamp", "tin mug", "red mug"] * 20)
    later, asked = units.copy(), title_words(titles[:3])
    later[:, origin:] *= 50
    before, after = (levels(x, titles).mean(asked, np.full(3, origin)) for x in (units, later))
    assert np.array_equal(before, after, equal_nan=True)
