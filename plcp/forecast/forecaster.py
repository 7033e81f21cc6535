"""SKUs in, forecast tables out: the one path that batch and online share."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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
from plcp.forecast.values import DATED, LAST_WEEK, Values, calibrated
from plcp.model.preprocess import open_image
from plcp.tables import CURVE, EMBEDDING, EVENT_TABLE, EVENT_WEEKS, EVENTS, QUANTILES, SKIPPED, STAGE_TABLE, STAGES, Table

CASE_INPUTS = ("history", "future", "calendar_history", "calendar_future", "age", "numeric", "hashed", "pool", "vector")
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
        values = calibrated(out, cases["history"][:, :, 0], cases["age"], origins, starts, self.artifact.calibration)
        return Forecast(
            curve=curve_table(sku_id, origin, values),
            events=event_table(sku_id, origin, values),
            stage=stage_table(sku_id, origin, values),
            embedding=embedding_table(sku_id, out["embedding"]),
            p_new_peak_12w=torch.sigmoid(torch.from_numpy(out["new_peak"]).double()).numpy(),
        )

    def outputs(self, cases: Arrays, sku_id: Sequence[str], broken_photos: BrokenPhotos = "refused") -> dict[str, np.ndarray]:
        """The model's raw outputs (LifeCycleModel.forward) of n cases, before calibration. Photos as in `forecast`."""
        try:
            image = self.encoder.image(cases["images"], photo_owners(cases, sku_id))
        except DataError:
            if broken_photos == "refused":
                raise
            cases = without_broken_photos(cases)
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

    def forward(self, batch: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """The model's raw outputs of a batch on its device (LifeCycleModel.forward)."""
        with torch.inference_mode():
            out = self.artifact.model(batch)
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


def without_broken_photos(cases: Arrays) -> Arrays:
    """The cases with every photo that cannot be decoded taken as missing."""
    good = []
    for i, photo in enumerate(cases["images"]):
        try:
            open_image(photo, f"image {i}")
        except DataError:
            continue
        good.append(i)
    place = np.full(len(cases["images"]) + 1, -1)  # the last one answers for index -1
    place[good] = np.arange(len(good))
    return {**cases, "images": [cases["images"][i] for i in good], "image": place[cases["image"]]}


def curve_table(sku_id: Sequence[str], origin: dt.date, values: Values) -> pl.DataFrame:
    n, horizon = values.mean.shape
    step = np.tile(np.arange(horizon), n)
    ages = np.repeat(values.age.astype(np.float64), horizon) + step
    columns: dict[str, Any] = {
        "sku_id": np.repeat(np.array(sku_id, dtype=object), horizon).tolist(),
        "week": np.repeat(values.starts, horizon) + step * np.timedelta64(7, "D"),
        "age": pl.Series(ages, nan_to_null=True).cast(pl.Int64),
        "mean": values.mean.reshape(-1),
        **{name: values.quantiles[:, :, k].reshape(-1) for k, name in enumerate(QUANTILES)},
    }
    return _table(CURVE, columns, origin)


def event_table(sku_id: Sequence[str], origin: dt.date, values: Values) -> pl.DataFrame:
    names = np.repeat(np.array(sku_id, dtype=object), len(EVENTS)).tolist()
    columns: dict[str, Any] = {"sku_id": names, "event": list(EVENTS) * len(sku_id)}
    columns |= {f"p_{weeks}w": values.within[:, :, k].reshape(-1) for k, weeks in enumerate(EVENT_WEEKS)}
    columns |= {f"date_p{round(p * 100)}": values.dates[:, :, k].reshape(-1) for k, p in enumerate(DATED)}
    return _table(EVENT_TABLE, columns, origin)


def stage_table(sku_id: Sequence[str], origin: dt.date, values: Values) -> pl.DataFrame:
    names = [STAGES[k] for k in values.named]
    return _table(STAGE_TABLE, {"sku_id": list(sku_id), "stage": names} | {s: values.stage[:, k] for k, s in enumerate(STAGES)}, origin)


def embedding_table(sku_id: Sequence[str], vectors: np.ndarray) -> pl.DataFrame:
    """vectors (n, width), rounded through the float16 they are stored in."""
    rounded = vectors.astype(np.float16).astype(np.float32)
    lists = pl.Series("vector", rounded, dtype=pl.Array(pl.Float32, vectors.shape[1])).cast(pl.List(pl.Float32))
    return EMBEDDING.conform(pl.DataFrame({"sku_id": pl.Series(list(sku_id), dtype=pl.String), "vector": lists}))


def _table(table: Table, columns: dict[str, Any], origin: dt.date) -> pl.DataFrame:
    """Numbers as exact as the model computes them: the digits that float64 adds to float32 say nothing and take half of a file."""
    frame = pl.DataFrame(columns, schema_overrides={"sku_id": pl.String}).with_columns(origin=pl.lit(origin))
    return table.conform(frame.with_columns(pl.col(pl.Float64).cast(pl.Float32)))
