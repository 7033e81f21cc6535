"""Jobs as a cluster runs them: submitted to a real head, on tables on disk."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
import pytest

from plcp import tables
from plcp.forecast.runs import latest
from tests.conftest import little_shop
from tests.forecast.shop import prepared_shop, tiny_artifact

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A head on this machine, with the jobs API on loopback."""

    address: str
    environment: dict[str, str]

    def submit(self, *entrypoint: object) -> subprocess.CompletedProcess[str]:
        command = [RAY, "job", "submit", "--address", self.address, "--working-dir", ROOT, "--", "python", *entrypoint]
        return subprocess.run(list(map(str, command)), env=self.environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray start --head` with its own ports and folder; stopped by ending this one process."""
    environment = os.environ | {"PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}", "RAY_AUTH_MODE": "token"}
    environment.pop("RAY_ADDRESS", None)
    dashboard = free_port()
    with tempfile.TemporaryDirectory(prefix="plcp-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets' paths must be short
        token = Path(folder) / "token"
        token.write_text("a token that only this test knows, long enough")
        environment["RAY_AUTH_TOKEN_PATH"] = str(token)
        ports = {
            "port": free_port(),
            "dashboard-port": dashboard,
            "ray-client-server-port": free_port(),
            "dashboard-agent-listen-port": free_port(),
        }
        options = [f"--{name}={value}" for name, value in ports.items()]
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--dashboard-host=127.0.0.1", "--num-cpus=4", f"--temp-dir={folder}/ray", *options],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await_port(dashboard)
            yield Cluster(f"http://127.0.0.1:{dashboard}", environment)
        finally:
            head.terminate()
            head.wait(60)


def await_port(port: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing listens on port {port} after {seconds} s")


@dataclass(frozen=True)
class Shop:
    data: Path
    model: Path
    skus: set[str]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Tables on disk, one product that never sold and has no launch date among them, and a tiny model."""
    folder = tmp_path_factory.mktemp("jobs")
    frames = little_shop()
    never = frames["products"].head(1).with_columns(sku_id=pl.lit("NEVER"))
    frames["products"] = pl.concat([frames["products"], never])
    for name, frame in frames.items():
        (folder / "data" / name).mkdir(parents=True)
        frame.write_parquet(folder / "data" / name / "part-0.parquet")
    model = tiny_artifact(folder / "model", prepared_shop(folder / "prepared"))
    return Shop(folder / "data", model, set(frames["products"]["sku_id"]))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def week(cluster: Cluster, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a finished weekly run, and its command."""
    out = tmp_path_factory.mktemp("week")
    command = ["jobs/weekly.py", str(shop.data), "--model", str(shop.model), "--out", str(out), "--set", "prepare.skus_per_shard=8"]
    ended = cluster.submit(*command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"plcp serve {shop.model}" in ended.stdout
    return out, command


def test_the_jobs_api_answers_nobody_without_the_token(cluster: Cluster) -> None:
    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert httpx.get(f"{cluster.address}/api/jobs/").status_code == 401
    assert httpx.get(f"{cluster.address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_every_sku_comes_out_exactly_once_those_that_cannot_be_forecast_with_a_reason(week: tuple[Path, list[str]], shop: Shop) -> None:
    run = latest(week[0] / "scores")
    skipped = tables.read(tables.SKIPPED, run)
    answered = pl.concat([tables.read(tables.STAGE_TABLE, run)["sku_id"], skipped["sku_id"]])
    assert sorted(answered) == sorted(shop.skus)
    assert "NEVER" in skipped["sku_id"]
    assert all(skipped["reason"])


def test_decisions_and_report_are_of_the_same_run(week: tuple[Path, list[str]]) -> None:
    out, run = week[0], latest(week[0] / "scores")
    decisions = pl.read_parquet_metadata(next((out / "decisions").glob("*.parquet")))
    assert decisions["run"] == run.name
    assert run.name in (out / "report.html").read_text()


def test_the_same_command_again_makes_the_same_bytes(week: tuple[Path, list[str]], cluster: Cluster) -> None:
    out, command = week
    before = contents(out)
    ended = cluster.submit(*command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert contents(out) == before


def test_a_job_on_data_that_cannot_be_used_fails_and_says_why(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ended = cluster.submit("jobs/prepare.py", tmp_path / "data", "--out", tmp_path / "prepared")
    assert ended.returncode != 0
    assert "products: the table is missing" in ended.stdout
    assert not (tmp_path / "prepared").exists()
