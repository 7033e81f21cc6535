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
TIME = pl.Datetime("us")
TIMES = st.one_of(
    st.none(), st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 9))
)
VECTORS = st.one_of(st.none(), st.lists(st.floats(width=32), max_size=2))
Ways = list[tuple[st.SearchStrategy[Any], pl.DataType]]
AS_NUMBERS: Ways = [(NUMBERS, FLOAT), (NUMBERS, pl.Float32()), (TEXT_NUMBERS, STRING)]
AS_TIMES: Ways = [(TIMES, TIME), (TIMES, pl.Datetime("ms", "UTC")), (DATES, DATE)]


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


@settings(max_examples=80)
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
# between them lie decades that are good dates, and would make as long a calendar
NEAR_OR_REFUSED = st.one_of(st.none(), st.dates(date(1960, 1, 1), date(1979, 12, 31)), st.dates(date(2023, 6, 1), date(2060, 1, 1)))
NAMES = st.sampled_from(["x", "y"])
SOUND: dict[str, tuple[st.SearchStrategy[Any], pl.DataType]] = {
    "sku_id": (st.sampled_from(["A", "B", "☕ cup"]), STRING),
    "date": (DAYS, DATE),
    "units": (st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6, width=32)), FLOAT),
    "price": (st.floats(0, 100, width=32), FLOAT),
    "cancelled_at": (st.none() | DAYS, DATE),
    "title": (NAMES, STRING),
    "known_at": (st.none() | DAYS, DATE),
    "rating": (st.integers(1, 5).map(float), FLOAT),
    "text": (st.none() | NAMES, STRING),
    "basket_id": (NAMES, STRING),
    "ts": (st.datetimes(dt.datetime(2023, 12, 4), dt.datetime(2024, 5, 31)), TIME),
    "key": (st.sampled_from(["*", "A", "Home"]), STRING),
    "name": (NAMES, STRING),
    "value": (st.floats(-9, 9, width=32), FLOAT),
    "week": (MONDAYS, DATE),
    "promo": (st.none() | st.floats(0, 1, width=32), FLOAT),
    "kind": (NAMES, STRING),
    "vector": (st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), pl.List(pl.Float32())),
    "on_hand": (st.floats(0, 9, width=32), FLOAT),
    "unit_cost": (st.floats(0, 9, width=32), FLOAT),
}


@st.composite
def mostly_sound(draw: st.DrawFn, table: Table) -> pl.DataFrame:
    """Rows most of whose values are sound and some are anything, numbers and dates given as such or as text."""
    height, found = draw(st.integers(1, 12)), {}
    for column in table.columns:
        if column.name in SOUND and (column.required or draw(st.booleans())):
            sound, type = SOUND[column.name]
            wild = NEAR_OR_REFUSED if type == DATE else ways(column)[0][0]
            values = draw(st.lists(st.one_of(*[sound] * 7, wild), min_size=height, max_size=height))
            series = pl.Series(values, dtype=type, strict=False)
            found[column.name] = series.cast(STRING) if type in (DATE, FLOAT) and draw(st.booleans()) else series
    return pl.DataFrame(found)


@settings(max_examples=50)
@given(
    parts=st.lists(mostly_sound(SALES), min_size=1, max_size=3),
    doubled=st.sampled_from(["sum", "last", "refuse"]),
    origin=st.none() | MONDAYS,
)
def test_every_row_and_unit_is_in_the_panel_or_quarantined_or_left_out_by_a_named_rule(
    parts: list[pl.DataFrame], doubled: Any, origin: date | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder) / "data", {"products": GOOD["products"]})
        for k, part in enumerate(parts):
            write(data, {"sales": part}, f"part-{k:05d}.parquet")
        dataset, prepared = opened_and_prepared(data, doubled, origin)
        assert sum(map(len, parts)) == set_aside(data, "sales") + sum(entry.rows for entry in prepared.account.entries)
        rows, panel = expected(dataset, prepared, origin)
        assert {e.rule: (e.rows, e.units) for e in prepared.account.entries if e.rows} == rows
        assert panel_of(prepared, "units") == panel


