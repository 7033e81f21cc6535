"""Tables of the contract, small and good, for tests to spoil."""

import datetime as dt
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from plcp.data.contract import ContractConfig

MONDAY = date(2024, 1, 1)
LENIENT = ContractConfig(max_bad_share=1.0, today=date(2026, 1, 1))
DAYS = [MONDAY + dt.timedelta(days=k) for k in range(10)]
GOOD: dict[str, pl.DataFrame] = {
    "products": pl.DataFrame({"sku_id": ["A", "B"], "title": ["Lamp", "Cup"]}),
    "sales": pl.DataFrame({"sku_id": ["A"] * 5 + ["B"] * 5, "date": DAYS, "units": [float(k) for k in range(10)]}),
    "reviews": pl.DataFrame({"sku_id": ["A"], "date": [MONDAY], "rating": [5], "text": ["fine"]}),
    "baskets": pl.DataFrame({"basket_id": [1, 1], "sku_id": ["A", "B"], "ts": [dt.datetime(2024, 1, 1, 9)] * 2, "customer_id": [7, 7]}),
    "signals": pl.DataFrame({"date": [MONDAY], "key": ["*"], "name": ["rain"], "value": [1.0]}),
    "plans": pl.DataFrame({"sku_id": ["A", "A"], "week": [MONDAY, date(2024, 1, 8)], "price": [1.0, None], "promo": [None, 0.2]}),
    "vectors": pl.DataFrame({"sku_id": ["A"], "kind": ["audio"], "vector": [[1.0, 2.0]]}),
    "supply": pl.DataFrame({"sku_id": ["A"], "on_hand": [3], "unit_cost": [1.5]}),
}


def write(data: Path, tables: dict[str, pl.DataFrame], name: str = "part-00000.parquet") -> Path:
    for table, frame in tables.items():
        (data / table).mkdir(parents=True, exist_ok=True)
        frame.write_parquet(data / table / name)
    return data


def with_value(table: str, column: str, value: Any) -> dict[str, pl.DataFrame]:
    """GOOD, with one value of the table's first row changed."""
    frame = GOOD[table]
    old = frame[column].to_list() if column in frame.columns else [None] * frame.height
    return {**GOOD, table: frame.with_columns(pl.Series(column, [value, *old[1:]], strict=False))}
