import datetime as dt
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.online_retail import judge
from plcp.base import DataError
from plcp.data.asof import cut, launches
from plcp.data.contract import Dataset, open_dataset
from plcp.data.sources import online_retail
from plcp.data.sources.online_retail import classify, import_online_retail, match_cancellations
from plcp.data.sources.titles import is_dirt
from tests.data.sources.lines import NAMES, Line, frame, line, write_spreadsheet

DEV_AND_TEST_ORIGINS = (44, 52, 68, 76, 84, 93)


def imported(tmp_path: Path, lines: list[Line]) -> Dataset:
    frame(lines).write_parquet(tmp_path / "lines.parquet")
    import_online_retail(tmp_path / "lines.parquet", tmp_path / "data")
    return open_dataset(tmp_path / "data")


def test_a_cancellation_takes_back_the_latest_earlier_line_of_its_customer_sku_and_quantity(tmp_path: Path) -> None:
    dataset = imported(
        tmp_path,
        [
            line("10001", 3, "2010-01-04 10:00"),
            line("10001", 3, "2010-01-05 10:00"),
            line("10001", 3, "2010-01-05 11:00", customer=2),
            line("10001", -3, "2010-01-06 10:00"),
            line("10001", 3, "2010-01-07 10:00"),
            line("10001", -4, "2010-01-08 10:00"),
            line("10001", -3, "2010-01-09 10:00"),
            line("10001", -3, "2010-01-10 10:00", customer=None),
        ],
    )
    back = dataset.tables["sales"].select("date", "cancelled_at").collect().rows()
    assert back == [
        (date(2010, 1, 4), None),
        (date(2010, 1, 5), date(2010, 1, 6)),
        (date(2010, 1, 5), None),
        (date(2010, 1, 7), date(2010, 1, 9)),
    ]


def test_every_line_is_kept_or_left_out_by_one_named_rule(tmp_path: Path) -> None:
    lines = [
        line("10001", 3, "2010-01-04"),
        line("10001a", 2, "2010-01-04"),
        line("POST", 1, "2010-01-04"),
        line("10002", 5, "2010-01-04", price=0.0),
        line("10002", 0, "2010-01-04"),
        line("10002", -1, "2010-01-04", customer=None),
        line("10002", -1, "2010-01-04"),
        line("10001", -3, "2010-01-05"),
    ]
    frame(lines).write_parquet(tmp_path / "lines.parquet")
    report = import_online_retail(tmp_path / "lines.parquet", tmp_path / "data")
    assert {e.rule: (e.rows, e.units) for e in report.excluded} == {
        online_retail.NO_PRODUCT: (1, 1),
        online_retail.NO_PRICE: (1, 5),
        online_retail.NO_QUANTITY: (1, 0),
        online_retail.NO_CUSTOMER: (1, -1),
        online_retail.NOTHING_TO_TAKE_BACK: (1, -1),
        online_retail.TOOK_BACK: (1, -3),
    }
    assert (report.rows, report.kept, report.kept_units, report.products) == (8, 2, 5, 2)
    assert report.units == report.kept_units + sum(e.units for e in report.excluded)
    assert json.loads((tmp_path / "data" / "import.json").read_text())["kept"] == 2


def test_titles_become_known_on_the_day_of_their_first_line_and_dirt_gives_way(tmp_path: Path) -> None:
    dataset = imported(
        tmp_path,
        [
            line("10001", 1, "2010-01-04", title="damaged"),
            line("10001", 1, "2010-01-05", title="RED LAMP "),
            line("10001", 1, "2010-01-06", title="?"),
            line("10001", 1, "2010-01-07", title="RED LAMP"),
            line("10001", 1, "2010-01-08", title="RED LAMP, BIG"),
            line("10002", 1, "2010-01-04", title="wrongly marked"),
            line("10003", 1, "2010-01-04", title=None),
        ],
    )
    assert dataset.tables["products"].select("sku_id", "title", "known_at").collect().rows() == [
        ("10001", "damaged", date(2010, 1, 4)),
        ("10001", "RED LAMP", date(2010, 1, 5)),
        ("10001", "RED LAMP, BIG", date(2010, 1, 8)),
        ("10002", "wrongly marked", date(2010, 1, 4)),
    ]
    assert [(p.check, p.value) for p in dataset.report.problems] == [("unknown product", "10003")] * 2  # in sales and in baskets


