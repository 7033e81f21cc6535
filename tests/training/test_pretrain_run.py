import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
import yaml
from safetensors.torch import load_file

from plcp.base import ConfigError, ModelError
from plcp.data.prepared import Prepared
from plcp.forecast.forecaster import Forecaster
from plcp.model.model import HEADS
from plcp.training import checkpoint, progress
from plcp.training.export import export
from plcp.training.loop import train
from plcp.training.runs import PRETRAINED, PretrainConfig, TrainConfig
from tests.training.conftest import lines_of

SEED, ROOT = 3, Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def no_ray_left() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def config(options: TrainConfig) -> PretrainConfig:
    """Eight steps on two workers, validated every fourth."""
    shared = {name: getattr(options, name) for name in ("model", "spec", "loader", "engine", "validate_every", "log_every")}
    return PretrainConfig(**shared, steps=8)


@pytest.fixture(scope="module")
def pretrained(prepared: Prepared, config: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained") / "R"
    train(prepared.root, run, config, SEED)
    return run


@pytest.mark.soak
def test_a_pretraining_job_that_was_killed_ends_with_the_same_numbers_and_weights(
    prepared: Prepared, config: PretrainConfig, pretrained: Path, tmp_path: Path
) -> None:
    run, options = tmp_path / "R", tmp_path / "options.yaml"
    options.write_text(yaml.safe_dump({"pretrain": config.model_dump(mode="json")}))
    job = [sys.executable, "jobs/pretrain.py", str(prepared.root), "--out", str(run), "--config", str(options), "--seed", str(SEED)]
    with subprocess.Popen(job, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as driver:
        while driver.poll() is None and max((line["step"] for line in progress.read(run / progress.METRICS)), default=0) < 6:
            time.sleep(0.02)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    assert checkpoint.last(run)[1].step == 4
    train(prepared.root, run, config, SEED)
    assert lines_of(run) == lines_of(pretrained)
    weights, same = load_file(checkpoint.learnt(run)), load_file(checkpoint.learnt(pretrained))
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in same)


@pytest.mark.system
def test_a_fine_tuning_begins_with_the_pretrained_encoder_and_is_exported(
    prepared: Prepared, options: TrainConfig, pretrained: Path, tmp_path: Path
) -> None:
    still = options.engine.model_copy(update={"learning_rate": 1e-12, "averaging": 0.0, "weight_decay": 0.0})
    short = options.model_copy(update={"steps": 2, "validate_every": 2, "engine": still})
    run = tmp_path / "R"
    train(prepared.root, run, short, SEED, pretrained=pretrained)
    assert lines_of(run)[0] == {"step": 0, "fresh": sorted(HEADS)}
    before, after = load_file(run / PRETRAINED), load_file(checkpoint.learnt(run))
    shared = before.keys() & after.keys()
    assert {name.split(".")[0] for name in after.keys() - shared} == set(HEADS)
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in shared)
    assert json.loads((run / "config.json").read_text())["begins_with"]
    Forecaster.load(export(run, tmp_path / "M"))
    with pytest.raises(ConfigError, match="begins_with"):
        train(prepared.root, run, short, SEED)
    with pytest.raises(ModelError, match="a pretraining forecasts nothing"):
        export(pretrained, tmp_path / "none")
