"""The application on a real Ray cluster: Online on a real port, Catalog over its handle."""

import json
import logging
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import polars as pl
import pytest
import ray
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from ray import serve

from plcp import tables
from plcp.base import ConfigError, ModelError
from plcp.client import Client, ClientError
from plcp.forecast.catalog import CatalogConfig, score
from plcp.forecast.replicas import APP
from plcp.serving.app import Application, serving
from tests.serving.conftest import Shop

pytestmark = pytest.mark.system
TOKEN = "a token of the tests' own"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init("local", num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False, logging_level=logging.ERROR)
        yield
        serve.shutdown()
        ray.shutdown()


def application(shop: Shop, **options: object) -> Application:
    return Application.model_validate({"model": shop.model, "prepared": shop.prepared, "scores": shop.scores, **options})


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def url(shop: Shop, cluster: None, grpc_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(TOKEN)
    options = {"token_file": token_file, "grpc_port": grpc_port, "max_queued": 4, "threads": 1}
    with serving(application(shop, port=free_port(), batch={"rows": 8}, catalog={"threads": 2, "idle_s": 1}, **options)) as url:
        yield url


@pytest.fixture(scope="module")
def channel(url: str, grpc_port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        yield channel


def asked(channel: grpc.Channel, method: str, body: bytes | str, **metadata: str) -> bytes:
    """What a method of gRPC answers."""
    call = channel.unary_unary(
        f"/plcp.v1.Plcp/{method}",
        request_serializer=(BytesValue if isinstance(body, bytes) else StringValue).SerializeToString,
        response_deserializer=BytesValue.FromString,
    )
    about = {"application": APP, "authorization": f"Bearer {TOKEN}"} | metadata
    return call(BytesValue(value=body) if isinstance(body, bytes) else StringValue(value=body), metadata=list(about.items())).value


def test_the_endpoint_answers_with_the_numbers_of_the_weekly_table(url: str, shop: Shop) -> None:
    weekly = tables.read(tables.CURVE, shop.run.root).sort("sku_id", "week")
    with Client(url, TOKEN) as client:
        curve = client.score([f"P{i:03d}" for i in range(24)]).curve
        assert client.model()["run"] == shop.run.root.name
    np.testing.assert_allclose(
        curve.select("mean", *tables.QUANTILES).to_numpy(), weekly.select("mean", *tables.QUANTILES).to_numpy(), rtol=1e-4, atol=1e-6
    )


def test_grpc_gives_the_answers_of_http(url: str, channel: grpc.Channel) -> None:
    skus = ["P003", "P001"]
    wanted = json.dumps({"sku_ids": skus}).encode()
    stream = pl.DataFrame({"sku_id": skus}).write_ipc_stream(None, compat_level=pl.CompatLevel.oldest()).getvalue()
    sale = {"event_id": "grpc-1", "sku_id": "P001", "date": "2020-01-06", "units": 1.0}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        assert (
            asked(channel, "Score", wanted) == http.post("/v1/score", content=wanted, headers={"Content-Type": "application/json"}).content
        )
        for table in ("curve", "events"):
            headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
            same = http.post("/v1/score", params={"table": table}, content=stream, headers=headers)
            assert asked(channel, "Bulk", stream, table=table) == same.content
        assert asked(channel, "Sku", "P001") == http.get("/v1/sku/P001").content
        told = json.dumps({"observations": [sale]}).encode()
        same = http.post("/v1/observe", content=told, headers={"Content-Type": "application/json"})
        assert json.loads(asked(channel, "Observe", told)) == same.json()
        assert same.json()["contained"] == 1, "and so moves nothing"


@pytest.mark.parametrize(
    ("method", "body", "metadata", "code", "words"),
    [
        ("Score", b"{}", {"authorization": "Bearer another token"}, grpc.StatusCode.UNAUTHENTICATED, "send the server's token"),
        ("Sku", "P001", {"authorization": ""}, grpc.StatusCode.UNAUTHENTICATED, "send the server's token"),
        ("Sku", "P999", {}, grpc.StatusCode.NOT_FOUND, "P999"),
        ("Score", b"{", {}, grpc.StatusCode.INVALID_ARGUMENT, "Invalid JSON"),
        ("Bulk", b"", {"table": "curves"}, grpc.StatusCode.INVALID_ARGUMENT, "curves is none of curve"),
        ("Bulk", bytes((8 << 20) + 1), {}, grpc.StatusCode.RESOURCE_EXHAUSTED, "8,388,609 bytes"),
    ],
)
def test_what_is_wrong_with_a_call_of_grpc_is_said(
    channel: grpc.Channel, method: str, body: bytes | str, metadata: dict[str, str], code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        asked(channel, method, body, **metadata)
    assert (error.value.code(), words in error.value.details()) == (code, True), error.value.details()


def test_grpc_tells_what_it_offers(channel: grpc.Channel) -> None:
    told = ProtoReflectionDescriptorDatabase(channel)
    assert "plcp.v1.Plcp" in told.get_services()
    (service,) = told.FindFileContainingSymbol("plcp.v1.Plcp").service
    assert [method.name for method in service.method] == ["Score", "Bulk", "Sku", "Observe"]


def test_without_the_token_there_is_no_answer(url: str) -> None:
    assert httpx.get(f"{url}/v1/model").status_code == 401
    with Client(url, "another token than that") as client, pytest.raises(ClientError, match="401"):
        client.score(["P001"])


def test_the_catalog_deployment_of_the_same_application_scores_a_catalog(url: str, shop: Shop, tmp_path: Path) -> None:
    assert replicas_of("Catalog") == 0
    config = CatalogConfig.model_validate({"replica": {"threads": 2}})
    result = score(shop.model, shop.prepared, tmp_path, config)
    assert result.run.name == shop.run.root.name
    assert {p.name: p.read_bytes() for p in (result.run / "curve").iterdir()} == {
        p.name: p.read_bytes() for p in (shop.run.root / "curve").iterdir()
    }
    assert list(serve.status().applications) == [APP], "the run used the application that was there"
    assert httpx.get(f"{url}/readyz").status_code == 200


@pytest.mark.soak  # Serve looks back half a minute before it scales
def test_replicas_of_the_catalog_come_for_a_run_and_go_while_online_stays(url: str, shop: Shop, tmp_path: Path) -> None:
    """The first run of this module has shown 0 → n; `idle_s` lets them go."""
    until_there_are(0, "Catalog")
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most[0] = max(most[0], replicas_of("Catalog"))
            assert replicas_of("Online") == 1

    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(watch)
        score(shop.model, shop.prepared, tmp_path, CatalogConfig.model_validate({"backoff_s": 0.1}))
        over.set()
        watched.result()
    assert most[0] >= 1
    until_there_are(0, "Catalog")
    assert replicas_of("Online") == 1
    assert httpx.get(f"{url}/readyz").status_code == 200


def until_there_are(count: int, deployment: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while replicas_of(deployment) != count:
        assert time.monotonic() < end, f"{replicas_of(deployment)} replicas of {deployment} after {seconds:g} s"
        time.sleep(0.1)


def replicas_of(deployment: str) -> int:
    return sum(serve.status().applications[APP].deployments[deployment].replica_states.values())


def test_requests_beyond_the_queue_are_told_to_come_back_and_a_client_does(url: str) -> None:
    everything = {"sku_ids": [f"P{i % 24:03d}" for i in range(160)]}

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{url}/v1/score", json=everything, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=120)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.status_code for answer in answers} == {200, 503}


def test_only_this_machine_is_listened_to(url: str) -> None:
    own = ray.util.get_node_ip_address()
    if own.startswith("127."):
        pytest.skip("this machine has no address of its own")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url.replace("127.0.0.1", own) + "/healthz")


def test_another_host_without_a_token_is_refused(shop: Shop) -> None:
    with (
        pytest.raises(ConfigError, match=r"host 0\.0\.0\.0: other machines could reach this server, so it needs a token"),
        serving(
            application(shop, host="0.0.0.0", port=free_port())  # noqa: S104
        ),
    ):
        pass


def test_a_second_address_on_the_same_cluster_is_refused(url: str, shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"listens on 127\.0\.0\.1"), serving(application(shop, port=free_port())):
        pass


def test_grpc_without_a_token_or_on_a_cluster_without_it_is_refused(url: str, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="grpc_port 9: Serve listens there on every address, so it needs a token"):
        serving(application(shop, port=free_port(), grpc_port=9)).__enter__()
    (tmp_path / "token").write_text(TOKEN)
    other = application(shop, port=httpx.URL(url).port, grpc_port=9, token_file=tmp_path / "token")
    with pytest.raises(ConfigError, match="without gRPC on port 9"), serving(other):
        pass


def test_a_model_that_is_damaged_is_named(url: str, shop: Shop, tmp_path: Path) -> None:
    model = shutil.copytree(shop.model, tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"")
    port = httpx.URL(url).port
    with (
        pytest.raises(ModelError, match=r"model\.safetensors: its SHA-256 is not the one"),
        serving(application(shop, model=model, port=port)),
    ):
        pass
    assert httpx.get(f"{url}/readyz").status_code == 200, "what was served before still is"
