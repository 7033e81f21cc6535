"""What a step has to do: tokens and FLOPs of a batch, beside the most that a device does."""

import time
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from plcp.model.model import Encoder, LifeCycleModel

FORWARD, STEP = 2, 6  # FLOPs per weight and position: forward, and forward with both products of the way back (Kaplan et al. 2020)
SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is timed
PRODUCTS = 5


class Done(NamedTuple):
    """Sums over batches."""

    cases: float = 0
    tokens: float = 0  # positions that went through the encoders: words, patches of photos, patches of weeks and modalities
    flops: float = 0

    def plus(self, other: "Done") -> "Done":
        return Done(*(a + b for a, b in zip(self, other, strict=True)))


class Work:
    """What batches ask of a model. The products of attention's scores are left out: they are a few percent at these lengths."""

    def __init__(self, model: Encoder) -> None:
        self.weights: Counter[str] = Counter()  # of matrices, by part of the model
        # a forecast reads one token of the last block, and the weeks ahead share their context: both are done once for a case
        last = f"fusion.blocks.{len(model.fusion.blocks) - 1}." if isinstance(model, LifeCycleModel) else "none"
        for name, module in model.named_modules():
            if not isinstance(module, nn.Embedding):
                once = name == "curve.context" or (name.startswith(last) and not name.endswith("qkv"))
                part = name if once else name.split(".")[0]
                self.weights[part] += sum(size(p) for p in module.parameters(recurse=False) if is_matrix(p))
        self.frozen = {name for name in ("text", "image") if (tower := getattr(model, name)) is not None and not tower.trainable}
        self.patches, self.horizon = model.history.patches, model.widths.horizon
        modalities = 2 + (model.text is not None) + (model.image is not None) + bool(model.widths.vector)
        self.joint = 1 + modalities + self.patches
        self.photo = model.image.positions if model.image is not None else 0

    def of(self, batch: dict[str, Tensor]) -> Done:
        """A batch still in the host's memory, as the model takes it."""
        cases = len(batch["weight"])
        positions = {
            "text": batch["tokens"].numel() if "tokens" in batch else 0,
            "image": len(batch["pixels"]) * self.photo if "pixels" in batch else 0,
            "fusion": cases * self.joint,
            "history": cases * self.patches,
            "rebuild": cases * self.patches,
            "curve": cases * self.horizon,
        }
        flops = sum((FORWARD if part in self.frozen else STEP) * count * positions.get(part, cases) for part, count in self.weights.items())
        tokens = positions["text"] + positions["image"] + positions["fusion"]
        return Done(int((batch["weight"] > 0).sum()), tokens, flops)


def size(parameter: nn.Parameter) -> int:
    """Of the whole parameter, also where ZeRO-3 holds a share of it here."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def is_matrix(parameter: nn.Parameter) -> bool:
    return len(getattr(parameter, "ds_shape", parameter.shape)) > 1


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of this worker's product of two square matrices, the best of a few: what no model exceeds."""
    side, draws = SIDE[device.type], torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=draws, device=device, dtype=dtype) for _ in range(2))
    return max(2 * side**3 / seconds(a, b) for _ in range(PRODUCTS + 1))


def seconds(a: Tensor, b: Tensor) -> float:
    """Of one product."""
    begun = time.perf_counter()
    (a @ b)[0, 0].item()  # waits for the device
    return time.perf_counter() - begun
