"""Serve's fast mode: HAProxy in front of the replicas in place of a Python proxy, and no thread between a replica and its requests.

Every process of Serve reads these switches from its environment when it starts, so a cluster that was started without them cannot be
switched over. HAProxy's own pages (statistics, metrics) would listen on every address, with no option against it but the binary's: a
script in its place confines them to this machine before it starts the real one.
"""

import logging
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.serve._private import constants

from plcp.base import ConfigError
from plcp.local_ray import unused_port

SWITCHES = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
DRAIN_S = 2  # a replica that leaves answers for so long; HAProxy hears of it in a tenth of a second
CONFINED = """#!/bin/sh
# haproxy -db -f FILE …: what FILE would bind to every address is bound to this machine's own
sed -i -e 's/^\\( *bind\\) \\*\\{{0,1\\}}:/\\1 127.0.0.1:/' "$3" && exec {binary} "$@"
"""


def require_token_if_fast(fast: bool, token: str | None) -> None:
    """Raises ConfigError where HAProxy would let anyone in: behind it every request comes from this machine."""
    if fast and token is None:
        raise ConfigError(
            "serve.fast: behind HAProxy every request seems to come from this machine, so it needs a token: "
            "make one with `plcp token` and set PLCP_TOKEN"
        )


def require_ipv4_if_fast(fast: bool, host: str) -> None:
    """Raises ConfigError for an IPv6 address: Serve writes it without brackets, so that `::1:8000` would be taken for one of the pages."""
    if fast and ":" in host:
        raise ConfigError(f"serve.fast: IPv6 addresses such as {host} are not taken; give an IPv4 one, as 127.0.0.1, or a name")


def require_cluster_is(fast: bool) -> None:
    """Raises ConfigError in a replica whose cluster is not in the mode that was asked for."""
    if fast and not constants.RAY_SERVE_ENABLE_HA_PROXY:
        switches = " ".join(f"{name}={value}" for name, value in SWITCHES.items())
        raise ConfigError(f"serve.fast: this cluster runs without HAProxy; start it with `{switches} ray start …`, or leave serve.fast out")


@contextmanager
def switched(fast: bool) -> Iterator[None]:
    """Processes of a Ray started in the block serve in fast mode, if `fast`."""
    if not fast:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="plcp-haproxy-", ignore_cleanup_errors=True) as folder:
        added = SWITCHES | private(Path(folder))
        before = {name: os.environ[name] for name in added if name in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)
            os.environ.update(before)


def private(folder: Path) -> dict[str, str]:
    """Settings under which HAProxy keeps its files in a folder that is its own, and its pages on ports of this machine alone."""
    from ray.serve._private.haproxy import get_haproxy_binary

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # which binary it takes is of no interest
    script = folder / "haproxy"
    script.write_text(CONFINED.format(binary=shlex.quote(get_haproxy_binary())))
    script.chmod(0o700)
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(unused_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(unused_port()),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # the replicas count requests themselves, for less than a process that reads its log
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
    }
