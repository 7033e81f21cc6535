"""Word that a worker's machine is about to be taken away: SIGTERM to the worker, or Ray draining its node."""

import signal
import threading
from typing import Any

import ray.train.v2._internal.execution.context as ray_context
import torch
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from torch import Tensor, distributed

_told = threading.Event()


class PreemptedError(Exception):
    """How the workers stop after the checkpoint for which the notice left them time; Ray Train then starts them anew."""


class Notice:
    """What all workers know of each other's notices. Built, and asked at every step, by all of them."""

    def __init__(self) -> None:
        _told.clear()
        self._group = distributed.new_group(backend="gloo")  # of its own, so that nothing on a GPU waits for it
        self._told: Tensor | None = None
        self._asked: Any = None

    def given(self) -> bool:
        """Whether any worker had been given notice when this was asked last: the same answer on all, and no wait for it."""
        given = False
        if self._told is not None:
            self._asked.wait()
            given = bool(self._told.item())
        self._told = torch.tensor([float(told())])
        self._asked = distributed.all_reduce(self._told, distributed.ReduceOp.MAX, self._group, async_op=True)
        return given


def told() -> bool:
    """Whether this very worker was given notice. (Ray's public call asks all workers over the network, which is too slow for each step.)"""
    return _told.is_set() or ray_context.get_train_context().preemption_context.preemption_info is not None


class NoticingTorchConfig(TorchConfig):
    """TorchConfig whose workers take SIGTERM as a notice, where Ray's would end at once."""

    @property
    def backend_cls(self) -> type["_NoticingBackend"]:
        return _NoticingBackend


class _NoticingBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_start(worker_group, backend_config)
        worker_group.execute(_listen)  # on each worker's main thread, which alone may set a handler


def _listen() -> None:
    signal.signal(signal.SIGTERM, lambda *_: _told.set())
