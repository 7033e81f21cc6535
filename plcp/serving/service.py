"""What the endpoint does, apart from how it is hosted."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, TypeVar

import polars as pl
import torch

from plcp.base import DataError
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.problems import invalid
from plcp.serving.products import broken_photo, shard_of_products
from plcp.serving.schemas import ModelAnswer, Product, ScoreRequest, SkuPage
from plcp.serving.scorer import Answer, answers, forecast_of_run
from plcp.serving.store import Catalogue, Published, Stock

T = TypeVar("T")
PROBE = Product(title="a tiny product, to see that the model answers")
PROBE_S = 5.0  # seconds for which an answered probe stands: anyone may ask for one


class Service:
    """A forecaster over a catalog, and the last run's forecasts of it."""

    def __init__(self, forecaster: Forecaster, stock: Stock, published: Published | None, batch_rows: int, threads: int):
        self.forecaster, self.stock, self.published = forecaster, stock, published
        self.batch_rows, self.threads = batch_rows, threads
        self._forward = ThreadPoolExecutor(1)  # one pass at a time, on all threads
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop, too
        self._answers([self._probe()])  # warms up, and fails here if the model cannot answer
        self._checking, self._checked = asyncio.Lock(), time.monotonic()

    async def batch(self, shards: list[Shard]) -> list[Answer]:
        """An answer for each shard, from one pass through the model."""
        return await asyncio.get_running_loop().run_in_executor(self._forward, self._answers, shards)

    def _answers(self, shards: list[Shard]) -> list[Answer]:
        torch.set_num_threads(self.threads)
        same = groupby(shards, key=lambda shard: id(shard.shop))  # requests on either side of a replaced catalog share no pass
        return [answer for _, group in same for answer in answers(self.forecaster, list(group))]

    async def answer(self, shard: Shard) -> Answer:
        """The answer of one shard of at most `batch_rows` rows."""
        return (await self.batch([shard]))[0]

    async def check(self) -> None:
        """A tiny real pass through the model, unless one was made just now; raises or hangs where answers would."""
        async with self._checking:
            if time.monotonic() - self._checked > PROBE_S:
                await self.batch([await self._beside(self._probe)])
                self._checked = time.monotonic()

    def _probe(self) -> Shard:
        return shard_of_products([PROBE], self.stock.catalogue().prepared)

    async def _beside(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookup, function, *arguments)

    async def score(self, request: ScoreRequest) -> bytes:
        """A ScoreAnswer in JSON. Raises ProblemError naming an unknown SKU or a wrong sale."""
        broken = [await self._beside(broken_photo, i, product) for i, product in enumerate(request.products)]
        if faults := [fault for fault in broken if fault]:
            raise invalid(faults)
        return await again_if_replaced(lambda: self._score(request))

    async def _score(self, request: ScoreRequest) -> bytes:
        catalogue = await self._beside(self.stock.catalogue)
        places = await self._beside(catalogue.places, request.sku_ids)
        own = await self._beside(shard_of_products, request.products, catalogue.prepared) if request.products else None
        forecasts: list[bytes] = []
        skipped: list[dict[str, str]] = []
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(places), self.batch_rows):
            piece = await self._beside(catalogue.shard, places[first : first + self.batch_rows])
            collect(await self.answer(piece), forecasts, skipped)
        for piece in pieces(own, self.batch_rows) if own else ():
            collect(await self.answer(piece), forecasts, skipped)
        return scorer.body(self.forecaster.digest, catalogue.prepared.origin.isoformat(), forecasts, skipped)

    async def sku(self, sku_id: str) -> bytes:
        """A SkuAnswer in JSON: the forecast of the last run, or one made now. Raises ProblemError for an unknown SKU."""
        return await again_if_replaced(lambda: self._sku(sku_id))

    async def _sku(self, sku_id: str) -> bytes:
        catalogue = await self._beside(self.stock.catalogue)
        facts, history = await self._beside(facts_of, catalogue, sku_id)
        run, rows = await self._beside(self._run_and_rows, sku_id)
        if rows is not None:
            forecast, skipped = forecast_of_run(rows)
        else:
            places = await self._beside(catalogue.places, [sku_id])
            answer = await self.answer(await self._beside(catalogue.shard, places))
            forecast = answer.forecasts[0] if answer.forecasts else None
            skipped = answer.skipped[0]["reason"] if answer.skipped else None
        stage = rows["stage"]["stage"][0] if rows and len(rows["stage"]) else None
        head = json.dumps({**facts, "stage": stage, "run": run if rows else None, "skipped": skipped}, ensure_ascii=False)[:-1].encode()
        return b'%s, "history": %s, "forecast": %s}' % (head, history, forecast or b"null")

    def _run_and_rows(self, sku_id: str) -> tuple[str | None, dict[str, pl.DataFrame] | None]:
        run = self.published.run() if self.published else None
        return (run.root.name, self.published.tables_of(sku_id)) if run and self.published else (None, None)

    async def skus(self, words: str, stage: str | None, limit: int, offset: int) -> SkuPage:
        """Products found by words and by their stage in the last run."""
        found = await self._beside(self._search, words, stage)
        return SkuPage.model_validate({"total": len(found), "skus": found.slice(offset, limit).to_dicts()})

    def _search(self, words: str, stage: str | None) -> pl.DataFrame:
        found = self.stock.catalogue().search(words)
        if self.published:
            found = found.join(self.published.stages(), on="sku_id", how="left", maintain_order="left")
        else:
            found = found.with_columns(stage=pl.lit(None, pl.String))
        return found.filter(pl.col("stage") == stage) if stage else found

    async def model(self) -> ModelAnswer:
        """What answers here."""
        run = await self._beside(self.published.run) if self.published else None
        prepared = (await self._beside(self.stock.catalogue)).prepared
        return ModelAnswer(
            digest=self.forecaster.digest,
            origin=prepared.origin,
            horizon=self.forecaster.spec.horizon,
            prepared=prepared.digest,
            run=run.root.name if run else None,
            card=self.forecaster.card,
        )


async def again_if_replaced(attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the attempt gives, made a second time where files went from under the first as the prepared data was replaced."""
    try:
        return await attempt()
    except DataError:
        return await attempt()


def facts_of(catalogue: Catalogue, sku_id: str) -> tuple[dict[str, Any], bytes]:
    return catalogue.facts(sku_id), catalogue.history(sku_id).write_json().encode()


def collect(answer: Answer, forecasts: list[bytes], skipped: list[dict[str, str]]) -> None:
    forecasts += answer.forecasts
    skipped += answer.skipped


def pieces(shard: Shard, rows: int) -> list[Shard]:
    return [Shard(shard.frame[i : i + rows], shard.timeline, shard.shop) for i in range(0, len(shard), rows)]
