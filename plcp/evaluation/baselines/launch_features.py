"""What LightGBM reads of a launch: its title, its price, and what products with titles like it sold before it came."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from plcp.data.lifecycle import LAUNCH_SEEN
from plcp.data.view import PanelView
from plcp.evaluation.cases import ACTIVE_WITHIN, Cases

NEIGHBOURS = 8  # products sold before that a launch is likened to
LEVEL_WEEKS = 13  # weeks that make a product's level
LEAST_LAUNCHES = 6  # launches that a mean is taken over


@dataclass(frozen=True)
class Launches:
    """b products to come, or that came: known of them are title, price and first week."""

    place: np.ndarray  # (b,) rows of the titles
    week: np.ndarray  # (b,) week index of the first sale
    price: np.ndarray  # (b,) NaN where unknown

    @staticmethod
    def past(view: PanelView) -> "Launches":
        """The launches seen so far."""
        rows = np.flatnonzero((view.first >= LAUNCH_SEEN) & (view.first < view.origin))
        return Launches(rows, view.first[rows], view.price[rows, view.first[rows]])

    @staticmethod
    def announced(view: PanelView, cases: Cases) -> "Launches":
        """Those to come; their titles stand behind the panel's."""
        new = cases.launches
        weeks = np.array([view.timeline.index(start) for start in new["start"]], np.int64)
        return Launches(len(view.units) + np.arange(len(new)), weeks, new["list_price"].fill_null(np.nan).to_numpy())


@dataclass(frozen=True)
class LaunchFeatures:
    """Features of launches out of the panel known at an origin; of a launch in week f nothing from f on is read."""

    view: PanelView
    words: Any  # (n + m, words) sparse TF-IDF rows of length 1: the panel's products, then those to come
    titles: np.ndarray  # (n + m, d) the same, compressed

    @cached_property
    def total(self) -> np.ndarray:
        return np.concatenate([np.zeros((len(self.view.units), 1)), np.cumsum(self.view.units, 1)], 1)

    @cached_property
    def first(self) -> np.ndarray:
        return self.view.first

    @cached_property
    def log_units(self) -> np.ndarray:
        return np.log1p(self.view.units)

    def curves(self, launches: Launches, horizon: int) -> np.ndarray:
        """Features of each of the first weeks, (b, horizon, F) float32."""
        cohort = np.unique(launches.week, return_inverse=True, return_counts=True)
        together = cohort[2][cohort[1]]
        steps = [self._steps(place, week, horizon) for place, week in zip(launches.place, launches.week, strict=True)]
        fixed = np.column_stack([np.log(np.maximum(launches.price, 0.01)), together, self.titles[launches.place]])
        width = 8
        ahead = np.array(steps, np.float32).reshape(len(steps), horizon, width)
        return np.concatenate([ahead, np.repeat(fixed[:, None], horizon, 1)], 2).astype(np.float32)

    def _steps(self, place: int, week: int, horizon: int) -> np.ndarray:
        """Age, and the levels of alike products and of launches at that age, (horizon, 8)."""
        known = min(int(week), self.view.origin)
        alike = np.asarray((self.words[[place]] @ self.words[: len(self.first)].T).todense()).ravel()
        alike[place : place + 1] = 0  # itself, where it has been sold
        recent = self.total[:, known] - self.total[:, max(0, known - ACTIVE_WITHIN)]
        near, weight = nearest(np.where(recent > 0, alike, 0))
        level = np.log1p((self.total[near, known] - self.total[near, max(0, known - LEVEL_WEEKS)]) / LEVEL_WEEKS)
        seen = (self.first >= LAUNCH_SEEN) & (self.first < known)
        siblings, kinship = nearest(np.where(seen, alike, 0))
        launched = np.flatnonzero(seen)
        late = launched[self.first[launched] >= known - LEVEL_WEEKS]
        shared = [weight.sum(), weight.max(initial=0), weighted(level, weight), kinship.max(initial=0)]
        ages = [self._at_age(age, known, (siblings, kinship), launched, late) for age in range(horizon)]
        return np.array([[age, *shared, *own] for age, own in enumerate(ages)])

    def _at_age(self, age: int, known: int, kin: tuple[np.ndarray, np.ndarray], *groups: np.ndarray) -> list[float]:
        """Mean log1p units in that week of life: of launches with titles alike, and of groups of launches; NaN where too few were seen."""
        siblings, weight = kin
        reached = self.first[siblings] + age < known
        levels = [weighted(self.log_units[siblings[reached], self.first[siblings[reached]] + age], weight[reached])]
        for group in groups:
            rows = group[self.first[group] + age < known]
            levels.append(self.log_units[rows, self.first[rows] + age].mean() if len(rows) >= LEAST_LAUNCHES else np.nan)
        return levels


def nearest(alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most alike products and how much they are; none that is not alike at all."""
    count = min(NEIGHBOURS, len(alike))
    top = np.argpartition(-alike, count - 1)[:count]
    top = top[alike[top] > 0]
    return top, alike[top]


def weighted(values: np.ndarray, weight: np.ndarray) -> float:
    return float(values @ weight / weight.sum()) if len(values) else np.nan
