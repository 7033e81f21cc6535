"""Runs over a catalog on a real Ray cluster and Serve."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import psutil
import pytest
import ray
import torch
from ray import serve

from plcp import tables
from plcp.base import ConfigError, ModelError, PlcpError
from plcp.data.prepared import Prepared
from plcp.forecast.catalog import CatalogConfig, score
from plcp.forecast.runs import Failure, Run, latest
from tests.forecast.shop import Made, made, score_here, tiny_artifact

pytestmark = pytest.mark.system

PARTS, PER_SHARD = 12, 4
PAGE = 4096  # bytes that a file's last one takes whole
TEST = CatalogConfig.model_validate({"backoff_s": 0.05, "replica": {"threads": 1, "replicas": 1}})
PLCP = Path(sys.executable).with_name("plcp")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("shop"), skus=PARTS * PER_SHARD, per_shard=PER_SHARD)


@pytest.fixture(scope="module")
def undisturbed(shop: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of a run that nothing came between."""
    scores = tmp_path_factory.mktemp("undisturbed")
    score_here(shop.model, shop.prepared, scores)
    score(shop.model, shop.prepared, scores)  # nothing is left to make but what the endpoint reads
    return contents(scores)


# Ray's sockets need a short path
@pytest.fixture
def ray_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init("local", num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False, logging_level=logging.ERROR)
        yield
        serve.shutdown()
        ray.shutdown()


def contents(scores: Path) -> dict[str, bytes]:
    return {path.relative_to(scores).as_posix(): path.read_bytes() for path in sorted(scores.rglob("*")) if path.is_file()}


def command(shop: Made, scores: Path, ray_folder: str) -> subprocess.Popen[str]:
    """`plcp score`, which starts a local Ray of its own."""
    environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_TMPDIR": ray_folder, "RAY_USAGE_STATS_ENABLED": "0"}
    line = [str(part) for part in (PLCP, "score", shop.model, shop.prepared, "--out", scores)]
    return subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_killed_at_any_time_and_run_again_it_gives_the_same_bytes(
    shop: Made, undisturbed: dict[str, bytes], tmp_path: Path, ray_folder: str
) -> None:
    driver = command(shop, tmp_path, ray_folder)
    while len(list(tmp_path.glob("runs/*/.parts/*.json"))) < PARTS // 3:
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = len(list(tmp_path.glob("runs/*/.parts/*.json")))
    assert left < PARTS, "the kill came too late to test anything"
    assert not (tmp_path / "LATEST").exists(), "half a run is not published"
    again = command(shop, tmp_path, ray_folder)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    assert contents(tmp_path) == undisturbed
    answered = tables.read(tables.STAGE_TABLE, latest(tmp_path))["sku_id"]
    assert sorted(answered) == [f"P{i:03d}" for i in range(PARTS * PER_SHARD)]


def test_a_part_that_cannot_be_made_is_set_aside_and_all_others_are_done(shop: Made, cluster: None, tmp_path: Path) -> None:
    shard = shop.prepared / "shards" / "part-00005.parquet"
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-100])
    try:
        with pytest.raises(PlcpError, match=r"1 of 12 parts could not be scored.*part-00005\.parquet: DataError: .*not the shard that"):
            score(shop.model, shop.prepared, tmp_path, TEST)
    finally:
        shard.write_bytes(intact)
    run = Run(next((tmp_path / "runs").iterdir()))
    assert len(run.finished()) == PARTS - 1
    failure = Failure.model_validate(pl.read_json(run.root / "failures.json").row(0, named=True))
    assert (failure.part, failure.tries) == ("part-00005", TEST.tries)
    assert "Traceback" in failure.traceback
    assert not (tmp_path / "LATEST").exists()
    result = score(shop.model, shop.prepared, tmp_path, TEST)
    assert (result.kept, result.parts, result.skus) == (PARTS - 1, PARTS, PARTS * PER_SHARD)
    assert all(path.name != "failures.json" for path in run.root.iterdir())