@pytest.mark.parametrize("title", ["?", "damaged", "Damages", "lost in space", "sold as set on dotcom", "", "  ", "85"])
def test_notes_are_no_titles(title: str) -> None:
    assert pl.select(is_dirt(pl.lit(title))).item()


@pytest.mark.parametrize(
    "title", ["CHECK HAMMOCK", "Dr. Jam's Arouzer Stress Ball", "WRONG WAY SIGN", "POLYESTER FILLER PAD 40x40cm", "手机"]
)
def test_names_are_titles(title: str) -> None:
    assert not pl.select(is_dirt(pl.lit(title))).item()


SHEETS = [
    [line("10001", 3, "2010-11-30 09:15", invoice="501"), line("10002B", 2, "2010-12-01 10:00", invoice="502", customer=None)],
    [
        line("10002B", 2, "2010-12-01 10:00", invoice="502", customer=None),
        line("10001", -3, "2010-12-02 08:00", invoice="C503", price=3.25),
    ],
]


def test_spreadsheet_csv_and_parquet_give_the_same_and_the_month_two_sheets_share_counts_once(tmp_path: Path) -> None:
    write_spreadsheet(tmp_path / "retail.xlsx", SHEETS)
    lines = frame([*SHEETS[0], SHEETS[1][1]])
    lines.write_parquet(tmp_path / "retail.parquet")
    named = lines.rename(dict(zip(lines.columns, NAMES, strict=True)))
    named.with_columns(pl.col("Customer ID").cast(pl.Float64)).write_csv(tmp_path / "retail.csv")
    american = named.with_columns(pl.col("InvoiceDate").dt.strftime("%m/%d/%Y %H:%M")).rename(
        {"Invoice": "InvoiceNo", "Price": "UnitPrice"}
    )
    american.write_csv(tmp_path / "american.csv")
    reports, tables = {}, {}
    for name in ("retail.parquet", "retail.xlsx", "retail.csv", "american.csv"):
        out = tmp_path / f"{name}-data"
        reports[name] = import_online_retail(tmp_path / name, out)
        tables[name] = [pl.read_parquet(out / table / "*.parquet") for table in ("products", "sales", "baskets")]
    assert tables["retail.parquet"][2].rows()[0] == ("501", "10001", dt.datetime(2010, 11, 30, 9, 15), "1")
    for name, found in tables.items():
        for frame_, expected in zip(found, tables["retail.parquet"], strict=True):
            assert frame_.equals(expected), name
    copies = {e.rule: e.rows for e in reports["retail.xlsx"].excluded}
    assert copies[online_retail.SECOND_COPY] == 1
    assert reports["retail.xlsx"].rows == reports["retail.parquet"].rows + 1


