"""Trainings that are killed, moved and cut off from storage. `make soak` writes benchmarks/results/training_chaos.json."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import psutil
import pytest

from benchmarks.results import Figure, write_results
from plcp.data.prepared import Prepared
from plcp.training import checkpoint, progress
from plcp.training.runs import Run, TrainConfig
from tests.s3 import s3_server
from tests.training.conftest import lines_of
from tests.training.recorded import SEEN, Record, expected

pytestmark = pytest.mark.soak
SEED = 5
STEPS = 400
KILLS = {2: 4, 1: 3, 3: 5}  # at each number of workers, one after the other
ELASTIC = {2: [1, 2]}  # as a range
OF_DRIVER = 0.3  # share of the kills
WITHIN = 0.01  # of the undisturbed run's validation loss
TOO_LONG = 1500  # seconds


def driver(prepared: Prepared, run: Path, options: TrainConfig, workers: int) -> subprocess.Popen:
    """A recorded training in a process of its own, with so many workers; see told_by."""
    told = {**options.model_dump(mode="json"), "workers": ELASTIC.get(workers, workers), "cpus_per_worker": 1}
    told |= {"storage_patience": options.storage_patience}
    command = [sys.executable, "-m", "tests.training.recorded", str(prepared.root), str(run), json.dumps(told), str(SEED)]
    with run.with_suffix(".stderr").open("a") as stderr:
        return subprocess.Popen(command, stderr=stderr, start_new_session=True)


def told_by(process: subprocess.Popen, run: Path) -> str:
    """What a run's drivers have said, once this one has ended."""
    process.wait(TOO_LONG)
    return run.with_suffix(".stderr").read_text()


def steps_taken(run: Path) -> int:
    return max((line["step"] for line in progress.read(run / progress.METRICS)), default=0)


def workers_of(process: subprocess.Popen, run: Path) -> list[int]:
    """Process ids of a driver's workers that keep records."""
    known = {int(path.stem.partition("-")[2]) for path in (run / SEEN).glob("*.jsonl")}
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(process.pid).children(recursive=True) if child.pid in known]
    return []


def wait_for(run: Path, process: subprocess.Popen, step: int) -> None:
    """Until a run has taken so many steps, or its driver has ended."""
    until = time.monotonic() + TOO_LONG
    while process.poll() is None and steps_taken(run) < step:
        assert time.monotonic() < until, "the run makes no progress"
        time.sleep(0.1)


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def long(options: TrainConfig) -> TrainConfig:
    """Without dropout: its draws hang on the number of workers, and over ten epochs of a little shop they decide the last loss."""
    kinds = ("dropout", "life_dropout", "vector_dropout", "modality_dropout", "history_dropout", "week_dropout", "season_dropout")
    engine = options.engine.model_copy(update={"zero_stage": 2, "averaging": 0.95, "learning_rate": 5e-4})
    own = {"engine": engine, "model": options.model.model_copy(update=dict.fromkeys(kinds, 0.0)), "patience": STEPS}
    return options.model_copy(update={**own, "steps": STEPS, "validate_every": 20, "log_every": 5})


def kill_at_random(prepared: Prepared, run: Path, options: TrainConfig, rng: random.Random) -> Counter:
    """Train to the end, through KILLS; what was killed how often."""
    killed: Counter = Counter()
    for workers, kills in KILLS.items():
        left = kills
        while left:
            process = driver(prepared, run, options, workers)
            with ended(process):
                while left and process.poll() is None:
                    wait_for(run, process, steps_taken(run) + rng.randint(5, 30))
                    pids = workers_of(process, run)
                    if rng.random() < OF_DRIVER or left == 1:
                        os.kill(process.pid, signal.SIGKILL)
                        killed["driver"] += 1
                        left -= 1
                        break
                    if pids and process.poll() is None:
                        os.kill(rng.choice(pids), signal.SIGKILL)
                        killed["worker"] += 1
                        left -= 1
    process = driver(prepared, run, options, list(KILLS)[-1])
    with ended(process):
        told = told_by(process, run)
        assert process.returncode == 0, told
    return killed


def undisturbed(prepared: Prepared, run: Path, options: TrainConfig) -> None:
    process = driver(prepared, run, options, 2)
    with ended(process):
        told = told_by(process, run)
        assert process.returncode == 0, told


