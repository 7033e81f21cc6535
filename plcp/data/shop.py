"""What is known of a shop as a whole, and read beside each of its products."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plcp.data.alike import TitleLevels, TitlePools
from plcp.data.neighbours import Neighbours
from plcp.data.prices import CategoryPrices
from plcp.data.siblings import Pools
from plcp.data.signals import Signals
from plcp.data.totals import Totals

FILE = "shop.npz"


@dataclass(frozen=True)
class Shop:
    """Shared by all shards of a PREPARED folder."""

    pools: Pools
    titles: TitlePools
    levels: TitleLevels
    prices: CategoryPrices
    totals: Totals
    signals: Signals  # of categories and of the whole shop
    neighbours: Neighbours

    @staticmethod
    def none() -> "Shop":
        """Nothing known."""
        return Shop(
            Pools.none(), TitlePools.none(), TitleLevels.none(), CategoryPrices.none(), Totals.none(), Signals.none(), Neighbours.none()
        )

    def save(self, folder: Path) -> None:
        """Everything but the neighbours, whose units are written as they come (neighbours.write)."""
        arrays = {
            "total": self.pools.total,
            "count": self.pools.count,
            "title_total": self.titles.total,
            "title_count": self.titles.count,
            "title_products": self.titles.products,
            "level_total": self.levels.total,
            "level_count": self.levels.count,
            "median": self.prices.median,
            "units_before": self.totals.before,
            "open_before": self.totals.open,
            "signal_series": np.array([*self.signals.series], dtype=str).reshape(-1, 2),
            "signal_value": self.signals.value,
            "signal_known": self.signals.known,
        }
        np.savez(folder / FILE, allow_pickle=False, **arrays)

    @staticmethod
    def load(folder: Path) -> "Shop":
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            series = {(str(key), str(name)): i for i, (key, name) in enumerate(arrays["signal_series"])}
            return Shop(
                Pools(arrays["total"], arrays["count"]),
                TitlePools(arrays["title_total"], arrays["title_count"], arrays["title_products"]),
                TitleLevels(arrays["level_total"], arrays["level_count"]),
                CategoryPrices(arrays["median"]),
                Totals(arrays["units_before"], arrays["open_before"]),
                Signals(series, arrays["signal_value"], arrays["signal_known"]),
                Neighbours.load(folder),
            )
