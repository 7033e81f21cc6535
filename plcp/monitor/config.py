"""From which values on the monitor raises an alarm."""

from pydantic import Field

from plcp.base import Config


class MonitorConfig(Config):
    """Thresholds of the monitor, and what it looks at."""

    stability: float = Field(0.25, gt=0, description="population stability index; by custom 0.1 is a small change, 0.25 a large one")
    unseen: float = Field(0.02, ge=0, le=1, description="share of products whose category or brand the training data does not hold")
    missing: float = Field(0.1, ge=0, le=1, description="rise of the share of missing values above the training data's")
    price_jump: float = Field(0.5, gt=0, description="relative change from a product's last price that is a jump")
    price_jumps: float = Field(0.05, ge=0, le=1, description="share of prices that jump")
    relative_error: float = Field(1.0, gt=0, description="absolute error beside that of repeating the last four weeks' mean")
    bias: float = Field(0.25, gt=0, description="mean forecast less units, beside the units")
    calibration_gap: float = Field(0.15, gt=0, description="distance of q10, q50 and q90 from their levels")
    min_cases: int = Field(200, ge=1, description="weeks of products below which a group is shown and not judged")
    runs: int = Field(8, ge=1, description="newest published runs judged")
