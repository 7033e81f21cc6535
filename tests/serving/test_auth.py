from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from plcp.base import ConfigError
from plcp.serving import problems
from plcp.serving.auth import Guard, fingerprint, is_loopback, new_token, read_token, require_token_beyond_loopback

TOKEN = "a token of the tests' own"
LIMIT = 100


def client(token: str | None, address: str = "127.0.0.1", host: str = "127.0.0.1:8000") -> TestClient:
    api = FastAPI()
    api.add_middleware(Guard, token=fingerprint(token) if token else None, body_limit=LIMIT)
    problems.install(api)

    @api.get("/")
    @api.get("/readyz")
    @api.get("/v1/model")
    async def answer() -> str:
        return "ok"

    @api.post("/v1/score")
    async def length(request: Request) -> int:
        return len(await request.body())

    return TestClient(api, base_url=f"http://{host}", client=(address, 50000))


def test_without_a_token_this_machine_is_let_in() -> None:
    assert client(None).get("/v1/model").json() == "ok"
    assert client(None, "::1", "localhost:8000").get("/v1/model").status_code == 200


def test_without_a_token_another_machine_is_kept_out() -> None:
    answer = client(None, "192.0.2.7").get("/v1/model")
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


def test_without_a_token_a_page_of_another_site_cannot_ask_under_its_own_name() -> None:
    assert client(None, host="rebound.example:8000").get("/v1/model").status_code == 403


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN])
def test_with_a_token_no_one_is_let_in_without_it(header: str | None) -> None:
    answer = client(TOKEN).get("/v1/model", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["title"] == "A token is needed"


def test_with_the_token_any_machine_is_let_in() -> None:
    answer = client(TOKEN, "192.0.2.7", "plcp.example").get("/v1/model", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/readyz"])
def test_the_page_and_the_probes_need_no_token(path: str) -> None:
    assert client(TOKEN).get(path).status_code == 200


def test_a_body_above_the_limit_is_refused_with_and_without_its_length() -> None:
    assert client(None).post("/v1/score", content=b"x" * LIMIT).json() == LIMIT
    known = client(None).post("/v1/score", content=b"x" * (LIMIT + 1))
    unknown = client(None).post("/v1/score", content=iter([b"x" * LIMIT, b"x"]))
    assert (known.status_code, unknown.status_code) == (413, 413)
    assert known.headers["content-type"] == unknown.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "plcp.example", None])  # noqa: S104
def test_another_host_than_this_machine_needs_a_token(host: str | None) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        require_token_beyond_loopback(host, None)
    require_token_beyond_loopback(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert is_loopback(host)
    require_token_beyond_loopback(host, None)


def test_the_token_is_read_from_its_file_or_else_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, {"PLCP_TOKEN": "another one, of the environment"}) == TOKEN
    assert read_token(None, {"PLCP_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {}) is None


def test_a_short_token_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PLCP_TOKEN: a token needs at least 16 characters"):
        read_token(None, {"PLCP_TOKEN": "short"})
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none", {})


def test_new_tokens_differ_and_are_long_enough() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert read_token(None, {"PLCP_TOKEN": new_token()})
