"""Packages of the extra `peers`, which some contestants cannot do without."""

from importlib.util import find_spec

from plcp.base import ConfigError


def require(model: str, *packages: str) -> None:
    """Raises ConfigError naming the first package that a model needs and that is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"model {model} needs the package {package}; install it with: pip install 'plcp[peers]'")
