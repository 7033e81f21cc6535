"""What the benchmarks on Online Retail II have in common: the shop, and the options that the model learns with."""

from pathlib import Path
from typing import Any

from benchmarks.results import real_data
from plcp.data.contract import Dataset, open_dataset
from plcp.data.sources.online_retail import import_online_retail

HORIZON, LAUNCH_HORIZON = 12, 8  # weeks
TRAIN: dict[str, Any] = {
    "steps": 1500,  # at most: where it validates no better, it stops
    "refit_steps": 200,
    "validation_cases": 8192,
    "spec": {"horizon": HORIZON, "country": "GB"},
    "model": {"image": None, "text": {"trainable": False}},
}


def transactions() -> Path:
    return real_data("online_retail_2y/transactions.parquet")


def shop(folder: Path) -> Dataset:
    """The shop as imported, in a folder that keeps it."""
    if not folder.exists():
        import_online_retail(transactions(), folder)
    return open_dataset(folder)


def merged(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested options with changes laid over them."""
    both = {
        name: merged(options[name], value)
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(options.get(name), dict)
    }
    return {**options, **changes, **both}


def with_tower(text: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Options of training with the text tower of a folder, `changes` laid over them."""
    return merged(merged(TRAIN, {"model": {"text": {"source": str(text.resolve())}}}), changes or {})
