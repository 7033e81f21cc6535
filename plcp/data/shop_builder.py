"""Gathers what is known of the whole shop, shard by shard."""

import numpy as np

from plcp.data.prices import PriceBuilder
from plcp.data.shards import Shard, first_sale
from plcp.data.shop import Shop
from plcp.data.siblings import PoolBuilder


class ShopBuilder:
    """Adds shards in any order: the same products give the same shop, bit for bit."""

    def __init__(self, weeks: int):
        self.pools, self.prices = PoolBuilder(weeks), PriceBuilder(weeks)

    def add(self, shard: Shard) -> None:
        """A product counts among its siblings as it was known in the week after its first sale; what came later changes nothing."""
        units = shard.first_print
        rows = np.arange(len(shard))
        first = first_sale(units, np.full(len(shard), shard.timeline.weeks))
        version = shard.version_at(rows, np.nan_to_num(first).astype(np.int64) + 1, np.zeros(len(rows), bool))
        pool = np.where(version >= 0, shard.pool[np.maximum(version, 0)], 0) if len(shard.pool) else np.zeros(len(rows), np.int64)
        self.pools.add(units, np.where(np.isnan(first), np.nan, shard.launch(first, version)), pool)
        if "price" in shard.channels:
            sold_by_then = np.arange(units.shape[1]) >= first[:, None]  # never where nothing was sold
            self.prices.add(np.where(sold_by_then, shard.channels["price"], np.nan), pool)

    def done(self) -> Shop:
        return Shop(self.pools.done(), self.prices.done())
