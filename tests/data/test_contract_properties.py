"""Whatever table goes in: nothing is lost in silence, and what comes out keeps the contract."""

import datetime as dt
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plcp.base import DataError
from plcp.data import account
from plcp.data.asof import cut
from plcp.data.contract import ContractConfig, Dataset, check, open_dataset
from plcp.data.prepared import Prepared, prepare
from plcp.tables import CONTRACT, DATE, FLOAT, SALES, STRING, Column, Table
from tests.data.shop_tables import GOOD, write

TODAY = date(2024, 6, 1)
TEXTS = st.one_of(st.sampled_from(["A", "B", "a", "", " ", "x" * 300]), st.none(), st.text(max_size=4))
JSONS = st.sampled_from(['{"colour": "red"}', "{}", "[]", "{half", "", None])
DATES = st.one_of(st.none(), st.dates(date(1960, 1, 1), date(2060, 1, 1)), st.dates(date(2024, 1, 1), date(2024, 1, 5)))
NUMBERS = st.one_of(st.none(), st.integers(-1, 50).map(float), st.floats(width=32))
TEXT_NUMBERS = st.one_of(NUMBERS.map(lambda x: None if x is None else str(x)), st.sampled_from(["£3", "3 EUR", "many", "", "1e400"]))
TEXT_DATES = st.one_of(
    DATES.map(lambda d: None if d is None else d.isoformat()), st.sampled_from(["2024-02-30", "01/02/2024", "", "2024-01-02 10:00"])
)
TIMES = st.one_of(
    st.none(), st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 9))
)
VECTORS = st.one_of(st.none(), st.lists(st.floats(width=32), max_size=2))
Ways = list[tuple[st.SearchStrategy[Any], pl.DataType]]
AS_NUMBERS: Ways = [(NUMBERS, FLOAT), (NUMBERS, pl.Float32()), (TEXT_NUMBERS, STRING)]
AS_TIMES: Ways = [(TIMES, pl.Datetime("us")), (TIMES, pl.Datetime("ms", "UTC")), (DATES, DATE)]


def ways(column: Column) -> Ways:
    """Values good and bad for a column, in each of the types that files come in."""
    if column.name == "attributes":
        return [(JSONS, STRING)]
    if column.type == STRING:
        return [(TEXTS, STRING), (TEXTS, pl.Categorical())]
    if column.type == FLOAT:
        return AS_NUMBERS
    if column.type == DATE:
        return [*AS_TIMES, (TEXT_DATES, STRING)]
    return AS_TIMES if isinstance(column.type, pl.Datetime) else [(VECTORS, column.type)]


@st.composite
def frames(draw: st.DrawFn, table: Table) -> pl.DataFrame:
    height = draw(st.integers(1, 8))
    found = {}
    for column in table.columns:
        if "image" not in column.name and (column.required or draw(st.booleans())):
            values, type = draw(st.sampled_from(ways(column)))
            found[column.name] = pl.Series(draw(st.lists(values, min_size=height, max_size=height)), dtype=type, strict=False)
    return pl.DataFrame(found)


@st.composite
def files_of_a_table(draw: st.DrawFn) -> tuple[Table, list[pl.DataFrame]]:
    table = draw(st.sampled_from(list(CONTRACT.values())))
    return table, draw(st.lists(frames(table), min_size=1, max_size=3))


@settings(max_examples=80, deadline=None)
@given(given_files=files_of_a_table(), doubled=st.sampled_from(["sum", "last", "refuse"]))
def test_every_row_is_kept_or_in_the_quarantine_once(given_files: tuple[Table, list[pl.DataFrame]], doubled: Any) -> None:
    table, parts = given_files
    with tempfile.TemporaryDirectory() as folder:
        data, quarantine = Path(folder) / "data", Path(folder) / "quarantine"
        write(data, {"products": GOOD["products"], "sales": GOOD["sales"]})
        for k, part in enumerate(parts):
            write(data, {table.name: part}, f"part-{k:05d}.parquet")
        config = ContractConfig(max_bad_share=1.0, duplicate_sales=doubled, today=TODAY)
        report = check(data, config, quarantine)
        path = quarantine / f"{table.name}.parquet"
        aside = pl.read_parquet(path) if path.exists() else pl.DataFrame(schema={"file": STRING, "row": pl.Int64})
        given_rows = sum(map(len, parts))
        assert report.rows[table.name] == given_rows
        assert report.kept[table.name] + len(aside) == given_rows
        assert aside.select("file", "row").is_unique().all()
        assert sum(p.rows for p in report.problems if p.outcome == "quarantined") == len(aside)
        assert report.ok == (len(aside) < given_rows or not table.required)
        if not report.ok:
            return
        kept = open_dataset(data, config).tables[table.name].collect()
    assert_in_contract(table, kept, doubled)
    if table.name == "sales":
        assert units_of(parts, aside) == kept["units"].to_list()


def units_of(parts: list[pl.DataFrame], aside: pl.DataFrame) -> list[float]:
    """Units of the rows that are not in the quarantine, as they stood in the files."""
    found = []
    for k, part in enumerate(parts):
        gone = aside.filter(pl.col("file") == f"sales/part-{k:05d}.parquet")["row"]
        units = part.with_row_index("row").filter(~pl.col("row").is_in(gone.implode()))["units"]
        found += (units.str.strip_chars() if units.dtype == STRING else units).cast(pl.Float64).to_list()
    return found


