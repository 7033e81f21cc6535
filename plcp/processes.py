"""Work in processes of its own, which end with the one that asked for it."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def pool(count: int) -> ProcessPoolExecutor:
    """Of fresh processes: a fork of one with threads may hang."""
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
