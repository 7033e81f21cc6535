"""How good forecasts are: the field's metrics as functions of arrays. NaN is what is not defined, such as an error relative to nothing.

Squared errors judge the mean and absolute ones the median, each the forecast that is right for it (Kolassa 2020,
https://doi.org/10.1016/j.ijforecast.2019.02.017).
"""

import numpy as np

from plcp.data.lifecycle import smooth
from plcp.tables import LEVELS, QUANTILES, STAGES

Metrics = dict[str, float]
THRESHOLD = 0.5  # probability from which on an event is called
MEDIAN = LEVELS.index(0.5)
GAP_LEVELS = (0, MEDIAN, len(LEVELS) - 1)  # q10, q50, q90
TIE = 1e-9  # share of a level by which rounding may move it


def ratio(part: float, whole: float) -> float:
    """NaN where the whole is 0."""
    return float(part / whole) if whole else np.nan


def curve_metrics(actual: np.ndarray, quantiles: np.ndarray, mean: np.ndarray, naive_error: np.ndarray) -> Metrics:
    """actual (n, h), quantiles (n, h, 9), mean (n, h), in units; naive_error (n,) as Truth.naive_error, NaN where there is none."""
    median = quantiles[:, :, MEDIAN]
    return {
        **quantile_errors(actual, quantiles),
        "wape": ratio(np.abs(actual - median).sum(), actual.sum()),
        "wape_total": ratio(np.abs(actual.sum(1) - mean.sum(1)).sum(), actual.sum()),
        "bias": ratio((mean - actual).sum(), actual.sum()),
        **squared_errors(actual, mean),
        **absolute_errors(actual, median, naive_error),
        "peak_week_mae": peak_week_error(actual, mean),
        "calibration_gap": calibration_gap(actual, quantiles),
        **coverage(actual, quantiles),
    }


