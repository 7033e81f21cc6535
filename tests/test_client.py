import datetime as dt
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Response

from plcp import tables
from plcp.client import Client, ClientError, Observed
from plcp.serving.api import create_api
from plcp.serving.auth import fingerprint
from tests.conftest import photo
from tests.serving.conftest import Shop, service
from tests.serving.conftest import shop as shop  # the fixture

TOKEN = "a token of the tests' own"


@contextmanager
def listening(api: FastAPI) -> Iterator[str]:
    """An application on a real port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    with listening(create_api(service(shop, shop.scores), fingerprint(TOKEN))) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN) as client:
        yield client


def test_forecasts_come_as_the_tables(client: Client, shop: Shop) -> None:
    forecasts = client.score([f"P{i:03d}" for i in range(24)])
    for table, frame in ((tables.CURVE, forecasts.curve), (tables.EVENT_TABLE, forecasts.events), (tables.STAGE_TABLE, forecasts.stage)):
        assert frame.schema == table.schema
    assert forecasts.origin == dt.date(2023, 5, 8)
    weekly = tables.read(tables.CURVE, shop.run.root).sort("sku_id", "week")
    np.testing.assert_allclose(forecasts.curve["q90"], weekly["q90"], rtol=1e-4, atol=1e-6)
    assert forecasts.curve["age"].to_list() == weekly["age"].to_list()


def test_a_product_with_a_photo_dates_and_sales_is_forecast(client: Client, tmp_path: Path) -> None:
    (tmp_path / "jug.png").write_bytes(photo((200, 0, 0)))
    jug = {
        "sku_id": "jug",
        "title": "Red jug",
        "image": [tmp_path / "jug.png", photo((1, 2, 3))],
        "launch_date": dt.date(2023, 4, 24),
        "history": [{"date": dt.date(2023, 4, 24), "units": 3}, {"date": dt.date(2023, 5, 1), "units": 5, "price": 2.5}],
    }
    forecasts = client.score_products([jug, {"title": "Late", "launch_date": dt.date(2033, 1, 3)}])
    assert forecasts.curve["sku_id"].unique().to_list() == ["jug"]
    assert forecasts.curve["age"][0] == 2
    assert forecasts.skipped["sku_id"].to_list() == ["product-1"]


def test_a_refusal_says_what_is_wrong(client: Client) -> None:
    with pytest.raises(ClientError, match="404 Not found: not in the catalog: NOPE") as refused:
        client.score(["NOPE"])
    assert (refused.value.status, refused.value.problem["sku_ids"]) == (404, ["NOPE"])
    with pytest.raises(ClientError, match=r"422 Invalid request: products\[0\]\.image: not an image"):
        client.score_products([{"title": "jug", "image": b"none"}])
    with pytest.raises(ValueError, match="nothing to score"):
        client.score([])


def test_without_the_token_nothing_is_told(url: str) -> None:
    with Client(url) as client:
        for ask in (client.model, lambda: client.table(["P001"])):
            with pytest.raises(ClientError, match="401 A token is needed"):
                ask()


def test_a_table_comes_whole_however_many_requests_it_takes(client: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plcp.client.MAX_SKUS", 7)
    skus = [f"P{i:03d}" for i in range(24)]
    curve, weekly = client.table(skus), tables.read(tables.CURVE, shop.run.root).sort("sku_id", "week")
    assert curve.select("sku_id", "week", "age").equals(weekly.select("sku_id", "week", "age"))
    np.testing.assert_allclose(curve["q90"], weekly["q90"], rtol=1e-4, atol=1e-6)
    assert client.table(skus, "stage")["sku_id"].to_list() == skus
    assert client.table([], "events").schema == tables.EVENT_TABLE.schema
    with pytest.raises(ClientError, match="404 Not found: not in the catalog: NOPE"):
        client.table([*skus, "NOPE"])


def test_paths_vectors_and_lists_come_as_plain_values(client: Client) -> None:
    path = [{"week": dt.date(2023, 5, 8), "price": 1.0}]
    answer = client.scenario(path, product={"title": "Red jug", "image": photo((9, 9, 9))}, unit_cost=0.5)
    assert answer["scenario"]["price"][0] == 1.0
    assert client.embed(["P003"], [{"title": "Red jug"}])["sku_id"].to_list() == ["P003", "product-0"]
    assert client.embed().schema == tables.EMBEDDING.schema
    assert all(row["sku_id"] != "P003" for row in client.substitutes("P003"))
    assert list(client.alerts("risk_stockout")) == []
    prices = [row["list_price"] for row in client.skus(sort="list_price", descending=True, page=10)]
    assert prices == sorted(prices, reverse=True)


def test_what_is_observed_counts_once(client: Client) -> None:
    sale = {"event_id": "1", "sku_id": "P001", "date": dt.date(2023, 5, 8), "units": 3, "price": 2.5}
    assert client.observe([sale, {**sale, "event_id": "2"}]) == Observed(2, 0, 0, dt.date(2023, 5, 8))
    assert client.observe([sale]) == Observed(0, 1, 0, dt.date(2023, 5, 8))
    with pytest.raises(ClientError, match=r"422 Invalid request: observations\[0\]\.units"):
        client.observe([{**sale, "units": -1}])


def test_products_are_found_over_all_pages(client: Client) -> None:
    assert [sku["sku_id"] for sku in client.skus(page=7)] == [f"P{i:03d}" for i in range(24)]
    assert client.sku("P003")["title"] == next(client.skus("P003"))["title"]
    assert client.model()["horizon"] == 26


def busy(times: int) -> FastAPI:
    """Refuses so many requests before it answers."""
    api, left = FastAPI(), [times]

    @api.get("/v1/model")
    async def model() -> Response:
        left[0] -= 1
        return Response("later", 503, {"Retry-After": "0"}) if left[0] >= 0 else Response('{"horizon": 26}')

    return api


def test_a_busy_server_is_asked_again_but_not_for_ever() -> None:
    with listening(busy(2)) as url, Client(url, tries=3) as client:
        assert client.model() == {"horizon": 26}
    with listening(busy(2)) as url, Client(url, tries=2) as client, pytest.raises(ClientError, match="503"):
        client.model()


def test_a_server_that_is_away_is_waited_for_and_then_told() -> None:
    with Client("http://127.0.0.1:9", tries=1) as client:
        with pytest.raises(httpx.TransportError):
            client.model()
        with pytest.raises(httpx.TransportError):
            client.wait_until_ready(timeout_s=0.3)
