"""What is kept ready is ready, and no larger than the cache counts it."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from plcp.serving.batching import BatchConfig
from plcp.serving.cases import Case
from plcp.serving.service import Service
from tests.serving.conftest import Shop, client_of, service
from tests.serving.test_arrow import bulk, post, skus

SKUS = [f"P{i:03d}" for i in range(24)]


@pytest.fixture
def made(shop: Shop) -> Service:
    return service(shop)


@pytest.fixture
def client(made: Service) -> Iterator[TestClient]:
    with client_of(made) as client:
        yield client


def test_bulk_requests_find_ready_what_others_asked_for(client: TestClient, made: Service) -> None:
    for hits in (0, len(SKUS)):
        bulk(client, [*SKUS])
        assert made.cache.hits == hits
    client.post("/v1/score", json={"sku_ids": SKUS})
    assert (made.cache.hits, made.cache.misses) == (2 * len(SKUS), len(SKUS))


def test_texts_and_photos_that_no_pass_has_encoded_are_not_kept(client: TestClient, made: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk(client, [*SKUS], "skipped")

    def breaks(cases: Sequence[Case]) -> None:
        raise RuntimeError("no memory left for the pass")

    monkeypatch.setattr(made.packer, "values", breaks)
    with pytest.raises(RuntimeError, match="no memory left"):
        post(client, skus([*SKUS]))
    assert len(made.cache) == 0


class Vanishing(Case):
    """Its text is encoded by another thread as soon as it was looked at."""

    @property
    def text(self) -> str | None:
        self.looks = getattr(self, "looks", 0) + 1
        return "red mug" if self.looks == 1 else None

    @text.setter
    def text(self, text: str | None) -> None: ...


def test_a_text_that_another_thread_encodes_meanwhile_still_counts(made: Service) -> None:
    day = np.datetime64(dt.date(2023, 5, 8), "D")
    load: Any = made.packer.load(BatchConfig(rows=2, tokens=70, pixels=1), [Vanishing("P001", day, day)])
    np.testing.assert_allclose(load, [0.5, 0.1, 0])
