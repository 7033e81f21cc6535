"""This machine as a kind of GPU, for what is measured on it."""

import os

import torch

from plcp.size.hardware import Gpu

LOOPBACK = 1e9  # bytes/s between two processes of one machine by gloo; assumed
MEMORY = 1e11  # bytes/s of a machine's memory; assumed


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine(workers: int) -> Gpu:
    """What one of `workers` processes on this machine has; its FLOP/s are to be measured."""
    cpu = device().type == "cpu"
    if not cpu:
        memory, per_server = float(torch.cuda.get_device_properties(0).total_memory), torch.cuda.device_count()
    else:
        memory, per_server = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / workers, workers
    return Gpu(memory, float("nan"), float("nan"), LOOPBACK, MEMORY, per_server, LOOPBACK, cpu)


def share_threads(workers: int) -> None:
    """Compute as one of so many workers on this machine does."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