def test_a_run_killed_at_random_and_moved_between_numbers_of_workers_ends_like_one_left_alone(
    prepared: Prepared, long: TrainConfig, tmp_path: Path
) -> None:
    started = time.monotonic()
    undisturbed(prepared, tmp_path / "quiet", long)
    alone = time.monotonic() - started
    killed = kill_at_random(prepared, tmp_path / "chaos", long, random.Random(SEED))
    took = time.monotonic() - started - alone
    record = Record.read(tmp_path / "chaos")
    line, losses = record.surviving(), [validation(tmp_path / name) for name in ("quiet", "chaos")]
    epochs = expected(prepared, long, SEED, 1 + STEPS // len(expected(prepared, long, SEED, 1)[0]))
    complete = [epoch for epoch in range(len(epochs)) if sum(map(len, epochs[: epoch + 1])) <= STEPS]
    order = list(chain(*epochs))
    wrong = sum(Counter(line[step + 1]) != Counter(order[step]) for step in range(STEPS))
    missed = sum((Counter(chain(*epochs[epoch])) - Counter(chain(*line_of(line, epochs, epoch)))).total() for epoch in complete)
    repeated = sum((Counter(chain(*line_of(line, epochs, epoch))) - Counter(chain(*epochs[epoch]))).total() for epoch in complete)
    apart = abs(losses[1] / losses[0] - 1)
    worlds = [world for world, steps in record.attempts.values() if steps]
    write_results(
        "training_chaos",
        [
            Figure("SIGKILLs", killed.total(), "", target="≥ 10", met=killed.total() >= 10),
            Figure("SIGKILLs of workers", killed["worker"], ""),
            Figure("SIGKILLs of the driver", killed["driver"], ""),
            Figure("starts of a group of workers that took steps", len(worlds), ""),
            Figure("steps", STEPS, ""),
            Figure("steps taken again after a kill", sum(len(steps) for _, steps in record.attempts.values()) - STEPS, ""),
            Figure("whole epochs", len(complete), ""),
            Figure("cases of an epoch", len(list(chain(*epochs[0]))), ""),
            Figure("batches other than those of a run left alone", wrong, "", target="0", met=wrong == 0),
            Figure("cases missed in whole epochs", missed, "", target="0", met=missed == 0),
            Figure("cases seen twice in whole epochs", repeated, "", target="0", met=repeated == 0),
            Figure("last validation loss", losses[1], "", reference=losses[0], ratio=losses[1] / losses[0]),
            Figure("apart from the loss of a run left alone", apart, "", target=f"≤ {WITHIN}", met=apart <= WITHIN),
            Figure("time", round(took), "s", reference=round(alone), ratio=round(took / alone, 2)),
        ],
    )
    assert killed.total() >= 10
    assert set(worlds) == {1, 2, 3}
    assert (wrong, missed, repeated) == (0, 0, 0)
    assert len(complete) >= 2
    assert apart <= WITHIN


def validation(run: Path) -> float:
    """Of the last step."""
    return float(next(line["validation_quantiles"] for line in reversed(lines_of(run)) if line["step"] == STEPS and "score" in line))


def line_of(line: dict, epochs: list, epoch: int) -> list:
    """The batches of one epoch along the surviving line."""
    first = sum(map(len, epochs[:epoch]))
    return [line[first + step + 1] for step in range(len(epochs[epoch]))]


@pytest.fixture
def short(options: TrainConfig) -> TrainConfig:
    """Checkpoints all the time, and little patience with their storage."""
    return options.model_copy(update={"steps": 60, "validate_every": 3, "patience": 60, "storage_patience": 4.0})


def test_a_disk_that_fills_up_stops_the_run_with_the_last_checkpoint_kept_and_with_room_again_it_ends_the_same(
    prepared: Prepared, short: TrainConfig, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        undisturbed(prepared, tmp_path / "quiet", short)
        kept, run = short.model_copy(update={"storage": str(disk)}), tmp_path / "full"
        process = driver(prepared, run, kept, 2)
        with ended(process):
            wait_for(run, process, 10)
            with suppress(OSError), (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(1 << 16))
            told = told_by(process, run)
        assert process.returncode == 1, told
        assert "No space left on device" in told
        assert "continues from the last" in told
        (disk / "filler").unlink()
        (place,) = disk.iterdir()
        checkpoint.recover(str(place))
        assert 9 <= checkpoint.last(place)[1].step < 60
        undisturbed(prepared, run, kept)
        assert lines_of(run) == lines_of(tmp_path / "quiet")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_bucket_away_for_a_moment_delays_nothing_and_one_that_stays_away_stops_the_run(
    prepared: Prepared, short: TrainConfig, tmp_path: Path
) -> None:
    with s3_server() as server:
        kept = short.model_copy(update={"storage": server.uri, "storage_patience": 60.0})
        process = driver(prepared, tmp_path / "pause", kept, 2)
        with ended(process):
            wait_for(tmp_path / "pause", process, 10)
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(8)
            server.process.send_signal(signal.SIGCONT)
            told = told_by(process, tmp_path / "pause")
        assert process.returncode == 0, told
        assert Run.open(tmp_path / "pause").finished() is not None
        process = driver(prepared, tmp_path / "gone", short.model_copy(update={"storage": server.uri}), 2)
        with ended(process):
            wait_for(tmp_path / "gone", process, 10)
            server.process.kill()
            told = told_by(process, tmp_path / "gone")
        assert process.returncode == 1, told
        assert "storage" in told
        assert "continues from the last" in told
