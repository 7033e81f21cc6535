import threading
import time
from pathlib import Path

import pytest

from plcp.base import DataError
from plcp.forecast.runs import LOCK, MANIFEST, Run, latest, publish, published, rollback


def made(scores: Path, *runs: str) -> Path:
    for run in runs:
        folder = scores / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text("{}")
        publish(scores, run)
    return scores


def test_readers_see_the_run_published_last(tmp_path: Path) -> None:
    assert latest(made(tmp_path, "a", "b")) == tmp_path / "runs" / "b"


def test_no_run_yet_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run was published here"):
        latest(tmp_path)


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    assert published(made(tmp_path, "a", "b", "b")) == ["a", "b"]


def test_rollback_goes_back_one_run_at_a_time(tmp_path: Path) -> None:
    made(tmp_path, "a", "b", "c")
    assert [rollback(tmp_path).name, rollback(tmp_path).name] == ["b", "a"]
    with pytest.raises(DataError, match="no earlier run"):
        rollback(tmp_path)


def test_a_run_published_after_a_rollback_follows_the_one_gone_back_to(tmp_path: Path) -> None:
    made(tmp_path, "a", "b")
    rollback(tmp_path)
    assert published(made(tmp_path, "c")) == ["a", "c"]


def test_rollback_to_a_run_published_twice(tmp_path: Path) -> None:
    made(tmp_path, "a", "b", "a")
    assert [rollback(tmp_path).name, rollback(tmp_path).name] == ["b", "a"]


def test_rollback_passes_over_a_run_that_was_removed(tmp_path: Path) -> None:
    made(tmp_path, "a", "b", "c")
    (tmp_path / "runs" / "b" / MANIFEST).unlink()
    assert rollback(tmp_path).name == "a"


def test_a_kill_between_the_two_writes_of_publishing_shows_the_old_run(tmp_path: Path) -> None:
    made(tmp_path, "a")
    (tmp_path / "HISTORY").write_text("a\nb\n")
    assert published(tmp_path) == ["a"]
    assert published(made(tmp_path, "b")) == ["a", "b"]


def test_one_at_a_time_makes_a_run_however_many_wait(tmp_path: Path) -> None:
    run, inside, most = Run(tmp_path / "run"), [0], [0]

    def make() -> None:
        for _ in range(20):
            with run.alone():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not (run.root / LOCK).exists()
