"""Answers that are looked up: the catalog, the last run and its decisions. Nothing here runs the model."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import polars as pl

from plcp.data.prepared import Prepared
from plcp.serving.live import Live
from plcp.serving.nearest import substitutes
from plcp.serving.observations import Told
from plcp.serving.problems import ProblemError
from plcp.serving.schemas import AlertPage, SkuPage, SubstitutesAnswer
from plcp.serving.store import OF_RUN, Catalogue, Decided, Decisions, Published, Shelf, Stock, history
from plcp.tables import DECISION_KINDS

Sort = Literal["sku_id", "title", "list_price", "units", "ending"]
RISKS = tuple(kind for kind in DECISION_KINDS if kind.startswith("risk_"))
NO_SHELF = {"stage": pl.String, "units": pl.Float64, "ending": pl.Float64}


@dataclass(frozen=True)
class Present:
    """The catalog, and how far it was observed since."""

    catalogue: Catalogue
    told: Told
    now: Prepared  # weeks and shop as far as the whole shop was told


@dataclass(frozen=True)
class Shown:
    """A SkuAnswer that still lacks its forecast where no run gave one."""

    head: dict[str, object]
    history: bytes
    known: bool  # to a run
    forecast: bytes | None
    reason: str | None  # why the run has none

    def body(self, forecast: bytes | None, skipped: str | None) -> bytes:
        head = json.dumps(plain(self.head) | {"skipped": skipped}, ensure_ascii=False, default=str, allow_nan=False)[:-1].encode()
        return b'%s, "history": %s, "forecast": %s}' % (head, self.history, forecast or b"null")


def plain(value: Any) -> Any:
    """What JSON can say: a number that is none becomes null, however deep it lies."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


class Reader:
    """Looks up; every method is for a thread beside the event loop, but for `present` where Live.at_hand says so, and for `sku` where
    `stands` does."""

    def __init__(self, stock: Stock, published: Published | None, decided: Decided | None, live: Live) -> None:
        self.stock, self.published, self.decided, self.live = stock, published, decided, live

    def stands(self, present: Present, sku_id: str) -> bool:
        """Whether a product still stands as it was prepared, so that `sku` reads a few pages of memory: less than waking a thread."""
        at_hand = self.live.at_hand(present.catalogue) and present.now is present.catalogue.prepared
        return at_hand and not self.live.moved([sku_id], present.told)

    def present(self, catalogue: Catalogue) -> Present:
        told = self.live.told(catalogue)
        return Present(catalogue, told, self.live.now(catalogue, told))

    def shelf(self) -> Shelf | None:
        return self.published.shelf() if self.published else None

    def decisions(self) -> Decisions | None:
        return self.decided.decisions() if self.decided else None

    def sku(self, present: Present, sku_id: str) -> Shown:
        """Raises ProblemError (404) for an unknown SKU."""
        place = int(present.catalogue.places([sku_id])[0])
        shelf, decisions = self.shelf(), self.decisions()
        known = shelf.find(sku_id) if shelf else None
        facts, forecast = known or (dict.fromkeys(OF_RUN), None)
        current = shelf and decisions and decisions.run == shelf.name
        head = present.catalogue.facts(place) | {name: facts[name] for name in ("stage", "units", "ending")}
        head["run"] = shelf.name if shelf and known else None
        head["decisions"] = decisions.of(sku_id) if decisions and current else []
        return Shown(head, self._history(present, place), known is not None, forecast, facts["reason"])

    def _history(self, present: Present, place: int) -> bytes:
        own = present.catalogue.prepared
        columns = [name for name in ("sku_id", "units", "price") if name in present.catalogue.columns]
        stored = present.catalogue.snapshot.take(np.array([place]), columns)
        return history(*self.live.observed(own, stored, present.now, present.told))

    def skus(self, words: str, stage: str | None, sort: Sort, descending: bool, limit: int, offset: int) -> SkuPage:
        """Products found by words and by their stage in the last run; a page of them, those without a value last."""
        found, shelf = self.stock.catalogue().search(words), self.shelf()
        if shelf:
            found = found.join(shelf.listed(), on="sku_id", how="left")
        else:
            found = found.with_columns(pl.lit(None, kind).alias(name) for name, kind in NO_SHELF.items())
        found = found.filter(pl.col("stage") == stage) if stage else found
        page = found.sort([sort, "sku_id"], descending=[descending, False], nulls_last=True).slice(offset, limit)
        total, rows = pl.collect_all([found.select(pl.len()), page], engine="streaming")
        return SkuPage.model_validate({"total": total.item(), "skus": rows.to_dicts()})

    def alerts(self, kind: str | None, limit: int, offset: int) -> AlertPage:
        """Risks of the last decisions, of one kind or all."""
        decisions = self.decisions()
        if decisions is None:
            return AlertPage(run=None, total=0, alerts=[])
        found = decisions.scan().filter(pl.col("kind").is_in([kind] if kind else list(RISKS)))
        stake = pl.col("expected_effect").abs().fill_null(0)
        page = found.sort([-stake, "rank", "sku_id", "kind"]).slice(offset, limit)
        total, rows = pl.collect_all([found.select(pl.len()), page], engine="streaming")
        return AlertPage.model_validate({"run": decisions.run, "total": total.item(), "alerts": rows.to_dicts()})

    def substitutes(self, sku_id: str, limit: int) -> SubstitutesAnswer:
        """Raises ProblemError (404) for a SKU that is unknown, or that the run did not forecast."""
        present, shelf = self.present(self.stock.catalogue()), self.shelf()
        place = int(present.catalogue.places([sku_id])[0])
        if shelf is None:
            raise ProblemError(404, "no run was published here, so there are no embeddings to compare: run `plcp score`")
        found = substitutes(present.catalogue, shelf, self.live.observations, sku_id, present.catalogue.facts(place)["category"], limit)
        return SubstitutesAnswer.model_validate({"run": shelf.name, "sku_id": sku_id, "substitutes": found})
