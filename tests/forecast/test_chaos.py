"""Killed at random times, whatever is killed, a run ends in the bytes of the undisturbed one.

Figures go to benchmarks/results/catalog_chaos.json.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.results import Figure, write_results
from tests.forecast.shop import Made, made
from tests.jobs.test_ray_jobs import await_port, free_port

pytestmark = pytest.mark.soak
PARTS, RUNS = 200, int(os.environ.get("RUNS", 13))
SEED = 7
KINDS = ("driver", "replica", "controller", "cluster")  # each once in a run, in random order
LATEST = 0.6  # of the undisturbed run's seconds: a kill comes at most so long after the one before
OPTIONS = {
    "backoff_s": 0.1,
    "part_timeout_s": 60,
    "replica.replicas": 2,
    "replica.threads": 1,
}
BIN = Path(sys.executable).parent


@dataclass
class Machine:
    """A Ray cluster of this machine that can be killed and started again, and the command that scores on it."""

    folder: Path
    shop: Made
    kills: Counter[str] = field(default_factory=Counter)
    head: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        token = self.folder / "token"
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
        return {**os.environ, **own, "RAY_ADDRESS": f"127.0.0.1:{self.port}", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def start(self) -> None:
        self.port = free_port()
        (self.folder / "token").write_text("a token that only this test knows, long enough")
        options = [f"--port={self.port}", f"--ray-client-server-port={free_port()}", f"--temp-dir={self.folder / secrets.token_hex(3)}"]
        options += ["--node-ip-address=127.0.0.1", "--num-cpus=4", "--include-dashboard=false"]
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        command = [str(BIN / "ray"), "start", "--head", "--block", *options]
        self.head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_port(self.port)

    def kill(self) -> None:
        """Every process of the cluster at once, as when the machine goes."""
        if self.head is None:
            return
        with ExitStack() as gone:
            for process in [*psutil.Process(self.head.pid).children(recursive=True), psutil.Process(self.head.pid)]:
                gone.callback(silently, process.kill)
        self.head.wait()
        self.head = None

    def processes(self, name: str) -> list[psutil.Process]:
        assert self.head
        return [p for p in psutil.Process(self.head.pid).children(recursive=True) if name in " ".join(silently(p.cmdline) or [])]

    def score(self, scores: Path) -> subprocess.Popen[str]:
        options = OPTIONS | {"forecaster.cache": f"{scores}-vectors"}
        line = [BIN / "plcp", "score", self.shop.model, self.shop.prepared, "--out", scores]
        line += [word for name, value in options.items() for word in ("--set", f"score.{name}={value}")]
        return subprocess.Popen(
            list(map(str, line)), env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder
        )


def silently(call: Callable[[], list[str] | None]) -> list[str] | None:
    """What a process answers; None where it ended meanwhile."""
    try:
        return call()
    except psutil.NoSuchProcess:
        return None


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    shop = made(tmp_path_factory.mktemp("shop"), skus=2 * PARTS, per_shard=2)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets' paths must be short
        machine = Machine(Path(folder), shop)
        machine.start()
        try:
            yield machine
        finally:
            machine.kill()


def contents(scores: Path) -> dict[str, bytes]:
    return {path.relative_to(scores).as_posix(): path.read_bytes() for path in sorted(scores.rglob("*")) if path.is_file()}


def finished(driver: subprocess.Popen[str]) -> None:
    said = driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, said


@contextmanager
def timed() -> Iterator[list[float]]:
    begin, seconds = time.monotonic(), [0.0]
    yield seconds
    seconds[0] = time.monotonic() - begin


def disturbed(machine: Machine, scores: Path, rng: np.random.Generator, seconds: float) -> None:
    """A run with a kill of every kind at random times; the command is given again where it died."""
    driver = machine.score(scores)
    for kind in rng.permutation(KINDS).tolist():
        time.sleep(rng.uniform(0, LATEST) * seconds)
        if driver.poll() is not None:  # done before: what is killed then is the command given once more
            finished(driver)
            driver = machine.score(scores)
        driver = strike(kind, machine, driver, scores)
    finished(driver)


def strike(kind: str, machine: Machine, driver: subprocess.Popen[str], scores: Path) -> subprocess.Popen[str]:
    """Kill one thing; the driver that goes on."""
    if kind in ("replica", "controller"):
        name = {"replica": "ServeReplica:plcp-catalog", "controller": "ServeController"}[kind]
        while not (found := machine.processes(name)) and driver.poll() is None:  # none yet while the run starts
            time.sleep(0.1)
        for process in found[:1]:
            silently(process.kill)
            machine.kills[kind] += 1
        return driver
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    machine.kills[kind] += 1
    if kind == "cluster":
        machine.kill()
        machine.start()
    return machine.score(scores)


def test_fifty_kills_leave_the_bytes_of_an_undisturbed_run_and_no_other_file(machine: Machine, tmp_path: Path) -> None:
    with timed() as undisturbed:
        finished(machine.score(tmp_path / "undisturbed"))
    expected = contents(tmp_path / "undisturbed")
    assert sum(name.split("/")[-2] == "curve" for name in expected if name.endswith(".parquet")) == PARTS
    rng, same = np.random.default_rng(SEED), 0
    with timed() as whole:
        for number in range(RUNS):
            disturbed(machine, tmp_path / str(number), rng, undisturbed[0])
            same += contents(tmp_path / str(number)) == expected
    counts = [Figure(f"kills of a {kind}", count, "kills") for kind, count in sorted(machine.kills.items())]
    figures = [
        *counts,
        Figure("kills in all", machine.kills.total(), "kills", target="at least 50", met=machine.kills.total() >= 50),
        Figure("parts of a run", PARTS, "parts"),
        Figure("disturbed runs with the undisturbed one's bytes, no file more", same, "runs", RUNS, same / RUNS, "all", same == RUNS),
        Figure("undisturbed run, start of the command included", undisturbed[0], "s"),
        Figure("disturbed run, mean", whole[0] / RUNS, "s", undisturbed[0], whole[0] / RUNS / undisturbed[0]),
    ]
    write_results("catalog_chaos", figures, whole=RUNS == 13)
    assert same == RUNS
