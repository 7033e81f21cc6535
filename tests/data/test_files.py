from pathlib import Path

import polars as pl

from plcp.data.contract import check, open_dataset
from plcp.tables import QUARANTINE
from tests.data.shop_tables import GOOD, LENIENT, with_value, write


def test_a_bad_row_is_found_again_by_file_and_row(tmp_path: Path) -> None:
    data = write(tmp_path / "data", GOOD)
    other = with_value("sales", "units", -2.0)["sales"].with_columns(price=pl.lit(1.0))  # another schema, so another piece
    write(data, {"sales": other}, "part-00001.parquet")
    write(data, {"sales": other.with_columns(promo=pl.lit(40))}, "part-00002.parquet")
    dataset = open_dataset(data, LENIENT, tmp_path / "quarantine")
    aside = pl.read_parquet(tmp_path / "quarantine" / "sales.parquet")
    assert aside.schema == QUARANTINE.schema
    place = aside.select("file", "row", "field", "check", "value")
    assert place.row(0) == ("sales/part-00001.parquet", 0, "units", "too low", "-2.0")
    assert place.row(1) == ("sales/part-00002.parquet", 0, "units", "too low", "-2.0")
    assert place.row(10) == ("sales/part-00002.parquet", 9, "promo", "too high", "40")
    percent = "above 1: a share from 0 to 1 is meant, divide percentages by 100"
    assert aside.select("table", "reason", "outcome").row(10) == ("sales", percent, "quarantined")
    assert dataset.report.rows["sales"] == dataset.report.kept["sales"] + aside.height == 30
    assert dataset.tables["sales"].collect().height == dataset.report.kept["sales"]


def test_what_was_mended_leaves_the_quarantine(tmp_path: Path) -> None:
    data = write(tmp_path / "data", with_value("sales", "units", -2.0))
    open_dataset(data, LENIENT, tmp_path / "quarantine")
    assert [p.name for p in (tmp_path / "quarantine").iterdir()] == ["sales.parquet"]
    write(data, GOOD)
    open_dataset(data, LENIENT, tmp_path / "quarantine")
    assert not (tmp_path / "quarantine").exists()


def test_bad_files_are_named_with_what_was_found_and_expected(tmp_path: Path) -> None:
    data = write(tmp_path / "data", GOOD)
    whole = (data / "sales" / "part-00000.parquet").read_bytes()
    (data / "sales" / "empty.parquet").write_bytes(b"")
    (data / "sales" / "page.parquet").write_bytes(b"<html>")
    (data / "sales" / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    write(data, {"sales": GOOD["sales"].drop("units")}, "no-units.parquet")
    write(data, {"sales": GOOD["sales"].with_columns(date=pl.lit(20240101))}, "wrong-type.parquet")
    write(data, {"sales": GOOD["sales"].clear()}, "no-rows.parquet")
    report = check(data, LENIENT, tmp_path / "quarantine")
    reasons = {p.file.removeprefix("sales/"): p.reason for p in report.problems}
    assert reasons["empty.parquet"] == "empty file"
    assert reasons["page.parquet"].startswith("not a readable Parquet file")
    assert reasons["truncated.parquet"].startswith("not a readable Parquet file")
    assert reasons["no-units.parquet"] == "column units is missing: found sku_id, date; expected sku_id, date, units"
    assert reasons["wrong-type.parquet"] == "column date has type Int32, expected Date"
    assert len(reasons) == 5
    assert report.kept["sales"] == 10
    assert set(pl.read_parquet(tmp_path / "quarantine" / "sales.parquet")["file"]) == {f"sales/{name}" for name in reasons}


def test_a_file_with_damaged_pages_is_left_out_whole(tmp_path: Path) -> None:
    data = write(tmp_path / "data", GOOD)
    many = pl.concat([GOOD["sales"]] * 5000)
    write(data, {"sales": many}, "damaged.parquet")
    path = data / "sales" / "damaged.parquet"
    content = bytearray(path.read_bytes())
    content[30:70] = bytes(40)
    path.write_bytes(content)
    dataset = open_dataset(data, LENIENT)
    assert [(p.file, p.check) for p in dataset.report.problems] == [("sales/damaged.parquet", "file")]
    assert dataset.tables["sales"].collect().height == 10
