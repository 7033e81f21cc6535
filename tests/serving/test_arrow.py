"""Bulk requests and answers by Arrow: the numbers of JSON and of the weekly tables, and nothing but what was agreed on gets in."""

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from plcp import tables
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, prepare
from plcp.serving import arrow
from plcp.serving.problems import MEDIA_TYPE
from tests.conftest import little_shop
from tests.serving.conftest import Shop, client_of, service

ASKED = ["P020", "P003", "P003", *(f"P{i:03d}" for i in range(12))]


def stream(table: pa.Table, metadata: dict[str, str] | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]:
            writer.write_batch(batch, custom_metadata=metadata)
    return sink.getvalue()


def skus(names: list[str | None], kind: pa.DataType | None = None) -> bytes:
    return stream(pa.table({"sku_id": pa.array(names, kind or pa.string())}))


def post(client: TestClient, body: bytes, table: str = "curve") -> tuple[int, str, bytes]:
    answer = client.post("/v1/score", content=body, params={"table": table}, headers={"Content-Type": arrow.MEDIA_TYPE})
    return answer.status_code, answer.headers["content-type"], answer.content


def bulk(client: TestClient, names: list[str | None], table: str = "curve") -> pl.DataFrame:
    status, kind, body = post(client, skus(names), table)
    assert (status, kind) == (200, arrow.MEDIA_TYPE), body
    return pl.read_ipc_stream(body)


@pytest.mark.parametrize("name", ["curve", "events", "stage", "embedding"])
def test_tables_are_those_of_the_weekly_run_in_the_order_asked(client: TestClient, shop: Shop, name: str) -> None:
    table, found = tables.FORECAST[name], bulk(client, [*ASKED], name)
    weekly = tables.read(table, shop.run.root)
    assert found.schema == table.schema
    assert found["sku_id"].unique(maintain_order=True).to_list() == list(dict.fromkeys(ASKED))
    expected = pl.concat([weekly.filter(pl.col("sku_id") == sku) for sku in ASKED])
    exact = [column for column, kind in table.schema.items() if kind not in (pl.Float64, tables.EMBEDDING.schema["vector"])]
    assert found.select(exact).equals(expected.select(exact))
    numbers = [column for column, kind in table.schema.items() if kind == pl.Float64]
    np.testing.assert_allclose(found.select(numbers).to_numpy(), expected.select(numbers).to_numpy(), rtol=1e-4, atol=1e-6)
    if name == "embedding":
        one, other = (np.array(frame["vector"].to_list()) for frame in (found, expected))
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-4)  # a step of float16


def test_numbers_are_those_of_json(client: TestClient) -> None:
    found, answer = bulk(client, [*ASKED]), client.post("/v1/score", json={"sku_ids": ASKED}).json()
    online = [[week[name] for name in ("mean", *tables.QUANTILES)] for forecast in answer["forecasts"] for week in forecast["curve"]]
    np.testing.assert_allclose(found.select("mean", *tables.QUANTILES).to_numpy(), online, rtol=1e-4, atol=1e-6)


def test_metadata_name_the_table_and_the_model(client: TestClient, shop: Shop) -> None:
    metadata = pa.ipc.open_stream(post(client, skus(["P001"]), "stage")[2]).schema.metadata
    assert metadata == {b"table": b"stage", b"model": service(shop).forecaster.digest.encode()}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_every_kind_of_text_is_taken(client: TestClient, kind: pa.DataType) -> None:
    assert post(client, skus(["P001"], kind))[0] == 200


def test_unknown_skus_are_named_before_anything_is_answered(client: TestClient) -> None:
    answer = client.post("/v1/score", content=skus(["P001", "NOPE"]), headers={"Content-Type": arrow.MEDIA_TYPE})
    assert (answer.status_code, answer.headers["content-type"], answer.json()["sku_ids"]) == (404, MEDIA_TYPE, ["NOPE"])


GOOD = skus(["P001", "P002"])
V4 = pa.ipc.MetadataVersion.V4
HIDDEN = {"ARROW:experimental_compression": "zstd"}  # as messages of version 4 told of it


