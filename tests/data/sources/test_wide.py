from datetime import date
from pathlib import Path

import pytest

from plcp.base import DataError
from plcp.data.contract import open_dataset
from plcp.data.sources import wide
from plcp.data.sources.wide import import_wide

TABLE = """SKU,Name,Category,Price,Owner,2024-W01,2024W02,2024-01-15
A,Lamp,Home,9.5,me,1,,3
B,Cup,,,me,x,2,-1
,None,,,me,1,2,3
A,Lamp,Home,9.5,you,1,0,1
"""


def test_columns_named_after_weeks_become_sales_and_the_others_describe_products(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(TABLE)
    report = import_wide(tmp_path / "wide.csv", tmp_path / "data")
    assert {e.rule: (e.rows, e.units) for e in report.excluded} == {
        wide.NO_ID: (3, 6),
        wide.EMPTY: (1, 0),
        wide.UNREADABLE: (1, 0),
        wide.NEGATIVE: (1, -1),
    }
    assert (report.rows, report.kept, report.kept_units) == (12, 6, 8)
    dataset = open_dataset(tmp_path / "data")
    assert dataset.report.problems == ()
    assert dataset.tables["sales"].select("sku_id", "date", "units").collect().sort("sku_id", "date").rows() == [
        ("A", date(2024, 1, 1), 2.0),
        ("A", date(2024, 1, 8), 0.0),
        ("A", date(2024, 1, 15), 4.0),
        ("B", date(2024, 1, 8), 2.0),
    ]
    products = dataset.tables["products"].select("sku_id", "title", "category", "list_price").collect()
    assert products.rows() == [("A", "Lamp", "Home", 9.5), ("B", "Cup", None, None)]


def test_a_table_without_weeks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("SKU,January\nA,1\n")
    with pytest.raises(DataError, match="no column is a week: found SKU, January"):
        import_wide(tmp_path / "wide.csv", tmp_path / "data")
