"""What the global LightGBM reads of a product at a week: its past, last year, price, age, season and title, as plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from plcp.data.timeline import Timeline
from plcp.data.view import PanelView

YEAR = 52  # weeks
DAYS = 365.25
LAGS = 4  # last weeks given one by one
MEANS = (4, 8, 13, 26, 52)  # windows of weeks given as means
LEAST_SCALE = 0.25  # units a week below which nothing is scaled further
NEAR = 2  # weeks on each side of last year's week that belong to it


@dataclass(frozen=True)
class LagFeatures:
    """Features of products at weeks, out of the panel known at an origin; at week k nothing from k on is read.

    Units are given relative to a scale of each product at that week, so that one tree serves slow and fast ones alike.
    """

    view: PanelView
    titles: np.ndarray  # (n, d) vectors of the products' titles

    @cached_property
    def total(self) -> np.ndarray:
        """Units sold before each week, (n, t + 1)."""
        return np.concatenate([np.zeros((len(self.view.units), 1)), np.cumsum(self.view.units, 1)], 1)

    @cached_property
    def last_sale(self) -> np.ndarray:
        """Week of the latest sale up to each week, (n, t); -1 before the first."""
        sold = self.view.units > 0
        return np.maximum.accumulate(np.where(sold, np.arange(sold.shape[1]), -1), 1)

    @cached_property
    def price(self) -> np.ndarray:
        """Latest price up to each week, (n, t); NaN before the first."""
        known = ~np.isnan(self.view.price)
        at = np.maximum.accumulate(np.where(known, np.arange(known.shape[1]), -1), 1)
        return np.where(at >= 0, np.take_along_axis(self.view.price, np.maximum(at, 0), 1), np.nan)

    @cached_property
    def price_sum(self) -> np.ndarray:
        """Sum of latest prices, and of weeks that have one, up to each week. (2, n, t)."""
        return np.cumsum(np.stack([np.nan_to_num(self.price), ~np.isnan(self.price)]), 2)

    @cached_property
    def highest(self) -> np.ndarray:
        return np.maximum.accumulate(self.view.units, 1)

    @cached_property
    def shop(self) -> np.ndarray:
        """Mean units per week of the whole shop before each week, as a running sum, (1, t + 1)."""
        return self.total.sum(0, keepdims=True)

    def scale(self, rows: np.ndarray, week: int) -> np.ndarray:
        """Units a week that a product moves about, (b,)."""
        young = np.minimum(week - self.view.first[rows], 13)
        life = (self.total[rows, week] - self.total[rows, max(0, week - 13)]) / np.maximum(young, 1)
        level = 0.5 * life + 0.3 * mean(self.total[rows], week - 4, week) + 0.2 * mean(self.total[rows], week - 26, week)
        return np.maximum(level, LEAST_SCALE)

    def product(self, rows: np.ndarray, week: int) -> np.ndarray:
        """Features that hold for every week ahead, (b, F) float32."""
        total, units, scale = self.total[rows], self.view.units[rows], self.scale(rows, week)
        half, quarter = units[:, max(0, week - 26) : week], units[:, max(0, week - 13) : week]
        age = week - self.view.first[rows]
        lags = [units[:, week - k] if k <= week else np.full(len(rows), np.nan) for k in range(1, LAGS + 1)]
        means = [mean(total, week - w, week) for w in MEANS] + [total[:, week] / np.maximum(age, 1)]
        shape = [quarter.max(1), quarter.std(1), np.median(quarter, 1), np.quantile(half, 0.8, axis=1), self.highest[rows, week - 1]]
        price_sum, priced = self.price_sum[:, rows, week - 1]
        price = self.price[rows, week - 1]
        columns = [
            *(value / scale for value in (*lags, *means, *shape)),
            *((part > 0).mean(1) for part in (half, quarter, quarter[:, -4:])),
            week - 1 - self.last_sale[rows, week - 1],
            age,
            week - self.view.launch[rows],
            np.log(scale),
            price,
            price / (price_sum / np.where(priced > 0, priced, np.nan)),
            price / self.price[rows, max(0, week - 9)],
            np.repeat(mean(self.shop, week - 4, week) / np.maximum(mean(self.shop, week - 13, week), 1e-9), len(rows)),
            *self.titles[rows].T,
        ]
        return np.stack(columns, 1).astype(np.float32)

    def ahead(self, rows: np.ndarray, week: int, horizon: int) -> np.ndarray:
        """Features of each week ahead: season, and what the product and the shop sold around it a year before. (b, horizon, G) float32."""
        total, scale = self.total[rows], self.scale(rows, week)
        past, shop_past = (mean(part, week - YEAR - 13, week - YEAR) for part in (total, self.shop))
        season = season_features(self.view.timeline, week + np.arange(horizon))
        steps = []
        for h in range(horizon):
            same = week + h - YEAR
            near, shop = (mean(part, same - NEAR, min(same + NEAR + 1, week)) for part in (total, self.shop))
            shut = float(same in self.view.timeline.closed) if same >= 0 else np.nan
            alike = [mean(total, same, same + 1) / scale, near / scale, near / np.maximum(past, LEAST_SCALE)]
            shared = [h, *season[h], shut, (shop / np.maximum(shop_past, 1e-9)).item()]
            steps.append(np.stack([*alike, *(np.full(len(rows), value) for value in shared)], 1))
        return np.stack(steps, 1).astype(np.float32)

    def curves(self, rows: np.ndarray, week: int, horizon: int) -> np.ndarray:
        """All features of each week ahead, (b, horizon, F + G) float32."""
        product = np.repeat(self.product(rows, week)[:, None], horizon, 1)
        return np.concatenate([product, self.ahead(rows, week, horizon)], 2)


def mean(total: np.ndarray, left: int, right: int) -> np.ndarray:
    """Mean of the weeks [left, right) that are there, out of running sums (b, t + 1); NaN where none is. (b,)."""
    left = max(left, 0)
    if right <= left or right >= total.shape[1]:
        return np.full(len(total), np.nan)
    return (total[:, right] - total[:, left]) / (right - left)


def season_features(timeline: Timeline, weeks: Sequence[int] | np.ndarray) -> np.ndarray:
    """Place in the year of week indices: sine, cosine, and days to Christmas. (b, 3)."""
    day = np.array([timeline.date(week).timetuple().tm_yday for week in weeks])
    angle = 2 * np.pi * day / DAYS
    return np.stack([np.sin(angle), np.cos(angle), (359 - day) % 365], 1)
