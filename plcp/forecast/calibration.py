"""What is laid on a model's answers: how far its quantiles must move, by held-out cases, how common each stage of life is, and what came of
launches, ends and stages so far.

The quantiles: split-conformal, per age and velocity (Romano et al. 2019; scaled as in Sesia & Candès 2020).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plcp.data.timeline import YEAR
from plcp.forecast.ends import PastEnds
from plcp.forecast.launches import PastLaunches
from plcp.forecast.stages import PastStages
from plcp.forecast.trees import Trees
from plcp.tables import LEVELS, STAGES

AGE_EDGES = (12, 52)  # weeks; an invisible launch counts as old
VELOCITY_EDGES = (1, 10, 50)  # units a week over VELOCITY_WEEKS
VELOCITY_WEEKS = 26
BEST_WEEKS = 2
LAUNCH = len(AGE_EDGES) + 1  # the row of products never sold
TAIL = 1.07  # times its quantiles' mean is a mean: 1 has no tail beyond them, 1.14 an exponential one (Online Retail II before March 2011)
HIGHEST, ROOM = 1.25, 0.5  # a mean lies at most so many times its quantiles' mean (an exponential tail: 1.14), and so many units, above it
BEST_TIMES = 1.5  # no quantile lies above so many times the best week so far, which one week in forty beats (Online Retail II in 2010)
BORROWED = 200  # cases' worth of the whole shop's correction that a bucket starts from
LEAST_SHARE = 1e-3  # of a stage that no product is in
BALANCE = 0.5  # power of a stage's share that its probability is divided by: 0 names only common stages, 1 counts all alike
LEVEL_INDEX = np.arange(len(LEVELS))


def velocity(history_units: np.ndarray) -> np.ndarray:
    """Mean weekly units of the last 26 weeks, (n,); weeks before the launch count as empty, NaN where nothing is known at all.

    history_units (n, weeks), NaN where unknown.
    """
    recent = history_units[:, -VELOCITY_WEEKS:]
    return np.where(np.isfinite(history_units).any(1), np.nansum(recent, 1) / VELOCITY_WEEKS, np.nan)


def usual(history_units: np.ndarray) -> np.ndarray:
    """What is bought seldom, in large orders: mean weekly units, (n,), of the same weeks without the BEST_WEEKS best of them.

    0 where half of the weeks sell, whose quantiles say it all. An unknown week counts as empty.
    """
    recent = np.nan_to_num(history_units[:, -VELOCITY_WEEKS:])
    best = np.partition(recent, -BEST_WEEKS, axis=1)[:, -BEST_WEEKS:]
    return np.where(often(history_units), 0.0, (recent.sum(1) - best.sum(1)) / VELOCITY_WEEKS)


def often(history_units: np.ndarray) -> np.ndarray:
    """Whether half of the last VELOCITY_WEEKS weeks sold, (n,): the quantiles of what sells less often say little of its mean."""
    return 2 * (np.nan_to_num(history_units[:, -VELOCITY_WEEKS:]) > 0).sum(1) >= VELOCITY_WEEKS


def ceiling(age: np.ndarray, sold: np.ndarray) -> np.ndarray:
    """The highest that a quantile may lie, (n,) log1p: of what fell out of sale after good weeks a model may say thousands of times it.

    Unlimited for what has not shown its best weeks yet: launches, products in their introduction, by their age or by the first sale that is
    seen, those that sold nothing in the weeks known, and all where less than a year of weeks is looked at. age (n,), NaN where no launch is
    visible; sold (n, weeks) units, NaN where unknown.
    """
    known = np.nan_to_num(sold)
    weeks, best = known.shape[1], known.max(1)
    young = (age <= AGE_EDGES[0]) | (weeks - (known > 0).argmax(1) <= AGE_EDGES[0])
    return np.where(young | (best == 0) | (weeks < YEAR), np.inf, np.log1p(BEST_TIMES * best))


def bucket(age: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each case in the table of corrections, (n,) each. NaN age: old; NaN velocity: never sold."""
    row = np.where(np.isnan(age), len(AGE_EDGES), np.searchsorted(AGE_EDGES, np.nan_to_num(age), side="left"))
    row = np.where(np.isnan(velocity), LAUNCH, row)
    return row, np.where(np.isnan(velocity), 0, np.searchsorted(VELOCITY_EDGES, np.nan_to_num(velocity), side="right"))


