import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from safetensors.torch import load_file

from plcp.base import ConfigError, ModelError
from plcp.data.prepared import Prepared
from plcp.forecast import calibration
from plcp.forecast.calibration import Calibration
from plcp.forecast.ends import PastEnds
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.forecast.replicas import cores
from plcp.forecast.trees import TOLD
from plcp.tables import QUANTILES
from plcp.training import checkpoint, growing, progress
from plcp.training.cluster import TrainingError
from plcp.training.export import TRUSTED, export
from plcp.training.loop import train
from plcp.training.runs import TrainConfig
from tests.training.conftest import lines_of

pytestmark = pytest.mark.system
SEED = 3
NOTICE_S = 5.0
DRIVER = """
import sys
from pathlib import Path
from plcp.training.loop import TrainConfig, train
train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig.model_validate_json(sys.argv[3]), int(sys.argv[4]))
"""


@pytest.fixture(scope="module", autouse=True)
def no_ray_left() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def undisturbed(prepared: Prepared, options: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "R"
    train(prepared.root, run, options, SEED)
    return run


def signalled(prepared: Prepared, run: Path, options: TrainConfig, sign: signal.Signals, step: int) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own that gets a signal once the checkpoint of `step` is stored; its workers stand still meanwhile."""
    command = [sys.executable, "-c", DRIVER, str(prepared.root), str(run), options.model_dump_json(), str(SEED)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        while driver.poll() is None and last_stored(run) < step:
            time.sleep(0.02)
        workers = workers_of(driver)
        tell(workers, signal.SIGSTOP)
        try:
            driver.send_signal(sign)
            time.sleep(NOTICE_S)
        finally:
            tell(workers, signal.SIGCONT)
        assert driver.stderr is not None
        return subprocess.CompletedProcess(command, driver.wait(), stderr=driver.stderr.read())


def tell(workers: list[int], sign: signal.Signals) -> None:
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, sign)


def wait_for(driver: subprocess.Popen, run: Path, step: int) -> None:
    """Until a run has taken so many steps, or ended."""
    while driver.poll() is None and max((line["step"] for line in progress.read(run / progress.METRICS)), default=0) < step:
        time.sleep(0.02)


def last_stored(run: Path) -> int:
    """Step of the last checkpoint that is stored, which happens while training goes on; 0 before the first."""
    try:
        return checkpoint.last_state(run).step
    except ModelError:
        return 0


def workers_of(driver: subprocess.Popen) -> list[int]:
    """Process ids of a local training's workers."""
    return [child.pid for child in psutil.Process(driver.pid).children(recursive=True) if "RayTrainWorker" in child.name()]


def steps_kept(run: Path) -> set[int]:
    return {json.loads(path.read_text())["step"] for path in run.glob("checkpoints/*/state.json")}


def test_two_workers_learn_and_keep_the_best_checkpoint_the_best_before_and_the_last(undisturbed: Path, options: TrainConfig) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    losses = {line["step"]: line["validation_quantiles"] for line in lines_of(undisturbed) if "score" in line}
    assert list(losses) == [4, 8, 12]
    assert result["steps"] == 12
    assert result["skipped"] == 0
    assert result["best_step"] == min(losses, key=lambda step: losses[step])
    assert result["validation"]["quantiles"] == min(losses.values())
    learnt = [line["quantiles"] for line in lines_of(undisturbed) if "quantiles" in line]
    assert np.mean(learnt[-4:]) < np.mean(learnt[:4])
    records = [step for step in losses if losses[step] == min(loss for at, loss in losses.items() if at <= step)]
    assert steps_kept(undisturbed) == {*records[-2:], 12}
    folder, state = checkpoint.best(undisturbed)
    assert state.loader["step"] + state.loader["epoch"] > 0
    assert state.learning_rate == options.engine.rate(result["best_step"] - 1, 0, 12)
    assert len(list(folder.glob("engine/*optim_states.pt"))) == 2


def test_a_run_killed_and_interrupted_ends_with_the_same_numbers_and_weights(
    prepared: Prepared, options: TrainConfig, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "R"
    killed = signalled(prepared, run, options, signal.SIGKILL, 4)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.last(run)[1].step == 4
    stopped = signalled(prepared, run, options, signal.SIGINT, 8)
    assert stopped.returncode != 0
    assert "KeyboardInterrupt" in stopped.stderr
    assert checkpoint.last(run)[1].step == 8
    train(prepared.root, run, options, SEED)
    assert lines_of(run) == lines_of(undisturbed)
    (folder, _), (expected, _) = checkpoint.best(run), checkpoint.best(undisturbed)
    weights, same = load_file(folder / checkpoint.WEIGHTS), load_file(expected / checkpoint.WEIGHTS)
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in same)


def test_a_worker_told_to_stop_leaves_a_checkpoint_of_that_step_and_one_killed_is_replaced(
    prepared: Prepared, options: TrainConfig, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "R"
    command = [sys.executable, "-c", DRIVER, str(prepared.root), str(run), options.model_dump_json(), str(SEED)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        for step, sign in ((5, signal.SIGTERM), (9, signal.SIGKILL)):
            wait_for(driver, run, step)
            os.kill(workers_of(driver)[-1], sign)
            if sign == signal.SIGTERM:  # leaves a checkpoint between those that were due
                wait_for(driver, run, 8)
                assert any(step % 4 for step in steps_kept(run))
        assert driver.stderr is not None
        told = driver.stderr.read()
        assert driver.wait() == 0, told
    assert lines_of(run) == lines_of(undisturbed)
    (folder, _), (expected, _) = checkpoint.last(run), checkpoint.last(undisturbed)
    assert torch.load(folder / "engine" / "average-00001.pt")[0].equal(torch.load(expected / "engine" / "average-00001.pt")[0])


def test_a_refit_learns_from_the_validation_weeks_too_and_survives_a_kill(
    prepared: Prepared, options: TrainConfig, undisturbed: Path, tmp_path: Path
) -> None:
    refit, run = options.model_copy(update={"refit_steps": 6, "steps": 8}), tmp_path / "R"
    killed = signalled(prepared, run, refit, signal.SIGKILL, 12)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.last(run)[1].refit_from == 8
    result = train(prepared.root, run, refit, SEED)
    assert result.steps == 14
    rates = {line["step"]: line["learning_rate"] for line in lines_of(run) if "learning_rate" in line}
    assert rates[8] == options.engine.learning_rate > rates[12] > rates[14]
    (best, judged), (last, end) = checkpoint.best(run), checkpoint.last(run)
    assert judged.step == result.best_step <= 8
    assert (end.step, end.loader["epoch"]) == (14, 0)
    before, after = (load_file(folder / checkpoint.WEIGHTS) for folder in (best, last))
    assert not torch.equal(before["curve.out.weight"], after["curve.out.weight"])
    forecaster = Forecaster.load(export(run, tmp_path / "M"))
    assert torch.equal(forecaster.artifact.model.curve.out.weight.detach(), after["curve.out.weight"])


def test_a_refit_starts_from_the_best_weights_where_patience_ended_the_run(
    prepared: Prepared, options: TrainConfig, tmp_path: Path
) -> None:
    wild = options.engine.model_copy(update={"learning_rate": 0.3, "averaging": 0.0})
    hasty = options.model_copy(update={"engine": wild, "patience": 1, "refit_steps": 3, "validate_every": 2})
    train(prepared.root, tmp_path / "R", hasty, SEED)
    (_, judged), (last, end) = checkpoint.best(tmp_path / "R"), checkpoint.last(tmp_path / "R")
    assert end.refit_from is not None
    assert judged.step < end.refit_from < end.step == end.refit_from + 3
    engine = torch.load(next((last / "engine").glob("*_model_states.pt")), weights_only=False)
    assert engine["global_steps"] == judged.step + 3  # the steps in between are forgotten


def test_a_finished_run_is_returned_and_one_with_other_options_is_refused(
    prepared: Prepared, options: TrainConfig, undisturbed: Path
) -> None:
    started = time.monotonic()
    assert train(prepared.root, undisturbed, options, SEED).best_step > 0
    assert time.monotonic() - started < 2
    with pytest.raises(ConfigError, match="steps 12, not 13"):
        train(prepared.root, undisturbed, options.model_copy(update={"steps": 13}), SEED)


def test_an_export_forecasts_with_the_best_weights_and_calibrated_quantiles(prepared: Prepared, undisturbed: Path, tmp_path: Path) -> None:
    forecaster = Forecaster.load(export(undisturbed, tmp_path / "M"))
    folder, _ = checkpoint.best(undisturbed)
    learnt = forecaster.artifact.model.state_dict()
    for name, value in load_file(folder / checkpoint.WEIGHTS).items():
        assert torch.equal(learnt[name], value), name
    assert np.any(forecaster.artifact.calibration.shift != 0)
    assert np.array_equal(forecaster.artifact.calibration.ends.hazard, PastEnds.of(prepared).hazard.round(4))
    shard = prepared.read(0)
    forecast, skipped = forecaster.forecast_shard(shard, prepared.origin)
    assert len(forecast.curve) == (len(shard) - len(skipped)) * 8 > 0
    quantiles = forecast.curve.select(QUANTILES).to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    with pytest.raises(ModelError, match=r"config\.json"):
        export(tmp_path, tmp_path / "none")


def test_trees_are_exported_beside_the_network_and_forecast_with_it(
    prepared: Prepared, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Forecaster.load(export(undisturbed, tmp_path / "alone"))
    monkeypatch.setattr(growing, "LEAST", 500)
    both = Forecaster.load(export(undisturbed, tmp_path / "M"))
    trees = both.artifact.calibration.trees
    assert alone.artifact.calibration.trees.curve.models == 0
    assert (trees.curve.models, trees.weeks) == (len(TOLD), prepared.weeks)
    assert f"{trees.curve.trees} of curves" in both.card
    shard = prepared.read(0)
    one, other = (forecaster.forecast_shard(shard, prepared.origin)[0].curve for forecaster in (alone, both))
    assert (one["sku_id"] == other["sku_id"]).all()
    assert (one["q50"] != other["q50"]).any()
    on_one, on_two = (Forecaster.load(tmp_path / "M", ForecasterConfig(), cores(count).map) for count in (1, 2))
    assert on_one.forecast_shard(shard, prepared.origin)[0].curve.equals(on_two.forecast_shard(shard, prepared.origin)[0].curve)


def test_a_share_of_the_correction_is_made(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = np.arange(9) - 4.0 + Calibration.identity().shift
    monkeypatch.setattr(calibration, "fit", lambda *_: asked)
    made = Forecaster.load(export(undisturbed, tmp_path / "M")).artifact.calibration
    assert np.array_equal(made.shift, TRUSTED * asked)
    assert 0 < TRUSTED < 1


def test_a_loss_that_is_not_finite_is_left_out_counted_and_ends_the_run_with_the_products_named(
    prepared: Prepared, options: TrainConfig, tmp_path: Path
) -> None:
    wild = options.model_copy(
        update={"max_skipped": 2, "engine": options.engine.model_copy(update={"learning_rate": 1e30, "zero_stage": 1})}
    )
    with pytest.raises(TrainingError, match=r"not finite, for the 3th time.*Products in the batch: P\d+"):
        train(prepared.root, tmp_path / "R", wild, SEED)
    told = [line for line in lines_of(tmp_path / "R") if "not_finite" in line]
    assert [line["skipped"] for line in told] == [1, 2, 3]
    assert all(line["sku_id"] for line in told)
