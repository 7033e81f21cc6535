"""How good any forecast of these weeks could be: oracles that know each product's smoothed true curve, judged as contestants are.

    PLCP_BENCH_DATA=DATA make bench NAME=online_retail.noise_floor

An oracle reads the level around the very week it forecasts from a kernel over the true weeks, the ones to come included, and answers
with the quantiles that units have at such a level over all cases. What it still misses is scatter about a smooth curve, not lack of
foresight. With the week itself in the kernel the floor is too low (the week tells on itself); without it, a little too high.
"""

import numpy as np

from benchmarks.online_retail.contest import transactions
from benchmarks.online_retail.judge import HORIZON, LEVELS, Truth, curve_metrics
from benchmarks.results import Figure, write_results

GROUPS = 400  # of weeks with about the same level, whose quantiles are taken together
LEAST_LEVEL = 0.1  # units a week, below which levels count as alike
KERNELS = {  # weeks on each side, and whether the week itself counts
    "five weeks' mean": (2, True),
    "five weeks' mean without the week itself": (2, False),
    "nine weeks' mean": (4, True),
    "nine weeks' mean without the week itself": (4, False),
}


def level(units: np.ndarray, side: int, own: bool) -> np.ndarray:
    """Mean over `side` weeks on each side of every week, (n, weeks), of those that exist."""
    kernel = np.ones(2 * side + 1)
    kernel[side] = own
    weight = np.convolve(np.ones(units.shape[1]), kernel, "same")
    return np.stack([np.convolve(row, kernel, "same") for row in units]) / weight


def quantiles_at(known: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Quantiles that `actual` (m,) has among weeks whose `known` level (m,) is about the same, (m, 9)."""
    edges = np.unique(np.quantile(known, np.arange(1, GROUPS) / GROUPS))
    group = np.searchsorted(edges, known, side="right")
    order = np.argsort(group, kind="stable")
    found = np.empty((len(known), len(LEVELS)))
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        # relative to the level, so that a group of fifty units and of five thousand does not answer alike for both
        centre = known[rows] + LEAST_LEVEL
        found[rows] = np.quantile(actual[rows] / centre, LEVELS, axis=0).T * centre[:, None]
    return found


def oracle(truth: Truth, side: int, own: bool) -> dict[str, float]:
    """The judge's in-life metrics over all origins."""
    levels = level(truth.units, side, own)
    actual, known = (np.concatenate([values[truth.in_life(o), o : o + HORIZON] for o in truth.origins]) for values in (truth.units, levels))
    quantiles = quantiles_at(known.ravel(), actual.ravel()).reshape(*actual.shape, len(LEVELS))
    return curve_metrics(actual, quantiles, known)


def main() -> None:
    truth = Truth(str(transactions()))
    figures = []
    for name, (side, own) in KERNELS.items():
        metrics = oracle(truth, side, own)
        figures += [Figure(f"{metric} of the oracle, {name}", round(metrics[metric], 4), "") for metric in ("wql", "wape", "wape_total")]
    write_results("online_retail_noise_floor", figures)


if __name__ == "__main__":
    main()
