"""From a model's raw outputs to what is forecast, as arrays: what the tables of a run and the endpoint's answers both spell out."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.special import softmax

from plcp.data.features import Arrays
from plcp.data.history import as_sold, past_units
from plcp.data.lifecycle import HINDSIGHT, Levels
from plcp.data.spec import Spec
from plcp.forecast.calibration import Calibration
from plcp.forecast.embeddings import Run
from plcp.forecast.launches import kinship
from plcp.forecast.tabular import READS
from plcp.model.heads import BIN_WEEKS, BINS, event_probability
from plcp.model.history import LEVEL_FLOOR
from plcp.tables import EVENT_WEEKS, EVENTS, STAGES

LAST_WEEK = BIN_WEEKS * (BINS - 1)  # the furthest week an event is dated in
DATED = (0.1, 0.5, 0.9)  # probabilities an event is dated by
CALIBRATED_BY = (*READS, "pool")  # arrays of the cases that `calibrated` reads
# power of the ratio that the odds of a new peak are multiplied by: 1 ranks a little better (AUC + .003, Online Retail II before March
# 2011), but its probabilities are too low
LIFT = 0.5
NEVER_HAPPENED = -30.0  # logit of what cannot be
WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True)
class Values:
    """n cases' forecast, calibrated."""

    origins: np.ndarray  # (n,) datetime64[D]
    starts: np.ndarray  # (n,) datetime64[D], the first week forecast
    age: np.ndarray  # (n,) weeks since launch in that week, NaN where not visible
    mean: np.ndarray  # (n, horizon) units
    quantiles: np.ndarray  # (n, horizon, 9) units, never crossing, never negative
    within: np.ndarray  # (n, 3, len(EVENT_WEEKS)) probability of each event within so many weeks of the origin
    dates: np.ndarray  # (n, 3, len(DATED)) datetime64[D], NaT where later than LAST_WEEK
    stage: np.ndarray  # (n, 5) probabilities
    named: np.ndarray  # (n,) index of the stage each product is said to be in
    embedding: np.ndarray  # (n, width), the joint encoder's

    def __getitem__(self, rows: slice) -> "Values":
        return Values(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def calibrated(
    out: Arrays, cases: Arrays, spec: Spec, origins: np.ndarray, starts: np.ndarray, calibration: Calibration, run: Run = map
) -> Values:
    """What the model's outputs (LifeCycleModel.forward, as arrays) say.

    cases: CALIBRATED_BY of the n cases as features.inputs gives them; origins, starts (n,) datetime64[D]; `run` as Forecaster has it.
    """
    history, age = cases["history"], cases["age"]
    units = history[..., spec.history.index("units")]
    unseen = ~np.isfinite(units).any(1)  # nothing of its sales is known: a launch
    own, mean, response = (out[name].astype(np.float64) for name in ("quantiles", "mean", "response"))
    nearer = calibration.trees.quantiles(own, response, cases, spec, run)
    quantiles, mean = calibration.curve(nearer, mean, age, units, as_sold(history, spec), kinship(cases))
    hazard = calibration.trees.hazard(calibration.ends.shrink(out["hazard"], units), cases, spec, run)
    hazard[unseen, :, 0] = NEVER_HAPPENED
    stage = calibration.stages.probability(softmax(out["stage"].astype(np.float64), 1), past_units(history, spec), np.isfinite(age))
    stage[unseen] = np.eye(len(STAGES))[0]  # what is not yet on sale is being introduced
    within, dates = event_times(hazard, origins, starts)
    named = calibration.stage(stage)
    return Values(origins, starts, age, mean, np.expm1(quantiles), within, dates, stage, named, out["embedding"])


def new_peak(logit: np.ndarray, history: np.ndarray, spec: Spec, mean: np.ndarray) -> np.ndarray:
    """Probability (n,) that within HINDSIGHT weeks, or those that are forecast, the level exceeds every one of the history.

    The odds by the model's own word, times the highest level forecast over the highest so far to the power of LIFT: the two are learned
    apart and err apart. logit (n,); history (n, weeks, channels of the spec), NaN where unknown; mean (n, horizon) units.
    """
    past, ahead = past_units(history, spec), mean[:, :HINDSIGHT]
    levels, rows, at = Levels(np.concatenate([past, ahead], 1)), np.arange(len(past)), np.full(len(past), past.shape[1])
    ratio = (levels.top_ahead(rows, at, ahead.shape[1]) + LEVEL_FLOOR) / (levels.top(rows, at) + LEVEL_FLOOR)
    return torch.sigmoid(torch.from_numpy(logit + LIFT * np.log(ratio))).numpy()


def event_times(hazard: np.ndarray, origins: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values.within and Values.dates of hazard (n, 3, BINS) logits, which count from each case's start; origins, starts (n,)."""
    known = event_probability(torch.from_numpy(hazard)).numpy()
    weekly = np.repeat(known, BIN_WEEKS, axis=2)[:, :, BIN_WEEKS - 1 :]  # by week 0, 1 … LAST_WEEK; the odd ones lie half-way
    weekly[:, :, 1::BIN_WEEKS] = (known[:, :, :-1] + known[:, :, 1:]) / 2
    left = np.array(EVENT_WEEKS) - ((starts - origins) // WEEK)[:, None]  # weeks of each span that the forecast covers, (n, spans)
    case, event = np.arange(len(starts))[:, None, None], np.arange(len(EVENTS))[:, None]
    within = np.where(left[:, None] >= 0, weekly[case, event, np.maximum(left, 0)[:, None]], 0.0).clip(0, 1)
    reached = weekly[:, :, None] >= np.array(DATED, weekly.dtype)[:, None]
    dates = np.where(reached.any(3), starts[:, None, None] + reached.argmax(3) * WEEK, np.datetime64("NaT"))
    return within, dates
