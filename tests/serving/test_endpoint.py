"""The short way answers as FastAPI's own would."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from plcp.serving.api import MAX_BODY, create_api
from plcp.serving.auth import fingerprint
from plcp.serving.endpoint import Endpoint
from tests.serving.conftest import Shop, service

TOKEN = "a token of this test"
BEARS = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def api(shop: Shop) -> Endpoint:
    return create_api(service(shop, shop.scores), fingerprint(TOKEN))


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 1 << 20):
        yield b" " * (1 << 20)


ASKED = {
    "known": ("POST", "/v1/score", BEARS | JSON, b'{"sku_ids": ["P003", "P007"]}'),
    "unknown": ("POST", "/v1/score", BEARS | JSON, b'{"sku_ids": ["P9"]}'),
    "not a request": ("POST", "/v1/score", BEARS | JSON, b'{"sku_ids": 3}'),
    "not JSON": ("POST", "/v1/score", BEARS | JSON, b"sku_ids"),
    "empty": ("POST", "/v1/score", BEARS | JSON, b""),
    "no token": ("POST", "/v1/score", JSON, b'{"sku_ids": ["P003"]}'),
    "another token": ("POST", "/v1/score", JSON | {"Authorization": "Bearer no token of ours"}, b'{"sku_ids": ["P003"]}'),
    "too large": ("POST", "/v1/score", BEARS | JSON | {"Content-Length": str(MAX_BODY + 1)}, b"{}"),
    "with its charset": ("POST", "/v1/score", BEARS | {"Content-Type": "application/json; charset=utf-8"}, b'{"sku_ids": ["P003"]}'),
    "another kind": ("POST", "/v1/score", BEARS | {"Content-Type": "text/plain"}, b'{"sku_ids": ["P003"]}'),
    "a table of JSON": ("POST", "/v1/score?table=curve", BEARS | JSON, b'{"sku_ids": ["P003"]}'),
    "another method": ("PUT", "/v1/score", BEARS | JSON, b"{}"),
    "a product": ("GET", "/v1/sku/P003", BEARS, b""),
    "a product, no token": ("GET", "/v1/sku/P003", {}, b""),
    "an unknown product": ("GET", "/v1/sku/P9%2F8", BEARS, b""),
    "no product": ("GET", "/v1/sku/", BEARS, b""),
    "its substitutes": ("GET", "/v1/sku/P003/substitutes", BEARS, b""),
    "its head": ("HEAD", "/v1/sku/P003", BEARS, b""),
}


@pytest.mark.parametrize("case", ASKED)
def test_both_ways_give_the_same_answer(api: Endpoint, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, path, headers, body = ASKED[case]
    client = TestClient(api, raise_server_exceptions=False)
    short = client.request(method, path, headers=headers, content=body)
    monkeypatch.setattr(api, "_shortcut", lambda scope: None)
    long = client.request(method, path, headers=headers, content=body)
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert dict(short.headers) == dict(long.headers)
    assert (short.status_code == 401) == ("token" in case)


def test_a_body_without_a_length_is_cut_off_at_the_limit(api: Endpoint) -> None:
    answer = TestClient(api).post("/v1/score", headers=BEARS | JSON, content=chunks(MAX_BODY + (2 << 20)))
    assert answer.status_code == 413


def test_what_fails_unforeseen_leaves_as_a_problem_and_is_raised_for_serve_to_count(api: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scope: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(api, "_shortcut", lambda scope: fails)
    answer = TestClient(api, raise_server_exceptions=False).get("/v1/sku/P003", headers=BEARS)
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal error")
    with pytest.raises(RuntimeError, match="unforeseen"):
        TestClient(api).get("/v1/sku/P003", headers=BEARS)
