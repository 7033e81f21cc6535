"""What jobs say on the terminal."""

import polars as pl
import pytest

from plcp.console import Story, console, show_table


def test_a_table_shows_nulls_as_nothing_and_floats_briefly(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(pl.DataFrame({"model": ["plcp", "recent"], "wql": [0.596123, None], "cases": [13374, 12]}), "metrics")
    out = capsys.readouterr().out
    assert "0.5961" in out
    assert "13374" in out
    assert "None" not in out


def test_a_table_of_more_columns_than_the_terminal_holds_stays_whole_and_long_texts_wrap(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 80)
    show_table(pl.DataFrame({"model": ["seasonal_naive"], **{f"a metric {k}": [0.12345] for k in range(14)}}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["seasonal_naive", *["0.1235"] * 14] in lines
    assert ["metric"] * 14 in lines
    show_table(pl.DataFrame({"reason": ["some words that say what is wrong " * 5]}))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_story_tells_each_step_when_it_ends_and_all_of_them_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    with story.step("prepare") as say:
        say("40 SKUs")
        say("[bold]")  # no markup
    assert "40 SKUs; [bold] (0.0 s)" in capsys.readouterr().out
    story.end("plcp serve model")
    out = capsys.readouterr().out
    assert "40 SKUs; [bold]" in out
    assert "in all" in out
    assert out.endswith("plcp serve model\n")


def test_a_step_that_fails_is_no_part_of_the_story() -> None:
    story = Story()
    with pytest.raises(ValueError, match="broken"), story.step("score"):
        raise ValueError("broken")
    assert story.steps == []
