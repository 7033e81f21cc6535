from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from plcp.data.contract import open_dataset
from plcp.data.sources.orange_juice import PRICES, UNREADABLE, import_orange_juice


def write_panel(path: Path) -> None:
    ounces = [64.0 * 10, 96.0 * 5, 64.0 * 20, 64.0]
    frame = pl.DataFrame(
        {"store": [2, 2, 2, 2], "brand": [1, 2, 1, 12], "week": [40, 40, 41, 41], "logmove": np.log(ounces)}
        | {name: [k / 100] * 4 for k, name in enumerate(PRICES, 4)}
        | {"deal": [1, 0, 0, 0], "feat": [0.0, 0.5, 0.0, 0.0], "profit": [30.0] * 4}
    )
    frame.with_columns(price1=pl.Series([0.05, 0.05, 0.04, 0.04])).write_parquet(path)


def test_a_brand_in_a_store_is_a_sku_with_units_and_prices_of_packages(tmp_path: Path) -> None:
    write_panel(tmp_path / "weekly.parquet")
    report = import_orange_juice(tmp_path / "weekly.parquet", tmp_path / "data")
    assert {e.rule: e.rows for e in report.excluded} == {UNREADABLE: 1}
    dataset = open_dataset(tmp_path / "data")
    sales = dataset.tables["sales"].select("sku_id", "date", "units", pl.col("price", "promo").round(6)).collect()
    assert sales.rows() == [
        ("01-002", date(1990, 6, 18), 10.0, 3.2, 0.0),
        ("01-002", date(1990, 6, 25), 20.0, 2.56, 0.2),
        ("02-002", date(1990, 6, 18), 5.0, 4.8, 0.0),
    ]
    plans = dataset.tables["plans"].select("sku_id", "week", pl.col("price", "promo").round(6)).collect()
    assert plans.rows() == [(sku, week, price, promo) for sku, week, _, price, promo in sales.rows()]
    products = dataset.tables["products"].select("sku_id", "title", "brand", "attributes").collect()
    assert products.row(1) == ("02-002", "Tropicana Premium orange juice 96 oz", "Tropicana Premium", '{"store":2,"ounces":96}')
    signals = dataset.tables["signals"].filter(pl.col("value") > 0).select("key", "name", "value").collect()
    assert signals.rows() == [("01-002", "deal", 1.0), ("02-002", "feat", 0.5)]


def test_the_whole_panel_is_read_and_all_units_are_whole_packages(bench_data: Path, tmp_path: Path) -> None:
    report = import_orange_juice(bench_data / "orange_juice" / "weekly.parquet", tmp_path / "data")
    assert (report.rows, report.kept, report.products, report.excluded) == (106_139, 106_139, 913, ())
    dataset = open_dataset(tmp_path / "data")
    assert [(p.table, p.check, p.outcome, p.rows) for p in dataset.report.problems] == [("plans", "gap", "noted", 3619)]  # as in the sales
    sales = dataset.tables["sales"].collect()
    assert (sales["date"].min(), sales["date"].max()) == (date(1990, 6, 18), date(1992, 10, 5))
    assert sales["price"].is_between(0.5, 6).all()
