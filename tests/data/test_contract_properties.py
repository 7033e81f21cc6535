"""Whatever table goes in: nothing is lost in silence."""

import datetime as dt
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from plcp.data.contract import ContractConfig, check, open_dataset
from tests.data.test_contract import GOOD, write

TODAY = date(2024, 6, 1)
IDS = st.one_of(st.sampled_from(["A", "B", "a", "", " ", "x" * 300]), st.none(), st.text(max_size=4))
DATES = st.one_of(st.none(), st.dates(date(1960, 1, 1), date(2030, 1, 1)), st.dates(date(2024, 1, 1), date(2024, 1, 5)))
NUMBERS = st.one_of(st.none(), st.integers(-1, 50).map(float), st.floats(width=32))
TEXT_NUMBERS = st.one_of(NUMBERS.map(lambda x: None if x is None else str(x)), st.sampled_from(["£3", "3 EUR", "many", "", "1e400"]))
TEXT_DATES = st.one_of(
    DATES.map(lambda d: None if d is None else d.isoformat()), st.sampled_from(["2024-02-30", "01/02/2024", "", "2024-01-02 10:00"])
)
TIMES = st.one_of(
    st.none(), st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 9))
)


@st.composite
def sales(draw: st.DrawFn) -> pl.DataFrame:
    """Sales rows good and bad, in any of the types that files come in."""
    height = draw(st.integers(1, 12))

    def column(values: st.SearchStrategy[Any], type: pl.DataType) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=height, max_size=height)), dtype=type, strict=False)

    dates = draw(
        st.sampled_from([(DATES, pl.Date()), (TEXT_DATES, pl.String()), (TIMES, pl.Datetime("us")), (TIMES, pl.Datetime("ms", "UTC"))])
    )
    numbers = st.sampled_from([(NUMBERS, pl.Float64()), (NUMBERS, pl.Float32()), (TEXT_NUMBERS, pl.String())])
    columns = {"sku_id": column(IDS, pl.String()), "date": column(*dates), "units": column(*draw(numbers))}
    for name in draw(st.sets(st.sampled_from(["price", "promo", "in_stock", "returns"]))):
        columns[name] = column(*draw(numbers))
    return pl.DataFrame(columns)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(sales(), min_size=1, max_size=3), doubled=st.sampled_from(["sum", "last", "refuse"]))
def test_every_row_and_unit_is_kept_or_in_the_quarantine_once(parts: list[pl.DataFrame], doubled: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, quarantine = Path(folder) / "data", Path(folder) / "quarantine"
        write(data, {"products": GOOD["products"]})
        for k, part in enumerate(parts):
            write(data, {"sales": part}, f"part-{k}.parquet")
        config = ContractConfig(max_bad_share=1.0, duplicate_sales=doubled, today=TODAY)
        report = check(data, config, quarantine)
        path = quarantine / "sales.parquet"
        aside = pl.read_parquet(path) if path.exists() else pl.DataFrame(schema={"file": pl.String, "row": pl.Int64})
        rows = sum(map(len, parts))
        assert report.kept["sales"] + len(aside) == report.rows["sales"] == rows
        assert aside.select("file", "row").is_unique().all()
        assert sum(p.rows for p in report.problems if p.outcome == "quarantined") == len(aside)
        assert report.ok == (len(aside) < rows)
        if not report.ok:
            return
        kept = open_dataset(data, config).tables["sales"].collect()
    survivors = [
        part.with_row_index("row").filter(~pl.col("row").is_in(aside.filter(pl.col("file") == f"sales/part-{k}.parquet")["row"].implode()))
        for k, part in enumerate(parts)
    ]
    units = [s["units"].str.strip_chars() if s.schema["units"] == pl.String else s["units"] for s in survivors]
    assert pl.concat([u.cast(pl.Float64) for u in units]).to_list() == kept["units"].to_list()
    assert_valid(kept, doubled)


def assert_valid(kept: pl.DataFrame, doubled: str) -> None:
    assert kept.select(pl.col("sku_id", "date", "units").null_count()).row(0) == (0, 0, 0)
    assert kept["units"].is_finite().all()
    assert (kept["units"] >= 0).all()
    assert kept["date"].is_between(date(1980, 1, 1), TODAY + dt.timedelta(days=6)).all()  # weeks may be moved to their Monday
    assert (kept["sku_id"].str.strip_chars() != "").all()
    for name, highest in (("price", 1e9), ("promo", 1), ("in_stock", 1), ("returns", 1e9)):
        assert kept[name].drop_nulls().is_between(0, highest).all()
    if doubled != "sum":
        assert kept.select("sku_id", "date").is_unique().all()
