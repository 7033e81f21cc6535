"""The list of importers: what stands there can be called, and what can be called stands there."""

from pathlib import Path

import pytest

from plcp.base import ConfigError
from plcp.data import sources


def test_every_file_with_an_importer_is_named_and_every_name_has_one() -> None:
    files = {path.stem for path in Path(sources.__file__).parent.glob("*.py") if f"def import_{path.stem}(" in path.read_text()}
    assert {source.replace("-", "_") for source in sources.SOURCES} == files
    assert [sources.importer(source).__name__ for source in sources.SOURCES] == [f"import_{s.replace('-', '_')}" for s in sources.SOURCES]


def test_an_unknown_source_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown source wid; there are: online-retail, orange-juice, transactions, wide"):
        sources.importer("wid")
