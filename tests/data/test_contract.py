import datetime as dt
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from plcp.base import DataError
from plcp.data.contract import ContractConfig, Dataset, check, open_dataset
from plcp.tables import CONTRACT
from tests.conftest import little_shop
from tests.data.shop_tables import DAYS, GOOD, LENIENT, MONDAY, with_value, write


def found(tables: dict[str, pl.DataFrame], config: ContractConfig = LENIENT) -> dict[tuple[str, str, str], int]:
    """(table, field, check) → rows, of all problems."""
    return {(p.table, p.field, p.check): p.rows for p in Dataset.of(tables, config).report.problems}


def test_good_tables_have_no_problem_and_all_columns_of_the_contract() -> None:
    dataset = Dataset.of(GOOD, LENIENT)
    assert dataset.report.problems == ()
    for name, frame in dataset.tables.items():
        schema = frame.collect_schema()
        assert schema.names() == CONTRACT[name].schema.names()
        different = {c for c, type in schema.items() if type != CONTRACT[name].schema[c]}
        assert different == ({"image"} if name == "products" else set())
        assert frame.collect().height == GOOD[name].height


@pytest.mark.parametrize(
    ("table", "column", "value", "name"),
    [
        ("sales", "sku_id", None, "missing"),
        ("sales", "sku_id", "  ", "blank"),
        ("sales", "sku_id", "x" * 10_000, "too long"),
        ("sales", "sku_id", "A\nB", "control character"),
        ("sales", "units", -1.0, "too low"),
        ("sales", "units", float("nan"), "not finite"),
        ("sales", "units", float("inf"), "not finite"),
        ("sales", "units", None, "missing"),
        ("sales", "units", 1e12, "too high"),
        ("sales", "price", -0.01, "too low"),
        ("sales", "promo", 30.0, "too high"),
        ("sales", "in_stock", 1.2, "too high"),
        ("sales", "date", date(1970, 1, 1), "too early"),
        ("sales", "date", date(2026, 1, 2), "future"),
        ("sales", "cancelled_at", date(2030, 1, 1), "future"),
        ("products", "sku_id", None, "missing"),
        ("products", "title", None, "missing"),
        ("products", "title", " ", "blank"),
        ("products", "launch_date", date(2999, 1, 1), "too late"),
        ("products", "attributes", "{half", "json"),
        ("products", "attributes", "[1]", "json"),
        ("reviews", "sku_id", "", "blank"),
        ("reviews", "rating", 0, "too low"),
        ("reviews", "rating", 6, "too high"),
        ("baskets", "sku_id", "x" * 10_000, "too long"),
        ("baskets", "basket_id", None, "missing"),
        ("baskets", "ts", dt.datetime(2027, 1, 1), "future"),
        ("signals", "value", float("nan"), "not finite"),
        ("signals", "key", None, "missing"),
        ("plans", "week", date(2024, 1, 2), "monday"),
        ("plans", "promo", 1.5, "too high"),
        ("vectors", "vector", [], "empty"),
        ("vectors", "vector", [float("nan")], "not finite"),
        ("supply", "unit_cost", -1.0, "too low"),
    ],
)
def test_a_bad_value_quarantines_its_row_by_a_named_check(table: str, column: str, value: Any, name: str) -> None:
    tables = with_value(table, column, value)
    dataset = Dataset.of(tables, LENIENT)
    problem = next(p for p in dataset.report.problems if p.outcome == "quarantined")
    assert (problem.table, problem.field, problem.check, problem.rows, problem.row) == (table, column, name, 1, 0)
    assert dataset.report.kept[table] == GOOD[table].height - 1
    assert dataset.tables[table].collect().height == GOOD[table].height - 1


@pytest.mark.parametrize("identity", ["red lamp", "🙂", "Ünïcode", "x" * 200])
def test_ids_with_spaces_and_emoji_are_ids(identity: str) -> None:
    tables = {name: GOOD[name].with_columns(sku_id=pl.lit(identity)).head(1) for name in ("products", "sales")}
    assert Dataset.of(tables, LENIENT).tables["sales"].collect()["sku_id"].to_list() == [identity]


