from pathlib import Path

import pytest

from benchmarks.measure import apart
from benchmarks.training import contestants
from benchmarks.training.speed import Speeds, config_of
from plcp.data.contract import Dataset
from plcp.data.prepared import prepare
from tests.conftest import little_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(Dataset.of(little_shop()), tmp_path_factory.mktemp("prepared") / "P").root


def test_the_bare_loop_learns_on_the_batches_of_the_real_one(shop: Path) -> None:
    assert contestants.bare(shop, config_of("tiny", 16, contestants.WARM_UP + 2, 1, 1), 1) > 0


@pytest.mark.soak
def test_the_trainer_learns_under_deepspeed(shop: Path) -> None:
    assert apart(contestants.trainer, shop, config_of("tiny", 16, contestants.WARM_UP + 4, 1, 1), 1).value > 0


def test_the_best_of_all_rounds_is_held_against_its_target() -> None:
    speeds = Speeds()
    for ours, reference in ((90.0, 100.0), (96.0, 80.0)):
        speeds.add("ours", ours)
        speeds.add("reference", reference)
    assert speeds.ratio("a", "ours", "reference", 0.95).met
    assert not speeds.ratio("a", "ours", "reference", 0.97).met
    assert speeds.ratio("a", "ours", "reference", 0.48, times=2).ratio == 0.48
