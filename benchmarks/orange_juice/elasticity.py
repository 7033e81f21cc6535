"""What demand answers price and promotion, on the orange-juice panel: a model is trained, then asked what other plans would sell.

    PLCP_BENCH_DATA=DATA make bench NAME=orange_juice.elasticity

Trained on all weeks but the last HORIZON, whose plans are then changed: own-price elasticity is the log of the ratio of the mean forecasts
at 5% more and 5% less, over the log of the ratio of the prices, for each brand over all stores.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks.results import Figure, real_data, write_results
from plcp.data import asof
from plcp.data.contract import open_dataset
from plcp.data.features import Arrays, inputs
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.sources.orange_juice import import_orange_juice
from plcp.data.spec import FUTURE
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.training.export import export
from plcp.training.loop import train
from plcp.training.runs import TrainConfig

HORIZON, STEP, DEPTH = 12, 0.05, 0.2  # weeks; change of price; depth of a promotion
PRICE, PROMO = FUTURE.index("price"), FUTURE.index("promo")
CONFIG = {
    "spec": {"horizon": HORIZON, "country": "US"},
    "model": {"text": None, "image": None},
    "steps": 600,
    "refit_steps": 200,
}


def trained(data: Path, work: Path) -> tuple[Forecaster, Prepared]:
    """A model that knows all but the last weeks of sales, and the plans of all."""
    dataset = open_dataset(data)
    last = dataset.tables["sales"].select(pl.col("date").max()).collect().item()
    prepared = prepare(asof.cut(dataset, last - timedelta(weeks=HORIZON - 1)), work / "prepared", PrepareConfig())
    train(prepared.root, work / "run", TrainConfig.model_validate(CONFIG), 1)
    return Forecaster.load(export(work / "run", work / "model"), ForecasterConfig()), prepared


def cases(forecaster: Forecaster, prepared: Prepared) -> tuple[Arrays, list[str]]:
    """Every SKU at the end of the data, all of whose plans are known."""
    shard = prepared.read(0)
    rows, origin = np.arange(len(shard)), np.full(len(shard), prepared.weeks)
    found = inputs(shard, rows, origin, origin, forecaster.spec)
    whole = np.isfinite(found["future"][:, :, [PRICE, PROMO]]).all((1, 2)) & np.isfinite(found["history"][:, -8:, 0]).any(1)
    skus = [shard.sku_id[row] for row in rows[whole]]
    return inputs(shard, rows[whole], origin[whole], origin[whole], forecaster.spec), skus


def units(
    forecaster: Forecaster, prepared: Prepared, asked: Arrays, skus: list[str], price: float = 1.0, promo: float | None = None
) -> np.ndarray:
    """Mean units of each SKU over the horizon with all planned prices times `price`, and this promotion in place of the planned one."""
    future = asked["future"].copy()
    future[:, :, PRICE] *= price
    if promo is not None:
        future[:, :, PROMO] = promo
    forecast = forecaster.forecast({**asked, "future": future}, skus, prepared.origin, [prepared.origin] * len(skus))
    return forecast.curve["mean"].to_numpy().reshape(len(skus), HORIZON).sum(1)


def main() -> None:
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        import_orange_juice(real_data("orange_juice/weekly.parquet"), work / "data")
        forecaster, prepared = trained(work / "data", work)
        asked, skus = cases(forecaster, prepared)
        dearer, cheaper = (units(forecaster, prepared, asked, skus, 1 + sign * STEP) for sign in (1, -1))
        promoted, regular = (units(forecaster, prepared, asked, skus, promo=depth) for depth in (DEPTH, 0.0))
    brand = np.array([sku[:2] for sku in skus])
    brands = sorted(set(brand))
    run = np.log((1 + STEP) / (1 - STEP))
    elasticity = [float(np.log(dearer[brand == b].sum() / cheaper[brand == b].sum()) / run) for b in brands]
    lift = [float(promoted[brand == b].sum() / regular[brand == b].sum() - 1) for b in brands]
    mean = float(np.mean(elasticity))
    figures = [
        *(
            Figure(f"own-price elasticity, brand {b}", round(e, 2), "", None, None, "< 0", e < 0)
            for b, e in zip(brands, elasticity, strict=True)
        ),
        Figure("their mean", round(mean, 2), "", None, None, "-4 to -2", -4 <= mean <= -2),
        *(
            Figure(f"lift at the same price, brand {b}", round(x, 3), "", None, None, "> 0", x > 0)
            for b, x in zip(brands, lift, strict=True)
        ),
        Figure("brands in stores", len(skus), "SKUs"),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]
    write_results("orange_juice_elasticity", figures)


if __name__ == "__main__":
    main()
