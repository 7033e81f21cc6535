"""What the pages promise exists: commands with their options, columns, options' sections, files."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from plcp import cli, config
from plcp.evaluation.backtest import CONTESTANTS
from plcp.tables import CONTRACT

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def shell_lines(page: Path) -> list[str]:
    """Commands in the page's shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words[:1] != ["plcp"]:
            continue
        options = {option for parameter in commands[words[1]].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_linked_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_data_page_names_every_column_and_which_are_required() -> None:
    rows = {row.split("|")[1].strip(): row for row in (ROOT / "docs/your-own-data.md").read_text().splitlines() if row.startswith("| ")}
    for table in CONTRACT.values():
        for column in table.columns:
            assert re.search(rf"\b{column.name}\b", rows[table.name]), f"{table.name}.{column.name}"
            assert (f"**{column.name}**" in rows[table.name]) is column.required, f"{table.name}.{column.name}"


def test_the_operations_page_names_every_section_of_the_configuration() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert re.findall(r"^\| (\w+) \| `", page, re.MULTILINE) == list(config.SECTIONS)


def test_the_tutorial_names_every_model_of_the_backtest() -> None:
    page = (ROOT / "docs/tutorial.md").read_text()
    table = page[page.index("| `--models` |") :].split("\n\n")[0]
    named = [name.strip() for row in table.splitlines()[2:] for name in row.split("|")[1].split(",")]
    assert sorted(named) == sorted(CONTESTANTS)
