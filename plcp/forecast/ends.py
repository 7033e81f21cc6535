"""When products of a shop have ended so far: what the forecast of an end is shrunk towards."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from plcp.data.lifecycle import CONFIRM, Levels
from plcp.data.prepared import Prepared
from plcp.model.heads import BIN_WEEKS, BINS
from plcp.tables import EVENTS

END = EVENTS.index("end")
OWN = 0.5  # weight of the model's own word
LOOKED_AT = 20_000  # products are enough to know how they end
SEEN_WEEKS = 26  # last weeks whose sales tell a product's group; in life is what sold in them
# bounds of the groups by weeks since the last sale, and by weeks with sales of the last SEEN_WEEKS: those of the Kaplan–Meier peer
GAPS = (1, 2, 3, 4, 6, 8, 10, 13, 17, 21)
OFTEN = (3, 6, 10, 15, 20, 25)
GROUPS = (len(GAPS) + 1, len(OFTEN) + 1)
BORROWED = 50.0  # landmarks' worth of the wider group's hazard that a group starts from
LEAST = 100  # landmarks that must be at risk in a bin, and have ended in any, for it to be known


@dataclass(frozen=True)
class PastEnds:
    """Logits (*GROUPS, up to BINS) of the hazard of the end, of products that have been silent for as long and sell as often.

    A product has one end, and a season has many: a model that saw one year of them forecasts the next by what it knows of the last. What it
    says is combined, by the logits of its hazards, with the product-limit estimate of landmarks in the past (Kaplan & Meier 1958;
    van Houwelingen 2007). Of bins that too few were followed into, nothing is known: there are as many as were reached.
    """

    hazard: np.ndarray

    @staticmethod
    def none() -> "PastEnds":
        return PastEnds(np.zeros((*GROUPS, 0)))

    @staticmethod
    def of(prepared: Prepared) -> "PastEnds":
        """From every week of which it is known what came, as far as LOOKED_AT products tell."""
        counts, products = np.zeros((2, *GROUPS, BINS)), 0
        for index in range(len(prepared.shards)):
            units = prepared.read(index, ["units"]).units
            counts += ends(units)
            products += len(units)
            if products >= LOOKED_AT:
                break
        reached = int((counts[1].sum((0, 1)) >= LEAST).cumprod().sum())
        if counts[0].sum() < LEAST:
            return PastEnds.none()
        ended, at_risk = counts[..., :reached]
        hazard = (ended.sum((0, 1)) + 0.5) / (at_risk.sum((0, 1)) + 1)  # neither none nor all of them (Krichevsky & Trofimov 1981)
        for within in ((1,), ()):
            hazard = (ended.sum(within, keepdims=True) + BORROWED * hazard) / (at_risk.sum(within, keepdims=True) + BORROWED)
        return PastEnds(np.log(hazard / (1 - hazard)))

    def shrink(self, hazard: np.ndarray, units: np.ndarray) -> np.ndarray:
        """hazard (n, 3, BINS) logits → the same, the end's of products in life nearer to the past. units (n, weeks), NaN where unknown."""
        recent, shrunk, known = units[:, -SEEN_WEEKS:], hazard.copy(), self.hazard.shape[2]
        alive = (recent > 0).any(1)
        shrunk[alive, END, :known] = OWN * hazard[alive, END, :known] + (1 - OWN) * self.hazard[group(recent[alive])]
        return shrunk

    def to_dict(self) -> dict[str, Any]:
        return {"gaps": GAPS, "often": OFTEN, "hazard": self.hazard.round(4).tolist()}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastEnds":
        """Raises ValueError or KeyError where the content has another shape, or other groups."""
        hazard = np.asarray(content["hazard"], np.float64)
        bounds = tuple(content["gaps"]), tuple(content["often"])
        if bounds != (GAPS, OFTEN) or hazard.shape[:2] != GROUPS or hazard.ndim != 3 or hazard.shape[2] > BINS:
            raise ValueError(f"ends have shape {hazard.shape} and bounds {bounds}, expected {GROUPS} and {(GAPS, OFTEN)}")
        return PastEnds(hazard)


def group(recent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place in GROUPS of products by their last weeks (n, up to SEEN_WEEKS), each of which sold in one of them. (n,) each."""
    sold = recent > 0
    return np.digitize(sold[:, ::-1].argmax(1), GAPS), np.digitize(sold.sum(1), OFTEN)


def ends(units: np.ndarray) -> np.ndarray:
    """Of n products (n, weeks), landmarks that ended in each bin and those at risk of it, (2, *GROUPS, BINS).

    Bins as in EventHead: the first is an end that lies behind, unconfirmed as yet, each other BIN_WEEKS long. Units are those known today:
    an order cancelled since counts as silence.
    """
    levels, ended, reached = Levels(units), np.zeros((*GROUPS, BINS + 1)), np.zeros((*GROUPS, BINS + 1))
    last = units.shape[1] - CONFIRM
    for week in range(min(SEEN_WEEKS, last // 2), last + 1):  # a product's group shows once its last weeks are seen
        recent = units[:, max(0, week - SEEN_WEEKS) : week]
        rows = np.flatnonzero((recent > 0).any(1))
        weeks, seen = (part[:, END] for part in levels.event_times(rows, np.full(len(rows), week)))
        past = bins_before(weeks, seen)
        place = group(recent[rows])
        np.add.at(reached, (*place, past), 1)
        np.add.at(ended, tuple(part[seen] for part in (*place, past)), 1)
    survived = np.cumsum(reached[..., ::-1], -1)[..., ::-1][..., 1:]  # lived through the bin
    return np.stack([ended[..., :BINS], survived + ended[..., :BINS]])


def bins_before(weeks: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Bins that n cases are known to have lived through, (n,): up to the event in so many weeks, where it was seen, else up to then."""
    own = np.where(weeks <= 0, 0, np.ceil(weeks / BIN_WEEKS))  # the bin it falls into
    free = np.where(weeks < 0, 0, 1 + np.floor(weeks / BIN_WEEKS))  # bins known to be free of it
    return np.minimum(np.where(seen, own, free), BINS).astype(np.int64)
