"""A loss that leaps: noticed against the losses before it, reported with its products, and left out of the step where that is the policy.

Everything is decided on the device, so that no step waits for the host; what was noticed is read when a line of the log is due.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, distributed

from plcp.base import Config

RECENT, FEWEST = 64, 16  # losses compared with, and how many there have to be
NORMAL = 1.4826  # times the median absolute deviation: the standard deviation of normal values
FLOOR = 0.02  # of the median: least spread assumed, so that a loss that has settled does not cry at every move


class SpikeConfig(Config):
    """What is done about a batch whose loss leaps."""

    policy: Literal["report", "skip"] = Field("report", description="skip: its gradient is left out of the step")
    threshold: float = Field(10.0, gt=0, description="standard deviations above the median of the last losses, both robust")


class Spikes:
    """Watches the mean loss over all workers; every worker comes to the same judgement."""

    def __init__(self, config: SpikeConfig, device: torch.device, recent: list[float]) -> None:
        """`recent`: as `recent()` gave it."""
        self.config = config
        self.losses = torch.full((RECENT,), torch.nan, device=device)
        self.losses[: len(recent)] = torch.tensor(recent)
        self.count = len(recent)
        self._noted: list[tuple[int, Tensor, Tensor, list[str]]] = []  # step, whether it leapt, loss, SKUs

    def judged(self, loss: Tensor, step: int, sku_id: list[str]) -> Tensor:
        """The loss () to learn from: times 0 where it leapt and is to be left out. Called by all workers."""
        mean = loss.detach().float().clone()
        distributed.all_reduce(mean)
        mean /= distributed.get_world_size()
        median = self.losses.nanmedian()
        spread = torch.maximum(NORMAL * (self.losses - median).abs().nanmedian(), FLOOR * median.abs())
        finite = torch.isfinite(mean)  # what is not is left out and told of anyway
        leapt = finite & (mean > median + self.config.threshold * spread) & (self.count >= FEWEST)
        place = self.count % RECENT
        self.losses[place] = torch.where(finite, mean, self.losses[place])
        self.count += 1
        self._noted.append((step, leapt, mean, sku_id))
        return loss * ~leapt if self.config.policy == "skip" else loss

    def recent(self) -> list[float]:
        """The losses compared with, from the oldest on, for a checkpoint."""
        losses = self.losses.roll(-(self.count % RECENT)) if self.count > RECENT else self.losses
        return [value for value in losses.tolist() if value == value]

    def report(self) -> list[dict[str, Any]]:
        """A line for each batch since the last report whose loss leapt, with the products of all workers. Called by all of them."""
        if not self._noted:
            return []
        leapt = torch.stack([flag for _, flag, _, _ in self._noted]).tolist()
        found = [noted for noted, flag in zip(self._noted, leapt, strict=True) if flag]
        self._noted = []
        return [
            {"step": step, "spike": float(loss), "left_out": self.config.policy == "skip", "sku_id": everywhere(sku_id)}
            for step, _, loss, sku_id in found
        ]


def everywhere(sku_id: list[str]) -> list[str]:
    """The SKUs of all workers' batches."""
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, sku_id)
    return sorted({sku for of_worker in gathered for sku in of_worker})
