"""A served application in fast mode, and a client of it in a second process."""

import datetime as dt
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psutil
import pytest
import ray
from ray import serve

from plcp import tables
from plcp.client import Client
from plcp.data.contract import open_dataset
from plcp.data.prepared import PrepareConfig, Prepared
from plcp.data.sources.online_retail import import_online_retail
from plcp.data.timeline import monday
from plcp.decisions import BY_SKU
from plcp.forecast import snapshot
from plcp.local_ray import start_local, unused_port
from plcp.serving.app import Application, live_at, serving
from plcp.serving.fast import switched
from tests.serving.conftest import Later, events_of, later_of

TOKEN = "a token of the tests' own"
NUMBERS = {
    tables.CURVE: ("mean", *tables.QUANTILES),
    tables.EVENT_TABLE: tuple(f"p_{weeks}w" for weeks in tables.EVENT_WEEKS),
    tables.STAGE_TABLE: tables.STAGES,
}


@pytest.fixture(
    scope="module", params=[pytest.param("later", marks=pytest.mark.system), pytest.param("online_retail_later", marks=pytest.mark.soak)]
)
def shop_later(request: pytest.FixtureRequest) -> Later:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def online_retail_later(bench_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Later:
    """Online Retail II two whole weeks before its end, without what is not observed: products new in these weeks, sales taken back."""
    folder = tmp_path_factory.mktemp("retail")
    import_online_retail(bench_data / "online_retail_2y", folder / "data")
    dataset = open_dataset(folder / "data")
    products, sales = (dataset.tables[name].collect() for name in ("products", "sales"))
    last: Any = sales["date"].max()
    end, origin = monday(last), monday(last) - dt.timedelta(weeks=2)
    known = pl.col("sku_id").is_in(sales.filter(pl.col("date") < origin)["sku_id"].unique().implode())
    standing = sales.filter(known & (pl.col("date") < end)).with_columns(cancelled_at=pl.lit(None, pl.Date))
    return later_of({"products": products.filter(known), "sales": standing}, origin, folder, PrepareConfig())


@pytest.fixture(scope="module")
def application(shop_later: Later, tmp_path_factory: pytest.TempPathFactory) -> Application:
    later, origin = shop_later, Prepared.open(shop_later.shop.prepared).origin
    risk = {"origin": origin, "kind": "risk_overstock", "reason": "too much of it is left"}
    rows = [dict.fromkeys(tables.DECISIONS.schema) | risk | {"sku_id": f"P{i:03d}", "rank": i} for i in range(5)]
    frame, folder = pl.DataFrame(rows, schema=tables.DECISIONS.schema), later.shop.scores.parent / "decisions"
    tables.write(tables.DECISIONS, frame, folder / "part-00000.parquet", {"run": later.shop.run.root.name})
    snapshot.write(frame, folder / BY_SKU)
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    options = {"token_file": token, "port": unused_port(), "threads": 1, "fast": True}
    return Application(model=later.shop.model, prepared=later.shop.prepared, scores=later.shop.scores, **options)


@pytest.fixture(scope="module")
def url(application: Application) -> Iterator[str]:
    with switched(fast=True), tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        quick = {"_system_config": {"metrics_report_interval_ms": 500}, "_temp_dir": folder, "include_dashboard": False}
        start_local(num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, **quick)
        with serving(application) as url:
            yield url
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def walked(url: str, shop_later: Later, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a client in a second process was told on its way over every route."""
    folder = tmp_path_factory.mktemp("walked")
    events_of(shop_later.sales).write_parquet(folder / "observed.parquet")
    subprocess.run([sys.executable, "-m", "tests.serving.walk", url, TOKEN, folder], check=True, timeout=400, cwd=Path(__file__).parents[2])
    return folder


@pytest.fixture(scope="module")
def told(walked: Path) -> dict[str, Any]:
    return json.loads((walked / "told.json").read_text())


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_scores_are_those_of_the_weekly_run_and_after_new_weeks_those_of_a_new_one(walked: Path, shop_later: Later, form: str) -> None:
    for when, run in (("before", shop_later.shop.run), ("after", shop_later.run)):
        for table, names in NUMBERS.items():
            online, weekly = (frame.sort(table.key) for frame in (read(walked / when, table, form), tables.read(table, run.root)))
            assert online.select(table.key).equals(weekly.select(table.key))
            one, other = (frame.select(names).to_numpy() for frame in (online, weekly))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=f"{when} {table.name}")
        skipped = read(walked / when, tables.SKIPPED, form).sort("sku_id")
        assert skipped.equals(tables.read(tables.SKIPPED, run.root).sort("sku_id"))


def read(folder: Path, table: tables.Table, form: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{table.name}-{form}.parquet")


def test_every_route_was_walked_and_answered(told: dict[str, Any], url: str, shop_later: Later) -> None:
    described = httpx.get(f"{url}/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()["paths"]
    unwalked = [path for path in described if not any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), seen) for seen in told["paths"])]
    assert unwalked == ["/healthz"]
    assert told["open"] == {"/": 200, "/healthz": 200, "/readyz": 200, "/v1/model": 401}
    run, sku, weeks = shop_later.shop.run.root.name, told["sku"], Prepared.open(shop_later.shop.prepared).weeks
    assert (told["model"]["run"], sku["run"], len(sku["history"]), len(sku["forecast"]["curve"])) == (run, run, weeks, 26)
    assert [row["rank"] for row in told["alerts"]] == [0, 1, 2, 3, 4]
    assert told["embedding"] == [sku["sku_id"], "product-0"]
    assert all(row["sku_id"] != sku["sku_id"] for row in told["substitutes"])
    assert told["scenario"]["scenario"]["price"][0] == 0.5
    assert told["dearest"] == sorted(told["dearest"], reverse=True)
    assert told["observed"] == {"accepted": len(shop_later.sales), "duplicates": len(shop_later.sales)}


def test_the_curve_of_a_product_never_sold_follows_its_first_weeks(told: dict[str, Any]) -> None:
    curves = told["launch"]
    assert all(len(curve) == 26 and min(curve) >= 0 for curve in curves.values())
    for weeks in (1, 2, 4):
        assert sum(curves[f"{weeks} brisk"]) > sum(curves["0"]) > sum(curves[f"{weeks} slow"])


def test_prometheus_hears_of_products_passes_and_requests(url: str, walked: Path) -> None:
    port, wanted = ray.nodes()[0]["MetricsExportPort"], ("plcp_products_forecast", "plcp_pass_seconds_bucket", "plcp_observations")
    for _ in range(100):
        said = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        if all(f"ray_{name}" in said for name in wanted) and 'route="/v1/score"' in said:
            return
        time.sleep(0.2)
    pytest.fail("\n".join(line for line in said.splitlines() if "plcp" in line) or said[:2000])


def test_a_killed_replica_loses_no_event_that_was_acknowledged_and_counts_none_twice(
    url: str, application: Application, walked: Path
) -> None:
    kept, prepared = live_at(application).observations, Prepared.open(application.prepared)
    sku, day, acknowledged = prepared.read(0).sku_id[0], str(prepared.origin), []

    def tell() -> None:
        with Client(url, TOKEN, tries=12) as client:
            for number in range(60):
                client.observe([{"event_id": f"k{number}", "sku_id": sku, "date": day, "units": 1}])
                acknowledged.append(f"k{number}")

    telling = threading.Thread(target=tell)
    telling.start()
    while len(acknowledged) < 20:
        time.sleep(0.001)
    os.kill(replica().pid, signal.SIGKILL)
    telling.join(timeout=90)
    assert acknowledged == [f"k{number}" for number in range(60)]
    events = kept.of([sku], prepared.origin).filter(pl.col("event_id").str.starts_with("k"))
    assert sorted(events["event_id"]) == sorted(acknowledged)
    with Client(url, TOKEN) as client:
        assert client.observe(events.drop_nulls("units").select("event_id", "sku_id", "date", "units").to_dicts()).accepted == 0


def replica() -> psutil.Process:
    return next(
        process for process in psutil.Process().children(recursive=True) if "ServeReplica:plcp:Online" in " ".join(process.cmdline())
    )
