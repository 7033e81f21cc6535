"""What the endpoint does, apart from how it is hosted."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch

from plcp.base import DataError
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.batching import BatchConfig, Batcher
from plcp.serving.cases import Case, CaseCache, Packer
from plcp.serving.problems import invalid
from plcp.serving.products import broken_photo, shard_of_products
from plcp.serving.schemas import ModelAnswer, Product, ScoreRequest, SkuPage
from plcp.serving.scorer import forecast_of_run
from plcp.serving.store import Catalogue, Published, Stock

T = TypeVar("T")
Row = bytes | dict[str, str]  # of an answer: a forecast in JSON, or the reason why there is none
PROBE = Product(title="a tiny product, to see that the model answers")
PROBE_S = 5.0  # seconds for which an answered probe stands: anyone may ask for one


class Service:
    """A forecaster over a catalog, and the last run's forecasts of it."""

    def __init__(
        self, forecaster: Forecaster, stock: Stock, published: Published | None, batch: BatchConfig, threads: int, cached_mib: int
    ) -> None:
        """`threads` compute each pass; `cached_mib` is the memory for products kept ready."""
        self.forecaster, self.stock, self.published, self.batch = forecaster, stock, published, batch
        self.packer = Packer(forecaster)
        self.cache = CaseCache((cached_mib << 20) // self.packer.case_bytes)
        self._lookup = ThreadPoolExecutor(1)  # files are read and rows put together beside the event loop
        self._shared = Batcher(self._pass, partial(self.packer.load, batch), partial(torch.set_num_threads, threads))
        self._probe = self.packer.cases(shard_of_products([PROBE], stock.catalogue().prepared))
        self._pass([self._probe] * 2)  # warms up, and fails here if the model cannot answer
        self._checking, self._checked = asyncio.Lock(), time.monotonic()

    def _pass(self, requests: list[Sequence[Case]]) -> list[list[bytes]]:
        """The forecasts of each request's cases in JSON, from one pass through the model."""
        values = self.packer.values([case for cases in requests for case in cases])
        ends = np.cumsum([len(cases) for cases in requests]).tolist()
        return [scorer.forecast_lines(cases, values[end - len(cases) : end]) for cases, end in zip(requests, ends, strict=True)]

    async def check(self) -> None:
        """A tiny real pass through the model, unless one was made just now; raises or hangs where answers would."""
        async with self._checking:
            if time.monotonic() - self._checked > PROBE_S:
                await self._shared(self._probe)
                self._checked = time.monotonic()

    async def _beside(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookup, function, *arguments)

    async def score(self, request: ScoreRequest) -> bytes:
        """A ScoreAnswer in JSON. Raises ProblemError naming an unknown SKU or a wrong sale."""
        broken = [await self._beside(broken_photo, i, product) for i, product in enumerate(request.products)]
        if faults := [fault for fault in broken if fault]:
            raise invalid(faults)
        return await again_if_replaced(lambda: self._score(request))

    async def _score(self, request: ScoreRequest) -> bytes:
        catalogue = await self._catalogue()
        rows = await self._catalog_rows(catalogue, request.sku_ids)
        if request.products:
            own = await self._beside(shard_of_products, request.products, catalogue.prepared)
            rows += await self._rows(await self._beside(self.packer.cases, own))
        forecasts, skipped = [row for row in rows if isinstance(row, bytes)], [row for row in rows if not isinstance(row, bytes)]
        return scorer.body(self.forecaster.digest, catalogue.prepared.origin.isoformat(), forecasts, skipped)

    async def _catalogue(self) -> Catalogue:
        at_hand = self.stock.at_hand()
        return at_hand if at_hand is not None else await self._beside(self.stock.catalogue)

    async def _catalog_rows(self, catalogue: Catalogue, sku_ids: Sequence[str]) -> list[Row]:
        """An answer's rows for products of the catalog. Raises ProblemError naming those that are not in it."""
        held = self.cache.find(catalogue, sku_ids)
        new = [sku for sku, case in zip(sku_ids, held, strict=True) if case is None]
        places = await self._beside(catalogue.places, new) if new else np.zeros(0, np.int64)
        rows, made = [], 0
        for first in range(0, len(held), self.batch.rows):
            cases = held[first : first + self.batch.rows]
            missing = [i for i, case in enumerate(cases) if case is None]
            found = await self._beside(self._read, catalogue, places[made : made + len(missing)]) if missing else []
            made += len(missing)
            for i, case in zip(missing, found, strict=True):
                cases[i] = case
            rows += await self._rows([case for case in cases if case])
            self.cache.keep(catalogue, found)
        return rows

    def _read(self, catalogue: Catalogue, places: np.ndarray) -> list[Case]:
        return self.packer.cases(catalogue.shard(places))

    async def _rows(self, cases: Sequence[Case]) -> list[Row]:
        """An answer's row for each case: its forecast in JSON, or the reason why there is none."""
        known = [case for case in cases if not case.reason]
        lines: list[bytes] = []
        # one piece after the other, so that a large request leaves room for small ones between
        for first in range(0, len(known), self.batch.rows):
            lines += await self._shared(known[first : first + self.batch.rows])
        forecasts = iter(lines)
        return [scorer.skipped(case) if case.reason else next(forecasts) for case in cases]

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
            (row,) = await self._catalog_rows(catalogue, [sku_id])
            forecast, skipped = (row, None) if isinstance(row, bytes) else (None, row["reason"])
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