@settings(max_examples=20)
@given(tables=st.fixed_dictionaries({name: mostly_sound(table) for name, table in CONTRACT.items()}), origin=st.none() | MONDAYS)
def test_every_row_of_every_table_is_valid_or_quarantined_and_what_is_valid_and_known_is_in_the_shards(
    tables: dict[str, pl.DataFrame], origin: date | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reviews = GOOD["sales"].select("sku_id", "date", rating=pl.lit(4.5), text=pl.lit("fine"))  # some in every observed week
        sound = {"products": GOOD["products"], "sales": GOOD["sales"], "reviews": reviews}
        data = write(write(Path(folder) / "data", tables), sound, "sound.parquet")
        dataset, prepared = opened_and_prepared(data, "sum", origin)
        for name, drawn in tables.items():
            given_rows, kept = len(drawn) + len(sound.get(name, ())), dataset.tables[name].collect().height
            assert (given_rows, kept) == (dataset.report.rows[name], dataset.report.kept[name])
            assert given_rows == kept + set_aside(data, name)
        known = {name: rows.collect() for name, rows in (cut(dataset, origin) if origin else dataset).tables.items()}
        shards = [prepared.read(k) for k in range(len(prepared.shards))]
        count, stars = Counter[tuple[str, date]](), Counter[tuple[str, date]]()
        for sku, day, rating in known["reviews"].select("sku_id", "date", "rating").iter_rows():
            if prepared.first_week <= day < prepared.origin:
                count[sku, day - dt.timedelta(days=day.weekday())] += 10_000
                stars[sku, day - dt.timedelta(days=day.weekday())] += round(rating * 10_000)
        assert (panel_of(prepared, "reviews"), panel_of(prepared, "rating_sum")) == (count, stars)
        skus = {sku for shard in shards for sku in shard.sku_id}
        observed = pl.col("date").is_between(prepared.first_week, prepared.origin, closed="left")
        assert skus >= {*known["products"]["sku_id"], *known["sales"].filter(observed)["sku_id"]}
        for name, entries in {"products": "versions", "plans": "plans", "vectors": "vectors"}.items():
            held = [sku for shard in shards for sku, found in shard.frame.select("sku_id", entries).iter_rows() for _ in found or ()]
            assert sorted(held) == sorted(sku for sku in known[name]["sku_id"] if sku in skus), name


def opened_and_prepared(data: Path, doubled: Any, origin: date | None) -> tuple[Dataset, Prepared]:
    """A data folder and its shards as of an origin; examples that hold no week at all are left out."""
    config = ContractConfig(max_bad_share=1.0, duplicate_sales=doubled, today=TODAY)
    try:
        dataset = open_dataset(data, config, data.with_name("quarantine"))
        return dataset, prepare(cut(dataset, origin) if origin else dataset, data.with_name("prepared"))
    except DataError as error:
        assume(not any(reason in str(error) for reason in ("no rows", "no valid row", "no full week", "no week lies before")))
        raise


def set_aside(data: Path, table: str) -> int:
    """Rows of a table in the quarantine."""
    path = data.with_name("quarantine") / f"{table}.parquet"
    return len(pl.read_parquet(path)) if path.exists() else 0


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


def panel_of(prepared: Prepared, channel: str) -> dict[tuple[str, date], int]:
    """Every SKU's weeks with anything in a channel, in ten-thousandths, as they lie in the shards."""
    found = {}
    for k in range(len(prepared.shards)):
        shard = prepared.read(k)
        values = np.nan_to_num(shard.channels.get(channel, np.zeros((len(shard), prepared.weeks))))
        for row, week in zip(*np.nonzero(values), strict=True):
            found[shard.sku_id[row], prepared.timeline.date(week)] = round(float(values[row, week]) * 10_000)
    return found
