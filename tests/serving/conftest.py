import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, prepare
from plcp.forecast.forecaster import Forecaster
from plcp.forecast.runs import Run
from plcp.serving.api import create_api
from plcp.serving.batching import BatchConfig
from plcp.serving.live import Live
from plcp.serving.observations import SqliteObservations
from plcp.serving.service import Service
from plcp.serving.store import Decided, Published, Stock
from tests.conftest import FIRST_WEEK, little_shop
from tests.data.test_roll import told_in_time
from tests.forecast.shop import Made, prepared_shop, score_here, tiny_artifact

ORIGIN = FIRST_WEEK + dt.timedelta(weeks=68)  # of Later's weekly run; its data go on for two weeks
NUMBER = count()  # every service has observations of its own unless it is given some


@dataclass(frozen=True)
class Shop(Made):
    """A little shop with a model of it and a finished scoring run."""

    scores: Path
    run: Run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    prepared = prepared_shop(folder / "prepared", skus=24, per_shard=8)
    model = tiny_artifact(folder / "model", prepared, lively=True)
    return Shop(prepared.root, model, folder / "scores", score_here(model, prepared.root, folder / "scores"))


@dataclass(frozen=True)
class Later:
    """A shop as the weekly run knew it, the sales of the two weeks after it, and a weekly run over all of them."""

    shop: Shop
    sales: pl.DataFrame
    run: Run
    new: Path  # PREPARED with the two weeks


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Later:
    return later_of(told_in_time(little_shop(24)), ORIGIN, tmp_path_factory.mktemp("later"), PrepareConfig(skus_per_shard=8))


def later_of(whole: dict[str, pl.DataFrame], origin: dt.date, folder: Path, config: PrepareConfig) -> Later:
    """Of contract tables, with a weekly run from an origin and one from the end of the data."""
    before = pl.col("date") < origin
    old = prepare(Dataset.of({**whole, "sales": whole["sales"].filter(before)}), folder / "prepared", config)
    new = prepare(Dataset.of(whole), folder / "new", config)
    model = tiny_artifact(folder / "model", old, lively=True)
    shop = Shop(old.root, model, folder / "scores", score_here(model, old.root, folder / "scores"))
    return Later(shop, whole["sales"].filter(~before), score_here(model, new.root, folder / "later"), new.root)


def events_of(sales: pl.DataFrame) -> pl.DataFrame:
    """Rows of sales as observations."""
    return sales.drop("cancelled_at").with_row_index("event_id").with_columns(pl.col("event_id").cast(pl.String))


def service(shop: Shop, scores: Path | None = None, observed: Path | None = None) -> Service:
    published = Published(scores) if scores else None
    live = Live(SqliteObservations(observed or shop.prepared.with_name(f"{next(NUMBER)}.sqlite")), shop.prepared.with_name("observed"))
    decided = Decided(scores.parent) if scores else None
    return Service(
        Forecaster.load(shop.model), Stock(shop.prepared), published, decided, live, BatchConfig(rows=5), threads=1, cached_mib=1
    )


def client_of(service: Service) -> TestClient:
    return TestClient(create_api(service, None), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000))


@pytest.fixture(scope="session")
def client(shop: Shop) -> Iterator[TestClient]:
    with client_of(service(shop, shop.scores)) as client:
        yield client
