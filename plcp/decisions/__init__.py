"""From forecasts to actions: what to order, what to mark down or promote, what is at risk, and what to offer instead."""

from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from plcp import tables
from plcp.base import Config, DataError
from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.decisions import inventory, pricing, promotion, risk, substitutes
from plcp.decisions.demand import DemandConfig
from plcp.decisions.inventory import InventoryConfig
from plcp.decisions.outlook import Outlook, read_outlook
from plcp.decisions.pricing import PricingConfig
from plcp.decisions.promotion import PromotionConfig
from plcp.decisions.risk import RiskConfig
from plcp.decisions.rows import ranked
from plcp.decisions.substitutes import SubstitutesConfig
from plcp.decisions.supply import SupplyConfig, terms
from plcp.forecast import snapshot

BY_SKU = "by_sku.arrow"  # the table once more, by SKU, to be read by memory map


class DecideConfig(Config):
    demand: DemandConfig = DemandConfig()
    supply: SupplyConfig = SupplyConfig()
    inventory: InventoryConfig = InventoryConfig()
    pricing: PricingConfig = PricingConfig()
    promotion: PromotionConfig = PromotionConfig()
    risk: RiskConfig = RiskConfig()
    substitutes: SubstitutesConfig = SubstitutesConfig()


def decide(scores_run: Path, dataset: Dataset, out: Path, config: DecideConfig | None = None) -> pl.DataFrame:
    """Decide for every product of a scored run, and write the decisions table.

    Prices and titles are those known at the run's origin, stock and terms those of now. Products without supply get only what needs
    neither stock nor cost: early decline and substitutes. The run is read part by part.

    Args:
        scores_run: a run's folder with curve/, events/, stage/ and embedding/.
        dataset: the shop's data; cut here at the run's origin.
        out: the table is written to out/decisions/part-00000.parquet with the run's metadata, and beside it by SKU for the endpoint.
    Returns:
        The table (tables.DECISIONS), ranked over the whole catalog.
    Raises:
        DataError: the run has no forecast, or a part of it is missing.
    """
    config = config or DecideConfig()
    parts = sorted(path.name for path in (scores_run / "curve").glob("*.parquet") if pq.read_metadata(path).num_rows)
    if not parts:
        raise DataError(
            f"{scores_run}: no forecast in curve/; give the folder of a finished run (SCORES/runs/<run id>) that did not skip every product"
        )
    origin = _origin(scores_run / "curve" / parts[0])
    known = terms(known_tables(dataset, origin), config.supply)
    frames, standings = [], []
    for part in parts:
        outlook = read_outlook(scores_run, part, known, config.demand)
        frames.append(_own_decisions(outlook, config))
        standings.append(substitutes.standing(outlook, risk.stockout_probability(outlook) >= config.risk.stockout))
    alternatives = substitutes.substitutes(pl.concat(standings), tables.read(tables.EMBEDDING, scores_run), origin, config.substitutes)
    decisions = ranked([*frames, alternatives])
    tables.write(tables.DECISIONS, decisions, out / "decisions" / "part-00000.parquet", _metadata(scores_run / "curve" / parts[0]))
    snapshot.write(decisions.sort("sku_id", "kind", "rank", maintain_order=True), out / "decisions" / BY_SKU)
    return decisions


def known_tables(dataset: Dataset, origin: date) -> dict[str, pl.LazyFrame]:
    """The tables cut at the origin, with the rows by which the shop announces what it launches from then on.

    The cut takes a product's row without known_at for unknown before its launch; here it is the plan that the launch was forecast by.
    """
    cut, products = asof.cut(dataset, origin).tables, dataset.tables["products"]
    announced = products.filter(pl.col("known_at").is_null() & (pl.col("launch_date") >= origin))
    return cut | {"products": pl.concat([announced, cut["products"]])}  # where a product has both, the later one in the table counts


def _own_decisions(outlook: Outlook, config: DecideConfig) -> pl.DataFrame:
    """What can be decided for each product from itself alone. Of what is worth ordering none is too many, to spare, or to be cleared."""
    orders = inventory.orders(outlook, config.inventory)
    supplied = outlook.where(~outlook.frame["sku_id"].is_in(orders["sku_id"].implode()).to_numpy())
    return pl.concat(
        [
            orders,
            risk.shortages(outlook, config.risk),
            risk.surpluses(supplied, config.risk),
            risk.early_declines(outlook, config.risk),
            pricing.markdowns(supplied, config.pricing),
            promotion.promotions(supplied, config.promotion, config.pricing.elasticity),
        ]
    )


def _origin(curve: Path) -> date:
    return pl.scan_parquet(curve).select("origin").head(1).collect().item()


def _metadata(curve: Path) -> dict[str, str]:
    """What the run wrote about itself (model digest, origin, run id), to be carried on."""
    return {key: value for key, value in pl.read_parquet_metadata(curve).items() if key not in ("table", "ARROW:schema")}
