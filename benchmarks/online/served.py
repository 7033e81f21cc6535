"""The service itself, in fast mode, its peers beside it, and what its replica holds in memory."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from ray import serve

from benchmarks.catalog import ours
from benchmarks.online.load import Load, get, measure
from plcp.local_ray import unused_port
from plcp.serving.app import Application, serving
from plcp.serving.auth import new_token
from plcp.serving.fast import switched

CORES = 2
START_S, SETTLED_S = 120.0, 5.0


@dataclass(frozen=True)
class Host:
    """A Ray of this machine in fast mode, where the application is put one time after the other."""

    port: int
    token: str
    token_file: Path

    @contextmanager
    def service(self, model: Path, prepared: Path, scores: Path | None = None) -> Iterator[None]:
        """The application, as `plcp serve --set serve.fast=true` hosts it with a replica for each core."""
        options: dict[str, Any] = {"fast": True, "port": self.port, "token_file": self.token_file}
        replicas = {"min_replicas": CORES, "max_replicas": CORES}  # of one thread each: no lock of Python's lies between the cores
        with serving(Application(model=model, prepared=prepared, scores=scores, **options, **replicas)):
            settle(self.port)
            yield


def settle(port: int) -> None:
    """Return when HAProxy has made its last change for a while: with each it closes the connections it holds."""
    quiet = Load(port, [get("/healthz", "")], 16, SETTLED_S, warm_up=0)
    while measure(quiet).failures:
        pass


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    """Its processes are as important as any here. The token's file goes into the folder."""
    made = Host(unused_port(), new_token(), folder / "token")
    made.token_file.write_text(made.token)
    with switched(fast=True), ours.cluster(CORES):
        try:
            yield made
        finally:
            serve.shutdown()  # or handles that still listen would have Ray start anew


@contextmanager
def peer(kind: str, threads: int, model: Path, prepared: Path) -> Iterator[int]:
    """A peer of benchmarks.online.peers, in a process of its own; its port. `processes` is FastAPI with one for each thread, `workers`
    LitServe with a worker for each."""
    port = unused_port()
    command = [sys.executable, "-m", "benchmarks.online.peers", kind, *map(str, (model, prepared, port, threads))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            await_answer(port, process)
            yield port
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()


def await_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=1)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the peer ended or does not answer; what it said stands above")


def own_memory() -> int:
    """Bytes that the replicas of Online hold themselves: without the pages of files, which all processes share and the system takes
    back."""
    tree = psutil.Process().children(recursive=True)
    replicas = [process.pid for process in tree if "ServeReplica:plcp:Online" in " ".join(process.cmdline())]
    return sum(int(Path(f"/proc/{pid}/status").read_text().split("RssAnon:")[1].split()[0]) for pid in replicas) * 1024
