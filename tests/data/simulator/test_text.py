from pathlib import Path

import polars as pl

from plcp.data.simulator import vocabulary
from plcp.data.simulator.text import misspell
from tests.data.simulator.conftest import CONFIG, table


def titled(shop: Path) -> pl.DataFrame:
    return table(shop, "products").join(table(shop, "truth/products"), on="sku_id")


def test_titles_name_the_category_in_one_of_its_words(shop: Path) -> None:
    nouns = {c.path: c.noun for c in CONFIG.world.categories}
    for title, category, chinese in titled(shop).select("title", "category", "chinese").iter_rows():
        assert any(word in title.lower() for word in vocabulary.NOUNS[nouns[category]][chinese]), title


def test_some_titles_are_chinese_and_the_same_style_has_several_words(shop: Path) -> None:
    found = titled(shop)
    assert 0.2 < found["chinese"].mean() < 0.4  # type: ignore[operator]
    for style in range(6):
        words = vocabulary.STYLES[style][0]
        titles = found.filter(pl.col("style") == style, ~pl.col("chinese"))["title"].str.to_lowercase()
        assert sum(titles.str.contains(word).any() for word in words) >= 2


def test_titles_rarely_name_the_colour(shop: Path) -> None:
    found = titled(shop)
    named = [
        any(word in title.lower().split() for word in vocabulary.COLOURS[colour][0])
        for title, colour in found.filter(~pl.col("chinese")).select("title", "colour").iter_rows()
    ]
    assert 0 < sum(named) / len(named) < 0.15


def test_a_misspelt_title_keeps_its_letters() -> None:
    assert sorted(misspell("Vintage Mug", 0.5)) == sorted("Vintage Mug")
    assert misspell("Vintage Mug", 0.5) != "Vintage Mug"
    assert misspell("Mug", 0.5) == "Mug"
