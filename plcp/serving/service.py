"""What the endpoint does, apart from how it is hosted."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch

from plcp.base import DataError
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.live import Live, Piece, first_mean
from plcp.serving.observations import Told
from plcp.serving.observing import events_of
from plcp.serving.problems import invalid
from plcp.serving.products import broken_photo, shard_of_products
from plcp.serving.schemas import ModelAnswer, ObserveAnswer, ObserveRequest, Product, ScoreRequest, SkuPage
from plcp.serving.scorer import Answer, answers, forecast_of_run
from plcp.serving.store import Catalogue, Published, Stock, history

T = TypeVar("T")
Row = bytes | dict[str, str]  # of an answer: a forecast in JSON, or the reason why there is none
PROBE = Product(title="a tiny product, to see that the model answers")
PROBE_S = 5.0  # seconds for which an answered probe stands: anyone may ask for one


@dataclass(frozen=True)
class Present:
    """The catalog, and how far it was observed since."""

    catalogue: Catalogue
    told: Told
    now: Prepared  # weeks and shop as far as the whole shop was told


class Service:
    """A forecaster over a catalog, and the last run's forecasts of it."""

    def __init__(self, forecaster: Forecaster, stock: Stock, published: Published | None, live: Live, batch_rows: int, threads: int):
        self.forecaster, self.stock, self.published, self.live = forecaster, stock, published, live
        self.batch_rows, self.threads = batch_rows, threads
        self._forward = ThreadPoolExecutor(1)  # one pass at a time, on all threads
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop, too
        self._store = ThreadPoolExecutor(1)  # waits for the disk
        self.live.wait(self.stock.catalogue())
        self._answers([self._probe()])  # warms up, and fails here if the model cannot answer
        self._checking, self._checked = asyncio.Lock(), time.monotonic()

    async def batch(self, shards: list[Shard]) -> list[Answer]:
        """An answer for each shard, from one pass through the model."""
        return await asyncio.get_running_loop().run_in_executor(self._forward, self._answers, shards)

    def _answers(self, shards: list[Shard]) -> list[Answer]:
        torch.set_num_threads(self.threads)
        same = groupby(shards, key=lambda shard: (id(shard.shop), shard.timeline))  # others share no pass
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
        present = await self._beside(self._present)
        places = await self._beside(present.catalogue.places, request.sku_ids)
        own = await self._beside(shard_of_products, request.products, present.now) if request.products else None
        rows: list[Row] = []
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(places), self.batch_rows):
            rows += await self._catalog_rows(present, places[first : first + self.batch_rows])
        for piece in pieces(own, self.batch_rows) if own else ():
            rows += rows_of(await self.answer(piece), piece)
        forecasts, skipped = [r for r in rows if isinstance(r, bytes)], [r for r in rows if not isinstance(r, bytes)]
        return scorer.body(self.forecaster.digest, present.now.origin.isoformat(), forecasts, skipped)

    async def _catalog_rows(self, present: "Present", places: np.ndarray) -> list[Row]:
        """The rows of an answer for products of the catalog, each from the week its observations reach."""
        found: dict[int, Row] = {}
        for piece in await self._beside(self._pieces, present, places):
            rows, shard = rows_of(await self.answer(piece.shard), piece.shard), piece.shard
            if piece.running:
                expected = [first_mean(row if isinstance(row, bytes) else None, piece.running.week) for row in rows]
                shard = await self._beside(piece.running.whole, shard, expected)
                rows = rows_of(await self.answer(shard), shard)
            found |= dict(zip(piece.order.tolist(), rows, strict=True))
        return [found[i] for i in range(len(places))]

    def _pieces(self, present: "Present", places: np.ndarray) -> list[Piece]:
        return list(self.live.pieces(present.catalogue, places, present.now, present.told))

    def _present(self) -> "Present":
        catalogue = self.stock.catalogue()
        told = self.live.told(catalogue)
        return Present(catalogue, told, self.live.now(catalogue, told))

    async def observe(self, request: ObserveRequest) -> ObserveAnswer:
        """Keep what happened. Returns when it is on disk. Raises ProblemError naming an unknown SKU or a wrong field; then none is kept."""
        return await asyncio.get_running_loop().run_in_executor(self._store, self._observe, request)

    def _observe(self, request: ObserveRequest) -> ObserveAnswer:
        catalogue = self.stock.catalogue()
        events = events_of(request, catalogue, dt.datetime.now().astimezone().date())
        new = events.filter(pl.col("date") >= catalogue.prepared.origin)
        accepted = self.live.observations.add(new) if len(new) else 0
        if request.complete_until:
            self.live.observations.close(request.complete_until)
        origin = self._present().now.origin
        return ObserveAnswer(accepted=accepted, duplicates=len(new) - accepted, contained=len(events) - len(new), origin=origin)

    async def sku(self, sku_id: str) -> bytes:
        """A SkuAnswer in JSON: the forecast of the last run, or one made now. Raises ProblemError for an unknown SKU."""
        return await again_if_replaced(lambda: self._sku(sku_id))

    async def _sku(self, sku_id: str) -> bytes:
        present = await self._beside(self._present)
        catalogue = present.catalogue
        facts = await self._beside(catalogue.facts, sku_id)
        history = await self._beside(self._history, present, sku_id)
        run, rows = await self._beside(self._run_and_rows, sku_id)
        if rows is not None:
            forecast, skipped = forecast_of_run(rows)
        else:
            row = (await self._catalog_rows(present, await self._beside(catalogue.places, [sku_id])))[0]
            forecast, skipped = (row, None) if isinstance(row, bytes) else (None, row["reason"])
        stage = rows["stage"]["stage"][0] if rows and len(rows["stage"]) else None
        head = json.dumps({**facts, "stage": stage, "run": run if rows else None, "skipped": skipped}, ensure_ascii=False)[:-1].encode()
        return b'%s, "history": %s, "forecast": %s}' % (head, history, forecast or b"null")

    def _history(self, present: "Present", sku_id: str) -> bytes:
        place = int(present.catalogue.places([sku_id])[0])
        return history(self.live.observed(present.catalogue, place, present.now, present.told)).write_json().encode()

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
        prepared = (await self._beside(self._present)).now
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


def rows_of(answer: Answer, shard: Shard) -> list[Row]:
    """A row of the answer for each of the shard: its forecast, or why there is none."""
    forecasts, skipped = iter(answer.forecasts), list(reversed(answer.skipped))
    return [skipped.pop() if skipped and skipped[-1]["sku_id"] == sku else next(forecasts) for sku in shard.sku_id]


def pieces(shard: Shard, rows: int) -> list[Shard]:
    return [Shard(shard.frame[i : i + rows], shard.timeline, shard.shop) for i in range(0, len(shard), rows)]
