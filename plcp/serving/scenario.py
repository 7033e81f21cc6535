"""A price and promotion path of one product beside its plan: one pass through the model with both."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from plcp.data.prices import filled_forward
from plcp.data.shard_rows import LISTS
from plcp.data.shards import Shard
from plcp.data.timeline import WEEK
from plcp.decisions.demand import Demand, DemandConfig, weekly_variance
from plcp.serving.problems import FieldError, invalid
from plcp.serving.schemas import ScenarioRequest
from plcp.tables import CURVE, PLANS, QUANTILES

NAMES = ("plan", "scenario")
LOW, HIGH = 0.1, 0.9
PRICE_DECIMALS = 6  # as prepared data hold them


def both(shard: Shard, path: pl.DataFrame) -> Shard:
    """The shard's one row twice: as planned, and with the path (rows of the table plans) in the place of the weeks that it names."""
    planned = plans_of(shard)
    tried = pl.concat([planned.join(path, on="week", how="anti"), path]).sort("week")
    entries = [tried.select(pl.struct(list(LISTS["plans"])).implode()).to_series().cast(pl.List(pl.Struct(LISTS["plans"])))]
    scenario = shard.frame.with_columns(entries[0].alias("plans"))
    return Shard(pl.concat([shard.frame, scenario]), shard.timeline, shard.shop)


def require_forecast(request: ScenarioRequest, first: dt.date, end: dt.date) -> None:
    """Raises ProblemError (422) naming the weeks of a path that are none of those from `first` to the one before `end`."""
    rows: list[Any] = request.path
    outside = [
        FieldError(field=f"path[{i}].week", message=f"{row.week} is none of the weeks forecast, {first} to {end - WEEK}")
        for i, row in enumerate(rows)
        if not first <= row.week < end
    ]
    if outside:
        raise invalid(outside)


def path_of(request: ScenarioRequest) -> pl.DataFrame:
    rows: list[Any] = request.path
    return pl.DataFrame([row.model_dump() for row in rows], schema={name: PLANS.schema[name] for name in LISTS["plans"]})


def plans_of(shard: Shard) -> pl.DataFrame:
    """week, price, promo of a shard's first row."""
    rows = shard.plans.values.filter(pl.Series(shard.plans.row == 0, dtype=pl.Boolean))
    return rows.cast(pl.Schema(LISTS["plans"]))


@dataclass(frozen=True)
class Prices:
    """What a unit costs the customer: by week where it is planned, else the last price known; NaN where none is."""

    planned: pl.DataFrame
    last: float

    @staticmethod
    def of(shard: Shard, row: int) -> "Prices":
        own = Shard(shard.frame[row : row + 1], shard.timeline, shard.shop)
        last = float(filled_forward(own.channels["price"])[0, -1]) if "price" in own.channels else np.nan
        listed = own.list_price[-1] if len(own.list_price) else np.nan
        return Prices(plans_of(own).drop_nulls("price"), float(listed if np.isnan(last) else last))

    def on(self, weeks: pl.Series) -> np.ndarray:
        """(weeks,) float64."""
        found = weeks.to_frame("week").join(self.planned, on="week", how="left", maintain_order="left")["price"]
        return found.fill_null(self.last).to_numpy()


def outcome(curve: pl.DataFrame, prices: Prices, unit_cost: float | None) -> dict[str, Any]:
    """Fields of Outcome from one product's rows of the curve table. Demand over several weeks is added up as decisions add it."""
    mean, price = curve["mean"].to_numpy(), prices.on(curve["week"])
    variance = weekly_variance(curve.select(QUANTILES).to_numpy(), mean)
    total = Demand(mean[None], variance[None], DemandConfig().correlation).total(len(mean))
    revenue = float(mean @ price)
    margin = revenue - unit_cost * float(mean.sum()) if unit_cost is not None else None
    known = bool(np.isfinite(revenue))
    return {
        "curve": curve.select(name for name in CURVE.schema if name not in ("sku_id", "origin")).to_dicts(),
        "price": [round(float(p), PRICE_DECIMALS) if np.isfinite(p) else None for p in price],
        "demand": float(mean.sum()),
        "demand_q10": float(total.quantile(LOW)[0]),
        "demand_q90": float(total.quantile(HIGH)[0]),
        "revenue": revenue if known else None,
        "margin": margin if known else None,
    }
