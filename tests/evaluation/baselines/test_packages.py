import pytest

from plcp.base import ConfigError
from plcp.evaluation.baselines.packages import require


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it() -> None:
    require("recent", "numpy")
    with pytest.raises(ConfigError, match=r"model recent needs the package no_such_package; .*plcp\[peers\]"):
        require("recent", "numpy", "no_such_package")
