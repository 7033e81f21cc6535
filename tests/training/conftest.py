"""One worker's process group, a prepared little shop, and a run's smallest options."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from plcp.data.contract import Dataset
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.spec import Spec
from plcp.model.model import ModelConfig
from plcp.training.engine import EngineConfig
from plcp.training.runs import TrainConfig
from tests.conftest import little_shop


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process as the only worker."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
            patch.setenv(name, value)
        store = tmp_path_factory.mktemp("group") / "store"
        torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
        yield
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(Dataset.of(little_shop()), tmp_path_factory.mktemp("prepared") / "P", PrepareConfig(skus_per_shard=7))


@pytest.fixture(scope="session")
def options() -> TrainConfig:
    """Twelve steps of ZeRO-3 on two workers, validated every fourth."""
    return TrainConfig(
        model=ModelConfig.model_validate({"width": 32, "text": {"width": 32, "vocabulary": 512}, "image": {"width": 32, "layers": 1}}),
        spec=Spec(history_weeks=52, horizon=8),
        loader=LoaderConfig(batch_size=32, validation_weeks=12, min_observed=4),
        engine=EngineConfig(zero_stage=3, warmup_steps=2, averaging=0.5),
        steps=12,
        refit_steps=0,
        validate_every=4,
        log_every=1,
    )


def lines_of(run: Path) -> list[dict]:
    """A run's metrics without what the clock decides."""
    from plcp.training import progress

    clock = ("cases_per_second", "tokens_per_second", "peak_share", "waiting", "memory_gb")
    return [{k: v for k, v in line.items() if k not in clock} for line in progress.read(run / progress.METRICS)]
