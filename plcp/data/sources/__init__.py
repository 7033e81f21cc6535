"""Importers: foreign data → the contract. A new one is a file here and a line below."""

from collections.abc import Callable
from pathlib import Path

from plcp.data.sources.online_retail import import_online_retail
from plcp.data.sources.orange_juice import import_orange_juice
from plcp.data.sources.transactions import import_transactions
from plcp.data.sources.wide import import_wide
from plcp.data.sources.writing import ImportReport

SOURCES: dict[str, Callable[[Path, Path], ImportReport]] = {
    "online-retail": import_online_retail,
    "orange-juice": import_orange_juice,
    "transactions": import_transactions,
    "wide": import_wide,
}
__all__ = ["SOURCES", "ImportReport"]
