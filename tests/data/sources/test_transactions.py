from datetime import date
from pathlib import Path

import polars as pl
import pytest

from plcp.base import DataError
from plcp.data.contract import open_dataset
from plcp.data.sources import transactions
from plcp.data.sources.transactions import import_transactions

TILL = """Order ID,Product ID,Date,Qty,Unit Price,Product Name,Category,Customer
1,7,2024-01-02 10:00,2,3.5,LAMP,Home,c1
1,8,2024-01-02 10:00,1,,CUP,,c1
2,7,2024-01-01 09:00,1,3,LAMP,Home,c1
3,7,2024-01-03 11:00,-1,3.5,LAMP,Home,c1
4,7,2024-01-04 11:00,1,3.5,BIG LAMP,Home > Light,
5,,2024-01-04 11:00,1,1,X,,
6,8,soon,4,1,X,,
7,8,2024-01-05 11:00,0,1,X,,
8,8,2024-01-05 11:00,2,-1,X,,
"""


def test_lines_become_sales_returns_products_as_they_became_known_and_baskets(tmp_path: Path) -> None:
    (tmp_path / "till.csv").write_text(TILL)
    report = import_transactions(tmp_path / "till.csv", tmp_path / "data")
    assert {e.rule: (e.rows, e.units) for e in report.excluded} == {
        transactions.NO_ID: (1, 1),
        transactions.UNREADABLE: (1, 4),
        transactions.NO_QUANTITY: (1, 0),
        transactions.NEGATIVE_PRICE: (1, 2),
    }
    assert report.kept + sum(e.rows for e in report.excluded) == report.rows == 9
    dataset = open_dataset(tmp_path / "data")
    assert dataset.report.problems == ()
    assert dataset.tables["sales"].select("sku_id", "date", "units", "returns", "price").collect().rows() == [
        ("7", date(2024, 1, 1), 1.0, None, 3.0),
        ("7", date(2024, 1, 2), 2.0, None, 3.5),
        ("8", date(2024, 1, 2), 1.0, None, None),
        ("7", date(2024, 1, 3), 0.0, 1.0, 3.5),
        ("7", date(2024, 1, 4), 1.0, None, 3.5),
    ]
    assert dataset.tables["products"].select("sku_id", "title", "category", "known_at", "list_price").collect().rows() == [
        ("7", "LAMP", "Home", date(2024, 1, 1), 3.0),
        ("7", "BIG LAMP", "Home > Light", date(2024, 1, 4), 3.0),
        ("8", "CUP", None, date(2024, 1, 2), None),
    ]
    assert dataset.tables["baskets"].select("basket_id", "sku_id", "customer_id").collect().rows() == [
        ("2", "7", "c1"),
        ("1", "7", "c1"),
        ("1", "8", "c1"),
        ("4", "7", None),
    ]


def test_ids_stand_in_for_titles_that_are_not_there(tmp_path: Path) -> None:
    pl.DataFrame({"SKU": [1, 2], "day": [date(2024, 1, 1)] * 2, "units": [1.0, 2.0]}).write_parquet(tmp_path / "a.parquet")
    import_transactions(tmp_path / "a.parquet", tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.tables["products"].select("sku_id", "title").collect().rows() == [("1", "1"), ("2", "2")]
    assert set(dataset.tables) == {"products", "sales"}


def test_a_missing_column_is_named_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("SKU,Colour\n1,red\n")
    with pytest.raises(DataError, match="no column ts, units: found SKU, Colour"):
        import_transactions(tmp_path / "a.csv", tmp_path / "data")
