"""Forecasts of n cases beside what came, per kind of track, and the buckets that cases fall into. Every field has a row per case."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from plcp.evaluation.cases import END_WEEKS, SAMPLE
from plcp.evaluation.metrics import (
    THRESHOLD,
    Metrics,
    concordance,
    curve_metrics,
    event_metrics,
    median_week,
    ratio,
    stage_metrics,
)

UNKNOWN_AGE = 999.0
IN_SAMPLE = f"sample of {SAMPLE} SKUs"  # the bucket


@dataclass(frozen=True)
class Traits:
    """What cases are grouped by."""

    velocity: np.ndarray  # (n,) mean weekly units of the last 26 weeks; NaN for launches
    age: np.ndarray  # (n,) weeks since launch; NaN where not visible
    category: np.ndarray  # (n,) first level of the category's path; empty where unknown
    sampled: np.ndarray  # (n,) bool, the fixed sample of cases in life

    def buckets(self) -> Iterator[tuple[str, np.ndarray]]:
        """The buckets that hold a case, each with its cases as a mask."""
        v, age = self.velocity, np.nan_to_num(self.age, nan=UNKNOWN_AGE)
        masks = {
            "slow (<1/week)": v < 1,
            "medium (1-10)": (v >= 1) & (v < 10),
            "fast (10-50)": (v >= 10) & (v < 50),
            "very fast (>=50)": v >= 50,
            "age <=12": age <= 12,
            "age 13-52": (age > 12) & (age <= 52),
            "age >52 or unknown": age > 52,
            IN_SAMPLE: self.sampled,
            **{f"category {name}": self.category == name for name in np.unique(self.category) if name},
        }
        yield from ((name, mask) for name, mask in masks.items() if mask.any())


@dataclass(frozen=True)
class Curves:
    actual: np.ndarray  # (n, h)
    quantiles: np.ndarray  # (n, h, 9)
    mean: np.ndarray  # (n, h)
    naive_error: np.ndarray  # (n,) as Truth.naive_error; NaN for launches

    def metrics(self) -> Metrics:
        return curve_metrics(self.actual, self.quantiles, self.mean, self.naive_error)


@dataclass(frozen=True)
class Events:
    label: np.ndarray  # (n,) bool
    probability: np.ndarray  # (n,)

    def metrics(self) -> Metrics:
        return event_metrics(self.label, self.probability)


@dataclass(frozen=True)
class Ends:
    """The date of the end, up to the last of END_WEEKS."""

    time: np.ndarray  # (n,) weeks from the origin as Truth.end_time
    seen: np.ndarray  # (n,) bool
    probability: np.ndarray  # (n, 3) within END_WEEKS

    def metrics(self) -> Metrics:
        """concordance, the earlier ends being those of the higher mean probability; over the ends seen, date_mae, the weeks between end
        and forecast median, and dated, the share whose median lies within END_WEEKS (for others their last week counts)."""
        error = np.abs(median_week(self.probability, END_WEEKS) - self.time)[self.seen]
        dated = (self.probability[self.seen, -1] >= THRESHOLD).sum()
        return {
            "concordance": concordance(self.time, self.seen, self.probability.mean(1)),
            "date_mae": ratio(error.sum(), len(error)),
            "dated": ratio(dated, len(error)),
        }


@dataclass(frozen=True)
class Stages:
    actual: np.ndarray  # (n,) index into STAGES
    predicted: np.ndarray
    rule: np.ndarray  # what the causal rule says

    def metrics(self) -> Metrics:
        return {**stage_metrics(self.actual, self.predicted), "rule_macro_f1": stage_metrics(self.actual, self.rule)["macro_f1"]}


Judged = Curves | Events | Ends | Stages
Table = TypeVar("Table", Traits, Curves, Events, Ends, Stages)


def pooled(parts: list[Table]) -> Table:
    """The cases of several origins together."""
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def those(table: Table, cases: np.ndarray) -> Table:
    """Some of the cases, by a mask."""
    return type(table)(*(column[cases] for column in vars(table).values()))
