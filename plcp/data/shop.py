"""What is known of a shop as a whole, and read beside each of its products."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plcp.data.prices import CategoryPrices
from plcp.data.siblings import Pools

FILE = "shop.npz"


@dataclass(frozen=True)
class Shop:
    """Shared by all shards of a PREPARED folder."""

    pools: Pools
    prices: CategoryPrices

    @staticmethod
    def none() -> "Shop":
        """Nothing known."""
        return Shop(Pools.none(), CategoryPrices.none())

    @property
    def holds(self) -> tuple[str, ...]:
        """What there is of it that cases can read."""
        return ("category_prices",) if self.prices.median.shape[1] else ()

    def save(self, folder: Path) -> None:
        np.savez(folder / FILE, total=self.pools.total, count=self.pools.count, median=self.prices.median)

    @staticmethod
    def load(folder: Path) -> "Shop":
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            return Shop(Pools(arrays["total"], arrays["count"]), CategoryPrices(arrays["median"]))
