"""A little shop, its truth, and its cases at one origin."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.evaluation.cases import Cases, Truth, Window, windows
from tests.conftest import FIRST_WEEK, little_shop

HORIZON, LAUNCH_HORIZON = 6, 4


def week(index: int) -> dt.date:
    return FIRST_WEEK + dt.timedelta(weeks=index)


@pytest.fixture(scope="module")
def one_cpu() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shop() -> Dataset:
    return Dataset.of(little_shop(skus=60, weeks=90))


@pytest.fixture(scope="session")
def truth(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth.of(prepare(shop, tmp_path_factory.mktemp("whole") / "prepared"))


@pytest.fixture(scope="session")
def window(truth: Truth) -> Window:
    return windows(truth.timeline, [week(64)], HORIZON, LAUNCH_HORIZON)[0]


@pytest.fixture(scope="session")
def cases(shop: Dataset, truth: Truth, window: Window) -> Cases:
    origin = truth.timeline.date(window.origin)
    in_life = [truth.skus[row] for row in truth.in_life(window.origin)]
    return Cases(origin, in_life, HORIZON, asof.launches(shop, origin, truth.timeline.date(window.until)), LAUNCH_HORIZON)


@pytest.fixture(scope="session")
def past(shop: Dataset, cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The data cut at the cases' origin."""
    return prepare(asof.cut(shop, cases.origin), Path(tmp_path_factory.mktemp("past")) / "prepared")
