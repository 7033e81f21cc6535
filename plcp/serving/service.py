"""What the endpoint does, apart from how it is hosted."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import torch

from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.products import shard_of_products
from plcp.serving.schemas import Product, ScoreRequest
from plcp.serving.scorer import Answer, answers, forecast_of_run
from plcp.serving.store import Catalogue, Published

PROBE = Product(title="a tiny product, to see that the model answers")


class Service:
    """A forecaster over a catalog, and the last run's forecasts of it."""

    def __init__(self, forecaster: Forecaster, prepared: Prepared, published: Published | None, batch_rows: int, threads: int):
        self.forecaster, self.prepared, self.published = forecaster, prepared, published
        self.catalogue = Catalogue(prepared)
        self.batch_rows, self.threads = batch_rows, threads
        self._forward = ThreadPoolExecutor(1)  # one pass at a time, on all threads
        self._probe = shard_of_products([PROBE], prepared)
        self._answers([self._probe])  # warms up, and fails here if the model cannot answer

    async def batch(self, shards: list[Shard]) -> list[Answer]:
        """An answer for each shard, from one pass through the model, beside the event loop."""
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

    async def score(self, request: ScoreRequest) -> bytes:
        """A ScoreAnswer in JSON. Raises ProblemError naming an unknown SKU or a wrong sale."""
        forecasts: list[bytes] = []
        skipped: list[dict[str, str]] = []
        places = self.catalogue.places(request.sku_ids) if request.sku_ids else np.array([], np.int64)
        chunks = [self.catalogue.shard(places[i : i + self.batch_rows]) for i in range(0, len(places), self.batch_rows)]
        if request.products:
            chunks += pieces(named(shard_of_products(request.products, self.prepared), request.products), self.batch_rows)
        for chunk in chunks:  # one after the other, so that a large request leaves room for small ones between
            answer = await self.answer(chunk)
            forecasts += answer.forecasts
            skipped += answer.skipped
        return scorer.body(self.forecaster.digest, self.prepared.origin.isoformat(), forecasts, skipped)

    async def forecast_of(self, sku_id: str) -> tuple[bytes | None, str | None, str | None]:
        """One SKU's forecast in JSON or the reason there is none, and the run it is from: the last one, else made now."""
        rows = self.published.tables_of(sku_id) if self.published else None
        run = self.published.run() if self.published else None
        if rows and run:
            return *forecast_of_run(rows), run.root.name
        answer = await self.answer(self.catalogue.shard(self.catalogue.places([sku_id])))
        if answer.skipped:
            return None, answer.skipped[0]["reason"], None
        return answer.forecasts[0], None, None

    def summaries(self, words: str, stage: str | None) -> pl.DataFrame:
        """Products found by words and stage; columns of SkuSummary and description."""
        found = self.catalogue.search(words)
        if self.published:
            found = found.join(self.published.stages(), on="sku_id", how="left", maintain_order="left")
        else:
            found = found.with_columns(stage=pl.lit(None, pl.String))
        return found.filter(pl.col("stage") == stage) if stage else found

    def summary(self, sku_id: str) -> dict[str, Any]:
        place = self.catalogue.places([sku_id])
        found = self.catalogue.products[place].drop("words")
        rows = self.published.tables_of(sku_id) if self.published else None
        stage = rows["stage"]["stage"][0] if rows and len(rows["stage"]) else None
        return {**found.row(0, named=True), "stage": stage}


def named(shard: Shard, products: list[Product]) -> Shard:
    """Rows under the names their products bear in the request."""
    names = pl.Series("sku_id", [product.sku_id or f"product-{i}" for i, product in enumerate(products)])
    return Shard(shard.frame.with_columns(names), shard.timeline, shard.pools)


def pieces(shard: Shard, rows: int) -> list[Shard]:
    return [Shard(shard.frame[i : i + rows], shard.timeline, shard.pools) for i in range(0, len(shard), rows)]
