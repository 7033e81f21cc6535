from pathlib import Path

import pytest

from tests.report.shop import Shop, shop


@pytest.fixture(scope="package")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder: Path = tmp_path_factory.mktemp("shop")
    return shop(folder)
