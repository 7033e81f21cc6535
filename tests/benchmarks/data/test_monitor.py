from pathlib import Path

import polars as pl

from benchmarks.data.monitor import NEW, prepare_both, publish_forecasts, watch
from benchmarks.data.shop import make_shop
from plcp.data.prepared import Prepared


def test_the_measured_monitor_judges_drift_and_every_run_of_forecasts(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop", 60)
    prepare_both(tmp_path)
    publish_forecasts(Prepared.open(tmp_path / "new"), tmp_path / "scores")
    assert watch(tmp_path, tmp_path / "out") > 0
    findings = pl.read_parquet(tmp_path / "out" / "findings.parquet")
    assert {"units", "category", "price jumps", "all products"} <= set(findings["of"])
    whole = int(findings.filter(of="all products")["cases"][0])
    assert 0.9 * 60 * NEW * (NEW + 1) / 2 < whole <= 60 * NEW * (NEW + 1) / 2  # a run less for each week back; stock-outs are left out
