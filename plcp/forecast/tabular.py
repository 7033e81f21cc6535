"""A product's past and the weeks ahead in plain numbers, relative to its level: what the trees beside the network read."""

import numpy as np

from plcp.data.calendar import CALENDAR
from plcp.data.features import NUMERIC, Arrays
from plcp.data.spec import CORE, FUTURE, Spec
from plcp.data.timeline import YEAR

READS = ("history", "age", "numeric", "future", "calendar_future", "due")  # of features.inputs
LAGS = 8  # last weeks given one by one
WINDOWS = (2, 4, 8, 13, 26, 52)  # weeks given as means
QUARTER, HALF, MONTH = 13, 26, 4  # weeks
PRICE_WEEKS = 9  # ago: the price that the last one is held against
NEAR = 2  # weeks on each side of last year's week that belong to it
LEAST_LEVEL = 0.25  # units a week below which nothing is scaled further
SEASON = tuple(CALENDAR.index(name) for name in ("sin1", "cos1", "to_christmas"))  # more would tell single weeks apart
FEATURES = {"lags": (LAGS,), "windows": (*WINDOWS, QUARTER, HALF, MONTH), "near": (NEAR, YEAR, PRICE_WEEKS), "season": SEASON}


def level(history: np.ndarray, spec: Spec) -> np.ndarray:
    """Units a week that a product moves about, (n,); history (n, weeks, channels of the spec), NaN where unknown."""
    units = history[..., spec.history.index("units")]
    quarter, month, half = (known_mean(units[:, -weeks:]) for weeks in (QUARTER, MONTH, HALF))
    return np.maximum(0.5 * quarter + 0.3 * month + 0.2 * half, LEAST_LEVEL)


def features(cases: Arrays, spec: Spec) -> np.ndarray:
    """Of n cases as features.inputs gives them, the features of each week ahead: (n, horizon, F) float32, NaN where unknown."""
    scale = level(cases["history"], spec)
    product, ahead = of_product(cases, spec, scale), of_weeks(cases, spec, scale)
    return np.concatenate([np.repeat(product[:, None], ahead.shape[1], 1), ahead], 2)


def of_product(cases: Arrays, spec: Spec, scale: np.ndarray) -> np.ndarray:
    """What holds for every week ahead, (n, F) float32."""
    history = cases["history"]
    plane = {name: history[..., k] for k, name in enumerate(spec.history)}
    units, weeks = plane["units"], history.shape[1]
    told = np.nan_to_num(units)
    quarter, half, sold = told[:, -QUARTER:], told[:, -HALF:], told > 0
    highest = told.max(1)
    since = np.where(sold.any(1), sold[:, ::-1].argmax(1), weeks)
    price = plane["price"]
    last = cases["numeric"][:, NUMERIC.index("last_price")]
    relative = [
        *(units[:, -lag] for lag in range(1, min(LAGS, weeks) + 1)),
        *(known_mean(units[:, -window:]) for window in WINDOWS),
        quarter.max(1),
        quarter.std(1),
        np.median(quarter, 1),
        np.sort(half, 1)[:, -max(1, half.shape[1] // 5)],
        highest,
    ]
    columns = [
        np.log(scale),
        *(column / scale for column in relative),
        *((told[:, -window:] > 0).mean(1) for window in (HALF, QUARTER, MONTH)),
        since,
        np.where(sold.any(1), weeks - sold.argmax(1), 0),
        weeks - 1 - told[:, ::-1].argmax(1),
        *cases["numeric"].T,
        ratio(last, known_mean(price, np.nan)),
        ratio(last, price[:, max(-PRICE_WEEKS, -weeks)]),
    ]
    for name, values in plane.items():
        if name not in ("units", "price"):
            month, before = (known_mean(values[:, -window:], np.nan) for window in (MONTH, QUARTER))
            columns += [month, before] if name not in CORE else [month]
    return np.stack(columns, 1).astype(np.float32)


def promoted(cases: Arrays) -> np.ndarray:
    """In which weeks ahead a promotion is planned, (n, horizon): most pasts hold too few to learn from what they do."""
    return cases["future"][..., FUTURE.index("promo")] > 0


def of_weeks(cases: Arrays, spec: Spec, scale: np.ndarray) -> np.ndarray:
    """What each week ahead has of its own: how far it lies ahead, its season, signals, and what was sold around it a year before.
    (n, horizon, G) float32."""
    units = cases["history"][..., spec.history.index("units")]
    horizon, weeks = spec.horizon, units.shape[1]
    steps = np.broadcast_to(np.arange(horizon), (len(units), horizon))
    parts = [steps, cases["age"][:, None] + steps, *(cases["calendar_future"][..., k] for k in SEASON)]
    parts += [*np.moveaxis(cases["future"][..., len(FUTURE) :], 2, 0), *np.moveaxis(cases["due"], 2, 0)]
    if weeks > YEAR:
        first = weeks - YEAR
        wide = np.pad(units[:, max(0, first - NEAR) : first + horizon + NEAR], ((0, 0), (max(0, NEAR - first), 0)), constant_values=np.nan)
        wide = np.pad(wide, ((0, 0), (0, horizon + 2 * NEAR - wide.shape[1])), constant_values=np.nan)
        near = known_mean(np.lib.stride_tricks.sliding_window_view(wide, 2 * NEAR + 1, 1), np.nan)
        before = np.maximum(known_mean(units[:, max(0, first - QUARTER) : first], np.nan), LEAST_LEVEL)
        parts += [wide[:, NEAR : NEAR + horizon] / scale[:, None], near / scale[:, None], near / before[:, None]]
    return np.stack(parts, 2).astype(np.float32)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by: something given away has a price of zero."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def known_mean(values: np.ndarray, unknown: float = 0.0) -> np.ndarray:
    """Mean over the last axis of what is known, `unknown` where nothing is."""
    known = np.isfinite(values)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, values, 0).sum(-1) / np.maximum(count, 1), unknown)
