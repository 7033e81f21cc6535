"""Fits curves to many products at once: a search over a grid by matrix products, then damped Fisher scoring, all rows in step.

Units of week t are taken for Poisson counts with mean level × exposure_t × shape_t. The best level for a shape is known in closed form,
and what remains is the multinomial likelihood of how the units spread over the weeks (S. G. Baker (1994), The multinomial-Poisson
transformation, The Statistician 43(4)): free of the level, and with more than Poisson noise still a consistent estimate.
"""

from functools import lru_cache

import numpy as np

from plcp.data.families import FAMILIES, Array, Family

FLOOR = float(np.log(1e-4))  # a shape is at least this part of its highest week: a stray sale after the end is unlikely, not impossible
CEILING = float(np.log(10.0))  # and is followed up to so many times the highest week seen
LEAST_SEEN = 0.05  # weeks, as many as the highest one, that a shape must show in what was seen: not all of it may hide in a stock-out
STEPS = 15
DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-7, 1e7
EASED, TIGHTENED = 0.2, 8.0  # of the damping after a step that helped, and one that did not
CONVERGED = 1e-8  # gain in log-likelihood per unit sold
RIDGE = 1e-12


def middles(weeks: int) -> Array:
    """Ages at the middle of each week since launch."""
    return np.arange(weeks) + 0.5


def relative(log: Array, exposure: Array) -> Array:
    """The log of a shape (n, s) as part of its highest week among those that count, (n, t) with t <= s; within FLOOR and CEILING."""
    counted = np.where(exposure > 0, log[:, : exposure.shape[1]], -np.inf)
    return np.clip(log - counted.max(1, keepdims=True), FLOOR, CEILING)


@lru_cache(maxsize=64)
def candidates(family: int, weeks: int) -> tuple[Array, Array]:
    """The log shapes of a family's grid and their values, each (weeks, combinations) float32."""
    logs = FAMILIES[family].shape(FAMILIES[family].grid, middles(weeks))[0].T
    logs = np.maximum(logs - logs.max(0), FLOOR)
    return np.ascontiguousarray(logs, np.float32), np.exp(logs, dtype=np.float32)


def fit(family: int, units: Array, exposure: Array) -> Array:
    """Free parameters of FAMILIES[family] for each row, (n, k).

    units (n, t) from the launch on; exposure (n, t) share of each week that counts, 0 where it is unknown or does not. Every row must
    have units where exposure is positive.
    """
    spread = np.where(exposure > 0, units, 0.0)
    spread /= spread.sum(1, keepdims=True)
    best = search(family, spread, exposure)
    return refine(FAMILIES[family], FAMILIES[family].grid[best], spread, exposure)


def search(family: int, spread: Array, exposure: Array) -> Array:
    """Index of each row's likeliest point of the grid, (n,)."""
    logs, shapes = candidates(family, spread.shape[1])
    seen = exposure.astype(np.float32) @ shapes
    likelihood = spread.astype(np.float32) @ logs - np.log(seen)
    return np.where(seen > LEAST_SEEN, likelihood, -np.inf).argmax(1)


def refine(family: Family, theta: Array, spread: Array, exposure: Array) -> Array:
    """Maximum of the likelihood near theta: Fisher scoring, damped as by Levenberg and Marquardt. Rows that converge drop out."""
    theta = family.clip(theta)
    value, score, information = climb(family, theta, spread, exposure)
    damping = np.full(len(theta), DAMPING)
    active = np.arange(len(theta))
    for _ in range(STEPS):
        ridge = np.einsum("nii->ni", information[active]) * damping[active, None] + RIDGE
        damped = information[active] + ridge[:, :, None] * np.eye(theta.shape[1])
        tried = family.clip(theta[active] + np.linalg.solve(damped, score[active][:, :, None])[:, :, 0])
        found = climb(family, tried, spread[active], exposure[active])
        gain = found[0] - value[active]
        better = gain > 0
        at = active[better]
        theta[at], value[at], score[at], information[at] = tried[better], found[0][better], found[1][better], found[2][better]
        damping[active] *= np.where(better, EASED, TIGHTENED)
        damping = np.maximum(damping, LEAST_DAMPING)
        active = active[(gain > CONVERGED) | (~better & (damping[active] < MOST_DAMPING))]
        if not len(active):
            break
    return theta


def climb(family: Family, theta: Array, spread: Array, exposure: Array) -> tuple[Array, Array, Array]:
    """Log-likelihood per unit sold (n,), its gradient (n, k) and the expected information (n, k, k)."""
    log, slope = family.shape(theta, middles(spread.shape[1]))
    highest = np.where(exposure > 0, log, -np.inf).argmax(1)
    slope = slope - np.take_along_axis(slope, highest[None, :, None], 2)  # the highest week moves, too
    log = log - np.take_along_axis(log, highest[:, None], 1)
    slope *= log > FLOOR
    log = np.clip(log, FLOOR, CEILING)
    expected = exposure * np.exp(log)
    total = expected.sum(1)
    expected /= total[:, None]
    value = np.einsum("nt,nt->n", spread, log) - np.log(total)
    score = np.einsum("nt,knt->nk", spread - expected, slope)
    weighted = expected * slope
    mean = weighted.sum(2)
    information = np.einsum("int,jnt->nij", weighted, slope) - np.einsum("in,jn->nij", mean, mean)
    return value, score, information


def level(log: Array, units: Array, exposure: Array) -> Array:
    """Units of the week in which the log of a shape is 0, (n,): expected and observed units are equal in sum. All (n, t)."""
    return np.where(exposure > 0, units, 0.0).sum(1) / (exposure * np.exp(log)).sum(1)
