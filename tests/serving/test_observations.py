"""What is observed is kept, by SQLite and by Redis alike."""

import datetime as dt
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from plcp.base import ConfigError
from plcp.serving.observations import EVENT, Observations, Told, open_observations

DAY = dt.date(2023, 5, 8)
Open = Callable[[], Observations]


def events(*ids: str, sku: str = "A", day: dt.date = DAY, units: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame([{"event_id": i, "sku_id": sku, "date": day, "units": units} for i in ids], schema=EVENT)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Redis:
    """A Redis of the test's own, whose process can be killed and started again."""

    def __init__(self, folder: Path, log: str = "yes") -> None:
        self.folder, self.log, self.port = folder, log, free_port()
        self.start()

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "appendonly": self.log, "save": ""}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian's package redis-server)")
    redis = Redis(tmp_path)
    yield redis
    redis.kill()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.system)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one and the same store, each time as another process would."""
    where = str(tmp_path / "observed.sqlite")
    if request.param == "redis":
        where = f"redis://127.0.0.1:{request.getfixturevalue('redis').port}/0"
    return lambda: open_observations(where)


def test_an_event_counts_once_however_often_and_by_whomever_it_is_told(opened: Open) -> None:
    first, second = opened(), opened()
    assert first.add(events("1", "2", "2")) == 2
    assert second.add(pl.concat([events("2", units=9), events("3", sku="B")])) == 1
    assert first.add(events("1", sku="B")) == 0, "an event's name is one for all SKUs"
    assert second.of(["A"], DAY)["units"].to_list() == [1.0, 1.0]
    assert first.observed(["B", "C", "A", "A"]) == {"A", "B"}


def test_what_one_tells_the_other_reads_with_every_field(opened: Open) -> None:
    row = {"event_id": "é", "sku_id": "A B/ü", "date": DAY, "units": 0.1, "price": 2.95, "promo": 0.5, "in_stock": None, "returns": 3.0}
    told = pl.DataFrame([row], schema=EVENT)
    opened().add(told)
    assert opened().of(["A B/ü"], DAY).equals(told)


def test_events_are_found_by_sku_and_day_in_one_order(opened: Open) -> None:
    store = opened()
    assert store.of(["A"], DAY).is_empty()
    later = DAY + dt.timedelta(days=3)
    store.add(pl.concat([events("z", day=later), events("b"), events("a"), events("c", sku="B", units=0.0), events("d", sku="C")]))
    found = store.of(["B", "A", "A"], DAY)
    assert found.select("sku_id", "event_id").rows() == [("A", "a"), ("A", "b"), ("A", "z"), ("B", "c")]
    assert store.of(["A"], later)["event_id"].to_list() == ["z"]
    assert store.sold_on(DAY) == [DAY, later]
    assert store.sold_on(later) == [later]


def test_how_far_the_shop_was_told_never_moves_back(opened: Open) -> None:
    store = opened()
    assert store.told() == Told(None, None)
    store.add(events("1"))
    for monday in (DAY + dt.timedelta(weeks=2), DAY + dt.timedelta(weeks=1)):
        opened().close(monday)
    assert store.told() == Told(DAY + dt.timedelta(weeks=2), DAY)


def test_what_a_weekly_run_holds_is_dropped(opened: Open) -> None:
    store, next_day = opened(), DAY + dt.timedelta(days=1)
    store.add(pl.concat([events(*(str(i) for i in range(2500)), units=0.0), events("sold"), events("kept", day=next_day)]))
    store.drop(before=next_day)
    assert opened().of(["A"], dt.date(2000, 1, 1))["event_id"].to_list() == ["kept"]
    assert store.sold_on(dt.date(2000, 1, 1)) == [next_day]


def test_many_writers_at_once_lose_nothing(opened: Open) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda i: opened().add(events(*(f"{(i + k) % 40}" for k in range(20)))), range(40)))
    assert sum(counts) == 40
    assert len(opened().of(["A"], DAY)) == 40


TELL = """
import sys
from tests.serving.test_observations import events, open_observations
store = open_observations(sys.argv[1])
for number in range(10**6):
    store.add(events(str(number)))
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    where = str(tmp_path / "observed.sqlite")
    with subprocess.Popen([sys.executable, "-c", TELL, where], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        acknowledged = [writer.stdout.readline() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
    kept = set(open_observations(where).of(["A"], DAY)["event_id"])
    assert {line.strip() for line in acknowledged if line.endswith("\n")} <= kept


@pytest.mark.system
def test_a_redis_that_is_killed_loses_nothing_it_acknowledged(redis: Redis) -> None:
    open_observations(f"redis://127.0.0.1:{redis.port}").add(events("1", "2"))
    redis.kill()
    redis.start()
    assert len(open_observations(f"redis://127.0.0.1:{redis.port}").of(["A"], DAY)) == 2


@pytest.mark.system
def test_a_redis_that_would_lose_them_or_is_not_there_is_refused(redis: Redis, tmp_path: Path) -> None:
    forgetful = Redis(tmp_path, log="no")
    with pytest.raises(ConfigError, match="set `appendonly yes`"):
        open_observations(f"redis://127.0.0.1:{forgetful.port}")
    forgetful.kill()
    with pytest.raises(ConfigError, match="does not answer as a Redis"):
        open_observations(f"redis://127.0.0.1:{forgetful.port}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one " * 10)
    with pytest.raises(ConfigError, match=r"serve\.observations: .*text cannot be used as a SQLite file"):
        open_observations(str(tmp_path / "text"))
