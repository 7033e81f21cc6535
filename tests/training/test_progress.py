import math
from pathlib import Path

import pytest
import torch

from plcp.training import progress
from plcp.training.progress import METRICS, MetricsLog, Window


def test_a_continued_log_drops_what_a_killed_run_wrote_beyond_its_checkpoint(tmp_path: Path) -> None:
    first = MetricsLog(tmp_path, 0, write=True)
    for step in (1, 2, 3):
        first.write(step, loss=float(step))
    first.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "lo')  # killed while it wrote
    again = MetricsLog(tmp_path, 2, write=True)
    again.write(3, loss=30.0)
    again.close()
    assert [(line["step"], line["loss"]) for line in progress.read(tmp_path / METRICS)] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert list((tmp_path / progress.TENSORBOARD).glob("events.*"))


def test_recent_lines_are_read_whole(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, write=True)
    for step in range(100):
        log.write(step, loss=1 / 3)
    log.close()
    recent = progress.read(tmp_path / METRICS, 200)
    assert recent == progress.read(tmp_path / METRICS)[-len(recent) :]
    assert 1 < len(recent) < 10
    assert progress.read(tmp_path / METRICS, 1 << 20) == progress.read(tmp_path / METRICS)


def test_only_the_writing_worker_writes(tmp_path: Path) -> None:
    silent = MetricsLog(tmp_path, 0, write=False)
    silent.write(1, loss=1.0)
    silent.close()
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("alone")
def test_a_window_means_over_cases_and_leaves_out_what_is_not_finite() -> None:
    window = Window(torch.device("cpu"))
    window.add({"loss": torch.tensor(1.0)}, torch.ones(3))
    window.add({"loss": torch.tensor(5.0)}, torch.tensor([1.0, 0.0]))
    window.add({"loss": torch.tensor(torch.nan)}, torch.ones(7))
    line = window.close()
    assert line["loss"] == pytest.approx((3 * 1 + 5) / 4)
    assert isinstance(line["memory_gb"], list)
    assert len(line["memory_gb"]) == 1
    assert line["memory_gb"][0] > 0
    window.add({"loss": torch.tensor(2.0)}, torch.ones(1))
    assert window.means() == {"loss": 2.0}


@pytest.mark.usefixtures("alone")
def test_in_validation_a_loss_that_is_not_finite_is_not_left_out_unless_it_is_of_no_case() -> None:
    window = Window(torch.device("cpu"), whole=True)
    window.add({"loss": torch.tensor(1.0)}, torch.ones(3))
    window.add({"loss": torch.tensor(torch.nan)}, torch.zeros(2))
    assert window.means() == {"loss": 1.0}
    window.open()
    window.add({"loss": torch.tensor(1.0)}, torch.ones(3))
    window.add({"loss": torch.tensor(torch.nan)}, torch.ones(1))
    assert math.isnan(window.means()["loss"])


class Unreachable:
    """A tracker whose server is away."""

    def write(self, step: int, numbers: dict[str, float]) -> None:
        raise ConnectionError("no server")

    def close(self) -> None:
        raise ConnectionError("no server")


def test_a_tracker_that_cannot_be_reached_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MetricsLog(tmp_path, 0, write=True, open_others=lambda: [Unreachable()])
    log.write(1, loss=1.0)
    log.write(2, loss=0.5)
    log.close()
    assert [line["step"] for line in progress.read(tmp_path / METRICS)] == [1, 2]
    MetricsLog(tmp_path, 2, write=True, open_others=lambda: [Unreachable()]).close()
    assert caplog.text.count("is told no more of this run: no server") == 2


def test_a_line_that_a_power_cut_left_unreadable_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b'{"step": 1}\n\0\0\0\n{"step": 3}\n')
    assert [line["step"] for line in progress.read(tmp_path / METRICS)] == [1, 3]


def test_a_line_for_people_says_where_the_run_stands() -> None:
    lines: list[dict] = [
        {"step": 10, "loss": 1.0, "cases_per_second": 512.0, "skipped": 0},
        {"step": 10, "score": 0.9, "best_score": 0.8},
        {"step": 18, "spike": 9.0, "spikes": 1, "sku_id": ["P1"]},
        {"step": 20, "loss": 0.7, "cases_per_second": 1500.0, "tokens_per_second": 90210.0, "peak_share": 0.31, "waiting": 0.004}
        | {"memory_gb": [1.5, 2.5], "skipped": 2},
    ]
    assert progress.describe(lines) == (
        "loss 0.7000, validation 0.9000, best 0.8000, 1,500 cases/s, 90,210 tokens/s, 31% of peak, 0.4% waiting for data, 2.5 GB at most, "
        "1 losses leapt, 2 steps skipped"
    )


def test_a_number_of_each_worker_has_a_name_of_its_own_on_a_board() -> None:
    line = {"loss": 0.5, "memory_gb": [1.0, 2.0], "sku_id": ["P1"], "epoch": 3}
    assert dict(progress.scalars(line)) == {"loss": 0.5, "memory_gb/0": 1.0, "memory_gb/1": 2.0, "epoch": 3}
