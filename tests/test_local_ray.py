"""A local Ray of this machine alone."""

import logging
import os
import tempfile

import psutil
import pytest
import ray

from plcp.local_ray import start_local


@pytest.mark.system
def test_no_other_machine_can_reach_a_local_ray() -> None:
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        start_local(num_cpus=1, include_dashboard=False, _temp_dir=folder, log_to_driver=False, logging_level=logging.ERROR)
        try:
            own = [psutil.Process(), *psutil.Process().children(recursive=True)]
            listening = [c.laddr.ip for p in own for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        finally:
            ray.shutdown()
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}
    assert {name: os.environ.get(name) for name in before} == before
