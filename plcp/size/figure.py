"""A number of a forecast: how it comes about, how sure it is, and what it rests on."""

from dataclasses import dataclass
from typing import Literal

Basis = Literal["the model's own shapes", "measured here", "measured elsewhere", "data sheet", "assumed"]


@dataclass(frozen=True)
class Figure:
    """`low` to `high` holds what is expected to be seen."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    formula: str
    basis: Basis
