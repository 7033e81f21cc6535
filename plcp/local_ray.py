"""A Ray of this machine alone."""

import logging
import os
import socket
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.authentication import authentication_token_setup

CLUSTERS = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR


def start_local(**options: Any) -> None:
    """ray.init of a new local Ray; options as ray.init takes them. No other machine can reach its ports.

    Ray listens on every address of a machine unless it is told that no other will ever join, as on Windows and macOS; no public
    option says so elsewhere. Without a dashboard Ray still notes the default port as its own, and Ray Train, asking there whether
    its controller lives, would hear of another Ray that does not know it, and stop the workers: so it notes one where nobody answers.
    """
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)  # it advises to switch a token off that is there
    if options.get("include_dashboard") is False:
        options["dashboard_port"] = unused_port()
    enabled, variable = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(CLUSTERS)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[CLUSTERS] = False, "0"  # for this process, and for those that Ray starts
    try:
        ray.init(address="local", **options)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        if variable is None:
            del os.environ[CLUSTERS]
        else:
            os.environ[CLUSTERS] = variable


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
