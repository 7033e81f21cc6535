"""A number of a forecast: how it comes about, how sure it is, and what it rests on."""

from dataclasses import dataclass

SHAPES = "traced"  # from the shapes of the model itself
HERE = "measured"  # on this machine
SHEET, ASSUMED = "data sheet", "assumed"


@dataclass(frozen=True)
class Figure:
    """`low` to `high` is where it is expected to lie."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    formula: str
    basis: str
