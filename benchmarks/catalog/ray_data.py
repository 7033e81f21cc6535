"""The peers: Ray Data pipelines with the same model, `read_parquet → map_batches(actor pool) → write_parquet`.

Both forecast every product and write a row for each, with the curve, the events, the stage and the embedding as arrays: less work than the
forecast tables, whose rows are single weeks. Neither checks what it reads, writes aside or could go on after a crash.

- `straightforward`: as the documentation shows it. One actor that uses both cores, batches of 256 rows as they come, each padded to its
  longest text.
- `tuned`: an actor of one thread per core; batches of 1024 rows, the shortest texts first and forward passes of 256 within them, texts met
  twice through the tower once; several batches waiting at each actor.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import ray
import torch

from plcp.data.features import Arrays, inputs
from plcp.data.loader import narrow
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.forecast import artifact
from plcp.forecast.embeddings import TowerCache, text_key, tower_digest
from plcp.forecast.forecaster import CASE_INPUTS, first_weeks
from plcp.forecast.values import calibrated

WARM = 256  # rows that an actor works through before it says that its start-up is over


class Straightforward:
    """Rows of a shard in, forecasts out."""

    def __init__(self, prepared: Path, model: Path, precision: str, threads: int, cache: Path | None) -> None:
        torch.set_num_threads(threads)
        self.prepared = Prepared.open(prepared)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.artifact = artifact.load(model, "cpu", dtype)
        self.vectors = self._vectors(cache)
        self(self.prepared.read(0).frame[:WARM].to_arrow())

    def _vectors(self, cache: Path | None) -> TowerCache | None:
        tower = self.artifact.model.text
        if cache is None or tower is None:
            return None
        vectors = TowerCache(cache / "text" / tower_digest(tower, self.artifact.preprocessor))
        vectors.find([b"the first look reads all files"])
        return vectors

    def __call__(self, rows: pa.Table) -> pa.Table:
        skus, cases = self.cut(rows)
        return self.answers(skus, cases, self.run(cases))

    def cut(self, rows: pa.Table) -> tuple[list[str], Arrays]:
        frame = pl.DataFrame(pl.from_arrow(rows))
        shard = Shard(frame, self.prepared.timeline, self.prepared.shop)
        at = self.prepared.weeks
        starts, reason = first_weeks(shard, at)
        there = np.flatnonzero(reason == "")
        skus = shard.sku_id
        cases = inputs(shard, there, np.full(len(there), at), starts[there], self.artifact.config.spec)
        return [skus[i] for i in there], cases | {"start": np.array([shard.timeline.date(s) for s in starts[there]], "datetime64[D]")}

    def run(self, cases: Arrays) -> dict[str, np.ndarray]:
        batch = {name: torch.from_numpy(cases[name]) for name in (*CASE_INPUTS, "text", "image") if name in cases}
        model = self.artifact.model
        if self.vectors is not None:
            found = self.vectors.take(self.vectors.find([text_key(text) for text in cases["texts"]]))
            batch["text_vector"] = torch.from_numpy(found.astype(np.float32))
        else:
            batch |= self.artifact.preprocessor.preprocess(cases["texts"], [])
        if model.image is not None:
            batch["image_vector"] = torch.zeros(0, model.image.width)
        with torch.inference_mode():
            return {name: value.float().numpy() for name, value in model(batch).items()}

    def answers(self, skus: list[str], cases: Arrays, out: dict[str, np.ndarray]) -> pa.Table:
        origins = np.full(len(skus), self.prepared.origin, "datetime64[D]")
        spec, calibration = self.artifact.config.spec, self.artifact.calibration
        found = calibrated(out, cases, spec, origins, cases["start"], calibration)
        columns = {
            "curve": np.concatenate([found.mean[..., None], found.quantiles], 2).reshape(len(skus), -1),
            "events": found.within.reshape(len(skus), -1),
            "stage": found.stage,
            "embedding": found.embedding.astype(np.float16),
        }
        lists = {name: pa.FixedSizeListArray.from_arrays(values.reshape(-1), values.shape[1]) for name, values in columns.items()}
        return pa.table({"sku_id": pa.array(skus, pa.string()), **lists})


class Tuned(Straightforward):
    """As `Straightforward`, by what a profiler says: no padding, and no core that waits for another."""

    FORWARD = 256

    def __init__(self, prepared: Path, model: Path, precision: str, threads: int, cache: Path | None) -> None:
        super().__init__(prepared, model, precision, 1, cache)

    def run(self, cases: Arrays) -> dict[str, np.ndarray]:
        length = np.array([len(cases["texts"][i]) if i >= 0 else 0 for i in cases["text"].tolist()])
        order = np.argsort(length, kind="stable")
        sorted_ = {**cases, **{k: v[order] for k, v in cases.items() if isinstance(v, np.ndarray)}}
        parts = [narrow(sorted_, slice(i, i + self.FORWARD)) for i in range(0, len(order), self.FORWARD)]
        made = [super(Tuned, self).run(part) for part in parts]
        back = np.argsort(order)
        return {name: np.concatenate([m[name] for m in made])[back] for name in made[0]}


def seconds(
    scene: tuple[Path, Path], out: Path, kind: type[Straightforward], precision: str, threads: int, cache: Path | None = None
) -> float:
    """Seconds a pipeline takes over a catalog, from the first batch that reaches its actor to the last file written."""
    prepared, model = scene
    clock = FirstBatch.remote()  # type: ignore[attr-defined]

    class Timed(kind):  # type: ignore[misc, valid-type]
        began = True  # the first batch is part of the start-up

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.began = False

        def __call__(self, rows: pa.Table) -> pa.Table:
            if not self.began:
                self.began = True
                ray.get(clock.told.remote())
            return super().__call__(rows)

    size, waiting, batch = (threads, {"max_tasks_in_flight_per_actor": 4}, 1024) if kind is Tuned else (1, {}, 256)
    ray.data.read_parquet(str(prepared / "shards")).map_batches(
        Timed,
        fn_constructor_args=(prepared, model, precision, threads, cache),
        batch_format="pyarrow",
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(size=size, **waiting),
        num_cpus=0.5,  # the other half of a core reads and writes
    ).write_parquet(str(out))
    done = time.time()
    return done - ray.get(clock.at.remote())


@ray.remote(num_cpus=0)
class FirstBatch:
    """Notes when the first batch came: what lies before is start-up."""

    def __init__(self) -> None:
        self.time = 0.0

    def told(self) -> None:
        self.time = time.time()

    def at(self) -> float:
        return self.time
