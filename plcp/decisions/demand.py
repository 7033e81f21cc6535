"""Demand over several weeks, from weekly quantiles.

A decision needs the demand until the next delivery or until the end of life, and the forecast gives weeks. Each week's variance is
recovered from its quantiles and mean; weeks are added with one correlation between their errors; the total is taken as gamma
distributed, which is non-negative and skewed as demand is (Burgin, Operational Research Quarterly 26(3), 1975).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import gammainc, gammaincc, gammaincinv

from plcp.base import Config
from plcp.tables import LEVELS

Array = NDArray[np.float64]
PIECES = np.diff((0.0, *LEVELS))  # probability of each piece between quantiles, the one below the lowest included
TAIL = 1 - LEVELS[-1]  # probability above the highest quantile
HALF_UNIT = 0.5  # continuity correction: units are counted, the gamma is continuous
LONGEST = 104  # weeks that stock without demand is taken to last
NO_DEMAND = 1e-9  # units below which a total counts as none: the gamma's shape must stay positive


class DemandConfig(Config):
    """How weeks add up.

    The errors of a forecast's weeks go together, since they share the estimated level (Prak, Teunter & Syntetos, European Journal of
    Operational Research 256(2), 2017); independence would make safety stocks too small. On Online Retail II the correlation that
    explains the errors of totals over 2 to 12 weeks lies between 0.15 and 0.38 at four origins of 2010.
    """

    correlation: float = Field(0.3, ge=0, le=1)


@dataclass(frozen=True)
class Total:
    """Demand over a span of weeks as a gamma distribution: mean and variance, each (n,)."""

    mean: Array
    variance: Array

    @property
    def _shape(self) -> Array:
        return np.maximum(self.mean, NO_DEMAND) ** 2 / np.maximum(self.variance, NO_DEMAND)

    @property
    def _scale(self) -> Array:
        return np.maximum(self.variance, NO_DEMAND) / np.maximum(self.mean, NO_DEMAND)

    def quantile(self, level: float | Array) -> Array:
        """Units not exceeded with this probability, (n,)."""
        return gammaincinv(self._shape, level) * self._scale

    def exceeded(self, units: Array) -> Array:
        """P(demand > units), (n,), of a demand that is no count but the gamma itself, whose inverse is `quantile`."""
        return gammaincc(self._shape, units / self._scale)

    def within(self, units: Array) -> Array:
        """P(demand ≤ units), (n,)."""
        return gammainc(self._shape, (np.maximum(units, 0) + HALF_UNIT) / self._scale)

    def sold(self, stock: Array) -> Array:
        """E[min(demand, stock)], (n,): the gamma's limited expected value."""
        stock = np.maximum(stock, 0)
        x = stock / self._scale
        return self.mean * gammainc(self._shape + 1, x) + stock * (1 - gammainc(self._shape, x))

    def sold_variance(self, stock: Array) -> Array:
        """Var[min(demand, stock)], (n,)."""
        stock = np.maximum(stock, 0)
        x = stock / self._scale
        second = (self.mean**2 + self.variance) * gammainc(self._shape + 2, x) + stock**2 * (1 - gammainc(self._shape, x))
        return np.maximum(second - self.sold(stock) ** 2, 0)


