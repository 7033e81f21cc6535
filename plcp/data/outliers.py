"""One-week bulk orders, softened in inputs."""

import numpy as np

DEVIATIONS = 5  # robust standard deviations that a week may stand above its surroundings
NORMAL = 1.4826  # makes the median absolute deviation a normal standard deviation
FLOOR = 0.35  # least standard deviation in log1p units: that of a Poisson count of eight
ENOUGH = 8  # weeks that must be known, or nothing is called unusual
AROUND = 2  # weeks on either side


def soften(units: np.ndarray) -> np.ndarray:
    """Units of weeks that stand out, brought down to the highest usual value; the others as they are. In place, and returned.

    units (b, weeks) float32, NaN unknown: what is known of each product at one origin, and nothing else is used. The Hampel identifier
    (Davies & Gather 1993, JASA 88; in a moving window Pearson et al. 2016) on log1p units: a week is an outlier above
    centre + DEVIATIONS · NORMAL · MAD. The centre is the median of all weeks or of the five around it, whichever is higher:
    a season of three weeks is none, nor is a lasting rise. Only high weeks are: a low one is a stock-out, which has its own channel.
    """
    # below this no week of any product can stand out
    rows = np.flatnonzero(np.nanmax(units, 1, initial=0) > np.expm1(DEVIATIONS * NORMAL * FLOOR))
    if not len(rows):
        return units
    values = np.log1p(units[rows])
    centre = medians(values)
    spread = np.maximum(NORMAL * medians(np.abs(values - centre[:, None])), FLOOR)
    high = (values > (centre + DEVIATIONS * spread)[:, None]) & (np.sum(~np.isnan(values), 1) >= ENOUGH)[:, None]
    row, week = np.nonzero(high)
    padded = np.pad(values, ((0, 0), (AROUND, AROUND)), constant_values=np.nan)
    local = medians(padded[row[:, None], week[:, None] + np.arange(2 * AROUND + 1)])
    limit = np.expm1(np.maximum(centre[row], local) + DEVIATIONS * spread[row])
    units[rows[row], week] = np.minimum(units[rows[row], week], limit)
    return units


def medians(values: np.ndarray) -> np.ndarray:
    """Lower median of the known values of each row, (b,); NaN where there is none. values (b, n), NaN unknown."""
    ordered = np.sort(values, 1)  # NaN comes last
    known = (~np.isnan(values)).sum(1)
    return ordered[np.arange(len(values)), np.maximum(known - 1, 0) // 2]
