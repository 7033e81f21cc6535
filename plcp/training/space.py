"""What a search over the options of training asks for, and which options each of its trials draws."""

import itertools
import math
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from plcp.base import Config, dotted


class Range(Config):
    """Numbers from `low` to `high`, evenly over their logarithms or over themselves."""

    low: float
    high: float
    log: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} and high {self.high}: low is to be less, and more than 0 unless log is false")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = rng.uniform(low, high)
        return float(f"{math.exp(value) if self.log else value:.4g}")


class TuneConfig(Config):
    """A search."""

    space: dict[str, list[Any] | Range] = Field(
        {"engine.learning_rate": Range(low=3e-4, high=1e-2), "model.dropout": [0.0, 0.1, 0.3], "model.modality_dropout": [0.2, 0.5]},
        description="options of train to be searched: for each a list of values, or low and high (and log: false)",
    )
    trials: int = Field(9, ge=1, description="drawn at random from the space")
    first_rung: int = Field(100, ge=1, description="steps that every trial learns; a multiple of train.validate_every")
    reduction: int = Field(3, ge=2, description="at each rung one of so many goes on, for so many times the steps")
    parallel: int = Field(1, ge=1, description="trials at a time")

    @field_validator("space", mode="before")
    @classmethod
    def _flat(cls, given: Any) -> Any:
        return dict(dotted(given, is_range)) if isinstance(given, dict) else given

    @field_validator("space")
    @classmethod
    def _some(cls, space: dict[str, list[Any] | Range]) -> dict[str, list[Any] | Range]:
        if empty := [name for name, values in space.items() if not values]:
            raise ValueError(f"{empty[0]} has no values to choose from")
        if not space or any(name == "model.preset" for name in space):
            raise ValueError("name at least one option of train, and model.width, model.layers … in place of model.preset")
        return space

    def values(self, trial: int, seed: int) -> dict[str, Any]:
        """A trial's options: a function of (seed, trial)."""
        rng = np.random.default_rng([seed, trial])
        return {name: of.draw(rng) if isinstance(of, Range) else of[int(rng.integers(len(of)))] for name, of in sorted(self.space.items())}

    def rungs(self, steps: int) -> list[int]:
        """The steps at which trials are compared; the last is the whole run's."""
        grown = itertools.takewhile(lambda rung: rung < steps, (self.first_rung * self.reduction**k for k in itertools.count()))
        return [*grown, steps]


def is_range(value: dict[str, Any]) -> bool:
    return bool({"low", "high"} & value.keys())
