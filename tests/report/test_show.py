"""plcp show: one product in the terminal."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from plcp.base import DataError
from plcp.report.show import show, sparkline
from tests.report.shop import TRICKY, Shop


def printed(view: RenderableType) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_everything_known_of_a_product_is_shown(small_shop: Shop) -> None:
    text = printed(show(small_shop.scores, "cup", small_shop.prepared, small_shop.decisions))
    for part in ("Red cup", "run r1", "maturity 80%", "52 weeks", "2024-06-03", "total", "260", "Peak", "later than a year", "Reorder"):
        assert part in text


def test_titles_are_text_never_markup(small_shop: Shop) -> None:
    assert TRICKY in printed(show(small_shop.scores, "tea", small_shop.prepared))


def test_launch_and_missing_history_are_no_obstacle(small_shop: Shop) -> None:
    assert "2024-06-17" in printed(show(small_shop.scores, "new", small_shop.prepared))
    assert "total" in printed(show(small_shop.scores, "cup"))


def test_skipped_and_unknown_products_are_explained(small_shop: Shop) -> None:
    with pytest.raises(DataError, match="gone: not forecast in r1: never sold"):
        show(small_shop.scores, "gone")
    with pytest.raises(DataError, match="it has cup"):
        show(small_shop.scores, "Cup")


def test_no_published_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        show(tmp_path, "cup")


def test_sparkline_spans_all_heights_and_leaves_unknown_weeks_blank() -> None:
    assert sparkline(np.array([0.0, np.nan, 7.0])) == "▁ █"


def test_decisions_are_found_in_their_folder_or_are_missed_in_a_sentence(small_shop: Shop, tmp_path: Path) -> None:
    asked = partial(show, small_shop.scores, "cup", small_shop.prepared)
    assert printed(asked(small_shop.decisions / "decisions")) == printed(asked(small_shop.decisions))
    with pytest.raises(DataError, match="holds no decisions; make them with `plcp decide"):
        asked(tmp_path)
