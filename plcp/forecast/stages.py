"""Which stages of life products of a shop turned out to be in so far: what the forecast of a stage is combined with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from plcp.data.lifecycle import HINDSIGHT, LAUNCH_SEEN, MATURE, YOUNG, Levels, smooth
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.ends import LOOKED_AT, SEEN_WEEKS
from plcp.tables import STAGES

OWN = 0.5  # weight of the model's own word
ROWS = 60_000  # landmarks that are learned from at most
LEAST = 1_000  # landmarks that say anything
FIRST_WEEK = 10  # of data, from which on a landmark is set
RIDGE = 10.0  # landmarks' worth of no difference at all
ITERATIONS = 60
LEAST_PROBABLE = 1e-9
LEVEL_FLOOR = 0.05  # units a week
TREND = (-2, -1, -0.5, 0, 0.5, 1, 2)  # log ratios
# knots of what is read off a product's past weeks: between them an effect runs straight, beyond them it stays
KNOTS: dict[str, tuple[float, ...]] = {
    "standing": (0, 0.2, 0.4, 0.6, 0.8, 1),  # level now, as a share of the highest
    "quarter": TREND,  # last four weeks against last thirteen
    "silent": (0, 1, 2, 4, 8, 13, 26),  # weeks since the last sale
    "often": (1, 3, 6, 10, 15, 26),  # weeks with sales of the last SEEN_WEEKS
    "speed": (-3, -1.7, -0.3, 1, 2.3, 3.7, 5),  # log units a week of a quarter
    "highest": (-3, -1.5, 0, 1.5, 3, 4.5, 6),  # log of the highest level, units a week
    "since": (0, 2, 4, 8, 13, 20, 26),  # weeks since the highest level
    "age": (1, 4, 8, 12, 13, 17, 26),  # weeks since the first sale that is seen
    "month": TREND,  # last four weeks against the four before
}
JOINT = (("standing", "quarter"), ("silent", "often"))  # the others act one by one
TOGETHER = sum(JOINT, ())
STEPS = 6  # columns of `describe` that are no function of one number
WIDTH = STEPS + sum(len(KNOTS[a]) * len(KNOTS[b]) for a, b in JOINT)
WIDTH += sum(len(knots) for name, knots in KNOTS.items() if name not in TOGETHER)


@dataclass(frozen=True)
class PastStages:
    """Weights (WIDTH, 5) of an additive multinomial logistic regression of the stage (Hastie & Tibshirani 1990), learned from past weeks
    whose stage is known by now.

    A stage is told by few numbers, and a product has few: a model that is ruled by its curve learns products by heart. The two are
    combined by the logarithms of their probabilities (Genest & Zidek 1986). Without weights a model's word stands alone.
    """

    weights: np.ndarray

    @staticmethod
    def none() -> "PastStages":
        return PastStages(np.zeros((0, len(STAGES))))

    @staticmethod
    def of(prepared: Prepared, spec: Spec) -> "PastStages":
        """From past weeks of LOOKED_AT products. Units are those known today: an order cancelled since counts as none."""
        units, rng = [np.zeros((0, prepared.weeks))], np.random.default_rng(0)
        for index in rng.permutation(len(prepared.shards)):
            units.append(prepared.read(int(index), ["units"]).units)
            if sum(map(len, units)) >= LOOKED_AT:
                break
        described, stage = landmarks(np.concatenate(units), spec.history_weeks, rng)
        return PastStages(fit(described, stage)) if len(stage) >= LEAST else PastStages.none()

    def probability(self, stage: np.ndarray, units: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """A model's probabilities (n, 5) → the same, of products in life nearer to the past.

        units (n, weeks), 0 where unknown; visible (n,) whether the launch is.
        """
        alive = (units[:, -SEEN_WEEKS:] > 0).any(1) & bool(len(self.weights))
        if not alive.any():
            return stage
        past = log_softmax(describe(units[alive], visible[alive]) @ self.weights, 1)
        mixed = stage.copy()
        mixed[alive] = softmax(OWN * np.log(np.maximum(stage[alive], LEAST_PROBABLE)) + (1 - OWN) * past, 1)
        return mixed

    def to_dict(self) -> dict[str, Any]:
        return {"knots": {name: list(knots) for name, knots in KNOTS.items()}, "weights": self.weights.round(4).tolist()}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastStages":
        """Raises ValueError or KeyError where the content has another shape, or other knots."""
        weights = np.asarray(content["weights"], np.float64).reshape(-1, len(STAGES))
        if {name: tuple(knots) for name, knots in content["knots"].items()} != KNOTS or len(weights) not in (0, WIDTH):
            raise ValueError(f"stages have {len(weights)} weights of the knots {content['knots']}, expected {WIDTH} of {KNOTS}")
        return PastStages(weights)


def landmarks(units: np.ndarray, history_weeks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of n products (n, weeks), cases in life whose stage is known by now: `describe` (b, WIDTH), and the stage (b,)."""
    weeks, levels = units.shape[1], Levels(units)
    starts = np.arange(FIRST_WEEK, weeks - HINDSIGHT + 1)
    sold = np.concatenate([np.zeros((len(units), 1), np.int64), np.cumsum(units > 0, 1)], 1)
    row, at = np.nonzero(sold[:, starts] > sold[:, np.maximum(starts - SEEN_WEEKS, 0)])
    drawn = np.sort(rng.permutation(len(row))[:ROWS])
    row, at = row[drawn], at[drawn]
    described, stage = np.zeros((len(row), WIDTH)), np.zeros(len(row), np.int64)
    for k, start in enumerate(starts):
        rows = row[at == k]
        described[at == k] = describe(units[rows, max(0, start - history_weeks) : start], levels.sold_from[rows] >= LAUNCH_SEEN)
        stage[at == k] = levels.stage(rows, np.full(len(rows), start))
    return described, stage


