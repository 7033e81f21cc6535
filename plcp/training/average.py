"""A moving average of the weights, which validates better and steadier than where the last step happened to end."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """Exponential moving average in fp32 of the tensors a worker holds, sharded as they are.

    The decay starts low, so that the first steps do not linger: min(decay, (1 + n) / (10 + n)) at update n.
    """

    def __init__(self, weights: list[Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [*(w.detach().float().clone() for w in weights), torch.zeros(())]  # the last counts the updates

    def restore(self, values: list[Tensor], weights: list[Tensor]) -> None:
        """What another average of the same tensors held in `values`; each lies where its weight does."""
        *averages, count = values
        self.values = [*(a.to(w.device) for a, w in zip(averages, weights, strict=True)), count.cpu()]

    @torch.no_grad()
    def update(self, weights: list[Tensor]) -> None:
        count = self.values[-1].item()
        torch._foreach_lerp_(self.values[:-1], [w.float() for w in weights], 1 - min(self.decay, (1 + count) / (10 + count)))
        self.values[-1] += 1

    @contextmanager
    def swapped(self, weights: list[Tensor]) -> Iterator[None]:
        """The averages in place of the weights."""
        own = [w.clone() for w in weights]
        self._copy(self.values[:-1], weights)
        try:
            yield
        finally:
            self._copy(own, weights)

    @staticmethod
    @torch.no_grad()
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        for value, weight in zip(source, target, strict=True):
            weight.copy_(value)
