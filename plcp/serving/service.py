"""What the endpoint does, apart from how it is hosted."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch

from plcp.base import DataError
from plcp.data.shards import Shard
from plcp.data.timeline import WEEK
from plcp.forecast.forecaster import Forecaster
from plcp.forecast.frames import FRAMES, curve_table
from plcp.forecast.replicas import cores
from plcp.forecast.values import Values
from plcp.serving import arrow, scorer
from plcp.serving.batching import BatchConfig, Batcher
from plcp.serving.cases import Case, CaseCache, Packer
from plcp.serving.live import Live, Piece, first_mean
from plcp.serving.metrics import Meter
from plcp.serving.observing import events_of
from plcp.serving.problems import ProblemError, invalid
from plcp.serving.products import broken_photo, shard_of_products
from plcp.serving.reading import Present, Reader
from plcp.serving.scenario import NAMES, Prices, both, outcome, path_of, require_forecast
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
from plcp.serving.store import Decided, Published, Stock
from plcp.tables import EMBEDDING, FORECAST, SKIPPED

T = TypeVar("T")
Row = bytes | dict[str, str]  # of an answer: a forecast in JSON, or the reason why there is none
PROBE = Product(title="a tiny product, to see that the model answers")
AHEAD = 4  # passes of one request for tables that are made or wait at a time
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
        batch: BatchConfig,
        threads: int,
        cached_mib: int,
    ) -> None:
        """`threads` make passes beside one another, each on one core: on several, every small operation would wait for the slowest.
        `cached_mib` is the memory for products kept ready."""
        self.forecaster, self.stock, self.live = forecaster, stock, live
        self.batch = batch
        self.reader = Reader(stock, published, decided, live)
        self.packer, self.meter = Packer(forecaster), Meter()
        self.cache = CaseCache((cached_mib << 20) // self.packer.case_bytes)
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop
        self._search = ThreadPoolExecutor(1)  # what goes over the whole catalog keeps no lookup waiting
        self._store = ThreadPoolExecutor(1)  # waits for the disk
        self._tabled = cores(threads)  # passes asked for as tables
        self._shared = Batcher(self._pass, partial(self.packer.load, batch), partial(torch.set_num_threads, 1), threads)
        live.wait(stock.catalogue())
        self._probe = self.packer.cases(shard_of_products([PROBE], stock.catalogue().prepared))
        self._pass([self._probe] * 2)  # warms up, and fails here if the model cannot answer
        self._checking, self._checked = asyncio.Lock(), time.monotonic()

    def _pass(self, requests: list[Sequence[Case]]) -> list[list[bytes]]:
        """The forecasts of each request's cases in JSON, from one pass through the model."""
        asked = [case for cases in requests for case in cases]
        lines = iter(scorer.forecast_lines(asked, self._values(asked)))
        return [[next(lines) for _ in cases] for cases in requests]

    def _values(self, cases: Sequence[Case]) -> Values:
        begun = time.perf_counter()
        values = self.packer.values(cases)
        scorer.require_numbers(cases, values)
        self.meter.passed(len(cases), time.perf_counter() - begun, self.cache.hits, self.cache.misses)
        return values

    async def check(self) -> None:
        """A tiny real pass through the model, unless one was made just now; raises or hangs where answers would."""
        async with self._checking:
            if time.monotonic() - self._checked > PROBE_S:
                await self._shared(self._probe)
                self.meter.forecasts_from(self.live.worked_in(self.stock.catalogue()).origin)
                self._checked = time.monotonic()

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
        present = await self._present()
        rows = await self._answered(present, self._asked(present, request))
        forecasts, skipped = [row for row in rows if isinstance(row, bytes)], [row for row in rows if not isinstance(row, bytes)]
        return scorer.body(self.forecaster.digest, present.now.origin.isoformat(), forecasts, skipped)

    async def _present(self) -> Present:
        catalogue = self.stock.catalogue()
        at_hand = self.live.at_hand(catalogue)
        return self.reader.present(catalogue) if at_hand else await self.beside(self.reader.present, catalogue)

    async def _asked(self, present: Present, request: ScoreRequest) -> AsyncIterator[list[Case]]:
        """A request's products in their order, no more at a time than share a pass. Raises ProblemError before the first of them."""
        own = await self.beside(shard_of_products, request.products, present.now) if request.products else None
        async for cases in self._of_catalog(present, request.sku_ids):
            yield cases
        made = await self.beside(self.packer.cases, own) if own is not None else []
        for first in range(0, len(made), self.batch.rows):
            yield made[first : first + self.batch.rows]

    async def _of_catalog(self, present: Present, sku_ids: Sequence[str]) -> AsyncIterator[list[Case]]:
        """Products of the catalog, each from the week its observations reach. Raises ProblemError naming those that are not in it."""
        moved = await self._moved(present, sku_ids)
        held = self.cache.find(present.now, [sku for sku in sku_ids if sku not in moved])
        ready = {case.sku_id: case for case in held if case}
        places = await self._places(present, [sku for sku in sku_ids if sku not in ready])
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(sku_ids), self.batch.rows):
            asked = sku_ids[first : first + self.batch.rows]
            new = [sku for sku in dict.fromkeys(asked) if sku not in ready]
            read = await self._cases(present, np.array([places[sku] for sku in new])) if new else []
            made = {case.sku_id: case for case in read}
            for case in read:
                case.lasting = case.sku_id not in moved
            yield [made.get(sku) or ready[sku] for sku in asked]

    async def _moved(self, present: Present, sku_ids: Sequence[str]) -> set[str]:
        """Those of the products that events of their own move: what they are forecast from is not kept."""
        at_hand = self.live.at_hand(present.catalogue) and len(sku_ids) <= self.batch.rows
        asked = sku_ids, present.told
        return self.live.moved(*asked) if at_hand else await self.beside(self.live.moved, *asked)

    async def _places(self, present: Present, sku_ids: Sequence[str]) -> dict[str, int]:
        """Where these products stand in the catalog. Raises ProblemError naming those that are not in it."""
        places = await self.beside(present.catalogue.places, sku_ids) if sku_ids else np.zeros(0, np.int64)
        return dict(zip(sku_ids, places.tolist(), strict=True))

    async def _cases(self, present: Present, places: np.ndarray) -> list[Case]:
        """The products at some places of the catalog, read anew."""
        found: dict[int, Case] = {}
        for piece in await self.beside(self._pieces, present, places):
            cases = await self.beside(self.packer.cases, await self._whole(piece))
            found |= dict(zip(piece.order.tolist(), cases, strict=True))
        return [found[i] for i in range(len(places))]

    def _pieces(self, present: Present, places: np.ndarray) -> list[Piece]:
        return list(self.live.pieces(present.catalogue, places, present.now, present.told))

    async def _whole(self, piece: Piece) -> Shard:
        """The rows that a piece's products are forecast from, a week that is not over worked in."""
        if piece.running is None:
            return piece.shard
        rows = await self._rows(await self.beside(self.packer.cases, piece.shard))
        return await self.beside(piece.running.whole, piece.shard, [first_mean(row, piece.running.week) for row in rows])

    async def _answered(self, present: Present, asked: AsyncIterator[list[Case]]) -> list[Row]:
        """The rows of all that is asked for; what can be is kept ready."""
        rows: list[Row] = []
        async for cases in asked:
            rows += await self._rows(cases)
            self.cache.keep(present.now, cases)
        return rows

    async def _rows(self, cases: Sequence[Case]) -> list[Row]:
        """An answer's row for each case: its forecast in JSON, or the reason why there is none."""
        known = [case for case in cases if not case.reason]
        lines: list[bytes] = []
        for first in range(0, len(known), self.batch.rows):
            lines += await self._shared(known[first : first + self.batch.rows])
        forecasts = iter(lines)
        return [scorer.skipped(case) if case.reason else next(forecasts) for case in cases]

    async def bulk(self, body: bytes, table: str) -> bytes:
        """One forecast table of the SKUs in an Arrow stream, as such a stream. Raises ProblemError for a stream that is none or an
        unknown SKU."""
        request = ScoreRequest.model_construct(sku_ids=await beside(self._tabled, arrow.sku_ids_of, body), products=[])
        found = await self.tables(request, [table])
        return await beside(self._tabled, arrow.stream_of, table, found[table], self.forecaster.digest)

    async def tables(self, request: ScoreRequest, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Forecast tables of a request by name, its products in their order. Raises ProblemError as `score` does."""
        await self._check_photos(request.products)
        return await again_if_replaced(lambda: self._tables(request, names))

    async def _tables(self, request: ScoreRequest, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        present = await self._present()
        passes: list[asyncio.Future[dict[str, pl.DataFrame]]] = []
        async for cases in self._asked(present, request):
            if len(passes) >= AHEAD:
                await passes[-AHEAD]
            passes.append(asyncio.ensure_future(self._framed(present, names, cases)))
        found = await asyncio.gather(*passes)
        return {name: pl.concat([frames[name] for frames in found]) for name in names}

    async def _framed(self, present: Present, names: Sequence[str], cases: Sequence[Case]) -> dict[str, pl.DataFrame]:
        frames = await beside(self._tabled, self._frames, names, cases)
        self.cache.keep(present.now, cases)
        return frames

    def _frames(self, names: Sequence[str], cases: Sequence[Case]) -> dict[str, pl.DataFrame]:
        found = {name: pl.DataFrame(schema=FORECAST[name].schema) for name in names}
        if SKIPPED.name in names:
            rows = pl.DataFrame([scorer.skipped(case) for case in cases if case.reason], schema=dict.fromkeys(SKIPPED.schema, pl.String))
            found[SKIPPED.name] = SKIPPED.conform(rows.with_columns(pl.col("origin").str.to_date()))
        wanted, known = [name for name in names if name in FRAMES], [case for case in cases if not case.reason]
        if wanted and known:
            values, skus = self._values(known), [case.sku_id for case in known]
            found |= {name: FRAMES[name](skus, values) for name in wanted}
        return found

    async def embed(self, request: ScoreRequest) -> EmbedAnswer:
        """The embeddings of a request's products. Raises ProblemError as `score` does."""
        found = await self.tables(request, [EMBEDDING.name, SKIPPED.name])
        rows, skipped = (table.to_dicts() for table in found.values())
        return EmbedAnswer.model_validate({"model": self.forecaster.digest, "embeddings": rows, "skipped": skipped})

    async def scenario(self, request: ScenarioRequest) -> ScenarioAnswer:
        """A path beside the plan. Raises ProblemError (404) for an unknown SKU, (422) for a product that cannot be forecast."""
        await self._check_photos([request.product] if request.product else [])
        return await again_if_replaced(lambda: self._scenario(request))

    async def _scenario(self, request: ScenarioRequest) -> ScenarioAnswer:
        present = await self._present()
        if request.product:
            shard = await self.beside(shard_of_products, [request.product], present.now)
        else:
            places = await self.beside(present.catalogue.places, [request.sku_id])
            (piece,) = await self.beside(self._pieces, present, places)
            shard = await self._whole(piece)
        pair = await self.beside(both, shard, path_of(request))
        cases = await self.beside(self.packer.cases, pair)
        if reason := cases[0].reason:
            raise ProblemError(422, f"{shard.sku_id[0]}: {reason}", sku_ids=shard.sku_id)
        end = dt.date.fromisoformat(str(cases[0].start)) + self.forecaster.spec.horizon * WEEK
        require_forecast(request, present.catalogue.prepared.origin, end)  # a product that events have moved may have left some behind
        values = await beside(self._tabled, self._values, cases)
        curves = [curve_table(shard.sku_id, values[i : i + 1]) for i in range(len(NAMES))]
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
        self.meter.observed(accepted)
        origin = self.reader.present(catalogue).now.origin
        return ObserveAnswer(accepted=accepted, duplicates=len(new) - accepted, contained=len(events) - len(new), origin=origin)

    async def sku(self, sku_id: str) -> bytes:
        """A SkuAnswer in JSON: the forecast of the last run, or one made now. Raises ProblemError for an unknown SKU."""
        return await again_if_replaced(lambda: self._sku(sku_id))

    async def _sku(self, sku_id: str) -> bytes:
        present = await self._present()
        if self.reader.stands(present, sku_id):
            shown = self.reader.sku(present, sku_id)
        else:
            shown = await self.beside(self.reader.sku, present, sku_id)
        if shown.known:
            return shown.body(shown.forecast, shown.reason)
        (row,) = await self._answered(present, self._of_catalog(present, [sku_id]))
        return shown.body(row, None) if isinstance(row, bytes) else shown.body(None, row["reason"])

    async def model(self) -> ModelAnswer:
        """What answers here."""
        now, shelf = (await self._present()).now, await self.beside(self.reader.shelf)
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
