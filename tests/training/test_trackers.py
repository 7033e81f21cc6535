"""Real trackers without a server, where they are installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from plcp.base import ConfigError
from plcp.training import trackers
from plcp.training.progress import MetricsLog

OPTIONS = {"steps": 10, "engine": {"zero_stage": 1}}


def test_a_tracker_whose_package_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"wandb is not installed; `pip install 'plcp\[wandb\]'`"):
        trackers.require(["wandb"])


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_a_run_and_its_continuation_are_one_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for step in (1, 2):
        log = MetricsLog(tmp_path, step - 1, True, lambda: trackers.open_trackers(["mlflow"], tmp_path, OPTIONS))
        log.write(step, loss=1 / step, memory_gb=[1.0, 2.0], sku_id=["P1"])
        log.close()
    client = MlflowClient()
    experiment = client.get_experiment_by_name(trackers.PROJECT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"steps": "10", "engine.zero_stage": "1"}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(1, 1.0), (2, 0.5)]
    assert run.data.metrics["memory_gb/1"] == 2.0


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_a_run_is_kept_by_wandb_below_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = MetricsLog(tmp_path, 0, True, lambda: trackers.open_trackers(["wandb"], tmp_path, OPTIONS))
    log.write(1, loss=1.0)
    log.close()
    (kept,) = tmp_path.glob(f"wandb/offline-run-*/run-{trackers.identity(tmp_path)}.wandb")
    assert kept.stat().st_size > 0
