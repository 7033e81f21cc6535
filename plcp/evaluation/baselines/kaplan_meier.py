"""Ends by survival curves: Kaplan–Meier per category, among products that have not sold for as long, sell as often and are as old.

E. L. Kaplan and P. Meier (1958), Nonparametric estimation from incomplete observations, JASA 53(282). What is known at the origin enters by
landmarks (H. C. van Houwelingen (2007), Dynamic prediction by landmarking in event history analysis, Scandinavian Journal of Statistics
34(1)): every past week is an origin of its own, from which the time to the end of each product then in life counts. The other tracks are
those of `recent`.

Chosen on the benchmark's first dev origin, by the AUC of ends within 4, 8 and 12 weeks: weeks without a sale alone .847/.792/.755,
with the age .849/.798/.764, with how often it sells .866/.811/.778, with both, as here, .867/.816/.784; groups of 50 or 300 at
least give the same to .004.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from plcp.base import Config
from plcp.data.lifecycle import CONFIRM, LAUNCH_SEEN
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.recent import NEW_PEAK_RATE, recent_curves, with_rules
from plcp.evaluation.cases import ACTIVE_WITHIN, END_WEEKS, Cases
from plcp.evaluation.contestant import Forecasts, event_frame, rows_of

FOLLOWED = max(END_WEEKS)  # weeks after a landmark
FROM = 8  # the first landmark: before it, too little is known of a product
GAPS = (1, 2, 3, 4, 6, 8, 10, 13, 17, 21)  # bounds of the groups by weeks since the last sale
OFTEN = (3, 6, 10, 15, 20, 25)  # bounds of the groups by weeks with sales of the last 26
AGES = (13, 26)  # bounds of the groups by weeks since the launch; those whose launch was not seen are a group of their own
LEAST_GROUP = 100  # landmarks of a group; products of a smaller one take the curve of the group around it


class KaplanMeier:
    config = Config()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        rule = with_rules(view, rows, cases, *recent_curves(view.units[rows], cases.horizon))
        past = Landmarks.of(view)
        if not len(past.time):
            return rule
        p_end = end_probabilities(past, states(view, rows, view.origin))
        return replace(rule, events=event_frame(cases.in_life, cases.origin, p_end, np.full(len(rows), NEW_PEAK_RATE)))


@dataclass(frozen=True)
class Landmarks:
    """Products in life at past weeks, as they stood there, and what came; all (l,)."""

    state: np.ndarray  # (l, 4), as `states` gives it
    time: np.ndarray  # weeks from there to the end, or to the last week of which it is known
    ended: np.ndarray  # else it was still alive then

    @staticmethod
    def of(view: PanelView) -> "Landmarks":
        """Every week of which an end could be known by the origin: whoever sold later was still alive, whatever comes."""
        known = view.origin - CONFIRM
        sold, end = np.cumsum(view.units > 0, 1), view.last + 1
        state, time, ended = [np.zeros((0, 4), np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
        for week in range(FROM, known + 1):
            rows = np.flatnonzero(sold[:, week - 1] > (sold[:, week - 1 - ACTIVE_WITHIN] if week > ACTIVE_WITHIN else 0))
            state.append(states(view, rows, week))
            time.append(np.maximum(np.minimum(end[rows], known) - week, 0))
            ended.append(end[rows] <= known)
        return Landmarks(np.concatenate(state), np.concatenate(time), np.concatenate(ended))


def states(view: PanelView, rows: np.ndarray, week: int) -> np.ndarray:
    """Groups of products at a week, each within the one before it: weeks since the last sale, weeks with sales, age, category. (b, 4)."""
    sold = view.units[rows, :week] > 0
    often = sold[:, -ACTIVE_WITHIN:].sum(1)
    age = np.where(view.first[rows] >= LAUNCH_SEEN, np.digitize(week - view.first[rows], AGES), len(AGES) + 1)
    category = view.products["category"].fill_null("").rank("dense").to_numpy()[rows]
    return np.stack([np.digitize(sold[:, ::-1].argmax(1), GAPS), np.digitize(often, OFTEN), age, category], 1).astype(np.int64)


def end_probabilities(past: Landmarks, state: np.ndarray) -> np.ndarray:
    """Probabilities to end within each of END_WEEKS, of products in states (b, 4): by the narrowest group that is large enough. (b, 3)."""
    alive = np.repeat(survival(np.zeros(len(past.time), np.int64), past.time, past.ended, 1), len(state), 0)
    for depth in range(1, state.shape[1] + 1):
        together = np.concatenate([past.state[:, :depth], state[:, :depth]])
        _, group = np.unique(together, axis=0, return_inverse=True)
        seen, own = group[: len(past.time)], group[len(past.time) :]
        count = int(group.max()) + 1
        large = (np.bincount(seen, minlength=count) >= LEAST_GROUP)[own]
        alive[large] = survival(seen, past.time, past.ended, count)[own[large]]
    return 1 - alive[:, END_WEEKS]


def survival(group: np.ndarray, time: np.ndarray, ended: np.ndarray, count: int) -> np.ndarray:
    """Share of each of `count` groups that is alive after 0 to FOLLOWED weeks, (count, FOLLOWED + 1).

    group, time, ended (l,): who ended after `time` weeks, or was last seen alive after them.
    """
    seen = time <= FOLLOWED
    left, ends = np.zeros((2, count, FOLLOWED + 2))
    np.add.at(left, (group, np.minimum(time, FOLLOWED + 1)), 1)
    np.add.at(ends, (group[seen & ended], time[seen & ended]), 1)
    at_risk = np.cumsum(left[:, ::-1], 1)[:, ::-1]
    return np.cumprod(1 - ends / np.maximum(at_risk, 1), 1)[:, : FOLLOWED + 1]
