"""How fast a device works through a model's FLOPs: by its data sheet, or measured on this machine."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from plcp.model import cost
from plcp.model.cost import Shape
from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, ModelConfig
from plcp.size.figure import ASSUMED, HERE
from plcp.size.hardware import Gpu

# shares of a GPU's data sheet that transformers of this size reach in training; nothing of it is measured
USED, LEAST_USED, MOST_USED = 0.40, 0.25, 0.55
NOISE = 1.25  # between a short calibration and a long run
# processors that reading, DeepSpeed and Ray take from a training on all of them: in benchmarks.training.speed base reaches 0.82 on two
BESIDE = 0.36
REPEATS = 3
LARGER = 4  # times the cases of the smaller calibration batch


@dataclass(frozen=True)
class Rates:
    """FLOP/s of one worker, in training and in forecasting, and the seconds a training step takes beyond them."""

    training: float
    forecasting: float
    step: float
    low: float  # factors of a time predicted from them
    high: float
    basis: str

    @staticmethod
    def of_sheet(gpu: Gpu, precision: str) -> "Rates":
        reached = USED * gpu.flops(precision)
        return Rates(reached, reached, 0.0, USED / MOST_USED, USED / LEAST_USED, f"{ASSUMED}: {USED:.0%} of the data sheet's peak")


def measure(config: ModelConfig, widths: InputWidths, vocabulary: int, shape: Shape, precision: str, device: torch.device) -> Rates:
    """Steps and forecasts of the model itself, at a small batch of `shape` and a larger one: their difference is the rate."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = [shape, shape.times(LARGER)]
    traces = [cost.trace(config, widths, vocabulary, s, dtype) for s in shapes]
    model = cost.build(config, widths, vocabulary).to(device, dtype)
    step = training_step(model)
    seconds = {}
    for training in (True, False):
        model.train(training)
        for k, s in enumerate(shapes):
            batch = {name: value.to(device) for name, value in cost.empty_batch(config, widths, s).items()}
            work = (lambda: step(batch)) if training else (lambda: forecast(model, batch))  # noqa: B023
            seconds[training, k] = best(work, device)
    trained = [sum(t.forward.values()) + t.backward for t in traces]
    forward = [sum(t.forward.values()) for t in traces]
    rate = (trained[1] - trained[0]) / max(seconds[True, 1] - seconds[True, 0], 1e-9)
    ahead = (forward[1] - forward[0]) / max(seconds[False, 1] - seconds[False, 0], 1e-9)
    left = 1.0 if device.type == "cuda" else 1 - BESIDE / len(os.sched_getaffinity(0))
    return Rates(left * rate, ahead, max(0.0, seconds[True, 0] - trained[0] / rate) / left, 1 / NOISE, NOISE, HERE)


def training_step(model: nn.Module) -> Callable[[dict[str, torch.Tensor]], None]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step(batch: dict[str, torch.Tensor]) -> None:
        loss(model(batch), batch, LossConfig())[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


@torch.inference_mode()
def forecast(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    model(batch)


def best(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of a few calls; the first does not count."""
    work()
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
    return min(taken)
