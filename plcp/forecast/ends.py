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
SEEN_WEEKS = 26  # weeks by which a product is known, and within which it sold
FROM = 8  # weeks of data before the first from which time counts
GAPS = (1, 2, 3, 4, 6, 8, 10, 13, 17, 21)  # bounds of the groups by weeks since the last sale
OFTEN = (3, 6, 10, 15, 20, 25)  # bounds of the groups by weeks with sales of the last SEEN_WEEKS
GROUPS = (len(GAPS) + 1, len(OFTEN) + 1)
BORROWED = 50.0  # products' worth of the wider group's hazard that a group starts from
RAREST = 1e-5  # hazard that nothing falls below


@dataclass(frozen=True)
class PastEnds:
    """Logits (*GROUPS, BINS) of the hazard of the end, of products that have been silent for as long and sell as often.

    A product has one end, and a season has many: a model that saw one year of them forecasts the next by what it knows of the last. What it
    says is combined, by the logits of its hazards, with the product-limit estimate of landmarks in the past (Kaplan & Meier 1958;
    van Houwelingen 2007). Where nothing was seen, (0, …).
    """

    hazard: np.ndarray

    @staticmethod
    def none() -> "PastEnds":
        return PastEnds(np.zeros((0, GROUPS[1], BINS)))

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
        ended, at_risk = counts
        if not at_risk.any():
            return PastEnds.none()
        hazard = np.full(BINS, RAREST)
        for within in ((0, 1), (1,), ()):
            hazard = (ended.sum(within, keepdims=True) + BORROWED * hazard) / (at_risk.sum(within, keepdims=True) + BORROWED)
        hazard = hazard.clip(RAREST, 1 - RAREST)
        return PastEnds(np.log(hazard / (1 - hazard)))

    def shrink(self, hazard: np.ndarray, units: np.ndarray) -> np.ndarray:
        """hazard (n, 3, BINS) logits → the same, the end's of products in life nearer to the past. units (n, weeks), NaN where unknown."""
        recent, shrunk = units[:, -SEEN_WEEKS:], hazard.copy()
        alive = (recent > 0).any(1) & (len(self.hazard) > 0)
        if alive.any():
            shrunk[alive, END] = OWN * hazard[alive, END] + (1 - OWN) * self.hazard[group(recent[alive])]
        return shrunk

    def to_dict(self) -> dict[str, Any]:
        return {"gaps": GAPS, "often": OFTEN, "hazard": self.hazard.round(4).tolist()}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "PastEnds":
        """Raises ValueError or KeyError where the content has another shape."""
        return PastEnds(np.asarray(content["hazard"], np.float64).reshape(-1, GROUPS[1], BINS))


def group(recent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place in GROUPS of products by their last weeks (n, up to SEEN_WEEKS), each of which sold in one of them. (n,) each."""
    sold = recent > 0
    return np.digitize(sold[:, ::-1].argmax(1), GAPS), np.digitize(sold.sum(1), OFTEN)


def ends(units: np.ndarray) -> np.ndarray:
    """Of n products (n, weeks), landmarks that ended in each bin and those at risk of it, (2, *GROUPS, BINS).

    Bins as in EventHead: the first is an end that lies behind, unconfirmed as yet, each other BIN_WEEKS long.
    """
    levels, ended, reached = Levels(units), np.zeros((*GROUPS, BINS + 1)), np.zeros((*GROUPS, BINS + 1))
    for week in range(FROM, units.shape[1] - CONFIRM + 1):
        recent = units[:, max(0, week - SEEN_WEEKS) : week]
        rows = np.flatnonzero((recent > 0).any(1))
        weeks, seen = (part[:, END] for part in levels.event_times(rows, np.full(len(rows), week)))
        own = np.where(weeks <= 0, 0, np.ceil(weeks / BIN_WEEKS))  # the bin it falls into
        free = np.where(weeks < 0, 0, 1 + np.floor(weeks / BIN_WEEKS))  # bins known to be free of it
        past = np.minimum(np.where(seen, own, free), BINS).astype(np.int64)
        place = group(recent[rows])
        np.add.at(reached, (*place, past), 1)
        np.add.at(ended, tuple(part[seen] for part in (*place, past)), 1)
    survived = np.cumsum(reached[..., ::-1], -1)[..., ::-1][..., 1:]  # lived through the bin
    return np.stack([ended[..., :BINS], survived + ended[..., :BINS]])