@dataclass(frozen=True)
class Calibration:
    """What is laid on a model's answers.

    shift: corrections (age rows, velocity columns, 9), in widths of a forecast's own 10–90% interval in log1p units; zero for launches.
    stage_share: mean probability of each stage, (5,). launches, ends, stages: what forecasts of those are drawn towards;
    trees: what curves and ends are combined with.
    """

    shift: np.ndarray
    stage_share: np.ndarray = field(default_factory=lambda: np.full(len(STAGES), 1 / len(STAGES)))
    launches: PastLaunches = field(default_factory=PastLaunches.none)
    ends: PastEnds = field(default_factory=PastEnds.none)
    stages: PastStages = field(default_factory=PastStages.none)
    trees: Trees = field(default_factory=Trees)

    @staticmethod
    def identity() -> "Calibration":
        return Calibration(np.zeros((LAUNCH + 1, len(VELOCITY_EDGES) + 1, len(LEVELS))))

    def curve(
        self, quantiles: np.ndarray, mean: np.ndarray, age: np.ndarray, history: np.ndarray, sold: np.ndarray, kin: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A model's quantiles (n, h, 9) log1p and mean (n, h) units → the quantiles as `apply` gives them, and the mean.

        The mean of what sells often is met half-way by its quantiles, which one order moves less. One far above them is owed to few weeks
        of few products, such as a wholesaler's one order, and not to be ordered by; unless the product usually sells so much, in few large
        orders. history (n, weeks) units, outliers softened; sold (n, weeks), the same as they were; NaN where unknown; kin (n, 2) as
        launches.kinship gives it.
        """
        speed = velocity(history)
        if (launch := np.isnan(speed)).any():
            quantiles, mean = quantiles.copy(), mean.copy()
            quantiles[launch], mean[launch] = self.launches.shrink(quantiles[launch], mean[launch], kin[launch])
        corrected = np.minimum(self.apply(quantiles, age, speed), ceiling(age, sold)[:, None, None])
        told = np.expm1(corrected).mean(2)
        mean = np.where((often(history) & ~launch)[:, None], (mean + TAIL * told) / 2, mean)
        return corrected, np.minimum(mean, np.maximum(HIGHEST * told + ROOM, usual(sold)[:, None]))

    def apply(self, quantiles: np.ndarray, age: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """quantiles (n, h, 9) log1p → the same, corrected, never crossing, never negative. age, velocity (n,)."""
        row, column = bucket(age, velocity)
        shifted = quantiles + self.shift[row, column][:, None, :] * width(quantiles)
        return np.maximum.accumulate(np.maximum(shifted, 0), axis=-1)

    def stage(self, probability: np.ndarray) -> np.ndarray:
        """The stage that stands out: probable for how common it is, so that rare ones are named too. (n, 5) → (n,) indices."""
        return (probability / self.stage_share**BALANCE).argmax(1)

    def to_dict(self) -> dict[str, Any]:
        share = dict(zip(STAGES, self.stage_share.round(6).tolist(), strict=True))
        own = {
            "shift": self.shift.round(6).tolist(),
            "stage_share": share,
            "launches": self.launches.to_dict(),
            "ends": self.ends.to_dict(),
            "stages": self.stages.to_dict(),
            "trees": self.trees.to_dict(),
        }
        return {"age_edges": AGE_EDGES, "velocity_edges": VELOCITY_EDGES, "levels": LEVELS, **own}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "Calibration":
        """Raises ValueError or KeyError where the content has another shape."""
        shift = np.asarray(content["shift"], np.float64)
        if shift.shape != Calibration.identity().shift.shape:
            raise ValueError(f"shift has shape {shift.shape}, expected {Calibration.identity().shift.shape}")
        share = np.array([content["stage_share"][stage] for stage in STAGES], np.float64)
        launches, ends = PastLaunches.from_dict(content["launches"]), PastEnds.from_dict(content["ends"])
        stages, trees = PastStages.from_dict(content["stages"]), Trees.from_dict(content["trees"])
        return Calibration(shift, share, launches, ends, stages, trees)


def width(quantiles: np.ndarray) -> np.ndarray:
    """The 10–90% interval, (n, h, 1): zero where a forecast is sure of zero, which then stays so."""
    return quantiles[..., -1:] - quantiles[..., :1]


def fit(quantiles: np.ndarray, units: np.ndarray, age: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Corrections under which each quantile would have held on held-out cases, as Calibration.shift.

    quantiles (n, h, 9) log1p as forecast, units (n, h) as came, NaN unobserved; age, velocity (n,) at the origin. A bucket with few cases
    borrows from all in-life cases. Launches are left as they are: those held out are few, and of one season.
    """
    row, column = bucket(age, velocity)
    scores = (np.log1p(units)[..., None] - quantiles) / np.maximum(width(quantiles), 1e-3)
    scores = np.where(np.isfinite(units)[..., None], scores, np.nan)
    shift, in_life = Calibration.identity().shift, row != LAUNCH
    pooled = score_quantiles(scores[in_life])
    for r, c in {(int(r), int(c)) for r, c in zip(row[in_life], column[in_life], strict=True)}:
        own = scores[(row == r) & (column == c)]
        share = len(own) / (len(own) + BORROWED)
        shift[r, c] = share * score_quantiles(own) + (1 - share) * pooled
    return shift


def score_quantiles(scores: np.ndarray) -> np.ndarray:
    """Each level's conformal quantile of its own scores, (n, h, 9) → (9,); 0 where no week was observed.

    A tie at zero (a week without sales forecast at zero) leaves a level alone wherever zero is among its valid answers.
    """
    flat = scores.reshape(-1, len(LEVELS))
    flat = flat[np.isfinite(flat[:, 0])]
    if not len(flat):
        return np.zeros(len(LEVELS))
    levels = np.minimum(np.ceil((len(flat) + 1) * np.array(LEVELS)) / len(flat), 1)
    return np.array([np.quantile(flat[:, k], levels[k], method="inverted_cdf") for k in LEVEL_INDEX])
