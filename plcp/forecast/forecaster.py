"""SKUs in, forecast tables out: the one path that batch and online share."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor

from plcp.base import Config, DataError
from plcp.data.features import Arrays, inputs
from plcp.data.shards import Shard, first_sale
from plcp.data.spec import Spec
from plcp.forecast import artifact
from plcp.forecast.artifact import Artifact
from plcp.forecast.embeddings import Run, TowerEncoder
from plcp.forecast.frames import FRAMES
from plcp.forecast.recorded import Batch, Forward
from plcp.forecast.values import LAST_WEEK, calibrated, new_peak
from plcp.model.preprocess import open_image
from plcp.tables import SKIPPED

CASE_INPUTS = ("history", "future", "calendar_history", "calendar_future", "age", "numeric", "hashed", "pool", "due", "vector")
BrokenPhotos = Literal["refused", "missing"]


class ForecasterConfig(Config):
    """How an artifact is run."""

    device: str = Field("cpu", description='"cpu", or a torch device such as "cuda"')
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the model's arithmetic")
    batch_size: int = Field(512, ge=1, description="cases per forward pass")
    cache: Path | None = Field(
        None, description="folder that keeps the towers' vectors by content, for all models; PREPARED-vectors beside the data if not given"
    )


@dataclass(frozen=True)
class Forecast:
    """n cases' forecast: the tables, in case order, and what the benchmark asks beyond them."""

    curve: pl.DataFrame  # horizon rows per case
    events: pl.DataFrame  # three rows per case
    stage: pl.DataFrame
    embedding: pl.DataFrame
    p_new_peak_12w: np.ndarray  # (n,) probability that within 12 weeks the level exceeds every one so far


@dataclass(frozen=True)
class Asked:
    """What of a shard is forecast: n cases as features.inputs gives them, their SKUs and first weeks; and the others (table SKIPPED)."""

    cases: Arrays
    sku_id: list[str]
    starts: list[dt.date]
    skipped: pl.DataFrame


class Forecaster:
    """An artifact, ready to forecast."""

    def __init__(self, artifact: Artifact, config: ForecasterConfig, run: Run = map) -> None:
        """`run` applies a function to each batch, as `map` does; that of an executor runs batches beside one another."""
        self.artifact, self.config, self.run = artifact, config, run
        self.encoder = TowerEncoder(artifact.model, artifact.preprocessor, config.cache, run)

    @classmethod
    def load(cls, folder: Path, config: ForecasterConfig | None = None, run: Run = map) -> "Forecaster":
        """Raises ModelError where the folder is no intact artifact."""
        config = config or ForecasterConfig()
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        return cls(artifact.load(folder, config.device, dtype), config, run)

    @property
    def digest(self) -> str:
        return self.artifact.digest

    @property
    def spec(self) -> Spec:
        return self.artifact.config.spec

    @property
    def card(self) -> str:
        return self.artifact.card

    def forecast_shard(self, shard: Shard, origin: dt.date) -> tuple[Forecast, pl.DataFrame]:
        """Forecast every product of a shard that can be; the others come back with the reason (table SKIPPED).

        Products that sold before the origin are forecast from it on, announced ones from their launch. A photo that turns out
        to be broken counts as missing.
        """
        asked = self.asked(shard, origin)
        return self.answered(asked, self.outputs(asked.cases, asked.sku_id, broken_photos="missing"), origin), asked.skipped

    def asked(self, shard: Shard, origin: dt.date) -> Asked:
        """The first third of `forecast_shard`: no model is run."""
        at = shard.timeline.index(origin)
        starts, reason = first_weeks(shard, at)
        rows = np.flatnonzero(reason == "")
        skus = np.array(shard.sku_id, dtype=object)
        cases = inputs(shard, rows, np.full(len(rows), at), starts[rows], self.spec)
        dates = [shard.timeline.date(s) for s in starts[rows]]
        left = reason != ""
        skipped = pl.DataFrame(
            {"sku_id": list(skus[left]), "origin": [origin] * int(left.sum()), "reason": list(reason[left])}, SKIPPED.schema
        )
        return Asked(cases, list(skus[rows]), dates, skipped)

    def forecast(
        self, cases: Arrays, sku_id: Sequence[str], origin: dt.date, starts: Sequence[dt.date], broken_photos: BrokenPhotos = "refused"
    ) -> Forecast:
        """Forecast n cases as features.inputs gives them, from their first weeks on. A photo that cannot be read is refused, by a
        DataError naming its SKU, or counts as missing."""
        asked = Asked(cases, list(sku_id), list(starts), SKIPPED.conform(pl.DataFrame(schema=SKIPPED.schema)))
        return self.answered(asked, self.outputs(cases, sku_id, broken_photos), origin)

    def answered(self, asked: Asked, out: dict[str, np.ndarray], origin: dt.date) -> Forecast:
        """The last third of `forecast_shard`: calibrated tables from the model's raw outputs of the cases."""
        cases, sku_id = asked.cases, asked.sku_id
        origins = np.full(len(sku_id), origin, "datetime64[D]")
        starts = np.array(asked.starts, "datetime64[D]")
        values = calibrated(out, cases, self.spec, origins, starts, self.artifact.calibration, self.run)
        return Forecast(
            **{name: made(sku_id, values) for name, made in FRAMES.items()},
            p_new_peak_12w=new_peak(out["new_peak"], cases["history"], self.spec, values.mean),
        )

    def outputs(self, cases: Arrays, sku_id: Sequence[str], broken_photos: BrokenPhotos = "refused") -> dict[str, np.ndarray]:
        """The model's raw outputs (LifeCycleModel.forward) of n cases, before calibration. Photos as in `forecast`."""
        try:
            image = self.encoder.image(cases["images"], photo_owners(cases, sku_id))
        except DataError:
            if broken_photos == "refused":
                raise
            cases = without_broken_photos(cases, self.encoder.new_images(cases["images"]))
            image = self.encoder.image(cases["images"], photo_owners(cases, sku_id))
        vectors = {"text": self.encoder.text(cases["texts"]), "image": image}
        count, size = len(sku_id), self.config.batch_size
        rows = [slice(first, first + size) for first in range(0, max(count, 1), size)]
        parts = list(self.run(partial(self._batch, cases, vectors), rows))
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    def _batch(self, cases: Arrays, vectors: dict[str, Tensor | None], rows: slice) -> dict[str, np.ndarray]:
        device = torch.device(self.config.device)
        batch = {name: torch.from_numpy(cases[name][rows]).to(device) for name in CASE_INPUTS if name in cases}
        for name, table in vectors.items():
            used, inverse = np.unique(cases[name][rows], return_inverse=True)
            missing = int(len(used) > 0 and used[0] < 0)
            batch[name] = torch.from_numpy(inverse - missing).to(device)
            if table is not None:
                batch[f"{name}_vector"] = table[torch.from_numpy(used[missing:]).to(device)]
        return self.forward(batch)

    def forward(self, batch: Batch, run: Forward | None = None) -> dict[str, np.ndarray]:
        """The model's raw outputs of a batch on its device (LifeCycleModel.forward); by `run` where that stands in for it."""
        with torch.inference_mode():
            out = (run or self.artifact.model)(batch)
        return {name: value.float().cpu().numpy() for name, value in out.items()}


