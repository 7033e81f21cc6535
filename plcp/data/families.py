"""Families of life-cycle curves: the shape of weekly demand over the weeks since launch, whatever its level.

Each is a function of free parameters theta (n, k), boxed in by bounds, and ages t (weeks, at the middle of each week): the log of the
shape (n, t), up to a constant of each row, and its derivative by each free parameter (k, n, t).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit

Array = np.ndarray
Shape = Callable[[Array, Array], tuple[Array, Array]]
Bounds = tuple[tuple[float, float], ...]

MOST = 30.0  # exponents are held below it: e^30 units is more than any shop sells
SMALL = 1e-2  # below it, series take the place of differences of nearly equal numbers


@dataclass(frozen=True)
class Family:
    """One family. `start` lists the values of each free parameter that the search begins from, in all combinations."""

    name: str
    parameters: tuple[str, ...]  # as people know them
    shape: Shape
    named: Callable[[Array], Array]  # free parameters → those people know, both (n, k)
    bounds: Bounds
    start: tuple[Array, ...]

    @property
    def grid(self) -> Array:
        """(combinations, k)."""
        return np.array(list(product(*self.start)))

    def clip(self, theta: Array) -> Array:
        """Free parameters held within their bounds."""
        low, high = np.array(self.bounds).T
        return np.clip(theta, low, high)


def bass(theta: Array, t: Array) -> tuple[Array, Array]:
    """Innovators and imitators. theta: log(p + q), log(q / p).

    F. M. Bass (1969), A new product growth for model consumer durables, Management Science 15(5).
    """
    speed, log_ratio = np.exp(theta[:, :1]), theta[:, 1:]
    pace = speed * t
    late = expit(log_ratio - pace)  # ratio u / (1 + ratio u), where u = exp(-pace)
    log = -pace + 2 * np.log1p(-late)
    return log, np.stack([-pace * (1 - 2 * late), -2 * late])


def bass_named(theta: Array) -> Array:
    speed, ratio = np.exp(theta).T
    return np.stack([speed / (1 + ratio), speed * ratio / (1 + ratio)], 1)


def gamma_shifted_gompertz(theta: Array, t: Array) -> tuple[Array, Array]:
    """Buyers who differ in their eagerness: F(t) = (1 - e^-bt)(1 + beta e^-bt)^-alpha. theta: log b, log beta, log alpha.

    alpha = 1 is Bass. A. C. Bemmaor (1994), Modeling the diffusion of new durable goods, in Research Traditions in Marketing, Kluwer.
    """
    b, beta, alpha = (np.exp(theta[:, k : k + 1]) for k in range(3))
    pace = b * t
    u = np.exp(-pace)
    shifted, mixed = beta * u, alpha * beta * (1 - u)
    below, above = 1 + shifted, 1 + shifted + mixed
    log_below = np.log(below)
    log = -pace - (alpha + 1) * log_below + np.log(above)
    by_b = -pace * (1 - (alpha + 1) * shifted / below + (1 - alpha) * shifted / above)
    by_beta = -(alpha + 1) * shifted / below + (shifted + mixed) / above
    return log, np.stack([by_b, by_beta, mixed / above - alpha * log_below])


def tilted_gompertz(theta: Array, t: Array) -> tuple[Array, Array]:
    """Skewed to either side: log f = -lambda delta t - rho exp(-lambda t). theta: week of the peak, log width, skew.

    With skew = ∓1/sqrt(delta), width = 1/(|lambda| sqrt(delta)), exp(lambda peak) = rho/delta; skew 0, their limit, is the normal curve.
    X. Guo, K. C. Lichtendahl and Y. Grushka-Cockayne (2018), Quantile forecasts of product life cycles using exponential
    smoothing, Harvard Business School working paper 19-038.
    """
    peak, width, skew = theta[:, :1], np.exp(theta[:, 1:2]), theta[:, 2:]
    x = (t - peak) / width
    v = np.minimum(skew * x, MOST)
    grown = np.expm1(v)
    near, safe = np.abs(v) < SMALL, np.where(np.abs(v) < SMALL, 1.0, v)
    bend = np.where(near, 0.5 + v / 6 + v**2 / 24, (grown - v) / safe**2)  # (e^v - 1 - v) / v²
    rate = np.where(near, 1 + v / 2 + v**2 / 6, grown / safe)  # (e^v - 1) / v
    turn = np.where(near, 1 / 6 + v / 12 + v**2 / 40, (rate - 2 * bend) / safe)
    square = x**2
    return -square * bend, np.stack([x * rate / width, square * rate, -square * x * turn])


def trapezoid(theta: Array, t: Array) -> tuple[Array, Array]:
    """Straight up, level, straight down. theta: logs of the weeks of rise, plateau and fall.

    K. Hu, J. Acimovic, F. Erize, D. J. Thomas and J. A. Van Mieghem (2019), Forecasting new product life cycle curves, M&SOM 21(1).
    """
    rise, plateau, fall = (np.exp(theta[:, k : k + 1]) for k in range(3))
    over = rise + plateau
    left = np.maximum(1 - (t - over) / fall, np.exp(-MOST))
    rising, falling = t < rise, t > over
    log = np.where(rising, np.log(t) - theta[:, :1], np.where(falling, np.log(left), 0))
    steep = np.where(falling, 1 / (fall * left), 0)
    return log, np.stack([np.where(rising, -1, rise * steep), plateau * steep, (t - over) * steep])


def log_width(theta: Array) -> Array:
    return np.stack([theta[:, 0], np.exp(theta[:, 1]), theta[:, 2]], 1)


PACE = (np.log(0.005), np.log(3.0))  # per week
WEEKS = (np.log(0.5), np.log(260.0))

FAMILIES = (
    Family(
        "bass",
        ("p", "q"),
        bass,
        bass_named,
        (PACE, (-6, 14)),
        (np.log(np.geomspace(0.01, 1.5, 24)), np.linspace(-4, 12, 25)),
    ),
    Family(
        "trapezoid",
        ("rise", "plateau", "fall"),
        trapezoid,
        np.exp,
        (WEEKS, WEEKS, WEEKS),
        # of plateaus that look alike so far, the longest: no end is claimed that was not seen to begin
        (np.log(np.geomspace(0.7, 100, 11)), np.log(np.geomspace(200, 1, 12)), np.log(np.geomspace(100, 1, 9))),
    ),
    Family(
        "gamma_shifted_gompertz",
        ("b", "beta", "alpha"),
        gamma_shifted_gompertz,
        np.exp,
        (PACE, (-6, 14), (-3, 3)),
        (np.log(np.geomspace(0.01, 1.5, 16)), np.linspace(-3, 12, 13), np.linspace(-2, 2, 5)),
    ),
    Family(
        "tilted_gompertz",
        ("peak", "width", "skew"),
        tilted_gompertz,
        log_width,
        ((-260, 520), (0, np.log(260.0)), (-3, 3)),
        (
            np.concatenate([[-40, -20], np.arange(-8, 105, 6), [130, 160]]),
            np.log(np.geomspace(1.5, 80, 10)),
            np.array([-1.2, -0.5, 0, 0.5, 1.2]),
        ),
    ),
)