def folded() -> bytes:
    """Two strings that share the same thousand bytes."""
    offsets, letters = pa.py_buffer(struct.pack("<4i", 0, 1000, 0, 1000)), pa.py_buffer(b"x" * 1000)
    return stream(pa.table({"sku_id": pa.Array.from_buffers(pa.string(), 3, [None, offsets, letters])}))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no Arrow IPC stream"),
        (b"hello, world", "no Arrow IPC stream"),
        (GOOD[: len(GOOD) // 2], "no Arrow IPC stream"),
        (GOOD[:100] + b"\xff" * 40 + GOOD[140:], "no Arrow IPC stream"),
        (skus([]), "0 SKUs; send 1 to 10,000"),
        (skus(["P001"] * 10_001), "10,001 SKUs; send 1 to 10,000"),
        (skus(["P001", None]), "a sku_id is null"),
        (stream(pa.table({"sku": ["P001"]})), "expected the one column sku_id of type string, got sku: string"),
        (stream(pa.table({"sku_id": [1]})), "got sku_id: int64"),
        (stream(pa.table({"sku_id": ["P001"]}).add_column(1, "x", [[1]])), "got sku_id: string, x: int64"),
        (stream(pa.table({"sku_id": pa.array(["P001"]).dictionary_encode()})), "dictionary"),
        (stream(pa.table({"sku_id": ["P001"] * 5000}), compression="zstd"), "compressed record batches are not taken"),
        (stream(pa.table({"sku_id": ["P001"] * 5000}), compression="lz4"), "compressed record batches are not taken"),
        (stream(pa.table({"sku_id": ["P001"]}), HIDDEN, metadata_version=V4), "messages of a version before 5"),
        (stream(pa.table({"sku_id": ["P001"]}), metadata_version=V4), "messages of a version before 5"),
        (stream(pa.table({"sku_id": ["P001"]}), HIDDEN), "metadata of their own, are not taken"),
        (skus(["P001"], pa.string_view()), "got sku_id: string_view"),
        (folded(), "non-monotonic offset"),
    ],
)
def test_a_stream_that_is_not_what_was_agreed_on_is_refused(client: TestClient, body: bytes, said: str) -> None:
    answer = client.post("/v1/score", content=body, headers={"Content-Type": arrow.MEDIA_TYPE})
    assert (answer.status_code, answer.headers["content-type"]) == (422, MEDIA_TYPE)
    assert said in answer.json()["detail"]


def test_damage_anywhere_never_breaks_the_server() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        body = bytearray(GOOD)
        for place in rng.integers(0, len(body), 3):
            body[place] = rng.integers(256)
        try:
            arrow.sku_ids_of(bytes(body))
        except arrow.ProblemError as problem:
            assert problem.details.status == 422  # noqa: PT017


def test_a_stream_beyond_its_limit_and_another_kind_of_body_are_refused(client: TestClient) -> None:
    large = skus(["x" * 1000] * 9000)
    assert post(client, large)[0] == 413
    answer = client.post("/v1/score", content=b"sku_id\nP001\n", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, MEDIA_TYPE)
    assert client.post("/v1/score", content=GOOD, params={"table": "sales"}, headers={"Content-Type": arrow.MEDIA_TYPE}).status_code == 422


def test_what_cannot_be_forecast_has_no_rows_but_in_skipped(shop: Shop, tmp_path: Path) -> None:
    sold = little_shop(24)
    unsold = {**sold, "sales": sold["sales"].filter(pl.col("sku_id") != "P000")}
    prepared = prepare(Dataset.of(unsold), tmp_path / "prepared", PrepareConfig())
    with client_of(service(replace(shop, prepared=prepared.root))) as client:
        found = bulk(client, ["P000", "P001"], "skipped")
        assert (found.schema, found["sku_id"].to_list()) == (tables.SKIPPED.schema, ["P000"])
        assert "launch_date is not given" in found["reason"][0]
        assert bulk(client, ["P000", "P001"])["sku_id"].unique().to_list() == ["P001"]
