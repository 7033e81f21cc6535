"""What was observed since the last weekly run: sales, prices and stock, kept until a weekly run holds them.

`add` returns when the events are on disk: a killed replica, or all processes of the machine at once, lose nothing that was acknowledged.
Every read asks the store, so that all replicas see an event from the moment it was acknowledged.
"""

import datetime as dt
import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from plcp.base import ConfigError
from plcp.folders import alone
from plcp.tables import SALES

EVENT = {"event_id": pl.String(), **{name: kind for name, kind in SALES.schema.items() if name != "cancelled_at"}}
REDIS = ("redis://", "rediss://", "unix://")
BUSY_S = 30.0  # that a writer waits for the others


@dataclass(frozen=True)
class Told:
    """How far the store reaches: the Monday before which the whole shop's sales were told, and the last day any sale is dated."""

    closed_until: dt.date | None
    last_day: dt.date | None


class Observations(Protocol):
    """Events are rows of the table sales under the name of an event, which counts once however often it comes."""

    at_hand: bool  # whether `told` and `observed` take microseconds: nothing is sent over a network

    def add(self, events: pl.DataFrame) -> int:
        """Keep events (columns of EVENT); how many were new. Of one event_id the first stands."""

    def close(self, until: dt.date) -> None:
        """All sales before this Monday were told. An earlier one than was told before changes nothing."""

    def told(self) -> Told: ...

    def observed(self, sku_ids: Sequence[str]) -> set[str]:
        """Those of these SKUs of which any event is kept."""

    def of(self, sku_ids: Sequence[str], since: dt.date) -> pl.DataFrame:
        """Events of these SKUs from a day on, by SKU, date and event: the same rows in the same order from every store."""

    def sold_on(self, since: dt.date) -> list[dt.date]:
        """Days from one on, ascending, on which anything was sold."""

    def drop(self, before: dt.date) -> None:
        """Forget what is dated before a day: a weekly run holds it."""


def open_observations(where: str) -> Observations:
    """A store: the path of a SQLite file, for the replicas of one machine, or redis://host:port/number, for several.

    Raises ConfigError where there is none, or one that could lose what it acknowledged.
    """
    if where.startswith(REDIS):
        from plcp.serving.redis_observations import RedisObservations

        return RedisObservations(where)
    return SqliteObservations(Path(where))


class SqliteObservations:
    """In one SQLite file, with a write-ahead log that is synced to disk with every commit; shared by the processes of one machine."""

    at_hand = True

    def __init__(self, path: Path) -> None:
        self.path, self._local = path, threading.local()
        types = {pl.String(): "TEXT", pl.Date(): "TEXT", pl.Float64(): "REAL"}
        columns = ", ".join(f"{name} {types[kind]}" for name, kind in EVENT.items())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # nobody waits for the change to a write-ahead log, however long others may: two that make it at once fail
            with alone(path.parent), self._connection as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(f"CREATE TABLE IF NOT EXISTS events ({columns}, PRIMARY KEY (event_id)) WITHOUT ROWID")
                db.execute("CREATE INDEX IF NOT EXISTS by_sku ON events (sku_id, date)")
                db.execute("CREATE INDEX IF NOT EXISTS by_date ON events (date, units)")
                db.execute("CREATE TABLE IF NOT EXISTS closed (until TEXT)")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"serve.observations: {path} cannot be used as a SQLite file ({error})") from error

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's own."""
        if not hasattr(self._local, "db"):
            self._local.db = sqlite3.connect(self.path, timeout=BUSY_S)
            self._local.db.execute("PRAGMA synchronous = FULL")
        return self._local.db

    def add(self, events: pl.DataFrame) -> int:
        marks = ", ".join("?" * len(EVENT))
        with self._connection as db:
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO events VALUES ({marks})", rows_of(events))  # noqa: S608
            return db.total_changes - before

    def close(self, until: dt.date) -> None:
        with self._connection as db:
            db.execute("INSERT INTO closed SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM closed WHERE until >= ?1)", (until.isoformat(),))

    def told(self) -> Told:
        row = self._connection.execute("SELECT (SELECT max(until) FROM closed), (SELECT max(date) FROM events)").fetchone()
        return Told(*(dt.date.fromisoformat(day) if day else None for day in row))

    def observed(self, sku_ids: Sequence[str]) -> set[str]:
        query = "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM events WHERE sku_id = value)"
        return {sku_id for (sku_id,) in self._connection.execute(query, (json.dumps(sku_ids),))}

    def of(self, sku_ids: Sequence[str], since: dt.date) -> pl.DataFrame:
        marks = ", ".join("?" * len(sku_ids))
        query = f"SELECT * FROM events WHERE sku_id IN ({marks}) AND date >= ? ORDER BY sku_id, date, event_id"  # noqa: S608
        return events_of(self._connection.execute(query, (*sku_ids, since.isoformat())).fetchall())

    def sold_on(self, since: dt.date) -> list[dt.date]:
        query = "SELECT DISTINCT date FROM events WHERE date >= ? AND units > 0 ORDER BY date"
        return [dt.date.fromisoformat(day) for (day,) in self._connection.execute(query, (since.isoformat(),))]

    def drop(self, before: dt.date) -> None:
        with self._connection as db:
            db.execute("DELETE FROM events WHERE date < ?", (before.isoformat(),))


def rows_of(events: pl.DataFrame) -> list[tuple[object, ...]]:
    """Events as rows of plain values, dates as text."""
    return events.select(list(EVENT)).with_columns(pl.col("date").cast(pl.String)).rows()


def events_of(rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    """What rows_of made rows of."""
    return pl.DataFrame(rows, schema=EVENT | {"date": pl.String()}, orient="row").with_columns(pl.col("date").str.to_date())