def assert_in_contract(table: Table, kept: pl.DataFrame, doubled: str) -> None:
    for column in table.columns:
        values = kept[column.name].drop_nulls()
        if column.required and not column.nullable:
            assert len(values) == len(kept)
            assert column.type != STRING or (values.str.strip_chars() != "").all()
        if column.type == FLOAT:
            assert values.is_between(column.minimum if column.minimum is not None else -1e9, column.maximum or 1e9).all()
        if column.type == DATE:  # weekly sales may have been moved to their Monday
            observed = column.name == "date" and table.name in ("sales", "reviews")
            assert values.is_between(date(1980, 1, 1), TODAY + dt.timedelta(days=6 if observed else 20 * 365)).all()
    if table.key and not (table.name == "sales" and doubled == "sum"):
        assert kept.select(table.key).is_unique().all()


MONDAYS = st.integers(2, 24).map(lambda week: date(2023, 12, 4) + dt.timedelta(weeks=week))
DAYS = st.dates(date(2023, 12, 4), date(2024, 5, 31))
SOUND: dict[str, tuple[st.SearchStrategy[Any], pl.DataType]] = {
    "sku_id": (st.sampled_from(["A", "B", "☕ cup"]), STRING),
    "date": (DAYS, DATE),
    "units": (st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6, width=32)), FLOAT),
    "price": (st.floats(0, 100, width=32), FLOAT),
    "cancelled_at": (st.none() | DAYS, DATE),
}


@st.composite
def shops(draw: st.DrawFn) -> pl.DataFrame:
    """Sales most of whose values are sound and some are anything, numbers and dates given as such or as text."""
    height, found = draw(st.integers(1, 12)), {}
    for name, (sound, type) in SOUND.items():
        if SALES[name].required or draw(st.booleans()):
            wild = ways(SALES[name])[0 if name != "date" else 2][0]
            values = draw(st.lists(st.one_of(*[sound] * 7, wild), min_size=height, max_size=height))
            series = pl.Series(values, dtype=type, strict=False)
            found[name] = series.cast(STRING) if draw(st.booleans()) else series
    return pl.DataFrame(found)


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(shops(), min_size=1, max_size=3), doubled=st.sampled_from(["sum", "last", "refuse"]), origin=st.none() | MONDAYS)
def test_every_row_and_unit_is_in_the_panel_or_quarantined_or_left_out_by_a_named_rule(
    parts: list[pl.DataFrame], doubled: Any, origin: date | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, quarantine = write(Path(folder) / "data", {"products": GOOD["products"]}), Path(folder) / "quarantine"
        for k, part in enumerate(parts):
            write(data, {"sales": part}, f"part-{k:05d}.parquet")
        config = ContractConfig(max_bad_share=1.0, duplicate_sales=doubled, today=TODAY)
        try:
            dataset = open_dataset(data, config, quarantine)
            prepared = prepare(cut(dataset, origin) if origin else dataset, Path(folder) / "prepared")
        except DataError as error:
            assume(not any(reason in str(error) for reason in ("no rows", "no valid row", "no full week", "no week lies before")))
            raise
        path = quarantine / "sales.parquet"
        aside = len(pl.read_parquet(path)) if path.exists() else 0
        assert sum(map(len, parts)) == aside + sum(entry.rows for entry in prepared.account.entries)
        rows, panel = expected(dataset, prepared, origin)
        assert {e.rule: (e.rows, e.units) for e in prepared.account.entries if e.rows} == rows
        assert panel_of(prepared) == panel


def expected(dataset: Dataset, prepared: Prepared, origin: date | None) -> tuple[dict[str, tuple[int, float]], dict[tuple[str, date], int]]:
    """Row by row, by hand: rows and units of each rule, and the units (in ten-thousandths) of each SKU's weeks."""
    rows, units, panel = Counter[str](), Counter[str](), Counter[tuple[str, date]]()
    exact = (pl.col("units") * 10_000).round().cast(pl.Int64)
    for sku, day, sold, back in dataset.tables["sales"].select("sku_id", "date", exact, "cancelled_at").collect().iter_rows():
        if day >= prepared.origin:
            rule = account.UNKNOWN if origin else account.CUT_SHORT
        elif day < prepared.first_week:
            rule = account.BEFORE
        else:
            rule = account.TAKEN_BACK if back and (origin is None or back < origin) else account.PANEL
        rows[rule] += 1
        units[rule] += sold
        if rule == account.PANEL:
            panel[sku, day - dt.timedelta(days=day.weekday())] += sold
    return {rule: (rows[rule], units[rule] / 10_000) for rule in rows}, {week: sold for week, sold in panel.items() if sold}


def panel_of(prepared: Prepared) -> dict[tuple[str, date], int]:
    """Every SKU's weeks with units (in ten-thousandths), as they lie in the shards."""
    found = {}
    for k in range(len(prepared.shards)):
        shard = prepared.read(k)
        for row, week in zip(*np.nonzero(shard.units), strict=True):
            found[shard.sku_id[row], prepared.timeline.date(week)] = round(shard.units[row, week] * 10_000)
    return found
