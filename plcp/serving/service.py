"""What the endpoint does, apart from how it is hosted."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch

from plcp.base import DataError
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecast, Forecaster
from plcp.serving import scorer
from plcp.serving.live import Live, Piece, first_mean
from plcp.serving.observing import events_of
from plcp.serving.problems import ProblemError, invalid
from plcp.serving.products import broken_photo, shard_of_products
from plcp.serving.reading import Present, Reader
from plcp.serving.scenario import NAMES, Prices, both, outcome, path_of
from plcp.serving.schemas import (
    EmbedAnswer,
    ModelAnswer,
    ObserveAnswer,
    ObserveRequest,
    Product,
    ScenarioAnswer,
    ScenarioRequest,
    ScoreRequest,
)
from plcp.serving.scorer import Answer, answers
from plcp.serving.store import Decided, Published, Stock
from plcp.tables import FORECAST

T = TypeVar("T")
Row = bytes | dict[str, str]  # of an answer: a forecast in JSON, or the reason why there is none
Tables = dict[str, pl.DataFrame]  # forecast tables by name
PROBE = Product(title="a tiny product, to see that the model answers")
PROBE_S = 5.0  # seconds for which an answered probe stands: anyone may ask for one


class Service:
    """A forecaster over a catalog and what was observed of it, and the last run's forecasts."""

    def __init__(
        self,
        forecaster: Forecaster,
        stock: Stock,
        published: Published | None,
        decided: Decided | None,
        live: Live,
        batch_rows: int,
        threads: int,
    ):
        self.forecaster, self.stock, self.live = forecaster, stock, live
        self.batch_rows, self.threads = batch_rows, threads
        self.reader = Reader(stock, published, decided, live)
        self._forward = ThreadPoolExecutor(1)  # one pass at a time, on all threads
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop, too
        self._search = ThreadPoolExecutor(1)  # what goes over the whole catalog keeps no lookup waiting
        self._store = ThreadPoolExecutor(1)  # waits for the disk
        live.wait(stock.catalogue())
        self._answers([self._probe()])  # warms up, and fails here if the model cannot answer
        self._checking, self._checked = asyncio.Lock(), time.monotonic()

    async def batch(self, shards: list[Shard]) -> list[Answer]:
        """An answer for each shard, from one pass through the model."""
        return await beside(self._forward, self._answers, shards)

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
                await self.batch([await self.beside(self._probe)])
                self._checked = time.monotonic()

    def _probe(self) -> Shard:
        return shard_of_products([PROBE], self.stock.catalogue().prepared)

    async def beside(self, function: Callable[..., T], *arguments: Any) -> T:
        """A lookup, beside the event loop."""
        return await beside(self._lookup, function, *arguments)

    async def search(self, function: Callable[..., T], *arguments: Any) -> T:
        """What goes over the whole catalog, beside the event loop and the lookups."""
        return await again_if_replaced(lambda: beside(self._search, function, *arguments))

    async def score(self, request: ScoreRequest) -> bytes:
        """A ScoreAnswer in JSON. Raises ProblemError naming an unknown SKU or a wrong sale."""
        await self._check_photos(request.products)
        return await again_if_replaced(lambda: self._score(request))

    async def _check_photos(self, products: list[Product]) -> None:
        broken = [await self.beside(broken_photo, i, product) for i, product in enumerate(products)]
        if faults := [fault for fault in broken if fault]:
            raise invalid(faults)

    async def _score(self, request: ScoreRequest) -> bytes:
        present = await self.beside(self.reader.present)
        places = await self.beside(present.catalogue.places, request.sku_ids)
        rows: list[Row] = []
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(places), self.batch_rows):
            rows += await self._catalog_rows(present, places[first : first + self.batch_rows])
        for piece in await self._pieces_of(request.products, present):
            rows += rows_of(await self.answer(piece), piece)
        forecasts, skipped = [r for r in rows if isinstance(r, bytes)], [r for r in rows if not isinstance(r, bytes)]
        return scorer.body(self.forecaster.digest, present.now.origin.isoformat(), forecasts, skipped)

    async def _pieces_of(self, products: list[Product], present: Present) -> list[Shard]:
        """Whole products, in pieces of one pass each."""
        return pieces(await self.beside(shard_of_products, products, present.now), self.batch_rows) if products else []

    async def _catalog_rows(self, present: Present, places: np.ndarray) -> list[Row]:
        """The rows of an answer for products of the catalog, each from the week its observations reach."""
        found: dict[int, Row] = {}
        for piece in await self._catalog_pieces(present, places):
            rows = rows_of(await self.answer(piece.shard), piece.shard)
            found |= dict(zip(piece.order.tolist(), rows, strict=True))
        return [found[i] for i in range(len(places))]

    async def _catalog_pieces(self, present: Present, places: np.ndarray) -> list[Piece]:
        """The rows that products of the catalog are forecast from, weeks that are not over worked in."""
        found = []
        for piece in await self.beside(self._pieces, present, places):
            shard = piece.shard
            if piece.running:
                rows = rows_of(await self.answer(shard), shard)
                shard = await self.beside(piece.running.whole, shard, [first_mean(row, piece.running.week) for row in rows])
            found.append(Piece(piece.order, shard))
        return found

    def _pieces(self, present: Present, places: np.ndarray) -> list[Piece]:
        return list(self.live.pieces(present.catalogue, places, present.now, present.told))

    async def tables(self, request: ScoreRequest) -> Tables:
        """The forecast tables of a request, whole, its products in their order. Raises ProblemError as `score` does."""
        await self._check_photos(request.products)
        return await again_if_replaced(lambda: self._tables(request))

    async def _tables(self, request: ScoreRequest) -> Tables:
        present = await self.beside(self.reader.present)
        places = await self.beside(present.catalogue.places, request.sku_ids)
        names, size = [*request.sku_ids], self.forecaster.config.batch_size
        found = []
        for first in range(0, len(places), size):
            pieces = await self._catalog_pieces(present, places[first : first + size])
            found += [await self._forecast(piece.shard, first + piece.order) for piece in pieces]
        for shard in await self._pieces_of(request.products, present):
            found.append(await self._forecast(shard, len(names) + np.arange(len(shard))))
            names += shard.sku_id
        return {name: named(pl.concat([tables[name] for tables in found]), names) for name in FORECAST}

    async def _forecast(self, shard: Shard, places: np.ndarray) -> Tables:
        """The forecast tables of a shard, its rows named by these places."""
        keys = pl.Series("sku_id", [f"{place:08d}" for place in places])
        rows = Shard(shard.frame.with_columns(keys), shard.timeline, shard.shop)
        forecast, skipped = await beside(self._forward, self._forward_pass, rows)
        return {name: getattr(forecast, name) for name in FORECAST if name != "skipped"} | {"skipped": skipped}

    def _forward_pass(self, shard: Shard) -> tuple[Forecast, pl.DataFrame]:
        torch.set_num_threads(self.threads)
        return self.forecaster.forecast_shard(shard, shard.timeline.origin)

    async def embed(self, request: ScoreRequest) -> EmbedAnswer:
        """The embeddings of a request's products. Raises ProblemError as `score` does."""
        tables = await self.tables(request)
        rows, skipped = tables["embedding"].to_dicts(), tables["skipped"].to_dicts()
        return EmbedAnswer.model_validate({"model": self.forecaster.digest, "embeddings": rows, "skipped": skipped})

    async def scenario(self, request: ScenarioRequest) -> ScenarioAnswer:
        """A path beside the plan. Raises ProblemError (404) for an unknown SKU, (422) for a product that cannot be forecast."""
        await self._check_photos([request.product] if request.product else [])
        return await again_if_replaced(lambda: self._scenario(request))

    async def _scenario(self, request: ScenarioRequest) -> ScenarioAnswer:
        present = await self.beside(self.reader.present)
        if request.product:
            shard = (await self._pieces_of([request.product], present))[0]
        else:
            places = await self.beside(present.catalogue.places, [request.sku_id])
            shard = (await self._catalog_pieces(present, places))[0].shard
        pair = await self.beside(both, shard, path_of(request))
        tables = await self._forecast(pair, np.arange(len(NAMES)))
        if len(tables["skipped"]):
            raise ProblemError(422, f"{shard.sku_id[0]}: {tables['skipped']['reason'][0]}", sku_ids=shard.sku_id)
        curves = tables["curve"].partition_by("sku_id", maintain_order=True)
        outcomes = {name: outcome(curves[i], Prices.of(pair, i), request.unit_cost) for i, name in enumerate(NAMES)}
        head = {"model": self.forecaster.digest, "sku_id": shard.sku_id[0], "origin": pair.timeline.origin}
        return ScenarioAnswer.model_validate(head | outcomes)

    async def observe(self, request: ObserveRequest) -> ObserveAnswer:
        """Keep what happened. Returns when it is on disk. Raises ProblemError naming an unknown SKU or a wrong field; then none is kept."""
        return await beside(self._store, self._observe, request)

    def _observe(self, request: ObserveRequest) -> ObserveAnswer:
        catalogue = self.stock.catalogue()
        events = events_of(request, catalogue, dt.datetime.now().astimezone().date())
        new = events.filter(pl.col("date") >= catalogue.prepared.origin)
        accepted = self.live.observations.add(new) if len(new) else 0
        if request.complete_until:
            self.live.observations.close(request.complete_until)
        origin = self.reader.present().now.origin
        return ObserveAnswer(accepted=accepted, duplicates=len(new) - accepted, contained=len(events) - len(new), origin=origin)

    async def sku(self, sku_id: str) -> bytes:
        """A SkuAnswer in JSON: the forecast of the last run, or one made now. Raises ProblemError for an unknown SKU."""
        return await again_if_replaced(lambda: self._sku(sku_id))

    async def _sku(self, sku_id: str) -> bytes:
        present = await self.beside(self.reader.present)
        shown = await self.beside(self.reader.sku, present, sku_id)
        if shown.known:
            return shown.body(shown.forecast, shown.reason)
        row = (await self._catalog_rows(present, await self.beside(present.catalogue.places, [sku_id])))[0]
        return shown.body(row, None) if isinstance(row, bytes) else shown.body(None, row["reason"])

    async def model(self) -> ModelAnswer:
        """What answers here."""
        now, shelf = (await self.beside(self.reader.present)).now, await self.beside(self.reader.shelf)
        return ModelAnswer(
            digest=self.forecaster.digest,
            origin=now.origin,
            horizon=self.forecaster.spec.horizon,
            prepared=now.digest,
            run=shelf.name if shelf else None,
            card=self.forecaster.card,
        )


async def beside(executor: Executor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)


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


def named(table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """A table whose SKUs are places, in their order, under the names at those places."""
    ordered = table.sort("sku_id", maintain_order=True)
    return ordered.with_columns(pl.Series("sku_id", names, dtype=pl.String).gather(ordered["sku_id"].cast(pl.UInt32)))


def pieces(shard: Shard, rows: int) -> list[Shard]:
    return [Shard(shard.frame[i : i + rows], shard.timeline, shard.shop) for i in range(0, len(shard), rows)]
