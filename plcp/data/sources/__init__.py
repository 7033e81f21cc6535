"""Importers: foreign data → the contract. A new one is a file here and its name below.

The file `online_retail.py` of the source `online-retail` holds `import_online_retail(src, out)`. Nothing is imported before it is asked
for, so that the command line can name the sources at once.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plcp.data.sources.writing import ImportReport

SOURCES = ("online-retail", "orange-juice", "transactions", "wide")


def importer(source: str) -> "Callable[[Path, Path], ImportReport]":
    """The function that turns a foreign file or folder into a data folder. Raises ConfigError for a source that there is not."""
    from plcp.base import ConfigError  # here, so that help does not wait for pydantic

    if source not in SOURCES:
        raise ConfigError(f"unknown source {source}; there are: {', '.join(SOURCES)}")
    module = source.replace("-", "_")
    return getattr(import_module(f"{__name__}.{module}"), f"import_{module}")
