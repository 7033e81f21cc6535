"""What the endpoint does, apart from how it is hosted."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import polars as pl
import torch

from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.products import shard_of_products
from plcp.serving.schemas import ModelAnswer, Product, ScoreRequest, SkuPage
from plcp.serving.scorer import Answer, answers, forecast_of_run
from plcp.serving.store import Catalogue, Published

T = TypeVar("T")
PROBE = Product(title="a tiny product, to see that the model answers")


class Service:
    """A forecaster over a catalog, and the last run's forecasts of it."""

    def __init__(self, forecaster: Forecaster, prepared: Prepared, published: Published | None, batch_rows: int, threads: int):
        self.forecaster, self.prepared, self.published = forecaster, prepared, published
        self.batch_rows, self.threads = batch_rows, threads
        self._catalogue = Catalogue(prepared)
        self._forward = ThreadPoolExecutor(1)  # one pass at a time, on all threads
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop, too
        self._probe = shard_of_products([PROBE], prepared)
        self._answers([self._probe])  # warms up, and fails here if the model cannot answer

    async def batch(self, shards: list[Shard]) -> list[Answer]:
        """An answer for each shard, from one pass through the model."""
        return await asyncio.get_running_loop().run_in_executor(self._forward, self._answers, shards)

    def _answers(self, shards: list[Shard]) -> list[Answer]:
        torch.set_num_threads(self.threads)
        return answers(self.forecaster, shards)

    async def answer(self, shard: Shard) -> Answer:
        """The answer of one shard of at most `batch_rows` rows."""
        return (await self.batch([shard]))[0]

    async def check(self) -> None:
        """A tiny real pass through the model; raises or hangs where answers would."""
        await self.batch([self._probe])

    async def _beside(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookup, function, *arguments)

    async def score(self, request: ScoreRequest) -> bytes:
        """A ScoreAnswer in JSON. Raises ProblemError naming an unknown SKU or a wrong sale."""
        places = await self._beside(self._catalogue.places, request.sku_ids)
        own = await self._beside(shard_of_products, request.products, self.prepared) if request.products else None
        forecasts: list[bytes] = []
        skipped: list[dict[str, str]] = []
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(places), self.batch_rows):
            piece = await self._beside(self._catalogue.shard, places[first : first + self.batch_rows])
            collect(await self.answer(piece), forecasts, skipped)
        for piece in pieces(own, self.batch_rows) if own else ():
            collect(await self.answer(piece), forecasts, skipped)
        return scorer.body(self.forecaster.digest, self.prepared.origin.isoformat(), forecasts, skipped)

    async def sku(self, sku_id: str) -> bytes:
        """A SkuAnswer in JSON: the forecast of the last run, or one made now. Raises ProblemError for an unknown SKU."""
        facts, history = await self._beside(self._facts, sku_id)
        run, rows = await self._beside(self._run_and_rows, sku_id)
        if rows is not None:
            forecast, skipped = forecast_of_run(rows)
        else:
            places = await self._beside(self._catalogue.places, [sku_id])
            answer = await self.answer(await self._beside(self._catalogue.shard, places))
            forecast = answer.forecasts[0] if answer.forecasts else None
            skipped = answer.skipped[0]["reason"] if answer.skipped else None
        stage = rows["stage"]["stage"][0] if rows and len(rows["stage"]) else None
        head = json.dumps({**facts, "stage": stage, "run": run if rows else None, "skipped": skipped}, ensure_ascii=False)[:-1].encode()
        return b'%s, "history": %s, "forecast": %s}' % (head, history, forecast or b"null")

    def _facts(self, sku_id: str) -> tuple[dict[str, Any], bytes]:
        return self._catalogue.facts(sku_id), self._catalogue.history(sku_id).write_json().encode()

    def _run_and_rows(self, sku_id: str) -> tuple[str | None, dict[str, pl.DataFrame] | None]:
        run = self.published.run() if self.published else None
        return (run.root.name, self.published.tables_of(sku_id)) if run and self.published else (None, None)

    async def skus(self, words: str, stage: str | None, limit: int, offset: int) -> SkuPage:
        """Products found by words and by their stage in the last run."""
        found = await self._beside(self._search, words, stage)
        return SkuPage.model_validate({"total": len(found), "skus": found.slice(offset, limit).to_dicts()})

    def _search(self, words: str, stage: str | None) -> pl.DataFrame:
        found = self._catalogue.search(words)
        if self.published:
            found = found.join(self.published.stages(), on="sku_id", how="left", maintain_order="left")
        else:
            found = found.with_columns(stage=pl.lit(None, pl.String))
        return found.filter(pl.col("stage") == stage) if stage else found

    async def model(self) -> ModelAnswer:
        """What answers here."""
        run = await self._beside(self.published.run) if self.published else None
        return ModelAnswer(
            digest=self.forecaster.digest,
            origin=self.prepared.origin,
            horizon=self.forecaster.spec.horizon,
            prepared=self.prepared.digest,
            run=run.root.name if run else None,
            card=self.forecaster.card,
        )


def collect(answer: Answer, forecasts: list[bytes], skipped: list[dict[str, str]]) -> None:
    forecasts += answer.forecasts
    skipped += answer.skipped


def pieces(shard: Shard, rows: int) -> list[Shard]:
    return [Shard(shard.frame[i : i + rows], shard.timeline, shard.pools) for i in range(0, len(shard), rows)]
