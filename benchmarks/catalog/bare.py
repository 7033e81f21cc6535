"""The physical limit: the model's forward pass on batches that lie ready in memory, and its text tower alone."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from plcp.data.features import Arrays, inputs
from plcp.data.loader import narrow
from plcp.data.prepared import Prepared
from plcp.forecast.artifact import Artifact
from plcp.forecast.forecaster import CASE_INPUTS, first_weeks
from plcp.forecast.replicas import cores

Batch = dict[str, Tensor]
BATCH, TRIED = 256, 8  # cases; batches


def cases(prepared: Prepared, artifact: Artifact, most: int) -> Arrays:
    """The inputs of the catalog's first products that can be forecast, at most so many."""
    found: list[Arrays] = []
    at = prepared.timeline.index(prepared.origin)
    for index in range(len(prepared.shards)):
        shard = prepared.read(index)
        starts, reason = first_weeks(shard, at)
        rows = np.flatnonzero(reason == "")[: most - sum(len(c["age"]) for c in found)]
        found.append(inputs(shard, rows, np.full(len(rows), at), starts[rows], artifact.config.spec))
        if sum(len(c["age"]) for c in found) >= most:
            break
    return joined(found)


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Cases of several shards as those of one; without photos."""
    first = np.cumsum([0, *(len(part["texts"]) for part in parts)])
    text = np.concatenate([np.where(p["text"] >= 0, p["text"] + k, -1) for p, k in zip(parts, first, strict=False)])
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in (*CASE_INPUTS, "image") if name in parts[0]}
    return {**arrays, "text": text, "texts": [t for part in parts for t in part["texts"]], "images": []}


def batches(artifact: Artifact, found: Arrays, cached: bool) -> list[Batch]:
    """Batches as the model takes them, the shortest texts first, so that little is padding; `cached`: with the tower's vectors."""
    length = np.array([len(found["texts"][i]) if i >= 0 else 0 for i in found["text"].tolist()])
    order = np.argsort(length, kind="stable")
    ordered = {name: value[order] if isinstance(value, np.ndarray) else value for name, value in found.items()}
    ready = []
    for begin in range(0, len(order), BATCH):
        part = narrow(ordered, slice(begin, begin + BATCH))
        batch = {name: torch.from_numpy(value) for name, value in part.items() if isinstance(value, np.ndarray)}
        batch |= artifact.preprocessor.preprocess([] if cached else part["texts"], [])
        if cached and artifact.model.text is not None:
            batch["text_vector"] = torch.randn(len(part["texts"]), artifact.model.text.width)
        if artifact.model.image is not None:
            batch["image_vector"] = torch.zeros(0, artifact.model.image.width)
        ready.append(batch)
    return ready


def forward(artifact: Artifact, ready: Sequence[Batch], threads: int) -> float:
    """Seconds that the model takes for all batches."""
    return quicker(artifact.model, ready, threads)


def tower(artifact: Artifact, ready: Sequence[Batch], threads: int) -> float:
    """Seconds that the text tower alone takes for the texts of all batches."""
    text = artifact.model.text
    assert text is not None
    return quicker(lambda batch: text(batch["tokens"], batch["token_mask"]), ready, threads)


def quicker(run: Callable[[Batch], object], ready: Sequence[Batch], threads: int) -> float:
    """Seconds for all batches, all threads on a batch or a batch on each: by what takes less for the first ones, once seen."""

    def inferred(batch: Batch) -> None:
        with torch.inference_mode():
            run(batch)

    def seconds(together: Callable[..., Iterable[object]], batches: Sequence[Batch]) -> float:
        started = time.perf_counter()
        deque(together(inferred, batches), maxlen=0)
        return time.perf_counter() - started

    torch.set_num_threads(threads)
    with cores(threads) as beside:
        ways = (map, beside.map)
        tried = [min(seconds(way, ready[:TRIED]) for _ in range(2)) for way in ways]
        return seconds(ways[int(np.argmin(tried))], ready)
