"""Boosted trees beside the network: what a second learner, which errs apart from it, says of curves and ends."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plcp.data.features import Arrays
from plcp.data.spec import Spec
from plcp.data.timeline import YEAR
from plcp.forecast import tabular
from plcp.forecast.embeddings import Run
from plcp.forecast.ends import END, SEEN_WEEKS
from plcp.forecast.forest import Forest
from plcp.model.heads import BINS
from plcp.tables import LEVELS

# Shares were chosen on Online Retail II before March 2011.
SHARE, SHARE_WEEKS = 0.5, 2 * YEAR  # weight beside the network's curve, and the weeks of data it takes: trees know only seasons they saw
SHARE_ENDS = 0.5
TOLD = (0, 2, 4, 6, 8)  # places of the quantiles that have trees; those between them lie half-way
# what a file says of the trees that it holds
GROWN_BY = {"told": list(TOLD), "reads": {name: list(values) for name, values in tabular.FEATURES.items()}}


@dataclass(frozen=True)
class Trees:
    """Trees of the quantiles TOLD, in log1p units less those of the product's level, and of the hazard of the end in the first `bins` bins.

    A network learns a smooth rule, which carries over to a season that it has not seen; trees learn steps and exceptions, and know only
    what they saw. Both err, and not alike: quantiles are averaged in log1p units (Vincent averaging, Ratcliff 1979), ends by the logits of
    their hazards. `weeks` of data were learned from.
    """

    curve: Forest = field(default_factory=Forest.none)
    ends: Forest = field(default_factory=Forest.none)
    weeks: int = 0
    bins: int = 0

    @property
    def share(self) -> float:
        """Weight of the trees' quantiles."""
        return SHARE * min(1.0, self.weeks / SHARE_WEEKS)

    def quantiles(self, quantiles: np.ndarray, response: np.ndarray, cases: Arrays, spec: Spec, run: Run = map) -> np.ndarray:
        """The network's quantiles (n, h, 9) log1p → the same, of products in life nearer to the trees'.

        response (n, h): what planned prices and promotions add to the network's log1p units, and then to the trees', which read neither.
        cases: tabular.READS as features.inputs gives them; `run` as Forecaster has it.
        """
        alive = in_life(cases["history"], spec)
        if not self.curve.models or not alive.any():
            return quantiles
        own = {name: cases[name][alive] for name in tabular.READS}
        x = tabular.features(own, spec)
        level = np.log1p(tabular.level(own["history"], spec))[:, None, None]
        told = self.curve(x.reshape(-1, x.shape[2]), run).reshape(*x.shape[:2], len(TOLD)) + level + response[alive][..., None]
        nearer = quantiles.copy()
        nearer[alive] = (1 - self.share) * quantiles[alive] + self.share * all_levels(np.maximum(np.sort(told, 2), 0))
        return nearer

    def hazard(self, hazard: np.ndarray, cases: Arrays, spec: Spec, run: Run = map) -> np.ndarray:
        """hazard (n, 3, BINS) logits → the same, the end's of products in life nearer to the trees'. cases, run: as for `quantiles`."""
        alive = in_life(cases["history"], spec)
        if not self.bins or not alive.any():
            return hazard
        own = {name: cases[name][alive] for name in tabular.READS}
        product = tabular.of_product(own, spec, tabular.level(own["history"], spec))
        count = len(product)
        x = at_bins(np.repeat(product, self.bins, 0), np.tile(np.arange(self.bins), count))
        hazard = hazard.copy()
        known = hazard[alive, END, : self.bins]
        hazard[alive, END, : self.bins] = (1 - SHARE_ENDS) * known + SHARE_ENDS * self.ends(x, run).reshape(count, self.bins)
        return hazard

    def to_dict(self) -> dict[str, Any]:
        forests = {"curve": self.curve.to_dict(), "ends": self.ends.to_dict()}
        return {**GROWN_BY, **forests, "weeks": self.weeks, "bins": self.bins}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "Trees":
        """Raises ValueError or KeyError where the content has another shape, or was grown on other features."""
        if (found := {name: content[name] for name in GROWN_BY}) != GROWN_BY:
            raise ValueError(f"trees were grown by {found}, expected {GROWN_BY}")
        curve, ends = Forest.from_dict(content["curve"]), Forest.from_dict(content["ends"])
        weeks, bins = int(content["weeks"]), int(content["bins"])
        if curve.models not in (0, len(TOLD)) or ends.models != (bins > 0) or not 0 <= bins <= BINS or weeks < 0:
            raise ValueError(f"trees of {curve.models} quantiles, expected {len(TOLD)}, or of {ends.models} ends in {bins} bins")
        return Trees(curve, ends, weeks, bins)


def in_life(history: np.ndarray, spec: Spec) -> np.ndarray:
    """Which of n cases (n, weeks, channels of the spec) sold lately. (n,)."""
    recent = history[:, -SEEN_WEEKS:, spec.history.index("units")]
    return np.nanmax(recent, 1, initial=0) > 0


def all_levels(told: np.ndarray) -> np.ndarray:
    """Quantiles TOLD (..., 5) → of all levels (..., 9)."""
    found = np.empty((*told.shape[:-1], len(LEVELS)), told.dtype)
    found[..., TOLD] = told
    found[..., 1::2] = (told[..., :-1] + told[..., 1:]) / 2
    return found


def at_bins(product: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Features of products (b, F), each in one of the bins (b,) of the hazard: (b, F + 1)."""
    return np.concatenate([product, bins[:, None].astype(np.float32)], 1)
