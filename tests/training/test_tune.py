import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from plcp.base import ConfigError
from plcp.data.prepared import Prepared
from plcp.training import progress
from plcp.training.export import export
from plcp.training.runs import TrainConfig
from plcp.training.space import TuneConfig
from plcp.training.tune import Search, Trial, survivors, tune

ROOT = Path(__file__).parents[2]
SPACE = TuneConfig.model_validate(
    {"space": {"engine.learning_rate": {"low": 1e-3, "high": 1e-2}}, "trials": 4, "first_rung": 4, "reduction": 2}
)


@pytest.fixture
def options(options: TrainConfig) -> TrainConfig:
    """One worker, so that the trials are begun quickly."""
    return options.model_copy(update={"workers": 1, "steps": 8})


def search_of(losses: list[dict[str, float]], prepared: Prepared, options: TrainConfig, folder: Path) -> Search:
    trials = [Trial(f"trial-{k:03d}", {}, known) for k, known in enumerate(losses)]
    return Search(folder, prepared, options, SPACE, 0, trials)


def test_the_better_ones_by_the_rung_before_go_on_and_failed_ones_do_not(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    search = search_of([{"4": 0.3}, {"4": 0.1, "8": 0.5}, {"4": 0.2, "8": 0.4}, {"4": 0.0}], prepared, options, tmp_path)
    search.trials[3].failed = "its loss is not finite"
    assert [trial.name for trial in survivors(search, 2, before=8)] == ["trial-001", "trial-002"]
    assert [trial.name for trial in survivors(search, 1, before=9)] == ["trial-002"]
    assert len(survivors(search, 4, before=4)) == 3
    assert [trial.name for trial in search.due(8)] == ["trial-000"]
    assert search.table()["trial"].to_list() == ["trial-002", "trial-001", "trial-003", "trial-000"]
    assert Trial("none", {}).loss == math.inf


def test_an_option_that_does_not_exist_or_another_search_in_the_folder_is_refused(
    prepared: Prepared, options: TrainConfig, tmp_path: Path
) -> None:
    for space, message in (
        ({"engine.learning_rat": [0.1]}, r"train\.engine\.learning_rat: Extra inputs"),
        ({"engine.learning_rate": [-1.0]}, r"train\.engine\.learning_rate: .* greater than 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Search.open(tmp_path, prepared, options, TuneConfig.model_validate({"space": space}), 0)
    Search.open(tmp_path, prepared, options, SPACE, 0)
    Search.open(tmp_path, prepared, options, SPACE.model_copy(update={"parallel": 2}), 0)
    with pytest.raises(ConfigError, match=r"holds a search with tune\.trials 4, not 5"):
        Search.open(tmp_path, prepared, options, SPACE.model_copy(update={"trials": 5}), 0)
    with pytest.raises(ConfigError, match="no multiple"):
        tune(prepared.root, tmp_path, options, SPACE.model_copy(update={"first_rung": 5}))


def test_a_trials_run_has_the_searchs_options_and_its_own(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    search = search_of([], prepared, options.model_copy(update={"cpus_per_worker": 2}), tmp_path)
    config = search.config(Trial("trial-000", {"engine.learning_rate": 0.5, "model.text.max_tokens": 9}))
    assert (config.engine.learning_rate, config.engine.zero_stage, config.cpus_per_worker) == (0.5, 3, 2)
    assert config.model.text is not None
    assert (config.model.text.max_tokens, config.model.text.width, config.steps) == (9, 32, 8)


def known(out: Path) -> list[dict[str, Any]]:
    path = out / "search.json"
    return json.loads(path.read_text())["trials"] if path.exists() else []


def workers_of(driver: int) -> list[int]:
    """Processes below a search's that are training."""
    found = subprocess.run(["ps", "-eo", "pid,sid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()[1:]]
    return [int(pid) for pid, session, args in rows if int(session) == driver and "RayTrainWorker" in args]


@pytest.mark.soak
def test_a_search_whose_worker_and_driver_are_killed_keeps_what_is_finished_and_ends_as_an_undisturbed_one(
    prepared: Prepared, options: TrainConfig, tmp_path: Path
) -> None:
    out, undisturbed, file = tmp_path / "S", tmp_path / "U", tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"train": options.model_dump(mode="json") | {"workers": 1}, "tune": SPACE.model_dump(mode="json")}))

    def command(folder: Path) -> list[str]:
        return [sys.executable, "jobs/tune.py", str(prepared.root), "--out", str(folder), "--config", str(file), "--seed", "3"]

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command(out), cwd=ROOT, env=environment, start_new_session=True) as driver:
        while not any(trial["losses"] for trial in known(out)):  # the first trial is at its rung
            assert driver.poll() is None
            time.sleep(0.05)
        while not (pids := workers_of(driver.pid)):  # the second one's worker
            time.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)
        while sum(bool(trial["losses"]) for trial in known(out)) < 2:
            assert driver.poll() is None
            time.sleep(0.05)
        while max((line["step"] for line in progress.read(out / "trial-002" / progress.METRICS)), default=0) < 2:
            time.sleep(0.05)
        driver.kill()
    before = [(out / f"trial-00{k}" / progress.METRICS).stat().st_mtime_ns for k in (0, 1)]
    assert [bool(trial["losses"]) for trial in known(out)] == [True, True, False, False]
    ended = subprocess.run(command(out), cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    subprocess.run(command(undisturbed), cwd=ROOT, env=environment, check=True)
    assert known(out) == known(undisturbed)
    losses = {trial["name"]: trial["losses"] for trial in known(out)}
    assert sorted(len(rungs) for rungs in losses.values()) == [1, 1, 2, 2]
    best = json.loads((out / "search.json").read_text())["best"]
    assert losses[best]["8"] == min(rungs["8"] for rungs in losses.values() if "8" in rungs)
    assert f"export {out / best}" in ended.stdout.replace("\n", "")
    dropped = [k for k in (0, 1) if len(losses[f"trial-00{k}"]) == 1]
    assert all((out / f"trial-00{k}" / progress.METRICS).stat().st_mtime_ns == before[k] for k in dropped)
    assert export(out / best, tmp_path / "M").exists()