@dataclass(frozen=True)
class Demand:
    """Weekly demand from the origin on: mean and variance, each (n, horizon); 0 in weeks before a planned launch."""

    mean: Array
    variance: Array
    correlation: float

    @property
    def horizon(self) -> int:
        return self.mean.shape[1]

    def total(self, weeks: int | Array) -> Total:
        """Demand in the first `weeks` weeks, (n,) or one number for all. Weeks past the horizon repeat its last week.

        Var(Σ) = (1 - ρ) Σ σ² + ρ (Σ σ)² for equally correlated weeks.
        """
        return self._total(*self._sums(weeks))

    def sellable(self, lead: Array, span: Array, stock: Array) -> Total:
        """The demand of the first `span` weeks that stock at hand or a delivery after `lead` weeks can meet, each (n,).

        That is min(demand until the delivery, stock) + demand after it: what is asked for at an empty shelf is lost. Sales with an order
        of Q are then exactly min(sellable, stock + Q). The first part's correlation with the second is that of the uncut demand.
        """
        before, whole = self._sums(lead), self._sums(span)
        until, after = self._total(*before), self._total(*(w - b for w, b in zip(whole, before, strict=True)))
        first_sd = np.sqrt(until.sold_variance(stock))
        uncut_sd = np.sqrt(np.maximum(until.variance, NO_DEMAND))
        covariance = self.correlation * before[2] * (whole[2] - before[2]) * first_sd / uncut_sd
        return Total(until.sold(stock) + after.mean, first_sd**2 + after.variance + 2 * covariance)

    def lasts(self, units: Array) -> Array:
        """Weeks after which the expected demand will have used up so many units, (n,); not beyond LONGEST. Weeks past the horizon repeat
        its last week."""
        sums = self._expected
        done = (sums[:, 1:-1] < units[:, None]).sum(1)
        rows = np.arange(len(sums))
        with np.errstate(divide="ignore", invalid="ignore"):
            weeks = done + (units - sums[rows, done]) / self.mean[rows, done]
        return np.where(units > sums[rows, done], np.minimum(weeks, LONGEST), done)

    def rows(self, mask: NDArray[np.bool_]) -> "Demand":
        return Demand(self.mean[mask], self.variance[mask], self.correlation)

    @cached_property
    def _expected(self) -> Array:
        return _cumulated(self.mean)

    def _sums(self, weeks: int | Array) -> tuple[Array, Array, Array]:
        """Mean, variance and standard deviation, each added up over the first weeks, (n,)."""
        span = np.broadcast_to(np.asarray(weeks), self.mean.shape[:1]).astype(np.int64)
        return _first(self.mean, span), _first(self.variance, span), _first(np.sqrt(self.variance), span)

    def _total(self, mean: Array, variance: Array, deviation: Array) -> Total:
        return Total(mean, (1 - self.correlation) * variance + self.correlation * deviation**2)


def _first(weekly: Array, span: NDArray[np.int64]) -> Array:
    """Sum of each row's first `span` weeks, the last week repeated where the span is longer, (n,)."""
    horizon = weekly.shape[1]
    sums = _cumulated(weekly)
    inside = np.take_along_axis(sums, np.minimum(span, horizon)[:, None], axis=1)[:, 0]
    return inside + np.maximum(span - horizon, 0) * weekly[:, -1]


def _cumulated(weekly: Array) -> Array:
    """Sums of each row's first 0, 1 … horizon weeks, (n, horizon + 1)."""
    return np.concatenate([np.zeros((len(weekly), 1)), np.cumsum(weekly, axis=1)], axis=1)


def weekly_variance(quantiles: Array, mean: Array) -> Array:
    """Variance of each week's demand about its mean, (rows,), from its quantiles (rows, 9) and mean (rows,).

    Between the quantiles the distribution is linear; below the lowest the first piece goes on, down to 0; above the highest lies an
    exponential tail whose size is the one that makes the whole have the given mean, though not less than half of what the two highest
    quantiles suggest: a mean far above the median tells of rare large orders that nine quantiles do not show. Counts vary at least as
    Poisson does.
    """
    low = np.maximum(2 * quantiles[:, :1] - quantiles[:, 1:2], 0)
    edges = np.concatenate([low, quantiles], axis=1)
    a, b = edges[:, :-1], edges[:, 1:]
    first, second = (a + b) / 2 @ PIECES, (a * a + a * b + b * b) / 3 @ PIECES
    top = quantiles[:, -1]
    suggested = (top - quantiles[:, -2]) / np.log(2)
    excess = np.maximum((mean - first) / TAIL - top, suggested / 2)
    second = second + TAIL * (top**2 + 2 * top * excess + 2 * excess**2)
    about = second - 2 * mean * (first + TAIL * (top + excess)) + mean**2
    return np.maximum(about, mean)
