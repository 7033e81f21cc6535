"""Seconds and memory of a piece of work in a process of its own."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import psutil

WATCH_SECONDS = 0.05


class MemoryWatch(threading.Thread):
    """The most resident memory that a process and its children held together, in bytes; pages that they share count for each."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.most, self.stop = psutil.Process(process), 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(WATCH_SECONDS):
            self.most = max(self.most, sum(map(resident, [self.process, *self.process.children(recursive=True)])))


def resident(process: psutil.Process) -> int:
    """Bytes; 0 where the process ended while it was looked at."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@dataclass(frozen=True)
class Cost:
    seconds: float
    processor: float  # seconds of processor time, of all its threads
    memory: int  # the most bytes held, children included
    value: Any  # what the work returned


def apart(work: Callable[..., Any], *arguments: Any) -> Cost:
    """Run a module's function in a fresh process; the clock starts when its module is imported."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        watch = MemoryWatch(pool.submit(os.getpid).result())
        watch.start()
        seconds, processor, value = pool.submit(timed, work, *arguments).result()
        watch.stop.set()
        watch.join()
    return Cost(seconds, processor, watch.most, value)


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, float, Any]:
    """Seconds a call takes by the clock and of the processor, and what it returns."""
    clock, processor = time.perf_counter(), time.process_time()
    value = work(*arguments)
    return time.perf_counter() - clock, time.process_time() - processor, value
