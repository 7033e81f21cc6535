"""How long a training step takes on each worker: arithmetic, network, and the way to what is offloaded."""

from dataclasses import dataclass

from plcp.size.hardware import HOST_MEMORY, NVME, Gpu
from plcp.size.memory import Layout, Learner
from plcp.size.rates import Rates

# of a link's rate that collectives reach; nothing of it is measured
REACHED, LEAST_REACHED, MOST_REACHED = 0.7, 0.4, 0.9


@dataclass(frozen=True)
class Seconds:
    """Of a step, or of many."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Seconds":
        return Seconds(self.value * factor, self.low * factor, self.high * factor)

    def plus(self, other: "Seconds") -> "Seconds":
        return Seconds(self.value + other.value, self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Step:
    """A step of one worker, whose parts do not overlap; at best the network hides behind the arithmetic."""

    arithmetic: Seconds
    network: Seconds
    offload: Seconds

    @property
    def whole(self) -> Seconds:
        parts = self.arithmetic.plus(self.network).plus(self.offload)
        return Seconds(parts.value, max(self.arithmetic.low, self.network.low) + self.offload.low, parts.high)

    @property
    def network_share(self) -> float:
        return self.network.value / self.whole.value


def step(layout: Layout, learner: Learner, gpu: Gpu, rates: Rates, flops: float, rounds: int) -> Step:
    """`flops` of a step on one worker, taken in `rounds` micro-batches."""
    seconds = flops / rates.training + rates.step
    sent = exchanged(layout, learner, rounds) / (gpu.link if learner.workers <= gpu.per_server else gpu.network)
    moved = offloaded(layout, learner, gpu)
    return Step(
        Seconds(seconds, seconds * rates.low, seconds * rates.high),
        Seconds(sent / REACHED, sent / MOST_REACHED, sent / LEAST_REACHED),
        Seconds(moved, moved / 2, moved * 2),
    )


def exchanged(layout: Layout, learner: Learner, rounds: int) -> float:
    """Bytes that a worker sends in a step by rings: 2·b·T·(N-1)/N, or with ZeRO-3 (2·b·(T+F) + b·T)·(N-1)/N in every micro-batch.

    ZeRO-2 reduces in every micro-batch as well: b·T·(N-1)/N each, and once more to gather the weights.
    """
    b, t, f, n = layout.bytes, learner.learnt, learner.frozen, learner.workers
    gathered, reduced = b * (t + f), b * t
    if layout.stage == 3:
        numbers = rounds * (2 * gathered + reduced)
    elif layout.stage == 2:
        numbers = rounds * reduced + reduced
    else:
        numbers = 2 * reduced
    return numbers * (n - 1) / n


def offloaded(layout: Layout, learner: Learner, gpu: Gpu) -> float:
    """Seconds of a step with Adam away: gradients there and weights back, Adam over 12·T/N bytes read and written, and a drive's share."""
    if layout.offload == "none":
        return 0.0
    share = learner.learnt / learner.workers
    seconds = 2 * layout.bytes * share / gpu.host + 24 * share / HOST_MEMORY
    return seconds if layout.offload == "cpu" else seconds + 24 * share * min(learner.workers, gpu.per_server) / NVME
