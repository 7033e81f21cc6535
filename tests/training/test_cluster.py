from pathlib import Path

import pytest
from ray.train import Checkpoint, TrainingFailedError
from ray.train.v2.api.exceptions import ControllerError

from plcp.base import DataError
from plcp.training.cluster import Endurance, TrainingError, cause, expected, share
from plcp.training.preemption import PreemptedError
from plcp.training.store import StorageError

HEAD, CPU_NODE, GPU_NODE = {"CPU": 2.0}, {"CPU": 8.0}, {"CPU": 48.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("nodes", "workers", "asked", "got"),
    [
        ([CPU_NODE], 2, (None, None), (4, 0)),
        ([HEAD, CPU_NODE], 2, (None, None), (4, 0)),  # 10 cores in all, but no node has room for two times 5
        ([HEAD, CPU_NODE], 3, (None, None), (2, 0)),
        ([HEAD, GPU_NODE, GPU_NODE], 8, (None, None), (12, 1)),
        ([HEAD, GPU_NODE], 8, (None, None), (6, 0)),  # not enough GPUs for all
        ([GPU_NODE], 2, (None, 0), (24, 0)),
        ([CPU_NODE], 2, (11, 1), (11, 1)),  # GPU nodes come when they are asked for
        ([{}], 2, (None, None), (1, 0)),
    ],
)
def test_a_worker_gets_what_was_asked_for_or_what_some_node_has(
    nodes: list[dict[str, float]], workers: int, asked: tuple[int | None, int | None], got: tuple[int, int]
) -> None:
    assert share(nodes, workers, *asked) == got


@pytest.mark.parametrize(
    ("nodes", "least", "most", "asked", "got"),
    [
        ([CPU_NODE], 1, 4, (None, None), 4),
        ([CPU_NODE], 1, 4, (3, None), 2),
        ([HEAD], 4, 6, (None, None), 4),  # nodes that are wanted may still come
        ([HEAD, GPU_NODE], 2, 8, (None, None), 4),
        ([HEAD, GPU_NODE], 6, 8, (None, 0), 8),
    ],
)
def test_a_range_of_workers_is_used_as_far_as_there_is_room(
    nodes: list[dict[str, float]], least: int, most: int, asked: tuple[int | None, int | None], got: int
) -> None:
    assert expected(nodes, least, most, *asked) == got


def test_failures_end_a_run_only_when_no_checkpoint_comes_in_between(tmp_path: Path) -> None:
    endurance, lost = Endurance(max_failures=2), {0: RuntimeError("connection closed"), 1: RuntimeError("worker died")}
    for _ in range(3):  # each with progress
        endurance.after_exception(None, lost)
        endurance.after_exception(None, lost)
        endurance.after_report(None, [{}], Checkpoint.from_directory(tmp_path))
    endurance.after_exception(None, lost)
    endurance.after_exception(None, lost)
    endurance.after_exception(None, {0: PreemptedError("told to stop")})
    with pytest.raises(TrainingError, match=r"3 times without a checkpoint.*max_failures is 2(?s:.*)worker 1.*worker died"):
        endurance.after_exception(None, lost)


def test_what_the_user_can_mend_ends_a_run_at_once_and_is_what_he_reads() -> None:
    with pytest.raises(DataError, match="nothing to validate on"):
        Endurance(max_failures=9).after_exception(None, {0: RuntimeError("connection closed"), 1: DataError("nothing to validate on")})
    assert str(cause(ControllerError(DataError("nothing to validate on")))) == "nothing to validate on"
    full = cause(ControllerError(OSError(28, "No space left on device")))
    assert isinstance(full, StorageError)
    assert "No space left on device" in str(full)
    assert isinstance(cause(TrainingFailedError("a node is gone")), TrainingError)
