"""The panel as known at an origin, as plain arrays: what baselines, reports and metrics read."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from plcp.data.prepared import Prepared
from plcp.data.shards import Shard, first_sale
from plcp.data.timeline import Timeline


@dataclass(frozen=True)
class PanelView:
    """n SKUs, ascending, over the t weeks before an origin."""

    timeline: Timeline
    origin: int  # week index; t
    products: pl.DataFrame  # sku_id, title, description, category, brand, list_price as known at the origin; nulls where unknown
    units: np.ndarray  # (n, t) net units as known at the origin; 0 in weeks without a sale, shut ones too
    price: np.ndarray  # (n, t), NaN where nothing was priced
    launch: np.ndarray  # (n,) week index of the launch, NaN where not visible

    @property
    def sku_id(self) -> list[str]:
        return self.products["sku_id"].to_list()

    @property
    def first(self) -> np.ndarray:
        """Week index of the first sale, (n,); t where there is none."""
        sold = self.units > 0
        return np.where(sold.any(1), sold.argmax(1), self.units.shape[1])

    @property
    def last(self) -> np.ndarray:
        """Week index of the last sale, (n,); -1 where there is none."""
        sold = self.units > 0
        return np.where(sold.any(1), self.units.shape[1] - 1 - sold[:, ::-1].argmax(1), -1)

    @property
    def closed(self) -> np.ndarray:
        """Weeks in which the whole shop sold nothing, (t,) bool."""
        return np.isin(np.arange(self.origin), self.timeline.closed)


def panel_view(prepared: Prepared, origin: dt.date | None = None) -> PanelView:
    """All SKUs of a PREPARED as known at an origin (its own unless given)."""
    at = prepared.timeline.index(origin) if origin else prepared.weeks
    views = [shard_view(prepared.read(i), at) for i in range(len(prepared.shards))]
    products = pl.concat([v.products for v in views])
    order = products["sku_id"].arg_sort()
    units, price, launch = (np.concatenate([getattr(v, name) for v in views])[order] for name in ("units", "price", "launch"))
    return PanelView(prepared.timeline, at, products[order], units, price, launch)


def shard_view(shard: Shard, at: int) -> PanelView:
    """One shard as known at a week index."""
    rows, origins = np.arange(len(shard)), np.full(len(shard), at)
    units = shard.units_as_of(rows, origins)
    first = first_sale(units, origins)
    version = shard.version_at(rows, origins, np.isnan(first))
    price = shard.channels["price"][:, :at] if "price" in shard.channels else np.full((len(shard), at), np.nan, np.float32)
    known = pl.Series(version).replace(-1, None)
    fields = ("title", "description", "category", "brand", "list_price")
    products = pl.DataFrame([shard.frame["sku_id"], *(shard.versions.values[f].gather(known).alias(f) for f in fields)])
    return PanelView(shard.timeline, at, products, units[:, :at], price, shard.launch(first, version))
