"""Bytes that training holds on each worker, by ZeRO stage and offload (Rajbhandari et al. 2020, and what DeepSpeed 0.19 adds to it).

T parameters learn and F do not, N workers, b bytes a number (2 in bf16, 4 in fp32). Adam keeps 12 bytes a parameter in fp32: master
weight and two moments; without ZeRO 8, as the weights themselves are the masters.
"""

from dataclasses import dataclass
from typing import Literal

Offload = Literal["none", "cpu", "nvme"]
BUCKET = 500_000_000  # numbers in the buffer that gradients are reduced from (reduce_bucket_size)
LIVE = 1_000_000_000  # parameters that ZeRO-3 keeps gathered at most (stage3_max_live_parameters)
PRECISIONS = {"bf16": 2, "fp32": 4}
ACTIVATIONS, GRADIENTS = "activations", "gradients"


@dataclass(frozen=True)
class Layout:
    """How a model's state lies on its workers."""

    stage: int
    offload: Offload
    precision: str

    @property
    def name(self) -> str:
        return f"ZeRO-{self.stage}" + (f", {self.offload} offload" if self.offload != "none" else "")

    @property
    def trains(self) -> bool:
        """Whether `plcp train` takes it. Not with moments on a drive: DeepSpeed 0.19 forgets them when it loads its checkpoint."""
        return self.offload != "nvme"

    @property
    def bytes(self) -> int:
        return PRECISIONS[self.precision]

    @property
    def whole(self) -> bool:
        """Whether every worker holds all weights."""
        return self.stage < 3


@dataclass(frozen=True)
class Learner:
    """A model that learns on some workers."""

    learnt: int  # parameters
    frozen: int
    workers: int
    averaged: bool = True  # a moving average of the weights is kept


@dataclass(frozen=True)
class Item:
    """A part of the memory, in bytes, and its formula."""

    name: str
    bytes: float
    formula: str
    away: bool = False  # in the server's memory or on its drive, not on the device


@dataclass(frozen=True)
class Memory:
    """What one worker holds."""

    items: tuple[Item, ...]

    @property
    def device(self) -> float:
        """Bytes at most: an allocator keeps what activations left when the gradients come."""
        return sum(item.bytes for item in self.items if not item.away)

    @property
    def least(self) -> float:
        """The same if every byte that activations leave were used by gradients."""
        return self.device - min(item.bytes for item in self.items if item.name in (ACTIVATIONS, GRADIENTS))

    @property
    def away(self) -> float:
        return sum(item.bytes for item in self.items if item.away)


def layouts(precision: str) -> list[Layout]:
    """All that DeepSpeed can do: bf16 needs ZeRO for its masters, offload needs ZeRO, and a drive ZeRO-3."""
    plain = [Layout(stage, "none", precision if stage else "fp32") for stage in range(4)]
    return [*plain, *(Layout(stage, "cpu", precision) for stage in (1, 2, 3)), Layout(3, "nvme", precision)]


def memory(layout: Layout, learner: Learner, activations: float, cpu: bool = False) -> Memory:
    """`activations`: bytes of one micro-batch (plcp.model.cost)."""
    b, t, f, n = layout.bytes, learner.learnt, learner.frozen, learner.workers
    shared, per = (n, "/N") if layout.stage else (1, "")
    held, share = (1, "") if layout.whole else (n, "/N")
    items = [Item("weights", b * (t + f) / held, f"b·(T+F){share}")]
    if not layout.whole:
        items.append(Item("gathered weights", b * min(t + f, LIVE), "b·min(T+F, 1e9)"))
    adam = 12 if layout.stage else 8
    items.append(Item("optimizer", adam * t / shared, f"{adam}·T{per}", away=layout.offload != "none"))
    if learner.averaged:
        items.append(Item("average of weights", 4 * t / held, f"4·T{share}"))
    items.append(Item(GRADIENTS, *gradients(layout, t, n, cpu)))
    return Memory((*items, Item(ACTIVATIONS, activations, "bytes per case × micro-batch")))


def gradients(layout: Layout, t: int, n: int, cpu: bool) -> tuple[float, str]:
    """The buffer they are reduced from, then the own share as it came and in fp32. ZeRO-3 lays the buffer out by workers once more, and
    keeps a flat copy of the share; on a CPU a buffer takes what is used of it alone, and gloo scatters from yet another copy."""
    b = layout.bytes
    used = min(t, BUCKET)
    buffer, name = (used, "min(T, 5e8)") if cpu else (BUCKET, "5e8")
    if layout.stage == 0:
        return 2.0 * b * t, "2·b·T"
    if layout.stage < 3:
        return b * buffer + (b + 4) * t / n, f"b·{name} + (b+4)·T/N"
    copies = 2 if cpu and n > 1 else 1
    return b * (buffer + copies * used) + (2 * b + 4) * t / n, f"b·({name} + {copies}·min(T, 5e8)) + (2·b+4)·T/N"
