"""A simulated shop with known truth."""

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.stream import simulate

__all__ = ["SimulatorConfig", "simulate"]