def describe(units: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """What the last weeks (b, weeks), some of which sold, say of the stage: (b, WIDTH). visible: (b,) whether the launch is."""
    weeks, sold, level = units.shape[1], units > 0, smooth(units)
    highest = level.max(1)
    month, before, quarter = (log_mean(units[:, a:z]) for a, z in ((-4, None), (-8, -4), (-13, None)))
    read = {
        "standing": level[:, -2] / highest,
        "quarter": month - quarter,
        "silent": sold[:, ::-1].argmax(1),
        "often": sold[:, -SEEN_WEEKS:].sum(1),
        "speed": quarter,
        "highest": np.log(highest + LEVEL_FLOOR),
        "since": weeks - 1 - level.argmax(1),
        "age": weeks - sold.argmax(1),
        "month": month - before,
    }
    hats = {name: hat(values, KNOTS[name]) for name, values in read.items()}
    joint = [np.repeat(hats[one], len(KNOTS[other]), 1) * np.tile(hats[other], len(KNOTS[one])) for one, other in JOINT]
    alone = [hats[name] for name in KNOTS if name not in TOGETHER]
    young = visible & (read["age"] <= YOUNG)
    steps = [np.ones(len(units)), read["standing"] > MATURE, visible, young, young * read["standing"], young * read["month"].clip(-2, 2)]
    return np.concatenate([np.stack(steps, 1), *joint, *alone], 1)


def log_mean(units: np.ndarray) -> np.ndarray:
    return np.log(units.mean(1) + LEVEL_FLOOR)


def hat(values: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """A piecewise linear basis: (b,) → (b, knots), each 1 at its own knot, 0 at all others."""
    places = np.arange(len(knots))
    return np.maximum(1 - np.abs(np.interp(values, knots, places)[:, None] - places), 0)


def fit(described: np.ndarray, stage: np.ndarray) -> np.ndarray:
    """Weights (WIDTH, 5) of the most likely regression of stage (b,) on described (b, WIDTH), shrunk towards how common stages are."""
    x, y = torch.from_numpy(described), torch.from_numpy(stage)
    seen = np.bincount(stage, minlength=len(STAGES))
    common = torch.from_numpy(np.log((seen + 1) / (seen + 1).sum()))
    weights = torch.zeros(x.shape[1], len(STAGES), dtype=x.dtype, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights + common, y, reduction="sum") + RIDGE / 2 * weights.square().sum()
        loss.backward()
        return loss

    search.step(closure)
    found = weights.detach().numpy()
    found[0] += common.numpy()  # the first column is one
    return found
