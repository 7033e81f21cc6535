from pathlib import Path

import pytest

from benchmarks.measure import apart
from benchmarks.training import contestants
from benchmarks.training.speed import config_of, ratio
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


def test_a_ratio_is_held_against_its_target() -> None:
    assert ratio("a", 96.0, 100.0, 0.95).met
    assert not ratio("a", 94.0, 100.0, 0.95).met
