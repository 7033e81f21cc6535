"""A simulated shop with known truth."""

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.environment import ShopEnvironment
from plcp.data.simulator.policy import Observation, ShopPolicy
from plcp.data.simulator.shop import Decisions, Outcome
from plcp.data.simulator.stream import simulate

__all__ = ["Decisions", "Observation", "Outcome", "ShopEnvironment", "ShopPolicy", "SimulatorConfig", "simulate"]
