"""Batch and online give a thousand products the same numbers, in every table that both return."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from plcp import tables
from plcp.forecast.forecaster import Forecaster
from plcp.serving.batching import BatchConfig
from plcp.serving.live import Live
from plcp.serving.observations import SqliteObservations
from plcp.serving.service import Service
from plcp.serving.store import Stock
from tests.forecast.shop import prepared_shop, score_here, tiny_artifact
from tests.serving.conftest import client_of

SKUS, ASKED = 1000, 100  # products of the catalog, and of one request
NUMBERS = {
    tables.CURVE: ("mean", *tables.QUANTILES),
    tables.EVENT_TABLE: tuple(f"p_{weeks}w" for weeks in tables.EVENT_WEEKS),
    tables.STAGE_TABLE: tables.STAGES,
}


@pytest.mark.system
def test_online_answers_are_the_numbers_of_the_weekly_tables(tmp_path: Path) -> None:
    prepared = prepared_shop(tmp_path / "prepared", SKUS, per_shard=300)
    model = tiny_artifact(tmp_path / "model", prepared, lively=True)
    run = score_here(model, prepared.root, tmp_path / "scores")
    batch = {table: tables.read(table, run.root).sort(table.key) for table in (*NUMBERS, tables.SKIPPED)}
    skus = sorted([*batch[tables.STAGE_TABLE]["sku_id"], *batch[tables.SKIPPED]["sku_id"]])
    assert len(skus) == SKUS
    live = Live(SqliteObservations(tmp_path / "observed.sqlite"), tmp_path / "observed")
    service = Service(Forecaster.load(model), Stock(prepared.root), None, None, live, BatchConfig(), threads=2, cached_mib=1)
    answers: list[dict[str, Any]] = []
    with client_of(service) as client:
        for first in range(0, SKUS, ASKED):
            answer = client.post("/v1/score", json={"sku_ids": skus[first : first + ASKED]}).json()
            answers += answer["forecasts"]
            assert {row["sku_id"] for row in answer["skipped"]} == set(skus[first : first + ASKED]) & set(batch[tables.SKIPPED]["sku_id"])
    for table, names in NUMBERS.items():
        online = rows_of(answers, table).sort([name for name in table.key if name != "origin"])
        weekly = batch[table]
        assert online["sku_id"].to_list() == weekly["sku_id"].to_list()
        one, other = online.select(names).to_numpy().astype(np.float64), weekly.select(names).to_numpy()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=table.name)
    named = rows_of(answers, tables.STAGE_TABLE).sort("sku_id")["stage"]
    assert (named == batch[tables.STAGE_TABLE]["stage"]).mean() > 0.999  # type: ignore[operator]


def rows_of(answers: list[dict[str, Any]], table: tables.Table) -> pl.DataFrame:
    found = [(a["sku_id"], a[table.name]) for a in answers]
    rows = [{"sku_id": sku, **row} for sku, value in found for row in (value if isinstance(value, list) else [value])]
    return pl.DataFrame(rows, infer_schema_length=None)
