"""What may be chosen about a simulated shop."""

from datetime import date
from typing import Literal

from pydantic import Field, field_validator

from plcp.base import Config
from plcp.data.simulator.world import VERSIONS, World

CHUNK = 1000  # SKUs made together: they alone share substitutes, successors and complements


class SimulatorConfig(Config):
    """The size and shape of a simulated shop. Everything else is a function of `seed` and `version`."""

    version: Literal[1] = Field(1, description="of the calibrated defaults; figures of one version stay comparable")
    skus: int = Field(1000, ge=1, description="products in the catalog")
    weeks: int = Field(104, ge=8, description="weeks of sales")
    seed: int = Field(0, ge=0, lt=2**63)
    first_week: date = Field(date(2023, 1, 2), description="a Monday")
    frequency: Literal["weekly", "daily"] = "weekly"
    images: int = Field(0, ge=0, le=8, description="photos per product; 0 draws none")
    image_size: int = Field(96, ge=16, le=512, description="pixels along one side of a photo")
    baskets_per_sku: float = Field(20, ge=0, description="purchases in the sample of baskets, per product")
    dirt: bool = Field(True, description="whether the tables carry the faults of real ones")
    workers: int = Field(0, ge=0, description="processes; 0 is one per core")

    @field_validator("first_week")
    @classmethod
    def _monday(cls, day: date) -> date:
        if day.weekday():
            raise ValueError(f"first_week: {day} is no Monday")
        return day

    @property
    def world(self) -> World:
        return VERSIONS[self.version]

    @property
    def chunks(self) -> int:
        return -(-self.skus // CHUNK)

    def chunk_size(self, chunk: int) -> int:
        """SKUs in a chunk: CHUNK in all but the last."""
        return min(CHUNK, self.skus - chunk * CHUNK)
