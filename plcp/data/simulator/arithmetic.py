"""Elementary functions made of +, −, ×, ÷ and √ alone.

IEEE 754 fixes those five to the last bit; exp, log and the samplers of a mathematics library differ in it from one processor
or version to the next. Everything the simulator draws goes through this module, so that a seed means the same shop anywhere.
"""

import numpy as np

Array = np.ndarray

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts (fdlibm): k × LN2_HIGH is exact
LN2_LOW = 1.90821492927058770002e-10
SQRT_HALF = 0.7071067811865476
EXP_TERMS = tuple(1 / f for f in (39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1))
POISSON_BY_SEARCH = 16.0  # below this mean a count is found by adding probabilities, above it by an expansion


def exp(x: Array) -> Array:
    """e to the x, relative error below 1e-13; x is kept within ±700."""
    x = np.clip(x, -700.0, 700.0)
    k = np.rint(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = np.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p *= r
        p += term
    return p * ((k.astype(np.int64) + 1023) << 52).view(np.float64)


def log(x: Array) -> Array:
    """Natural logarithm of x > 0, absolute error below 1e-13."""
    m, e = np.frexp(np.asarray(x, np.float64))
    low = m < SQRT_HALF
    m = np.where(low, m + m, m)
    e = e - low
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = np.full_like(q, 1 / 17)
    for n in (15, 13, 11, 9, 7, 5, 3, 1):
        p *= q
        p += 1.0 / n
    return 2.0 * s * p + e * LN2_LOW + e * LN2_HIGH


CENTRE = (
    (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02, 1.383577518672690e02, -3.066479806614716e01, 2.506628277459239e00),
    (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02, 6.680131188771972e01, -1.328068155288572e01, 1.0),
)
TAIL = (
    (
        -7.784894002430293e-03,
        -3.223964580411365e-01,
        -2.400758277161838e00,
        -2.549732539343734e00,
        4.374664141464968e00,
        2.938163982698783e00,
    ),
    (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00, 1.0),
)


def polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + c
    return value


def normal(u: Array) -> Array:
    """Standard normal quantile of 0 < u < 1, relative error about 1e-9 (P. J. Acklam's rational approximation)."""
    q = u - 0.5
    r = q * q
    z = q * polynomial(CENTRE[0], r) / polynomial(CENTRE[1], r)
    outer = np.flatnonzero(np.abs(q.ravel()) > 0.47575)
    if outer.size:
        side = q.ravel()[outer]
        w = np.sqrt(-2.0 * log(0.5 - np.abs(side)))
        tail = polynomial(TAIL[0], w) / polynomial(TAIL[1], w)
        z.ravel()[outer] = np.where(side < 0, tail, -tail)
    return z


def poisson(u: Array, mean: Array) -> Array:
    """Poisson quantile of 0 < u < 1 as whole float64 numbers: the same u gives no fewer for a higher mean.

    Means above POISSON_BY_SEARCH use the Cornish-Fisher expansion, whose mean is off by less than 0.1%.
    """
    mean = np.maximum(mean, 0.0)
    root = np.sqrt(mean)
    z = normal(u)
    z2 = z * z
    wide = mean + root * z + (z2 - 1.0) / 6.0 + z * (1.0 - z2) / (72.0 * np.maximum(root, 1.0))
    count = np.maximum(np.floor(wide + 0.5), 0.0)
    small = np.flatnonzero(mean < POISSON_BY_SEARCH)
    if small.size:
        count[small] = _search(u[small], mean[small])
    return count


def _search(u: Array, mean: Array) -> Array:
    """The smallest k whose cumulative probability reaches u, by adding terms; the open cases shrink as k grows."""
    count = np.zeros_like(mean)
    term = exp(-mean)
    rest = u - term
    index = np.flatnonzero(rest > 0)
    term, rest, mean = term[index], rest[index], mean[index]
    k = 1.0
    while index.size and k < 100:
        count[index] = k
        term = term * mean / k
        rest = rest - term
        more = rest > 0
        index, term, rest, mean = index[more], term[more], rest[more], mean[more]
        k += 1.0
    return count
