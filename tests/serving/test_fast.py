"""Fast mode leaves the environment as it was, and says what it cannot do."""

import os
import socket
from pathlib import Path

import pytest
import ray

from plcp.base import ConfigError, DataError, ModelError
from plcp.serving.app import Application, require_free, serving
from plcp.serving.fast import SWITCHES, require_ipv4_if_fast, switched
from tests.serving.conftest import Shop


def test_only_what_was_switched_is_switched_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    monkeypatch.delenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", raising=False)
    before = dict(os.environ)
    with switched(fast=True):
        assert {name: os.environ[name] for name in SWITCHES} == SWITCHES
        monkeypatch.setenv("PLCP_SET_MEANWHILE", "by another thread")
    assert dict(os.environ) == before | {"PLCP_SET_MEANWHILE": "by another thread"}


def test_a_port_that_is_taken_is_refused_even_where_its_holder_would_share_it() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: Address already in use; stop what listens there"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_what_cannot_be_served_is_said_before_anything_starts(shop: Shop, tmp_path: Path) -> None:
    right = {"model": shop.model, "prepared": shop.prepared, "scores": shop.scores}
    (tmp_path / "token").write_text("a token of the tests' own")
    started = ray.is_initialized()
    for wrong, error, said in (
        ({"model": tmp_path}, ModelError, "so this is no model"),
        ({"prepared": tmp_path}, DataError, "no prepared data"),
        ({"scores": tmp_path / "none"}, DataError, "none: no such folder; score the catalog first"),
        ({"port": 9000, "grpc_port": 9000, "token_file": tmp_path / "token"}, ConfigError, "are both 9000"),
    ):
        with pytest.raises(error, match=said), serving(Application.model_validate(right | wrong)):
            pass
    assert ray.is_initialized() == started


def test_an_ipv6_address_is_refused_in_fast_mode_alone() -> None:
    with pytest.raises(ConfigError, match="IPv6 addresses such as ::1 are not taken; give an IPv4 one"):
        require_ipv4_if_fast(True, "::1")
    require_ipv4_if_fast(False, "::1")
    require_ipv4_if_fast(True, "127.0.0.1")
