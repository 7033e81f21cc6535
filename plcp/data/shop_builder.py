"""Gathers what is known of the whole shop, shard by shard."""

import numpy as np

from plcp.data.alike import TITLE_WORDS, TitleLevelBuilder, TitlePoolBuilder
from plcp.data.neighbours import Neighbours
from plcp.data.prices import PriceBuilder
from plcp.data.shards import Shard, first_sale
from plcp.data.shop import Shop
from plcp.data.siblings import PoolBuilder, WeeksOfLife, season_of
from plcp.data.signals import Signals
from plcp.data.timeline import Timeline
from plcp.data.totals import TotalsBuilder


class ShopBuilder:
    """Adds shards in any order: the same products give the same shop, bit for bit."""

    def __init__(self, timeline: Timeline):
        self.timeline, weeks = timeline, timeline.weeks
        self.pools, self.titles, self.levels = PoolBuilder(weeks), TitlePoolBuilder(weeks), TitleLevelBuilder(weeks)
        self.prices, self.totals = PriceBuilder(weeks), TotalsBuilder(weeks)
        self.holds: set[str] = set()  # what of the shards cases can read, beside their channels

    def add(self, shard: Shard) -> None:
        """A product counts among its siblings as it was known in the week after its first sale; what came later changes nothing."""
        units = shard.first_print
        rows = np.arange(len(shard))
        first = first_sale(units, np.full(len(shard), shard.timeline.weeks))
        version = shard.version_at(rows, np.nan_to_num(first).astype(np.int64) + 1, np.zeros(len(rows), bool))
        pool, words = np.zeros(len(rows), np.int64), np.zeros((len(rows), TITLE_WORDS), np.int64)
        known = version >= 0
        pool[known], words[known] = shard.pool[version[known]], shard.words[version[known]]
        launch = np.where(np.isnan(first), np.nan, shard.launch(first, version))
        lives = WeeksOfLife.of(units, shard.told, launch, first)
        self.pools.add(lives, season_of(pool, launch, shard.timeline))
        self.titles.add(lives, launch, first, words)
        self.levels.add(units, words)
        self.totals.add(units, pool)
        if "price" in shard.channels:
            sold_by_then = np.arange(units.shape[1]) >= first[:, None]  # never where nothing was sold
            self.prices.add(np.where(sold_by_then, shard.channels["price"], np.nan), pool)
        self.holds |= shard.holds

    def done(self, signals: Signals) -> Shop:
        prices = self.prices.done()
        self.holds |= {"category_prices"} if prices.median.size else set()
        return Shop(
            self.pools.done(), self.titles.done(), self.levels.done(), prices, self.totals.done(self.timeline), signals, Neighbours.none()
        )
