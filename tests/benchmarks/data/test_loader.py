from pathlib import Path

from benchmarks.data.loader import resume, speed, task_on
from benchmarks.data.prepare import plcp_prepare
from benchmarks.data.shop import make_shop
from plcp.data.prepared import Prepared


def test_the_measured_loader_makes_tensors_and_goes_on_where_it_was(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop", 40)
    plcp_prepare(tmp_path / "shop", tmp_path / "prepared")
    task = task_on(Prepared.open(tmp_path / "prepared"), tmp_path / "vectors")
    assert min(speed(task, 0.2)) > 0
    assert min(resume(task)) > 0  # compares the batch behind the saved place itself
