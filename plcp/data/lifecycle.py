"""Events and stages of a life, from its weekly curve. All with censoring: not yet seen is not never."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

WINDOW = 5  # weeks of the centred mean that smooths demand
CONFIRM = 8  # empty weeks that confirm an end
LAUNCH_SEEN = 8  # a first sale in the data's first weeks is no visible launch
DECLINE_RUN = 4  # consecutive weeks below half of the peak
YOUNG = 12  # weeks after a visible launch that count as introduction
HINDSIGHT = 12  # weeks after which a stage is known
MATURE = 0.6  # share of the highest level from which on a product is mature
INTRODUCTION, GROWTH, MATURITY, DECLINE, ENDED = range(5)


def smooth(units: np.ndarray) -> np.ndarray:
    """Centred five-week mean over the weeks that exist; the ends average fewer. (n, t) → (n, t)."""
    n, t = units.shape
    total = np.zeros((n, t + 1))
    np.cumsum(units, axis=1, out=total[:, 1:])
    left = np.maximum(np.arange(t) - WINDOW // 2, 0)
    right = np.minimum(np.arange(t) + WINDOW // 2 + 1, t)
    return (total[:, right] - total[:, left]) / (right - left)


@dataclass(frozen=True)
class Life:
    """What is known of the lives of n products at the end of their t observed weeks. Week indices, (n,)."""

    first: np.ndarray  # first sale; t where nothing was sold
    last: np.ndarray  # last sale; -1 where nothing was sold
    peak: np.ndarray
    decline: np.ndarray  # first week of the decline; where not seen, the last week known to be free of it
    end: np.ndarray  # week after the last sale, confirmed or not
    peak_seen: np.ndarray
    decline_seen: np.ndarray
    end_seen: np.ndarray


def life(units: np.ndarray) -> Life:
    """Events of each product from its weekly units, (n, t), unobserved weeks as 0."""
    t = units.shape[1]
    sold = units > 0
    any_sold = sold.any(1)
    first = np.where(any_sold, sold.argmax(1), t)
    last = np.where(any_sold, t - 1 - sold[:, ::-1].argmax(1), -1)
    level = smooth(units)
    peak = level.argmax(1)
    low = level < 0.5 * level.max(1, keepdims=True)
    low = np.pad(low, ((0, 0), (0, DECLINE_RUN)))  # nothing after the last week counts as low
    run = np.lib.stride_tricks.sliding_window_view(low, DECLINE_RUN, axis=1)[:, :t].all(2) & (np.arange(t) > peak[:, None])
    decline_seen = run.any(1)
    decline = np.where(decline_seen, run.argmax(1), np.maximum(peak, t - DECLINE_RUN))
    end_seen = any_sold & (t - (last + 1) >= CONFIRM)
    return Life(first, last, peak, decline, last + 1, decline_seen | end_seen, decline_seen, end_seen)


class Levels:
    """Smoothed levels and events of n products as they stood at any week, without smoothing anew for each."""

    def __init__(self, units: np.ndarray):
        self.units = units
        self.total = np.concatenate([np.zeros((len(units), 1)), np.cumsum(units, 1)], 1)
        self.level = smooth(units)
        self.highest = np.maximum.accumulate(self.level, 1)
        self.sold_from = np.where((units > 0).any(1), (units > 0).argmax(1), units.shape[1])

    @cached_property
    def events(self) -> tuple[np.ndarray, np.ndarray]:
        """Weeks of peak, decline and end, (n, 3), and whether each was seen, (n, 3)."""
        found = life(self.units)
        time = np.stack([found.peak, found.decline, found.end], 1)
        seen = np.stack([found.peak_seen, found.decline_seen, found.end_seen], 1)
        # ends of the last weeks are not confirmed yet: were sales in them counted as survival, every life would seem longer
        alive = np.minimum(found.last, self.units.shape[1] - CONFIRM)
        free = np.stack([found.peak - 1, found.decline, alive], 1)  # not seen: known to be free up to here
        return np.where(seen, time, free), seen

    def event_times(self, rows: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weeks from each case's start to peak, decline and end: (b, 3), NaN where nothing is known, and whether each was seen: (b, 3).

        Where an event was not seen, the time is the last one known to be free of it: it comes later than that. Of a start so late that only
        products already silent are known to have ended, and none to be alive, nothing is known.
        """
        time, seen = self.events
        known = (starts <= self.units.shape[1] - CONFIRM)[:, None]
        return np.where(known, time[rows] - starts[:, None], np.nan), seen[rows] & known

    def tail(self, rows: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Levels of the last two weeks before `until`, whose windows end there. (b, 2)."""
        return np.stack([self._mean(rows, until - 4, until), self._mean(rows, until - 3, until)], 1)

    def _mean(self, rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        left = np.maximum(left, 0)
        return (self.total[rows, right] - self.total[rows, left]) / np.maximum(right - left, 1)

    def top(self, rows: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Highest level of the weeks before `until`, nothing later known. (b,)."""
        before = np.where(until >= 3, self.highest[rows, np.maximum(until - 3, 0)], 0.0)
        return np.maximum(before, self.tail(rows, until).max(1))

    def top_ahead(self, rows: np.ndarray, starts: np.ndarray, weeks: int = HINDSIGHT) -> np.ndarray:
        """Highest level of the `weeks` from each start on, nothing later known. (b,)."""
        ahead = np.minimum(starts[:, None] + np.arange(max(weeks - WINDOW // 2, 1)), self.level.shape[1] - 1)
        inner = self.level[rows[:, None], ahead]
        return np.maximum(inner.max(1), self.tail(rows, np.minimum(starts + weeks, self.units.shape[1])).max(1))

    def new_peak(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Whether a higher level than any before the start comes within 12 weeks: 1, 0, or NaN where not yet known. (b,)."""
        known = starts + HINDSIGHT <= self.units.shape[1]
        safe = np.where(known, starts, 0)
        higher = self.top_ahead(rows, safe) > self.top(rows, safe)
        return np.where(known, higher, np.nan).astype(np.float32)

    def stage(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Stage in the week before each start, judged with 12 weeks of hindsight; -1 where those are not yet seen. (b,)."""
        known = (starts + HINDSIGHT <= self.units.shape[1]) & (starts > 0)
        at = np.where(known, starts, 1)
        ahead = self.top_ahead(rows, at)
        # the week before the start reads two weeks past it, which hindsight allows
        past = np.maximum(self.highest[rows, at - 1], 0)
        top = np.maximum(past, ahead)
        ratio = self.level[rows, at - 1] / np.maximum(top, 1e-9)
        first = self.sold_from[rows]
        young = (first >= LAUNCH_SEEN) & (at - first <= YOUNG)
        stage = np.where(ratio >= MATURE, MATURITY, np.where(past >= ahead, DECLINE, np.where(young, INTRODUCTION, GROWTH)))
        sold = self.total[rows, np.minimum(at + HINDSIGHT, self.units.shape[1])] - self.total[rows, at]
        return np.where(known, np.where(sold == 0, ENDED, stage), -1)
