"""Bytes that training holds on each worker, by ZeRO stage and offload (Rajbhandari et al. 2020, and what DeepSpeed 0.19 does beyond it).

T parameters learn and F do not, N workers, b bytes a number (2 in bf16, 4 in fp32). Adam keeps 12 bytes a parameter in fp32: master
weight and two moments; without ZeRO 8, as the weights themselves are the masters.
"""

from dataclasses import dataclass
from typing import Literal

from plcp.training.engine import EngineConfig

Offload = Literal["none", "cpu", "nvme"]
BUCKET = 500_000_000  # numbers in the buffer that gradients are reduced from (DeepSpeed's reduce_bucket_size)
LIVE = 1_000_000_000  # parameters that ZeRO-3 keeps gathered at most (stage3_max_live_parameters)
PRECISIONS = {"bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Layout:
    """How a model's state lies on its workers."""

    stage: int
    offload: Offload
    precision: str

    @property
    def name(self) -> str:
        return f"ZeRO-{self.stage}" + (f", offload to {self.offload}" if self.offload != "none" else "")

    @property
    def bytes(self) -> int:
        return PRECISIONS[self.precision]


@dataclass(frozen=True)
class Item:
    """A part of the memory, in bytes, and its formula."""

    name: str
    bytes: float
    formula: str
    host: bool = False  # in the server's memory or on its drive, not on the device


@dataclass(frozen=True)
class Memory:
    """What one worker holds."""

    items: tuple[Item, ...]

    @property
    def device(self) -> float:
        """Bytes at the moment of the most: activations and gradients are not at their height together."""
        static = sum(item.bytes for item in self.items if not item.host and item.name not in (ACTIVATIONS, GRADIENTS))
        return static + max(item.bytes for item in self.items if item.name in (ACTIVATIONS, GRADIENTS))

    @property
    def host(self) -> float:
        return sum(item.bytes for item in self.items if item.host)


ACTIVATIONS, GRADIENTS = "activations", "gradients"


def layouts(precision: str) -> list[Layout]:
    """All that DeepSpeed can do: bf16 needs ZeRO for its masters, drives need ZeRO-3."""
    plain = [Layout(stage, "none", "fp32" if stage == 0 else precision) for stage in range(4)]
    return [*plain, *(Layout(stage, "cpu", precision) for stage in (1, 2, 3)), Layout(3, "nvme", precision)]


def memory(layout: Layout, learnt: int, frozen: int, workers: int, activations: float, bucket: int | None = None) -> Memory:
    """`activations`: bytes of one micro-batch (plcp.model.cost). `bucket`: numbers of it in use; by default, as on a GPU, all."""
    b, t, f, n = layout.bytes, learnt, frozen, workers
    used = BUCKET if bucket is None else bucket
    shared = n if layout.stage else 1
    away = layout.offload != "none"
    whole = layout.stage < 3
    return Memory(
        (
            Item("weights", b * (t + f) / (1 if whole else n), "b·(T+F)" if whole else "b·(T+F)/N"),
            *(() if whole else (Item("gathered weights", b * min(t + f, LIVE), "b·min(T+F, 1e9)"),)),
            Item("optimizer", (12 if layout.stage else 8) * t / shared, "12·T/N" if layout.stage else "8·T", host=away),
            *average(layout, t, n),
            Item(GRADIENTS, *gradients(layout, t, n, used)),
            Item(ACTIVATIONS, activations, "bytes per case × micro-batch"),
        )
    )


def average(layout: Layout, learnt: int, workers: int) -> tuple[Item, ...]:
    """Of the weights, in fp32, on every worker as the weights are."""
    if not EngineConfig.model_fields["averaging"].default:
        return ()
    whole = layout.stage < 3
    return (Item("weights' average", 4 * learnt / (1 if whole else workers), "4·T" if whole else "4·T/N"),)


def gradients(layout: Layout, learnt: int, workers: int, bucket: int) -> tuple[float, str]:
    """At the end of the way back and in the step: as they come, in the buffer they are reduced from, and the own share in fp32."""
    b, share = layout.bytes, learnt / workers
    if layout.stage == 0:
        return 2.0 * b * learnt, "2·b·T"
    if layout.stage == 3:
        return b * bucket + (b + 4) * share, "b·bucket + (b+4)·T/N"
    return b * max(bucket, learnt) + (b + 4) * share, "b·max(bucket, T) + (b+4)·T/N"
