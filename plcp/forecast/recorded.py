"""A model's forward pass as one recorded graph: the same operations and the same numbers, without Python between them.

A pass of one product is a thousand small operations, and Python's part in them takes longer than the arithmetic. In a server it also
hands Python's lock over at each of them, and waits for it while requests are read.
"""

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]
Forward = Callable[[Batch], Batch]
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # relative: how far batches of two sizes differ anyway


class Named(nn.Module):
    """A model whose forward pass has the signature that recording needs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Batch:
        outputs: Batch = self.model(batch)
        return outputs


def recorded(model: nn.Module, batch: Batch) -> Forward:
    """The forward pass of a model in evaluation mode, recorded with a batch of cases, for batches of any number of them.

    What a model decides by values in Python stays as it was with this batch; where that changes what a longer batch gives, the model
    itself is returned, with a warning.
    """
    twice = {name: torch.cat([value, value]) for name, value in batch.items()}
    with torch.inference_mode():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it names every such decision; the test below says whether one matters
            graph = torch.jit.freeze(torch.jit.trace(Named(model).eval(), (batch,), strict=False, check_trace=False))
        try:
            if all(agree(model(given), graph(given)) for given in (batch, twice, batch)):
                return graph
        except RuntimeError:  # shapes that do not fit: one of them is a constant
            pass
    logging.getLogger(__name__).warning("the recorded model gives other numbers than the model, which is run as it is, more slowly")
    return model


def agree(outputs: Batch, others: Batch) -> bool:
    return all(
        torch.allclose(value.float(), others[name].float(), rtol=CLOSE.get(value.dtype, 1e-4), atol=1e-6) for name, value in outputs.items()
    )
