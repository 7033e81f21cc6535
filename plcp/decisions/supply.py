"""What a decision needs to know of a product beside its forecast: price, stock and terms of supply, each SKU one row."""

from collections.abc import Mapping
from datetime import timedelta

import polars as pl
from pydantic import Field

from plcp.base import Config

WEEKS_PER_YEAR = 52
PRICE_DAYS = 28  # the price customers pay now: mean over the last four weeks with sales, so that one odd order does not set it
FIRST_LEVEL = pl.col("category").str.split(">").list.first().str.strip_chars()


class SupplyConfig(Config):
    """What is assumed where the supply table is silent.

    A year of holding stock costs 20 to 30% of its value in the textbooks (Silver, Pyke & Thomas, Inventory and Production Management
    in Supply Chains, 4th ed., 2017, ch. 1); what is left at the end of life fetches a quarter of its cost.
    """

    lead_time_weeks: float = Field(4, ge=0)
    review_weeks: float = Field(1, gt=0)
    holding_rate: float = Field(0.25, ge=0)  # share of the unit cost per year
    salvage_share: float = Field(0.25, ge=0, le=1)  # of the unit cost


def terms(tables: Mapping[str, pl.LazyFrame], config: SupplyConfig) -> pl.DataFrame:
    """One row per SKU of `products`: sku_id, title, group (first level of the category), price, and what supply says.

    Args:
        tables: the contract's tables, already cut at the origin.
    Returns:
        sku_id, title, group, price (null where never sold and no list price), on_hand, unit_cost (null without supply: such a product
        gets no decision that needs stock or cost), position (on hand and on order), lead_weeks, review_weeks (whole weeks, at
        least 1), case_pack, min_order, salvage, holding_cost; sorted by sku_id.
    """
    frame = _products(tables["products"]).join(_prices(tables["sales"]), on="sku_id", how="left")
    frame = frame.join(_supply(tables.get("supply"), config), on="sku_id", how="left")
    return frame.with_columns(price=pl.coalesce("price", "list_price")).drop("list_price").sort("sku_id").collect()


def _products(products: pl.LazyFrame) -> pl.LazyFrame:
    newest = products.sort("known_at", nulls_last=False, maintain_order=True).unique("sku_id", keep="last", maintain_order=True)
    return newest.select("sku_id", "title", "list_price", group=FIRST_LEVEL)


def _prices(sales: pl.LazyFrame) -> pl.LazyFrame:
    stood = sales.filter(pl.col("cancelled_at").is_null() & (pl.col("price") > 0) & (pl.col("units") > 0))
    recent = pl.col("date") > pl.col("date").max() - timedelta(days=PRICE_DAYS)
    money = (pl.col("price") * pl.col("units")).filter(recent).sum()
    return stood.group_by("sku_id").agg(price=money / pl.col("units").filter(recent).sum())


def _supply(supply: pl.LazyFrame | None, config: SupplyConfig) -> pl.LazyFrame:
    if supply is None:
        numbers = ("on_hand", "unit_cost", "position", "lead_weeks", "review_weeks", "case_pack", "min_order", "salvage", "holding_cost")
        return pl.LazyFrame(schema={"sku_id": pl.String, **dict.fromkeys(numbers, pl.Float64)})
    cost = pl.col("unit_cost")
    return supply.unique("sku_id", keep="last", maintain_order=True).select(
        "sku_id",
        "on_hand",
        "unit_cost",
        position=pl.col("on_hand") + pl.col("on_order").fill_null(0),
        lead_weeks=pl.col("lead_time_weeks").fill_null(config.lead_time_weeks).ceil().clip(1),
        review_weeks=pl.col("review_weeks").fill_null(config.review_weeks).ceil().clip(1),
        case_pack=pl.col("case_pack").fill_null(1).clip(1),
        min_order=pl.col("min_order").fill_null(0),
        salvage=pl.min_horizontal(pl.col("salvage").fill_null(cost * config.salvage_share), cost),  # what brings more is no loss
        holding_cost=pl.col("holding_cost").fill_null(cost * config.holding_rate / WEEKS_PER_YEAR),
    )