def test_on_a_cluster_at_hand_a_run_leaves_nothing_behind(shop: Made, cluster: None, tmp_path: Path) -> None:
    score(shop.model, shop.prepared, tmp_path, TEST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["HISTORY", "LATEST", "runs"]
    assert not serve.status().applications


def test_a_replica_that_dies_is_replaced_and_nothing_is_lost(shop: Made, cluster: None, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_the_replica() -> None:
        while len(list(tmp_path.glob("runs/*/.parts/*.json"))) < 3:
            time.sleep(0.005)
        own = psutil.Process().children(recursive=True)
        replicas = [process.pid for process in own if "ServeReplica:plcp-catalog" in " ".join(process.cmdline())]
        killed.extend(replicas)
        for pid in replicas:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_replica)
    killer.start()
    result = score(shop.model, shop.prepared, tmp_path, TEST)
    killer.join()
    assert killed
    assert len(tables.read(tables.STAGE_TABLE, result.run)["sku_id"].unique()) == PARTS * PER_SHARD
    assert not list(result.run.glob(".*"))


def test_two_at_once_do_the_work_once(shop: Made, cluster: None, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: score(shop.model, shop.prepared, tmp_path, TEST), range(2)))
    assert sorted(result.kept for result in results) == [0, PARTS]
    assert results[0].run == results[1].run == latest(tmp_path)


@pytest.fixture
def small_disk(undisturbed: dict[str, bytes], tmp_path: Path) -> Iterator[Path]:
    """A disk that holds half of what the run writes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    pages = sum(-(-len(content) // PAGE) for content in undisturbed.values())
    size = f"size={pages * PAGE // 2}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "plcp-test", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here: the test of a full disk is left out")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_run_at_once_and_with_more_room_it_goes_on(
    shop: Made, undisturbed: dict[str, bytes], cluster: None, small_disk: Path
) -> None:
    config = CatalogConfig.model_validate({"replica": {"replicas": 1}})
    with pytest.raises(PlcpError, match=r"disk: no space is left there\. What is finished is kept: free some, and run the same command"):
        score(shop.model, shop.prepared, small_disk, config)
    run = Run(next((small_disk / "runs").iterdir()))
    done = len(run.finished())
    assert 0 < done < PARTS
    assert not (small_disk / "LATEST").exists()
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    assert score(shop.model, shop.prepared, small_disk, config).kept == done
    assert contents(small_disk) == undisturbed


def test_a_device_that_is_not_there_is_told_at_once(shop: Made, cluster: None, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = CatalogConfig.model_validate({"forecaster": {"device": "cuda"}, "replica": {"replicas": 1}})
    with pytest.raises(ConfigError, match="the replica sees no GPU; have it reserve one"):
        score(shop.model, shop.prepared, tmp_path, config)


def test_a_model_folder_replaced_during_the_run_ends_it_and_the_next_one_takes_the_new_model(
    shop: Made, cluster: None, tmp_path: Path
) -> None:
    model, prepared = tmp_path / "model", Prepared.open(shop.prepared)
    shutil.copytree(shop.model, model)

    def replace_it() -> None:
        while not list(tmp_path.glob("scores/runs/*/.lock")):
            time.sleep(0.005)
        tiny_artifact(model, prepared, seed=1)

    other = threading.Thread(target=replace_it)
    other.start()
    with pytest.raises(ModelError, match="the model was replaced during the run"):
        score(model, shop.prepared, tmp_path / "scores", TEST)
    other.join()
    assert not (tmp_path / "scores" / "LATEST").exists()
    result = score(model, shop.prepared, tmp_path / "scores", TEST)
    assert result.run == latest(tmp_path / "scores")


def test_a_gpu_that_is_not_there_is_told(shop: Made, cluster: None, tmp_path: Path) -> None:
    config = CatalogConfig.model_validate({"replica": {"gpus": 1, "start_timeout_s": 3}})
    with pytest.raises(ConfigError, match="no replica of Catalog could start within 3 s: each reserves 2 CPU cores and 1 GPUs"):
        score(shop.model, shop.prepared, tmp_path, config)
