"""How fast a device works through a model's FLOPs: by its data sheet, or measured on this machine."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

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
REPEATS = 5
NOISE_SHARE = 0.1  # of a time, within which two of them do not differ
LARGER = 4  # times the cases of the smaller calibration batch

Tensors = dict[str, torch.Tensor]


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
    """Steps and forecasts of the model itself, at a small batch of `shape` and a larger one by turns: their difference is the rate."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = [shape, shape.times(LARGER)]
    traces = [cost.trace(config, widths, vocabulary, s, dtype) for s in shapes]
    model = cost.build(config, widths, vocabulary).to(device, dtype)
    batches = [{name: value.to(device) for name, value in cost.empty_batch(config, widths, s).items()} for s in shapes]
    learning = seconds(training_step(model.train()), batches, device)
    forecasting = seconds(partial(forecast, model.eval()), batches, device)
    trained = [sum(t.forward.values()) + t.backward for t in traces]
    forward = [sum(t.forward.values()) for t in traces]
    rate, ahead = rate_of(trained, learning), rate_of(forward, forecasting)
    left = 1.0 if device.type == "cuda" else 1 - BESIDE / len(os.sched_getaffinity(0))
    return Rates(left * rate, ahead, max(0.0, learning[0] - trained[0] / rate) / left, 1 / NOISE, NOISE, HERE)


def rate_of(flops: Sequence[float], seconds: Sequence[float]) -> float:
    """FLOP/s by what the larger batch takes beyond the smaller one; where that is lost in noise, by the larger one alone, which is less."""
    more = seconds[1] - seconds[0]
    return (flops[1] - flops[0]) / more if more > NOISE_SHARE * seconds[1] else flops[1] / seconds[1]


def training_step(model: nn.Module) -> Callable[[Tensors], None]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step(batch: Tensors) -> None:
        loss(model(batch), batch, LossConfig())[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


@torch.inference_mode()
def forecast(model: nn.Module, batch: Tensors) -> None:
    model(batch)


def seconds(work: Callable[[Tensors], None], batches: Sequence[Tensors], device: torch.device) -> list[float]:
    """Of each batch: the median of a few calls, by turns, as the speed of a machine wavers; the first round does not count."""
    taken = [[timed(work, batch, device) for batch in batches] for _ in range(1 + REPEATS)]
    return [statistics.median(of_batch) for of_batch in zip(*taken[1:], strict=True)]


def timed(work: Callable[[Tensors], None], batch: Tensors, device: torch.device) -> float:
    begun = time.perf_counter()
    work(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
