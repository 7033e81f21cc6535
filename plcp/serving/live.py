"""The catalog as it stands now: prepared data, and what was observed since.

A week is told for the whole shop when the one who feeds it says so (`complete_until`): from then on every product is forecast from the
week after it, those without a sale included, with the numbers of a weekly run over data that hold that week. Until then each product
goes as far as its own events: nothing is taken for unsold only because nobody has told of it yet.
"""

import datetime as dt
import json
import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from plcp.base import PlcpError
from plcp.data.prepared import Prepared
from plcp.data.roll import extended, moved_on
from plcp.data.shards import Shard
from plcp.data.timeline import Timeline, monday
from plcp.serving.observations import Observations, Told
from plcp.serving.store import Catalogue
from plcp.tables import SALES

DAYS, SUNDAY = 7, 6
Key = tuple[str, dt.date]  # digest of prepared data, and the Monday up to which the whole shop was told


@dataclass(frozen=True)
class Piece:
    """Products that are forecast from one week on: their places among those asked for, and their rows.

    `running` is the week after those rows where the products' events reach into one that is not over, else None.
    """

    order: np.ndarray
    shard: Shard
    running: "Running | None" = None


@dataclass(frozen=True)
class Running:
    """A week that is not over, of the products of one piece."""

    week: dt.date
    left: float  # share of it that is still to come
    stored: pl.DataFrame  # their rows as prepared
    axis: Timeline  # of those
    sales: pl.DataFrame  # all that was observed of them

    def whole(self, shard: Shard, first_weeks: Sequence[float]) -> Shard:
        """The shard with the week, as what was sold so far and what the forecast (first_weeks, of each row) expects of its rest."""
        rest = [mean * self.left for mean in first_weeks]
        expected = pl.DataFrame({"sku_id": shard.frame["sku_id"], "date": [self.week] * len(rest), "units": rest}).unique("sku_id")
        sales = pl.concat([self.sales, SALES.conform(expected)])
        axis = Timeline(shard.timeline.first_week, shard.timeline.weeks + 1, shard.timeline.closed)
        return Shard(extended(self.stored, sales, self.axis, axis), axis, shard.shop)


