import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow.fs
import pytest
from ray.train import Checkpoint
from ray.train.v2._internal.execution.storage import StorageContext

from plcp.base import ConfigError
from plcp.training.checkpoint import STATE, State, best, last, recover
from plcp.training.store import FOLDER, SNAPSHOT, DamagedError, StorageError, Store, damage, persistently, sign
from tests.s3 import Server, s3_server

SHARE = "engine/share.pt"
LARGE = 300_000  # bytes of a worker's share
QUICKLY = 0.2  # seconds of patience


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.system)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path)
    return request.getfixturevalue("server").uri.replace("runs", tmp_path.name)


def put(place: str, name: str, step: int, score: float, workers: int = 2) -> None:
    """A checkpoint of two workers, stored as Ray Train's workers do."""
    store = Store(place)
    for worker in range(workers):
        folder = Path(os.environ["TMPDIR"]) / f"{name}-{worker}"
        (folder / "engine").mkdir(parents=True)
        (folder / f"{SHARE}.{worker}").write_bytes(bytes([step % 256]) * LARGE)
        if worker == 0:
            state = State(step=step, score=score, weights=True)
            (folder / STATE).write_text(json.dumps(asdict(state)))
        sign(folder, worker, workers)
        kept = StorageContext(store.root.rpartition("/")[0], FOLDER, store.files)
        kept.persist_current_checkpoint(Checkpoint.from_directory(folder), name)
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("staging")))


def names(place: str) -> set[str]:
    store = Store(place)
    found = store.files.get_file_info(pyarrow.fs.FileSelector(store.root))
    return {Path(info.path).name for info in found if info.type == pyarrow.fs.FileType.Directory}


def overwrite(place: str, path: str, content: bytes) -> None:
    store = Store(place)
    with store.files.open_output_stream(f"{store.root}/{path}") as file:
        file.write(content)


def test_what_a_crash_cut_off_is_removed_and_the_whole_ones_are_listed_by_score_and_step(place: str) -> None:
    recover(place)  # nothing yet
    with pytest.raises(Exception, match="no checkpoint of validated weights yet"):
        last(place)
    for name, step, score in (("c1", 4, 0.5), ("c2", 8, 0.3), ("c3", 12, 0.4), ("c4", 16, 0.1)):
        put(place, name, step, score)
    overwrite(place, f"c4/{SHARE}.1", b"half of it")  # the machine died while it was stored
    overwrite(place, SNAPSHOT, b'{"ray_version": "2.60.0", "checkp')  # or while Ray Train wrote its list
    recover(place)
    assert names(place) == {"c1", "c2", "c3"}
    (_, latest), (folder, lowest) = last(place), best(place)
    assert (latest.step, lowest.step) == (12, 8)
    assert (folder / f"{SHARE}.1").read_bytes() == bytes([8]) * LARGE


def test_a_checkpoint_is_whole_only_with_the_manifests_of_all_workers(place: str) -> None:
    for step, name in enumerate(("c1", "c2", "c3", "c4"), 1):
        put(place, name, step, 0.1)
    store = Store(place)
    store.files.delete_file(f"{store.root}/c2/manifest-00001.json")
    overwrite(place, "c3/manifest-00000.json", b"")
    overwrite(place, "c4/manifest-00001.json", b'{"workers": 2, "fi')
    recover(place)
    assert names(place) == {"c1"}
    assert last(place)[1].step == 1


def test_without_a_whole_one_left_the_damage_is_named_and_nothing_is_removed(place: str) -> None:
    put(place, "c1", 4, 0.5)
    recover(place)
    overwrite(place, f"c1/{SHARE}.0", b"")
    with pytest.raises(DamagedError, match=rf"c1: {SHARE}\.0 has 0 bytes in place of {LARGE}"):
        recover(place)
    assert names(place) == {"c1"}


def test_bytes_that_changed_in_place_are_found_when_it_is_read(tmp_path: Path) -> None:
    put(str(tmp_path), "c1", 4, 0.5)
    recover(str(tmp_path))
    changed = tmp_path / FOLDER / "c1" / f"{SHARE}.1"
    changed.write_bytes(bytes(LARGE))
    assert "share.pt.1 is not what was written" in str(damage(tmp_path / FOLDER / "c1", slice(None)))
    shares = [damage(tmp_path / FOLDER / "c1", slice(worker, None, 3)) for worker in range(3)]
    assert sum(found is not None for found in shares) == 1  # the workers of a node look at every file once
    with pytest.raises(DamagedError, match="not what was written") as damaged:
        last(tmp_path)
    with pytest.raises(DamagedError):  # the only one is for a person to look at
        Store(str(tmp_path)).leave_out(damaged.value)
    put(str(tmp_path), "c0", 2, 0.6)
    recover(str(tmp_path))
    Store(str(tmp_path)).leave_out(damaged.value)
    recover(str(tmp_path))
    assert last(tmp_path)[1].step == 2


@pytest.mark.system
def test_a_bucket_that_cannot_be_reached_is_named(server: Server) -> None:
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9.*can be reached"):
        recover("s3://shop/runs?endpoint_override=127.0.0.1:9&scheme=http")


def test_a_place_that_is_none_is_named() -> None:
    for wrong in ("nonsense://shop", "relative/folder"):
        with pytest.raises(ConfigError, match=f"storage {wrong}.*whole path"):
            recover(wrong)


def test_a_failing_storage_is_tried_again_until_it_answers_or_patience_ends() -> None:
    attempts = []

    def attempt() -> str:
        attempts.append(1)
        if len(attempts) < 2:
            raise OSError("no route")
        return "stored"

    assert persistently(attempt, 5, "checkpoint c1") == "stored"
    attempts.clear()
    with pytest.raises(StorageError, match=r"checkpoint c1: could not be stored for 0 s \(no route\)"):
        persistently(attempt, QUICKLY, "checkpoint c1")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={4 * LARGE // 1024}k", "none", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        place = str(tmp_path)
        put(place, "c1", 4, 0.5)
        recover(place)
        with pytest.raises(StorageError, match="No space left on device"):
            persistently(lambda: put(place, "c2", 8, 0.3, workers=4), QUICKLY, "checkpoint c2")
        (tmp_path / FOLDER / SNAPSHOT).write_text("")  # what opening it on a full disk leaves
        recover(place)
        assert names(place) == {"c1"}
        assert last(place)[1].step == 4
    finally:
        subprocess.run(["umount", tmp_path], check=True)