def first_weeks(shard: Shard, at: int) -> tuple[np.ndarray, np.ndarray]:
    """First week to forecast of each product of a shard (week index), and why it cannot be forecast ("" if it can). (n,) each."""
    rows, origins = np.arange(len(shard)), np.full(len(shard), at)
    first = first_sale(shard.units_as_of(rows, origins), origins)
    version = shard.version_at(rows, origins, np.zeros(len(shard), bool))
    launch = shard.launch(first, version)
    sold = np.isfinite(first)
    starts = np.where(sold | np.isnan(launch), at, np.fmax(launch, at)).astype(np.int64)
    reason = np.full(len(shard), "", dtype=object)
    reason[~sold & (starts > at + LAST_WEEK)] = f"its launch_date is more than {LAST_WEEK} weeks ahead; forecast it later"
    reason[~sold & np.isnan(launch)] = "never sold, and products.launch_date is not given; set it to forecast the launch"
    reason[~sold & (version < 0)] = "not known before the origin"
    return starts, reason


def photo_owners(cases: Arrays, sku_id: Sequence[str]) -> list[str]:
    """Who to name where a photo cannot be read: the first case that shows it."""
    owner = dict(zip(cases["image"][::-1].tolist(), list(sku_id)[::-1], strict=True))
    return [f"image of SKU {owner.get(i, '?')}" for i in range(len(cases["images"]))]


def without_broken_photos(cases: Arrays, suspects: Iterable[int]) -> Arrays:
    """The cases with every photo among the suspects that cannot be decoded taken as missing."""
    broken = set()
    for i in suspects:
        try:
            open_image(cases["images"][i], f"image {i}")
        except DataError:
            broken.add(i)
    good = [i for i in range(len(cases["images"])) if i not in broken]
    place = np.full(len(cases["images"]) + 1, -1)  # the last one answers for index -1
    place[good] = np.arange(len(good))
    return {**cases, "images": [cases["images"][i] for i in good], "image": place[cases["image"]]}
