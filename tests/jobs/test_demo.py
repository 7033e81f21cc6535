"""The whole road in one job: simulate, check, prepare, train, export, backtest, score, decide, report."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from plcp import tables
from plcp.forecast.runs import latest

pytestmark = pytest.mark.system
JOBS = Path(__file__).parents[2] / "jobs"
SHOP = ("simulate.skus=60", "simulate.weeks=70")
SMALL = (*SHOP, "train.steps=6", "train.refit_steps=2", "train.validate_every=3", "train.loader.batch_size=32")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a small demo, and what it printed."""
    here = tmp_path_factory.mktemp("demo")
    options = [word for option in SMALL for word in ("--set", option)]
    command = [sys.executable, str(JOBS / "demo.py"), "--config", str(JOBS / "demo.yaml"), *options]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return here / "demo", ended.stdout


def test_every_step_is_told_with_its_time_and_the_whole_at_the_end(demo: tuple[Path, str]) -> None:
    out = demo[1]
    steps = ["simulate", "check", "prepare", "train", "export", "backtest", "score", "decide", "report", "in all"]
    table = out[out.index("What was done") :]
    assert [step for step in steps if re.search(rf"^ +{step} +\d+\.\d ", table, re.MULTILINE)] == steps
    assert out.rstrip().endswith("plcp serve demo/model --prepared demo/prepared --scores demo/scores")


def test_every_product_of_the_shop_is_forecast_or_listed_with_a_reason(demo: tuple[Path, str]) -> None:
    run = latest(demo[0] / "scores")
    answered = pl.concat([tables.read(tables.STAGE_TABLE, run)["sku_id"], tables.read(tables.SKIPPED, run)["sku_id"]])
    shop = pl.read_parquet(demo[0] / "data/products/*.parquet")["sku_id"]
    assert sorted(answered) == sorted(set(shop))


def test_the_model_stands_beside_two_baselines(demo: tuple[Path, str]) -> None:
    metrics = pl.read_parquet(demo[0] / "backtest/metrics.parquet")
    assert metrics["model"].to_list() == ["plcp", "recent", "lightgbm"]
    assert metrics["in-life wql"].is_not_null().all()


def test_the_report_shows_the_run_and_the_backtest(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "report.html").read_text()
    assert latest(demo[0] / "scores").name in page
    assert "lightgbm" in page
