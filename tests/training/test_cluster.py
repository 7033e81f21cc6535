import pytest

from plcp.training.cluster import share

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
