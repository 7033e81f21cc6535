"""One little simulated shop, in memory and on disk, for all tests of the simulator."""

from pathlib import Path

import polars as pl
import pytest

from plcp.data.simulator import SimulatorConfig, simulate
from plcp.data.simulator.history import History, run

CONFIG = SimulatorConfig(skus=300, weeks=70, seed=3, images=2, image_size=48, dirt=False, workers=1)


@pytest.fixture(scope="package")
def history() -> History:
    return run(CONFIG, 0)


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop as tables, without dirt."""
    out = tmp_path_factory.mktemp("simulated") / "shop"
    simulate(CONFIG, out)
    return out


def table(shop: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(shop / name / "*.parquet")