class Live:
    """Moves on with the store by itself; what concerns the whole shop is worked out in the background and then takes effect at once."""

    def __init__(self, observations: Observations, folder: Path) -> None:
        self.observations, self.folder = observations, folder
        self._worker = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._moved: tuple[Key, Prepared] | None = None
        self._moving: tuple[Key, Future[Prepared]] | None = None
        self._origin = dt.date.min

    def at_hand(self, catalogue: Catalogue) -> bool:
        """Whether `told` and `now` take microseconds, so that the event loop itself may ask."""
        return self.observations.at_hand and self._origin >= catalogue.prepared.origin

    def told(self, catalogue: Catalogue) -> Told:
        """How far the store reaches beyond the catalogue; what a weekly run holds by now is dropped from it."""
        origin = catalogue.prepared.origin
        if self._origin < origin:
            self.observations.drop(before=origin)
            self._origin = origin
        told = self.observations.told()
        closed = told.closed_until if told.closed_until and told.closed_until > origin else None
        return Told(closed, told.last_day if told.last_day and told.last_day >= origin else None)

    def now(self, catalogue: Catalogue, told: Told) -> Prepared:
        """The prepared data's weeks and shop, as far as what the whole shop was told is worked out; its shards are the catalogue's."""
        own = catalogue.prepared
        if told.closed_until is None:
            return own
        key = own.digest, told.closed_until
        with self._lock:
            if self._moving and self._moving[1].done():
                self._arrive(*self._moving)
            if (self._moved is None or self._moved[0] != key) and self._moving is None:
                self._moving = key, self._worker.submit(self._move_on, own, told.closed_until)
        return self.worked_in(catalogue)

    def worked_in(self, catalogue: Catalogue) -> Prepared:
        """As `now` gave it last; the store is not asked."""
        own, moved = catalogue.prepared, self._moved
        return moved[1] if moved and moved[0][0] == own.digest else own

    def wait(self, catalogue: Catalogue) -> None:
        """Work out what the whole shop was told, and return when it is done."""
        self.now(catalogue, self.told(catalogue))
        if moving := self._moving:
            moving[1].exception()

    def _arrive(self, key: Key, moving: Future[Prepared]) -> None:
        self._moving = None
        try:
            self._moved = key, moving.result()
        except (PlcpError, OSError):
            logging.getLogger(__name__).exception("observed weeks could not be worked in; the weeks before them stay in use")

    def _move_on(self, prepared: Prepared, closed: dt.date) -> Prepared:
        origin, weeks = prepared.origin, prepared.timeline.index(closed)
        sold = {monday(day) for day in self.observations.sold_on(origin)}
        shut = [i for i in range(prepared.weeks, weeks) if prepared.timeline.date(i) not in sold]
        timeline = Timeline(prepared.first_week, weeks, (*prepared.timeline.closed, *shut))
        older = [path for path in self.folder.glob("*") if path.name < str(closed)]
        folder = self.folder / f"{closed}-{prepared.digest[:12]}"
        moved = moved_on(prepared, lambda skus: self._sales(skus, origin), timeline, folder)
        moved.shop  # noqa: B018 - read now, as the folder goes when the next week is told
        for path in older:
            shutil.rmtree(path, ignore_errors=True)
        return moved

    def _sales(self, sku_ids: Sequence[str], since: dt.date) -> pl.DataFrame:
        return SALES.conform(self.observations.of(sku_ids, since))

    def moved(self, sku_ids: Sequence[str], told: Told) -> set[str]:
        """Those of these SKUs whose own events move them."""
        return self.observations.observed(sku_ids) if told.last_day else set()

    def pieces(self, catalogue: Catalogue, places: np.ndarray, now: Prepared, told: Told) -> Iterator[Piece]:
        """The products at these places of the catalogue, in groups that are forecast from one week on."""
        own, stored = catalogue.prepared, catalogue.frame(places)
        if told.last_day is None and now is own:
            yield Piece(np.arange(len(places)), Shard(stored, own.timeline, own.shop))
            return
        sales = self._sales(stored["sku_id"].unique().to_list(), own.origin)
        weeks = reach(stored["sku_id"], sales, now.timeline)
        open_week = running_week(own, told)
        for until in np.unique(weeks).tolist():
            order = np.flatnonzero(weeks == until)
            rows, is_open = stored[order], open_week is not None and until > max(now.weeks, now.timeline.index(open_week))
            timeline = Timeline(now.first_week, until - is_open, now.timeline.closed)
            shard = Shard(extended(rows, sales, own.timeline, timeline), timeline, now.shop)
            yield Piece(order, shard, running(open_week, told, rows, own.timeline, sales) if open_week and is_open else None)

    def observed(self, own: Prepared, stored: pl.DataFrame, now: Prepared, told: Told) -> tuple[pl.DataFrame, Timeline]:
        """A row of a shard with all that was observed of it, a week that is not over included, and its axis."""
        if now is own and not self.moved(stored["sku_id"].to_list(), told):
            return stored, own.timeline
        sales = self._sales(stored["sku_id"].to_list(), own.origin) if told.last_day else SALES.conform(pl.DataFrame(schema=SALES.schema))
        until = int(reach(stored["sku_id"], sales, now.timeline)[0])
        timeline = Timeline(now.first_week, until, now.timeline.closed)
        return extended(stored, sales, own.timeline, timeline), timeline


def reach(skus: pl.Series, sales: pl.DataFrame, timeline: Timeline) -> np.ndarray:
    """The first week (index) after each product's last event, (n,); the timeline's end where that is later."""
    last = sales.group_by("sku_id").agg(pl.col("date").max())
    weeks = skus.to_frame("sku_id").join(last, on="sku_id", how="left", maintain_order="left").select(timeline.index_of("date") + 1)
    return np.maximum(weeks.to_series().fill_null(0).to_numpy(), timeline.weeks)


def running_week(prepared: Prepared, told: Told) -> dt.date | None:
    """The week of the last day told of, unless it is over: sales by the week tell of whole weeks, others end on Sunday."""
    if told.last_day is None or "lines" not in prepared.channels or told.last_day.weekday() == SUNDAY:
        return None
    return monday(told.last_day)


def running(week: dt.date, told: Told, rows: pl.DataFrame, axis: Timeline, sales: pl.DataFrame) -> Running:
    days = (told.last_day - week).days + 1 if told.last_day else DAYS
    own = sales.filter(pl.col("sku_id").is_in(rows["sku_id"].unique().implode()))
    return Running(week, 1 - days / DAYS, rows, axis, own)


def first_mean(row: bytes | dict[str, str], week: dt.date) -> float:
    """Units that a forecast, in JSON, expects of a week; 0 where it does not begin with it, or where there is none."""
    first = json.loads(row)["curve"][0] if isinstance(row, bytes) else {}
    return float(first["mean"]) if first.get("week") == week.isoformat() else 0.0
