import datetime as dt
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plcp.base import DataError
from plcp.data.asof import cut, launches
from plcp.data.contract import ContractConfig, Dataset
from tests.conftest import FIRST_WEEK, little_shop

ORIGIN = date(2024, 1, 8)
BEFORE, AFTER = date(2024, 1, 7), date(2024, 1, 8)


def rows(frames: dict[str, pl.DataFrame], table: str, *columns: str) -> list[Any]:
    base = {
        "products": pl.DataFrame({"sku_id": ["A"], "title": ["Lamp"]}),
        "sales": pl.DataFrame({"sku_id": ["A"], "date": [BEFORE], "units": [1.0]}),
    }
    dataset = Dataset.of({**base, **frames}, ContractConfig(today=date(2026, 1, 1)))
    return cut(dataset, ORIGIN).tables[table].select(columns).collect().rows()


def test_sales_on_the_origin_are_unknown_and_later_cancellations_have_not_happened() -> None:
    sales = pl.DataFrame(
        {
            "sku_id": ["A", "B", "C", "D"],
            "date": [BEFORE, BEFORE, BEFORE, AFTER],
            "units": 1.0,
            "cancelled_at": [BEFORE, AFTER, None, AFTER],
        },
        schema_overrides={"cancelled_at": pl.Date},
    )
    assert rows({"sales": sales}, "sales", "sku_id", "cancelled_at") == [("A", BEFORE), ("B", None), ("C", None)]


def test_reviews_baskets_signals_and_vectors_are_cut_by_the_day_they_became_known() -> None:
    two = [BEFORE, AFTER]
    assert rows({"reviews": pl.DataFrame({"sku_id": "A", "date": two, "rating": 5.0, "text": ["a", "b"]})}, "reviews", "text") == [("a",)]
    moments = [dt.datetime(2024, 1, 7, 23, 59), dt.datetime(2024, 1, 8)]
    assert rows({"baskets": pl.DataFrame({"basket_id": ["x", "y"], "sku_id": "A", "ts": moments})}, "baskets", "basket_id") == [("x",)]
    signals = pl.DataFrame(
        {
            "date": [BEFORE, AFTER, AFTER, BEFORE],
            "key": "*",
            "name": ["a", "b", "c", "d"],
            "value": 1.0,
            "known_at": [None, None, BEFORE, AFTER],
        }
    )
    assert rows({"signals": signals}, "signals", "name") == [("a",), ("c",)]
    vectors = pl.DataFrame({"sku_id": "A", "kind": ["a", "b", "c"], "vector": [[1.0]] * 3, "known_at": [None, BEFORE, AFTER]})
    assert rows({"vectors": vectors}, "vectors", "kind") == [("a",), ("b",)]


def test_plans_and_supply_stay_whole() -> None:
    plans = pl.DataFrame({"sku_id": "A", "week": [date(2024, 1, 1), date(2024, 2, 5)], "price": 1.0, "promo": 0.0})
    assert len(rows({"plans": plans}, "plans", "week")) == 2
    assert len(rows({"supply": pl.DataFrame({"sku_id": ["A"], "on_hand": [1.0], "unit_cost": [1.0]})}, "supply", "sku_id")) == 1


def test_a_product_is_known_from_known_at_or_else_from_its_launch_or_first_sale() -> None:
    known = {
        "known before": (BEFORE, None),
        "known later": (AFTER, BEFORE),
        "planned and announced": (BEFORE, date(2024, 3, 4)),
        "launched": (None, BEFORE),
        "to be launched": (None, AFTER),
        "sold": (None, None),
        "sold before its launch": (None, AFTER),
        "never seen": (None, None),
    }
    products = pl.DataFrame(
        {"sku_id": list(known), "title": "x", "known_at": [k for k, _ in known.values()], "launch_date": [d for _, d in known.values()]}
    )
    sales = pl.DataFrame(
        {"sku_id": ["sold", "sold before its launch", "never seen", "never seen"], "date": [BEFORE] * 3 + [AFTER], "units": [1.0, 1, 0, 1]}
    )
    found = rows({"products": products, "sales": sales}, "products", "sku_id")
    assert [sku for (sku,) in found] == ["known before", "planned and announced", "launched", "sold", "sold before its launch"]


