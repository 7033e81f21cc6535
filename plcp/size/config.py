"""What is to be sized."""

from typing import Literal

from pydantic import Field

from plcp.base import Config


class SizeConfig(Config):
    """A shop, a cluster, and how much is learned from it."""

    skus: int = Field(1_000_000, ge=1)
    weeks: int = Field(104, ge=8, description="of data")
    gpus: int = Field(8, ge=1)
    gpu: Literal["h200", "h100", "a100-80", "a100-40", "l40s", "a10", "l4"] = "h200"
    hourly_price: float | None = Field(None, gt=0, description="of one GPU with its share of the server, in any currency")
    server_memory: float | None = Field(None, gt=0, description="GB of the server's memory for each GPU that offload may take")
    precision: Literal["bf16", "fp32"] = "bf16"
    images_per_sku: float = Field(1.0, ge=0, description="photos; the model looks at the first")
    tokens: int | None = Field(None, ge=1, description="of a text, on average; if not given, as many as the model reads")
    batch_per_gpu: int = Field(128, ge=1, description="cases per step, in smaller micro-batches where they do not fit at once")
    cases_per_sku: int = Field(8, ge=1, description="origins learned from per product and epoch of fine-tuning")
    epochs: float = Field(1.0, gt=0, description="of fine-tuning")
    pretrain_epochs: float = Field(1.0, ge=0, description="times that pretraining sees each product")
    changed: float = Field(0.02, ge=0, le=1, description="share of texts and photos that are new in a week")
