"""Observations in Redis, for the replicas of several machines."""

import datetime as dt
import json
import os
from collections.abc import Sequence
from typing import Any

import polars as pl

from plcp.base import ConfigError
from plcp.serving.observations import Told, events_of, rows_of

PASSWORD = "PLCP_REDIS_PASSWORD"  # noqa: S105 - the variable that holds it
IDS, DATES, SOLD, CLOSED, SKU = "plcp:events", "plcp:dates", "plcp:sold", "plcp:closed", "plcp:sku:"
AT_ONCE = 1000  # events one script adds or drops: Redis answers nobody else meanwhile

# Each script is one step for everybody else: an event is there with all that tells of it, or not at all.
ADD = """
local new = 0
for i = 1, #ARGV, 5 do
  local id, sku, day, sold, row = unpack(ARGV, i, i + 4)
  if redis.call('HSETNX', KEYS[1], id, sku) == 1 then
    new = new + 1
    redis.call('ZADD', KEYS[2], day, id)
    redis.call('HSET', KEYS[4] .. sku, id, row)
    if sold == '1' then redis.call('ZADD', KEYS[3], day, day) end
  end
end
return new
"""
DROP = """
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('HDEL', KEYS[4] .. redis.call('HGET', KEYS[1], id), id)
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[1])
return #ids
"""
CLOSE = "if ARGV[1] > (redis.call('GET', KEYS[1]) or '') then redis.call('SET', KEYS[1], ARGV[1]) end"


class RedisObservations:
    """Needs `appendonly yes`: then an answered write is in Redis' log, which outlives its process. The password comes from the
    environment (PLCP_REDIS_PASSWORD), not from the address."""

    at_hand = False

    def __init__(self, address: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise ConfigError("serve.observations names a Redis, and its client is not installed: pip install 'plcp[redis]'") from error
        try:
            self._redis: Any = redis.Redis.from_url(address, password=os.environ.get(PASSWORD), decode_responses=True)
            kept = self._redis.info("persistence")["aof_enabled"]
        except (redis.RedisError, ValueError) as error:
            raise ConfigError(f"serve.observations: {address} does not answer as a Redis ({error})") from error
        if not kept:
            raise ConfigError(
                f"serve.observations: {address} keeps no log of what it is told, a restart would lose it; set `appendonly yes`"
            )
        self._add, self._drop, self._close = (self._redis.register_script(script) for script in (ADD, DROP, CLOSE))

    def add(self, events: pl.DataFrame) -> int:
        new = 0
        for first in range(0, len(events), AT_ONCE):
            piece = events[first : first + AT_ONCE]
            days = piece["date"].cast(pl.Int32).to_list()
            arguments: list[str | int] = []
            for row, day, units in zip(rows_of(piece), days, piece["units"].to_list(), strict=True):
                arguments += [str(row[0]), str(row[1]), day, int(units > 0), json.dumps(row)]
            new += int(self._add(keys=[IDS, DATES, SOLD, SKU], args=arguments))
        return new

    def close(self, until: dt.date) -> None:
        self._close(keys=[CLOSED], args=[until.isoformat()])

    def told(self) -> Told:
        both = self._redis.pipeline(transaction=False).get(CLOSED).zrange(DATES, -1, -1, withscores=True)
        until, last = both.execute()
        return Told(dt.date.fromisoformat(until) if until else None, day_of(last[0][1]) if last else None)

    def observed(self, sku_ids: Sequence[str]) -> set[str]:
        asked = self._redis.pipeline(transaction=False)
        for sku_id in sku_ids:
            asked.exists(SKU + sku_id)
        return {sku_id for sku_id, found in zip(sku_ids, asked.execute(), strict=True) if found}

    def of(self, sku_ids: Sequence[str], since: dt.date) -> pl.DataFrame:
        asked = self._redis.pipeline(transaction=False)
        for sku_id in dict.fromkeys(sku_ids):
            asked.hvals(SKU + sku_id)
        rows = [json.loads(row) for found in asked.execute() for row in found]
        return events_of(rows).filter(pl.col("date") >= since).sort("sku_id", "date", "event_id")

    def sold_on(self, since: dt.date) -> list[dt.date]:
        return [day_of(day) for day in self._redis.zrange(SOLD, number_of(since), "+inf", byscore=True)]

    def drop(self, before: dt.date) -> None:
        while int(self._drop(keys=[IDS, DATES, SOLD, SKU], args=[number_of(before), AT_ONCE])) == AT_ONCE:
            pass


def number_of(day: dt.date) -> int:
    """Days since 1970."""
    return (day - dt.date(1970, 1, 1)).days


def day_of(number: str | float) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(number))
