"""The shop's own tables about its products: the catalog, the plans and the terms of supply."""

import numpy as np
import polars as pl

from plcp.data.simulator import vocabulary
from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.history import History
from plcp.data.simulator.images import Photographer
from plcp.data.simulator.lives import ANNOUNCED_WEEKS
from plcp.data.simulator.sales import sku_column
from plcp.data.simulator.shop import HOLDING_SHARE, SALVAGE_SHARE, price_tag
from plcp.data.simulator.text import ProductText

Array = np.ndarray


def products_table(config: SimulatorConfig, history: History, chunk: int) -> pl.DataFrame:
    """One row per product; the photos as a list of encoded images where they are asked for.

    What is launched after the data was announced in its last weeks.
    """
    p, world = history.environment.products, config.world
    words = ProductText(config, p, chunk)
    brands = [vocabulary.BRANDS[b][int(c)] for b, c in zip(p.brand, p.chinese, strict=True)]
    table = pl.DataFrame(
        {
            "sku_id": sku_column(p.index),
            "title": words.titles(),
            "description": pl.Series(words.descriptions(), dtype=pl.String),
            "category": [world.categories[c].path for c in p.category],
            "brand": brands,
            "list_price": p.list_price,
            "launch_date": days(config.first_week, p.launch),
            "attributes": pl.Series(words.attributes(), dtype=pl.String),
            "known_at": days(config.first_week, p.launch, -7 * ANNOUNCED_WEEKS - 1),
        }
    ).with_columns(
        pl.col("launch_date").cast(pl.Date),
        known_at=pl.when(pl.Series(p.launch >= config.weeks)).then(pl.col("known_at").cast(pl.Date)),
    )
    if config.images:
        photos = pl.Series("image", Photographer(config, p, chunk).photos(), dtype=pl.List(pl.Binary))
        table = table.with_columns(photos)
    return table


def plans_table(config: SimulatorConfig, history: History) -> pl.DataFrame:
    """Every planned promotion, also of products that will be off sale by then: a plan tells nothing of the future but itself."""
    plan, p = history.environment.plan, history.environment.products
    rows, week = np.nonzero(plan.promo)
    return pl.DataFrame(
        {
            "sku_id": sku_column(p.index[rows]),
            "week": days(config.first_week, week),
            "price": price_tag(plan.list_price[rows, week], plan.promo[rows, week]),
            "promo": plan.promo[rows, week],
        }
    ).with_columns(pl.col("week").cast(pl.Date))


def supply_table(history: History) -> pl.DataFrame:
    """Stock and terms of every product not yet delisted, as they stand after the last week."""
    environment = history.environment
    p, shop = environment.products, environment.shop
    rows = np.flatnonzero(~shop.delisted)
    return pl.DataFrame(
        {
            "sku_id": sku_column(p.index[rows]),
            "on_hand": shop.on_hand[rows],
            "unit_cost": p.unit_cost[rows],
            "on_order": shop.pipeline.sum(1)[rows],
            "lead_time_weeks": p.lead_time[rows].astype(np.float64),
            "review_weeks": np.ones(len(rows)),
            "case_pack": p.case_pack[rows],
            "min_order": p.case_pack[rows],
            "supplier": [f"Supplier {s:02d}" for s in p.supplier[rows]],
            "salvage": np.round(SALVAGE_SHARE * p.unit_cost[rows], 2),
            "holding_cost": np.round(HOLDING_SHARE * p.unit_cost[rows], 4),
        }
    )