def test_numbers_and_dates_as_text_are_read_and_what_is_none_is_quarantined() -> None:
    sales = pl.DataFrame(
        {
            "sku_id": ["A"] * 6,
            "date": ["2024-01-01", "2024-01-02T10:30:00", "02/03/2024", "2024-02-30", "2024-01-05", "2024-01-06"],
            "units": ["1", " 2.5 ", "3", "4", "many", "6"],
            "price": ["9.99", None, "1", "1", "1", "£4.50"],
        }
    )
    dataset = Dataset.of({**GOOD, "sales": sales}, LENIENT)
    assert dataset.tables["sales"].select("date", "units", "price").collect().rows() == [(MONDAY, 1.0, 9.99), (DAYS[1], 2.5, None)]
    seen = {(p.field, p.check): (p.rows, p.row, p.value) for p in dataset.report.problems}
    assert seen == {
        ("date", "type"): (2, 2, "02/03/2024"),
        ("units", "type"): (1, 4, "many"),
        ("price", "currency"): (1, 5, "£4.50"),
    }


def test_revenue_beyond_every_shop_is_quarantined() -> None:
    sales = GOOD["sales"].with_columns(units=pl.lit(1e6), price=pl.Series([1e7, *[1.0] * 9]))
    assert found({**GOOD, "sales": sales}) == {("sales", "price", "revenue"): 1}


def test_dates_beyond_every_calendar_are_quarantined() -> None:
    days = pl.Series("date", [2**31 - 1, 19723], dtype=pl.Int32).cast(pl.Date)
    times = pl.Series("ts", [2**63 - 1, 0], dtype=pl.Int64)
    for unit in ("ms", "us"):
        moments = times.cast(pl.Datetime(unit)).dt.replace_time_zone("UTC")
        tables = {**GOOD, "baskets": GOOD["baskets"].with_columns(moments)}
        assert found(tables)["baskets", "ts", "type"] == 1
    sales = GOOD["sales"].head(2).with_columns(days)
    assert found({**GOOD, "sales": sales})["sales", "date", "future"] == 1


def test_the_day_is_the_one_that_the_clock_of_the_time_zone_showed() -> None:
    late = pl.Series("date", [dt.datetime(2024, 1, 1, 23, 30)]).dt.replace_time_zone("America/New_York")
    dataset = Dataset.of({**GOOD, "sales": GOOD["sales"].head(1).with_columns(late)}, LENIENT)
    assert dataset.tables["sales"].collect()["date"].to_list() == [MONDAY]
    assert [(p.check, p.outcome) for p in dataset.report.problems] == [("time zone", "noted")]


def test_structs_become_json_and_categories_strings() -> None:
    attributes = pl.Series("attributes", [{"colour": "red", "watt": 40}, {"colour": None, "watt": None}])
    products = GOOD["products"].with_columns(attributes, category=pl.Series(["Home", "Home"], dtype=pl.Categorical))
    rows = Dataset.of({**GOOD, "products": products}, LENIENT).tables["products"].select("category", "attributes").collect()
    assert rows.row(0) == ("Home", '{"colour":"red","watt":40}')


def test_doubled_products_keep_the_last_row() -> None:
    products = pl.DataFrame({"sku_id": ["A", "B", "A"], "title": ["Lamp", "Cup", "Bright lamp"]})
    dataset = Dataset.of({**GOOD, "products": products}, LENIENT)
    assert dataset.tables["products"].select("sku_id", "title").collect().rows() == [("B", "Cup"), ("A", "Bright lamp")]
    assert [(p.check, p.rows, p.row) for p in dataset.report.problems] == [("doubled", 1, 0)]


@pytest.mark.parametrize(("mode", "units"), [("sum", [1.0, 2.0, 3.0]), ("last", [2.0, 3.0]), ("refuse", [3.0])])
def test_sales_of_one_sku_and_day_are_summed_or_the_last_kept_or_refused(mode: Any, units: list[float]) -> None:
    sales = pl.DataFrame({"sku_id": ["A", "A", "B"], "date": [MONDAY] * 3, "units": [1.0, 2.0, 3.0]})
    config = ContractConfig(max_bad_share=1.0, duplicate_sales=mode)
    dataset = Dataset.of({**GOOD, "sales": sales}, config)
    assert dataset.tables["sales"].collect()["units"].to_list() == units
    assert sum(p.rows for p in dataset.report.problems if p.check == "doubled") == 3 - len(units)


