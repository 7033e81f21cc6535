"""Fast mode leaves the environment as it was, and says what it cannot do."""

import os

import pytest

from plcp.base import ConfigError
from plcp.serving.fast import SWITCHES, require_ipv4_if_fast, switched


def test_only_what_was_switched_is_switched_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    monkeypatch.delenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", raising=False)
    before = dict(os.environ)
    with switched(fast=True):
        assert {name: os.environ[name] for name in SWITCHES} == SWITCHES
        monkeypatch.setenv("PLCP_SET_MEANWHILE", "by another thread")
    assert dict(os.environ) == before | {"PLCP_SET_MEANWHILE": "by another thread"}


def test_an_ipv6_address_is_refused_in_fast_mode_alone() -> None:
    with pytest.raises(ConfigError, match="IPv6 addresses such as ::1 are not taken; give an IPv4 one"):
        require_ipv4_if_fast(True, "::1")
    require_ipv4_if_fast(False, "::1")
    require_ipv4_if_fast(True, "127.0.0.1")
