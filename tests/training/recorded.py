"""A training process that writes down which cases its workers learned from at each step: `python -m tests.training.recorded …`."""

import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partialmethod
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from torch import distributed

from plcp.data import loader
from plcp.data.features import Arrays
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.training import loop
from plcp.training.learner import Learner
from plcp.training.loop import train
from plcp.training.runs import Run, TrainConfig

SEEN = "seen"  # folder in the run's: a file per worker process
own_worker, own_step, own_inputs = loop.worker, Learner.step, loader.inputs
Case = tuple[str, int, int]


def worker(run: Run, threads: int) -> None:
    """loop.worker that keeps a record."""
    attempt = [uuid4().hex]
    distributed.broadcast_object_list(attempt)
    folder = run.folder / SEEN
    folder.mkdir(exist_ok=True)
    name = {"attempt": attempt[0], "rank": distributed.get_rank(), "world": distributed.get_world_size(), "pid": os.getpid()}
    loader.inputs = inputs
    with (folder / f"{time.time_ns()}-{os.getpid()}.jsonl").open("a", buffering=1) as file:
        Learner.step = partialmethod(step, lambda **values: file.write(json.dumps({**name, **values}) + "\n"))  # type: ignore[assignment]
        own_worker(run, threads)


def inputs(shard: Shard, rows: np.ndarray, origins: np.ndarray, starts: np.ndarray, spec: Any) -> Arrays:
    """features.inputs, and which cases they are."""
    return own_inputs(shard, rows, origins, starts, spec) | {"case": np.stack([origins, starts], 1)}


def step(self: Learner, write: Any, batches: Any) -> None:
    seen: list[Case] = []

    def noted(batch: dict[str, Any]) -> dict[str, Any]:
        seen.extend(cases(batch))
        return batch

    own_step(self, map(noted, batches))
    write(step=self.state.step, cases=seen)


def cases(batch: dict[str, Any]) -> list[Case]:
    """(SKU, origin, start) of a batch's cases; the filling of an empty share is none."""
    named = zip(batch["sku_id"], batch["case"].tolist(), batch["weight"].tolist(), strict=True)
    return [(sku, origin, start) for sku, (origin, start), weight in named if weight]


@dataclass(frozen=True)
class Record:
    """What was learned from: of each attempt its number of workers, and the cases by step."""

    attempts: dict[str, tuple[int, dict[int, list[Case]]]]  # in the order in which they began

    @staticmethod
    def read(run: Path) -> "Record":
        """Steps that not all workers of an attempt finished are left out: no checkpoint can hold them."""
        shares: dict[str, dict[int, list[list[Case]]]] = defaultdict(lambda: defaultdict(list))
        worlds: dict[str, int] = {}
        for path in sorted((run / SEEN).glob("*.jsonl")):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # else its worker was killed while it wrote
                    entry = json.loads(line)
                    worlds[entry["attempt"]] = entry["world"]
                    shares[entry["attempt"]][entry["step"]].append([(sku, origin, start) for sku, origin, start in entry["cases"]])
        whole = {
            attempt: {step: list(chain(*parts)) for step, parts in steps.items() if len(parts) == worlds[attempt]}
            for attempt, steps in shares.items()
        }
        return Record({attempt: (worlds[attempt], steps) for attempt, steps in whole.items()})

    def surviving(self) -> dict[int, list[Case]]:
        """The cases of each step along the line of checkpoints that led to the end: a later attempt takes the place of what it repeats."""
        line: dict[int, list[Case]] = {}
        for _, steps in self.attempts.values():
            if steps:
                line = {step: seen for step, seen in line.items() if step < min(steps)} | steps
        return line


def expected(prepared: Prepared, config: TrainConfig, seed: int, epochs: int) -> list[list[list[Case]]]:
    """The cases of each batch of each epoch, by a loader that nothing ever disturbed."""
    loader.inputs = inputs
    try:
        undisturbed = loader.CaseLoader(prepared, config.fitted(prepared).spec, config.loader, split="train", seed=seed)
        return [[cases(batch) for batch in undisturbed.rest_of_epoch()] for _ in range(epochs)]
    finally:
        loader.inputs = own_inputs


if __name__ == "__main__":
    from tests.training import recorded

    loop.worker = recorded.worker  # by a name that the workers can import
    train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig.model_validate_json(sys.argv[3]), int(sys.argv[4]))