def quantile_loss(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Twice the quantile loss of each level, summed over weeks. actual (n, h), quantiles (n, h, 9) → (n, 9)."""
    gap, levels = actual[:, :, None] - quantiles, np.array(LEVELS)
    return 2 * np.maximum(levels * gap, (levels - 1) * gap).sum(1)


def quantile_errors(actual: np.ndarray, quantiles: np.ndarray) -> Metrics:
    """wql_q10 … wql_q90, relative to the units sold in all cases, and their mean, wql; crps, in units, per week.

    The CRPS is the integral of twice the quantile loss over all levels (Laio & Tamea 2007, https://doi.org/10.5194/hess-11-1267-2007);
    `crps` approximates it by the mean of the nine levels, that is without the outer 5% on each side.
    """
    loss = quantile_loss(actual, quantiles).sum(0)
    relative = {f"wql_{name}": ratio(own, actual.sum()) for name, own in zip(QUANTILES, loss, strict=True)}
    return {"wql": ratio(loss.mean(), actual.sum()), "crps": ratio(loss.mean(), actual.size), **relative}


def squared_errors(actual: np.ndarray, mean: np.ndarray) -> Metrics:
    """Over all weeks of all cases; r2 is against the mean of them all, NaN where all are equal."""
    mse = float(((actual - mean) ** 2).mean())
    return {"mse": mse, "rmse": float(np.sqrt(mse)), "r2": 1 - ratio(mse, actual.var())}


def absolute_errors(actual: np.ndarray, median: np.ndarray, naive_error: np.ndarray) -> Metrics:
    """mae in units; mape over the weeks with a sale; smape from 0 to 2; mase over the cases that have a naive error above 0.

    A week without a sale has no percentage error, so mape leaves it out. smape is that of the M4 competition (Makridakis et al. 2020,
    https://doi.org/10.1016/j.ijforecast.2019.04.014) as a share, 0 where both are 0. mase divides each case's error by what the last
    week's units would have erred in its own past (Hyndman & Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001).
    """
    error, size = np.abs(actual - median), np.abs(actual) + np.abs(median)
    sold, scaled = actual > 0, naive_error > 0
    return {
        "mae": float(error.mean()),
        "mape": ratio((error[sold] / actual[sold]).sum(), sold.sum()),
        "smape": float((2 * error / np.where(size > 0, size, 1)).mean()),
        "mase": ratio((error[scaled].mean(1) / naive_error[scaled]).sum(), scaled.sum()),
    }


def peak_week(units: np.ndarray) -> np.ndarray:
    """Week of the highest smoothed level, (n, h) → (n,), counted from 0; the middle of weeks that are equally high."""
    level = smooth(units)
    top = level >= level.max(1, keepdims=True) * (1 - TIE)
    return (top * np.arange(units.shape[1])).sum(1) / top.sum(1)


def peak_week_error(actual: np.ndarray, mean: np.ndarray) -> float:
    """Weeks between the peak of the forecast and that of the units, within the horizon; over the cases that sold anything in it."""
    sold = actual.any(1)
    return ratio(np.abs(peak_week(actual[sold]) - peak_week(mean[sold])).sum(), sold.sum())


def shares_below(actual: np.ndarray, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of weeks below each quantile, and at or below it, (9,), (9,); a quantile under half a unit reads as zero."""
    read, units = np.where(quantiles < 0.5, 0.0, quantiles), actual[:, :, None]
    return (units < read).mean((0, 1)), (units <= read).mean((0, 1))


def coverage(actual: np.ndarray, quantiles: np.ndarray) -> Metrics:
    """below_q10 and up_to_q10 … up_to_q90: a level is right where it lies between the two, which zeros keep apart (Czado et al. 2009,
    https://doi.org/10.1111/j.1541-0420.2009.01191.x)."""
    below, up_to = shares_below(actual, quantiles)
    pairs = zip(QUANTILES, below, up_to, strict=True)
    return {name: float(share) for q, low, high in pairs for name, share in ((f"below_{q}", low), (f"up_to_{q}", high))}


def calibration_gap(actual: np.ndarray, quantiles: np.ndarray) -> float:
    """How far q10, q50 and q90 are from their levels, the worst of them; 0 is right (see `coverage`)."""
    below, up_to = shares_below(actual, quantiles)
    return float(max(0.0, *(max(below[k] - LEVELS[k], LEVELS[k] - up_to[k]) for k in GAP_LEVELS)))


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve; ties share their mean rank. NaN where all labels are equal."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    positives = int(label.sum())
    return ratio(ranks[label].sum() - positives * (positives + 1) / 2, positives * (len(label) - positives))


def hits(actual: np.ndarray, called: np.ndarray) -> Metrics:
    """precision, recall and f1 of bool arrays (n,): NaN where nothing was called, nothing happened, neither."""
    right, happened, calls = (actual & called).sum(), actual.sum(), called.sum()
    return {"precision": ratio(right, calls), "recall": ratio(right, happened), "f1": ratio(2 * right, calls + happened)}


def event_metrics(label: np.ndarray, probability: np.ndarray) -> Metrics:
    """label (n,) bool, probability (n,). Skill is against a forecast of the base rate for all, NaN where that rate is 0 or 1; an event is
    called from THRESHOLD on."""
    rate, brier = float(label.mean()), float(((probability - label) ** 2).mean())
    skill = 1 - ratio(brier, rate * (1 - rate))
    return {"auc": auc(label, probability), "brier": brier, "brier_skill": skill, "rate": rate, **hits(label, probability >= THRESHOLD)}


def concordance(time: np.ndarray, seen: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C (1982, https://doi.org/10.1001/jama.1982.03320430047030): of the pairs whose order is known, the share in which the
    earlier event had the higher risk; equal risks count half. NaN where no order is known.

    time (n,) of the event, or, where it was not seen, the last time known to be free of it; events at the same time are no pair.
    """
    right = pairs = 0.0
    for t in np.unique(time[seen]):
        early = risk[seen & (time == t)]
        late = np.sort(risk[np.where(seen, time > t, time >= t)])
        right += (np.searchsorted(late, early, "left") + np.searchsorted(late, early, "right")).sum() / 2
        pairs += len(early) * len(late)
    return ratio(right, pairs)


def median_week(probability: np.ndarray, weeks: tuple[int, ...]) -> np.ndarray:
    """When an event is as likely over as not, out of its probabilities (n, k) within so many weeks, on straight lines between them from
    0 on; the last of the weeks where it comes later. (n,)."""
    p, at = np.pad(probability, ((0, 0), (1, 0))), np.array((0, *weeks))
    k, rows = np.where(probability[:, -1] >= THRESHOLD, (probability >= THRESHOLD).argmax(1), len(weeks) - 1), np.arange(len(p))
    low, high = p[rows, k], p[rows, k + 1]
    share = np.divide(THRESHOLD - low, high - low, out=np.ones(len(p)), where=high >= THRESHOLD)
    return at[k] + share * (at[k + 1] - at[k])


def stage_metrics(actual: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Indices into STAGES, (n,): the mean F1 of the stages that occur, and of each stage its share, precision, recall and F1."""
    found = {name: hits(actual == k, predicted == k) for k, name in enumerate(STAGES)}
    occurring = [found[STAGES[k]]["f1"] for k in np.unique(actual)]
    each = {f"{metric}_{name}": value for name, own in found.items() for metric, value in own.items()}
    share = {f"share_{name}": float((actual == k).mean()) for k, name in enumerate(STAGES)}
    return {"macro_f1": float(np.mean(occurring)), **share, **each}
