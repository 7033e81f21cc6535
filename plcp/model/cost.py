"""What a model costs: its parameters, and the FLOPs and memory of a step, traced on shapes: nothing is computed, and nothing held."""

import itertools
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers.initialization import no_init_weights

from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.towers import TINY, ImageTower, ImageTowerConfig, TextTower, TextTowerConfig
from plcp.tables import EVENTS

TOWERS = ("text", "image")
JOINT = "joint"  # all of a model that is no tower


@dataclass(frozen=True)
class Shape:
    """What one batch holds: cases, distinct texts, their length in tokens, distinct photos."""

    cases: int
    texts: int
    tokens: int
    images: int

    def times(self, factor: int) -> "Shape":
        """So many times as many cases."""
        return Shape(factor * self.cases, factor * self.texts, self.tokens, factor * self.images)


@dataclass(frozen=True)
class Trace:
    """One step over one batch."""

    forward: dict[str, int]  # FLOPs of the towers and of JOINT
    backward: int  # FLOPs; 0 without training
    saved: int  # bytes that wait for the way back
    peak: int  # the most bytes held at once beyond weights, their gradients and the batch


def parameters(config: ModelConfig, widths: InputWidths, vocabulary: int) -> tuple[int, int]:
    """How many learn, and how many do not."""
    with shapes_only():
        counts = [(p.numel(), p.requires_grad) for p in build(config, widths, vocabulary).parameters()]
    return sum(n for n, learns in counts if learns), sum(n for n, learns in counts if not learns)


def trace(config: ModelConfig, widths: InputWidths, vocabulary: int, shape: Shape, dtype: torch.dtype, training: bool = True) -> Trace:
    """Walk the model's own code, forward, loss and (in `training`) backward, over a batch of a shape. Seconds, whatever its size."""
    with shapes_only():
        with default(dtype):
            model = build(config, widths, vocabulary).train(training)
        batch = empty_batch(config, widths, shape)
        with torch.set_grad_enabled(training), Live([*model.parameters(), *model.buffers(), *batch.values()]) as live:
            with counting() as forward:
                total, _ = loss(model(batch), batch, LossConfig())
            saved = live.held()
            with counting() as backward:
                if training:
                    total.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        return Trace(by_part(forward), backward.get_total_flops(), saved, live.peak_beside(gradients))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Tensors made here have shapes and no content. On the "cpu", whose operators do not depend on what hardware is at hand."""
    with FakeTensorMode(), torch.device("cpu"), no_init_weights():
        yield


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """What floating-point tensors are made of (Module.to does not convert those without content)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build(config: ModelConfig, widths: InputWidths, vocabulary: int) -> LifeCycleModel:
    """The model without pretrained weights: a tower with a source takes its shape from the config.json there. Raises ModelError."""
    text = None if config.text is None else _tower(TextTower, config.text, vocabulary, config.dropout)
    return LifeCycleModel(config, widths, text, None if config.image is None else _tower(ImageTower, config.image))


def _tower(kind: Any, config: TextTowerConfig | ImageTowerConfig, *sizes: float) -> Any:
    """`kind`: the tower's class, which takes its own kind of configuration."""
    return kind.build(config, *sizes) if config.source == TINY else kind.restore(Path(config.source), config)


def empty_batch(config: ModelConfig, widths: InputWidths, shape: Shape) -> dict[str, Tensor]:
    """What LifeCycleModel.forward and losses.loss read, of a shape."""
    cases, horizon = shape.cases, widths.horizon
    batch = {
        "history": torch.zeros(cases, widths.weeks, widths.channels),
        "future": torch.zeros(cases, horizon, widths.future),
        "calendar_history": torch.zeros(cases, widths.weeks, widths.calendar),
        "calendar_future": torch.zeros(cases, horizon, widths.calendar),
        "age": torch.zeros(cases),
        "numeric": torch.zeros(cases, widths.numeric),
        "hashed": torch.zeros(cases, widths.hashed, dtype=torch.int64),
        "pool": torch.zeros(cases, horizon, widths.pool),
        "due": torch.zeros(cases, horizon, widths.due),
        "text": torch.zeros(cases, dtype=torch.int64),
        "image": torch.zeros(cases, dtype=torch.int64),
        "units": torch.zeros(cases, horizon),
        "censored": torch.zeros(cases, horizon, dtype=torch.bool),
        "event_time": torch.zeros(cases, len(EVENTS)),
        "event_seen": torch.zeros(cases, len(EVENTS), dtype=torch.bool),
        "stage": torch.zeros(cases, dtype=torch.int64),
        "new_peak": torch.zeros(cases),
        "weight": torch.ones(cases),
    }
    if config.text is not None:
        batch["tokens"] = torch.zeros(shape.texts, shape.tokens, dtype=torch.int64)
        batch["token_mask"] = torch.ones(shape.texts, shape.tokens, dtype=torch.int64)
    if config.image is not None:
        batch["pixels"] = torch.zeros(shape.images, 3, config.image.size, config.image.size)
    if widths.vector:
        batch["vector"] = torch.zeros(cases, widths.vector)
    return batch


def counting() -> FlopCounterMode:
    """torch's counter, and the fused attention of a CPU, which it leaves out."""
    fused = torch.ops.aten
    return FlopCounterMode(
        display=False,
        depth=2,
        custom_mapping={
            fused._scaled_dot_product_flash_attention_for_cpu: _attention,
            fused._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def by_part(counter: FlopCounterMode) -> dict[str, int]:
    """FLOPs of the towers and of JOINT."""
    counts = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    towers = {name: counts.get(f"{LifeCycleModel.__name__}.{name}", 0) for name in TOWERS}
    return {**towers, JOINT: counts["Global"] - sum(towers.values())}


class Live(TorchDispatchMode):
    """Follows the storages that operators make, from birth to death."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        """`known`: what was there before, and does not count."""
        super().__init__()
        self.numbers = itertools.count()
        self.alive: dict[int, int] = {}  # by the storage's address: its number
        self.changes: list[tuple[int, int]] = []  # number, and bytes made (positive) or freed (negative)
        self._known = [tensor.untyped_storage() for tensor in known]
        self.alive.update((storage._cdata, -1) for storage in self._known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.alive:
            number, size = next(self.numbers), storage.nbytes()
            self.alive[storage._cdata] = number
            self.changes.append((number, size))
            weakref.finalize(storage, self._forget, storage._cdata, number, size)

    def _forget(self, address: int, number: int, size: int) -> None:
        del self.alive[address]
        self.changes.append((number, -size))

    def held(self) -> int:
        """Bytes at this moment."""
        return sum(size for _, size in self.changes)

    def peak_beside(self, others: Iterable[Tensor]) -> int:
        """The most bytes held at once, these tensors' left out."""
        left_out = {self.alive[tensor.untyped_storage()._cdata] for tensor in others}
        sizes = (size for number, size in self.changes if number not in left_out)
        return max(itertools.accumulate(sizes, initial=0))