@pytest.mark.parametrize(("mode", "outcome", "rows"), [("sum", "noted", 2), ("last", "quarantined", 2), ("refuse", "quarantined", 4)])
def test_a_check_reports_how_many_rows_of_one_sku_and_day_there_are(tmp_path: Path, mode: Any, outcome: str, rows: int) -> None:
    sales = pl.DataFrame({"sku_id": ["A", "B", "A", "B", "C"], "date": [MONDAY] * 5, "units": 1.0})
    report = check(write(tmp_path / "data", {**GOOD, "sales": sales}), ContractConfig(max_bad_share=1.0, duplicate_sales=mode))
    assert [(p.field, p.rows, p.outcome) for p in report.problems if p.check == "doubled"] == [("sku_id, date", rows, outcome)]


@pytest.mark.parametrize("table", ["plans", "vectors", "supply"])
def test_of_rows_with_the_same_key_the_last_one_is_kept(table: str) -> None:
    dataset = Dataset.of({**GOOD, table: pl.concat([GOOD[table]] * 2)}, LENIENT)
    height = GOOD[table].height
    assert [(p.table, p.check, p.rows, p.row) for p in dataset.report.problems] == [(table, "doubled", height, 0)]
    assert dataset.tables[table].collect().height == height


@pytest.mark.parametrize(
    "pair", [("Cafe\u0301", "Caf\u00e9"), ("lamp", "LAMP"), ("①", "1"), (" A", "A")], ids=["accents", "case", "compatibility", "spaces"]
)
def test_ids_that_a_person_takes_for_one_are_reported_and_kept_apart(pair: tuple[str, str]) -> None:
    products = pl.DataFrame({"sku_id": pair, "title": ["x", "y"]})
    sales = pl.DataFrame({"sku_id": pair, "date": [MONDAY] * 2, "units": [1.0, 2.0]})
    dataset = Dataset.of({"products": products, "sales": sales}, LENIENT)
    assert [(p.check, p.rows, set((p.value or "").split(" / "))) for p in dataset.report.problems] == [("look-alike ids", 1, set(pair))]
    assert dataset.tables["sales"].collect()["sku_id"].to_list() == list(pair)


def test_relations_between_tables_are_noted_and_nothing_is_left_out() -> None:
    products = pl.DataFrame({"sku_id": ["A", "a", "ﬁ", "fi "], "title": ["x"] * 4, "launch_date": [DAYS[9], None, None, None]})
    plans = pl.DataFrame({"sku_id": ["A", "A"], "week": [MONDAY, date(2024, 1, 22)], "price": [1.0, 1.0], "promo": [0.0, 0.0]})
    dataset = Dataset.of({"products": products, "sales": GOOD["sales"], "plans": plans}, LENIENT)
    assert {p.outcome for p in dataset.report.problems} == {"noted"}
    assert {(p.table, p.check): (p.rows, p.value) for p in dataset.report.problems} == {
        ("sales", "unknown product"): (5, "B"),
        ("products", "look-alike ids"): (2, "A / a"),
        ("products", "late launch"): (1, "2024-01-10"),
        ("plans", "gap"): (2, "A"),
    }
    assert dataset.tables["sales"].collect().height == 10


@pytest.mark.parametrize(
    ("first", "label", "monday"),
    [
        (date(2024, 1, 7), "start", date(2024, 1, 8)),  # Sundays: the week is that of the next day
        (date(2024, 1, 3), "start", date(2024, 1, 8)),  # Wednesdays: later, never earlier
        (date(2024, 1, 7), "end", date(2024, 1, 1)),
        (date(2024, 1, 6), "end", date(2024, 1, 1)),
        (date(2024, 1, 8), "start", date(2024, 1, 8)),
    ],
)
def test_weeks_that_do_not_start_on_mondays_are_moved_to_one(first: date, label: Any, monday: date) -> None:
    weeks = [first + dt.timedelta(weeks=k) for k in range(4)]
    sales = pl.DataFrame({"sku_id": ["A"] * 4, "date": weeks, "units": [0.0, 1.0, 1.0, 1.0]})
    dataset = Dataset.of({**GOOD, "sales": sales}, ContractConfig(week_label=label))
    assert dataset.tables["sales"].collect()["date"].to_list() == [monday + dt.timedelta(weeks=k) for k in range(4)]
    assert dataset.first_sale.collect().rows() == [("A", monday + dt.timedelta(weeks=1))]
    assert ("weekly" in {p.check for p in dataset.report.problems}) == (first != monday)