def test_a_folder_of_parquet_files_that_cut_through_an_invoice_loses_no_line(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    invoice = [line(f"1000{k}", 1, "2010-01-04 10:00") for k in range(4)]
    frame(invoice[:2]).write_parquet(tmp_path / "src" / "a.parquet")
    frame([*invoice[2:], line("10009", 1, "2010-01-04 10:00")]).write_parquet(tmp_path / "src" / "b.parquet")
    assert import_online_retail(tmp_path / "src", tmp_path / "data").kept == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lines.xlsx", b"no workbook", "lines.xlsx: cannot be read as xlsx"),
        ("lines.parquet", b"PAR1", "lines.parquet: cannot be read as parquet"),
        ("lines.csv", b"a,b\n1,2\n", "no column invoice, stock_code"),
        ("lines.txt", b"", "lines.txt: expected one of .xlsx, .csv, .parquet"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_is_written(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        import_online_retail(tmp_path / name, tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_import_replaces_an_import_and_nothing_else(tmp_path: Path) -> None:
    frame([line("10001", 3, "2010-01-04")]).write_parquet(tmp_path / "lines.parquet")
    out = tmp_path / "data"
    import_online_retail(tmp_path / "lines.parquet", out)
    import_online_retail(tmp_path / "lines.parquet", out)
    (out / "import.json").unlink()
    with pytest.raises(DataError, match="holds files that no import wrote"):
        import_online_retail(tmp_path / "lines.parquet", out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "lines.parquet"]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["10001", "10001a", "POST"]),
            st.integers(-2, 2),
            st.integers(0, 5),
            st.sampled_from([0.0, 1.0]),
            st.sampled_from([1, 2, None]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_matching_up_to_a_day_does_not_depend_on_what_came_after(moves: list[tuple], until: int) -> None:
    first = dt.datetime(2010, 1, 4)
    rows = [line(c, q, str(first + dt.timedelta(days=d)), price=p, customer=who) for c, q, d, p, who in moves]
    origin = first + dt.timedelta(days=until)

    def matched(lines: list[Line]) -> list[tuple]:
        typed = frame(lines).with_columns(
            pl.col("quantity").cast(pl.Int64), pl.col("customer_id").cast(pl.String), rule=pl.lit(None, pl.String)
        )
        found = match_cancellations(classify(typed))
        sold = found.filter(pl.col("rule").is_null() & (pl.col("ts") < origin))
        known = pl.when(pl.col("cancelled_at") < origin.date()).then("cancelled_at")
        return sold.select("sku_id", "ts", "quantity", known).rows()

    assert matched(rows) == matched([row for row in rows if row[4] < origin])


@pytest.fixture(scope="session")
def retail(bench_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("retail") / "data"
    report = import_online_retail(bench_data / "online_retail_2y" / "transactions.parquet", out)
    assert report.rows == report.kept + sum(e.rows for e in report.excluded)
    assert report.units == report.kept_units + sum(e.units for e in report.excluded)
    return open_dataset(out)


@pytest.fixture(scope="session")
def truth(bench_data: Path) -> judge.Truth:
    return judge.Truth(str(bench_data / "online_retail_2y" / "transactions.parquet"))


def weekly_units(dataset: Dataset) -> tuple[list[str], np.ndarray]:
    """SKUs and their weekly net units (skus, weeks), from a sales table alone."""
    week = ((pl.col("date") - pl.lit(judge.FIRST_WEEK)).dt.total_days() // 7).alias("week")
    net = dataset.tables["sales"].filter(pl.col("cancelled_at").is_null()).with_columns(week)
    weekly = net.filter(pl.col("week").is_between(0, judge.WEEKS - 1)).group_by("sku_id", "week").agg(pl.col("units").sum()).collect()
    skus = weekly["sku_id"].unique().sort()
    units = np.zeros((len(skus), judge.WEEKS))
    units[skus.search_sorted(weekly["sku_id"]), weekly["week"].to_numpy()] = weekly["units"].to_numpy()
    return skus.to_list(), units


def test_weekly_units_of_all_lines_equal_the_judges(retail: Dataset, truth: judge.Truth) -> None:
    skus, units = weekly_units(retail)
    assert skus == truth.skus
    np.testing.assert_array_equal(units, truth.units)


@pytest.mark.parametrize("origin", DEV_AND_TEST_ORIGINS)
def test_weekly_units_cut_at_an_origin_equal_the_judges_of_the_lines_before_it(
    retail: Dataset, bench_data: Path, tmp_path: Path, origin: int
) -> None:
    day = judge.week_date(origin)
    before = pl.scan_parquet(bench_data / "online_retail_2y" / "transactions.parquet").filter(pl.col("ts") < day)
    before.sink_parquet(tmp_path / "before.parquet", maintain_order=True)
    expected_skus, expected = judge.load_panel(str(tmp_path / "before.parquet"))
    skus, units = weekly_units(cut(retail, day))
    assert skus == expected_skus
    np.testing.assert_array_equal(units, expected)


def test_launches_are_the_judges(retail: Dataset, truth: judge.Truth) -> None:
    for origin, until in zip(truth.origins, (*truth.origins[1:], truth.launch_until), strict=True):
        found = launches(retail, judge.week_date(origin), judge.week_date(until))
        rows = truth.launches(origin)
        assert dict(found.select("sku_id", "start").iter_rows()) == {truth.skus[r]: judge.week_date(truth.first[r]) for r in rows}
        assert found.select(pl.col("title", "list_price").null_count()).row(0) == (0, 0)
