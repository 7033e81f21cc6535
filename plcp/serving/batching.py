"""Passes through the model that requests share.

Ray Serve's own batching closes a batch as soon as the first request is there and lets it wait while the model is busy, so that under load
passes hold one request each; here a pass takes what has come by the time the model is free.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np
from pydantic import Field

from plcp.base import Config


class BatchConfig(Config):
    """The most that one pass takes on; a single request that asks for more passes alone."""

    rows: int = Field(128, ge=1, description="products in one pass through the model")
    tokens: int = Field(16_384, ge=1, description="tokens of texts new to the text tower")
    pixels: int = Field(8_000_000, ge=1, description="pixels of photos new to the image tower, as it sees them")


WHOLE = 1 + 1e-9  # of what a pass takes on: shares add up to it, but for their rounding

C = TypeVar("C")  # a case
T = TypeVar("T")  # what comes of a request
Load = np.ndarray  # rows, tokens and pixels, (3,), as shares of what a pass takes on


@dataclass(eq=False)
class Work(Generic[C, T]):
    """Cases of one request, and who waits for what comes of them."""

    cases: Sequence[C]
    load: Load
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]

    def settle(self, result: T | Exception) -> None:
        """Give the result, or raise it where it is an error; nobody may be waiting any more."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batcher(Generic[C, T]):
    """Threads that each make one pass after the other, of all that has come and fits; they never wait for more to come.

    `run` makes a pass: from the cases of some requests to a result for each. Where a shared pass fails, each request is tried alone.
    """

    def __init__(
        self,
        run: Callable[[list[Sequence[C]]], list[T]],
        load: Callable[[Sequence[C]], Load],
        begin: Callable[[], None] = lambda: None,
        threads: int = 1,
    ) -> None:
        """`begin` is called once on each thread."""
        self._run, self._load, self._begin = run, load, begin
        self._coming: SimpleQueue[Work[C, T]] = SimpleQueue()
        self._next: Work[C, T] | None = None  # what did not fit the last pass
        self._taking = threading.Lock()
        for _ in range(threads):
            threading.Thread(target=self._work, name="forward", daemon=True).start()

    async def __call__(self, cases: Sequence[C]) -> T:
        loop = asyncio.get_running_loop()
        work = Work(cases, self._load(cases), loop, loop.create_future())
        self._coming.put(work)
        return await work.future

    @property
    def waiting(self) -> int:
        """Requests that no pass has taken yet."""
        return self._coming.qsize() + (self._next is not None)

    def _work(self) -> None:
        self._begin()
        while True:
            with self._taking:
                works = self._take()
            for work, result in zip(works, self._results(works), strict=True):
                with suppress(RuntimeError):  # the loop of a client that has gone may be closed
                    work.loop.call_soon_threadsafe(work.settle, result)

    def _take(self) -> list[Work[C, T]]:
        """Waits for a request, and takes on as many more as have come and fit."""
        works: list[Work[C, T]] = []
        load = np.zeros(3)
        while True:
            try:
                work, self._next = self._next or self._coming.get(block=not works), None
            except Empty:
                return works
            if work.future.done():  # its client has gone
                continue
            load = load + work.load
            if works and load.max() > WHOLE:
                self._next = work
                return works
            works.append(work)

    def _results(self, works: list[Work[C, T]]) -> list[T | Exception]:
        try:
            return [*self._run([work.cases for work in works])]
        except Exception as error:  # whatever it is, the thread goes on
            return [error] if len(works) == 1 else [self._results([work])[0] for work in works]