def test_daily_and_weekly_rows_in_one_table_are_noted() -> None:
    weekly = [MONDAY + dt.timedelta(weeks=k) for k in range(6)]
    daily = [date(2024, 2, 12) + dt.timedelta(days=k) for k in range(28)]
    sales = pl.DataFrame({"sku_id": "A", "date": weekly + daily, "units": 1.0})
    assert found({**GOOD, "sales": sales})["sales", "date", "mixed granularity"] == 6
    assert ("sales", "date", "mixed granularity") not in found({**GOOD, "sales": sales.tail(28)})


def test_a_check_names_products_sold_by_the_week_among_those_sold_by_the_day(tmp_path: Path) -> None:
    daily = pl.DataFrame({"sku_id": "A", "date": [MONDAY + dt.timedelta(days=k) for k in range(70)], "units": 1.0})
    weekly = pl.DataFrame({"sku_id": "B", "date": [MONDAY + dt.timedelta(weeks=k) for k in range(10)], "units": 7.0})
    seldom = pl.DataFrame({"sku_id": "C", "date": [MONDAY, MONDAY + dt.timedelta(weeks=9)], "units": 7.0})
    data = write(tmp_path / "data", {**GOOD, "sales": pl.concat([daily, weekly, seldom])})
    mixed = [p for p in check(data, LENIENT).problems if p.check == "mixed granularity"]
    assert [(p.rows, p.value, p.outcome) for p in mixed] == [(10, "B", "noted")]
    write(data, {"sales": weekly})
    assert "mixed granularity" not in {p.check for p in check(data, LENIENT).problems}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no folder", "no such data folder"),
        ("no sales", "sales: the table is missing; expected Parquet files with sku_id, date, units"),
        ("no files", "sales: no rows"),
        ("no column", "column units is missing: found sku_id, date"),
        ("too many", "sales: 50.0% of its rows or files are bad, 1.0% are allowed"),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, spoil: str, message: str) -> None:
    tables = dict(GOOD)
    if spoil in ("no sales", "no files"):
        del tables["sales"]
    if spoil == "no column":
        tables["sales"] = GOOD["sales"].drop("units")
    if spoil == "too many":
        tables["sales"] = GOOD["sales"].with_columns(pl.col("units") - 5)
    data = tmp_path / "data"
    if spoil != "no folder":
        write(data, tables)
    if spoil == "no files":
        (data / "sales").mkdir()
    with pytest.raises(DataError, match=message):
        open_dataset(data)


def test_the_bad_share_is_set_per_table() -> None:
    tables = with_value("sales", "units", -1.0)
    Dataset.of(tables, ContractConfig(max_bad_share={"sales": 0.1}))
    with pytest.raises(DataError, match="memory, row 0, units: below 0"):
        Dataset.of(tables, ContractConfig(max_bad_share={"products": 0.1}))
    with pytest.raises(ValidationError, match="saels is no table"):
        ContractConfig(max_bad_share={"saels": 0.1})


def test_extra_columns_and_folders_are_reported_and_ignored(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {**GOOD, "sales": GOOD["sales"].with_columns(colour=pl.lit("red")), "reveiws": GOOD["reviews"]})
    shutil.rmtree(data / "reviews")
    (data / "reviews").mkdir()
    (data / "reviews" / "reviews.csv").touch()
    dataset = open_dataset(data)
    assert {(p.table, p.check, p.field, p.outcome) for p in dataset.report.problems} == {
        ("sales", "extra column", "colour", "noted"),
        ("reviews", "no files", "", "noted"),
        ("reveiws", "unknown table", "", "noted"),
    }
    assert "colour" not in dataset.tables["sales"].collect_schema()


def test_the_digest_follows_files_configuration_and_cut(tmp_path: Path) -> None:
    data = write(tmp_path / "data", GOOD)
    digest = open_dataset(data).digest
    assert digest == open_dataset(data).digest
    assert digest != open_dataset(data, ContractConfig(duplicate_sales="last")).digest
    write(data, with_value("sales", "units", 3.0))
    assert digest != open_dataset(data).digest


def test_the_little_shop_is_clean() -> None:
    assert [p.check for p in Dataset.of(little_shop()).report.problems] == []
