"""What every component shares: the closed Config it owns, and the error a user is meant to read."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel


class Config(BaseModel, extra="forbid", frozen=True):
    """Base of a component's options: typed, closed (an unknown key is an error) and immutable."""


class PlcpError(Exception):
    """Something the user can mend. The message says what is wrong, where (file, row, SKU, field), and what to do."""


class DataError(PlcpError):
    """Input data that breaks the contract."""


class ModelError(PlcpError):
    """A model folder that is missing, incomplete or not what its checksums say."""


class ConfigError(PlcpError):
    """An option that does not exist or has a wrong value."""


def dotted(
    options: dict[str, Any], whole: Callable[[dict[str, Any]], bool] = lambda value: False, above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Nested options by their dotted names; `whole` says which dicts are values themselves."""
    for name, value in options.items():
        if isinstance(value, dict) and not whole(value):
            yield from dotted(value, whole, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
