"""The table, the page and the exit code."""

import sys
from pathlib import Path

import polars as pl
import pytest

from plcp import cli
from plcp.base import DataError
from plcp.monitor import FINDINGS, MonitorConfig, monitor
from tests.data.shop_tables import write
from tests.monitor.shop import both, forecast, newest, tables_of_shop


def test_findings_are_written_beside_a_page_that_shows_them(tmp_path: Path) -> None:
    new, training = both(tmp_path, tables_of_shop())
    forecast(tmp_path / "scores", 2.0)
    findings = monitor(new, training, tmp_path / "out", tmp_path / "scores", MonitorConfig(min_cases=300))
    assert findings.schema == FINDINGS
    assert pl.read_parquet(tmp_path / "out" / "findings.parquet").equals(findings)
    over = findings.filter("passed")
    assert {"bias", "calibration_gap", "relative_error"} == set(over["measure"])  # no drift, but forecasts of twice the demand
    assert over.filter(measure="bias")["value"].is_between(0.8, 1.2).all()
    assert findings.filter(pl.col("cases") < 300, pl.col("of").str.starts_with("category"))["limit"].null_count() > 0
    page = (tmp_path / "out" / "monitor.html").read_text()
    assert f"{len(over)} limits passed" in page
    assert page.count("<svg") == findings["measure"].is_in(["stability", "missing", "unseen", "share"]).sum()
    assert "category A" in page


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    new, training = both(tmp_path, tables_of_shop())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(DataError, match=r"holds no monitor\.html"):
        monitor(new, training, tmp_path / "out")


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (6.0, 3)])
def test_the_exit_code_says_whether_a_limit_is_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], factor: float, code: int
) -> None:
    shop = tables_of_shop()
    _, training = both(tmp_path, shop)
    data = write(tmp_path / "data", {**shop, "sales": shop["sales"].with_columns(newest(pl.col("units") * factor, "units", 1.0))})
    command = ["plcp", "monitor", data, "--against", training.root, "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert int(left.value.code or 0) == code
    assert f"{int(code > 0)} of 15 findings pass their limit" in capfd.readouterr().out
