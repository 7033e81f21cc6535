"""Which Ray a run takes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from plcp.forecast import replicas

pytestmark = pytest.mark.system
PRIVATE = """
import logging
from plcp.local_ray import start_local
start_local(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
print("up", flush=True)
input()
"""


@pytest.fixture
def private_ray_of_another_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", PRIVATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        while other.stdout.readline().strip() != "up":
            assert other.poll() is None
        yield
        other.communicate("\n")


@pytest.mark.usefixtures("private_ray_of_another_process")
def test_the_private_ray_of_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not replicas.join()
    assert not ray.is_initialized()