def test_an_origin_is_a_monday() -> None:
    dataset = Dataset.of(little_shop())
    with pytest.raises(DataError, match="2022-03-01 is a Tuesday; an origin is a Monday"):
        cut(dataset, date(2022, 3, 1))


@pytest.mark.parametrize("week", [12, 40])
def test_cutting_twice_is_cutting_at_the_earlier_origin(week: int) -> None:
    dataset = Dataset.of(little_shop())
    origin = FIRST_WEEK + dt.timedelta(weeks=week)
    once = cut(dataset, origin)
    for other in (cut(cut(dataset, origin + dt.timedelta(weeks=9)), origin), cut(once, origin + dt.timedelta(weeks=9))):
        assert other.origin == origin
        for name, frame in once.tables.items():
            assert frame.collect().equals(other.tables[name].collect()), name
    assert once.digest != dataset.digest


@settings(max_examples=20)
@given(week=st.integers(5, 68), seed=st.integers(0, 3))
def test_what_is_not_yet_known_changes_nothing(week: int, seed: int) -> None:
    origin = FIRST_WEEK + dt.timedelta(weeks=week)
    shop = little_shop(seed=seed)
    known_later = shop["products"].filter(pl.col("known_at") >= origin).height
    changed = {
        **shop,
        "sales": shop["sales"].with_columns(
            units=pl.when(pl.col("date") < origin).then("units").otherwise(pl.col("units") * 7 + 1),
            cancelled_at=pl.when(pl.col("cancelled_at") < origin).then("cancelled_at"),
        ),
        "reviews": shop["reviews"].filter(pl.col("date") < origin),
        "products": shop["products"].filter((pl.col("known_at") < origin).fill_null(True)),
    }
    before, after = (cut(Dataset.of(frames), origin) for frames in (shop, changed))
    for name, frame in before.tables.items():
        assert frame.collect().equals(after.tables[name].collect()), (name, known_later)


def test_launches_are_announced_with_the_product_row_of_their_first_day() -> None:
    products = pl.DataFrame(
        {
            "sku_id": ["new", "new", "new", "late", "taken back", "old", "zero"],
            "title": ["before", "at launch", "after", "only later", "t", "o", "z"],
            "known_at": [date(2024, 1, 1), date(2024, 1, 10), date(2024, 1, 11), date(2024, 2, 1), None, None, None],
            "list_price": [None, 5.0, 6.0, None, 1.0, 1.0, 1.0],
        }
    )
    sales = pl.DataFrame(
        {
            "sku_id": ["old", "new", "new", "late", "late", "taken back", "taken back", "zero", "zero"],
            "date": [
                BEFORE,
                *(date(2024, 1, day) for day in (10, 11, 16, 16)),
                BEFORE,
                *(date(2024, 1, day) for day in (23, 9)),
                date(2024, 2, 5),
            ],
            "units": [1.0, 2, 3, 1, 1, 1, 1, 0, 1],
            "price": [1.0, 4.5, 4.5, 9.0, 8.0, 1.0, 1.0, 1.0, 1.0],
            "cancelled_at": [None, None, None, None, None, date(2024, 3, 1), None, None, None],
        }
    )
    dataset = Dataset.of({"products": products, "sales": sales})
    found = launches(dataset, ORIGIN, date(2024, 2, 5))
    assert found.columns == ["sku_id", "start", "title", "description", "category", "brand", "list_price", "image"]
    assert found.select("sku_id", "start", "title", "list_price").rows() == [
        ("late", date(2024, 1, 15), "only later", 9.0),
        ("new", date(2024, 1, 8), "at launch", 5.0),
        ("taken back", date(2024, 1, 22), "t", 1.0),
    ]
