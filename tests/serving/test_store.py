from pathlib import Path

import numpy as np
import pytest

from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.serving.problems import ProblemError
from plcp.serving.store import Catalogue, Published, ShardCache, history
from tests.conftest import little_shop
from tests.serving.conftest import Shop


@pytest.fixture(scope="module")
def catalogue(shop: Shop) -> Catalogue:
    return Catalogue(Prepared.open(shop.prepared))


def test_rows_of_many_shards_come_in_the_order_asked(catalogue: Catalogue) -> None:
    asked = [f"P{i:03d}" for i in np.random.default_rng(0).integers(0, 24, 50)]
    assert catalogue.frame(catalogue.places(asked))["sku_id"].to_list() == asked


def test_no_skus_are_none(catalogue: Catalogue) -> None:
    assert len(catalogue.places([])) == 0


@pytest.mark.parametrize("sku_id", ["", "A", "P0005", "ZZZ"])
def test_an_unknown_key_before_between_or_after_the_others_is_refused(catalogue: Catalogue, sku_id: str) -> None:
    with pytest.raises(ProblemError, match="not in the catalog"):
        catalogue.places([sku_id])


def test_the_history_is_what_was_sold_and_not_taken_back(catalogue: Catalogue) -> None:
    sales = little_shop(24)["sales"]
    stood = sales.filter((sales["sku_id"] == "P004") & sales["cancelled_at"].is_null())
    prepared = catalogue.prepared
    row = Shard(catalogue.frame(catalogue.places(["P004"])), prepared.timeline, prepared.shop)
    assert history(row)["units"].sum() == stood["units"].sum()


def test_the_shards_kept_weigh_no_more_than_allowed(shop: Shop) -> None:
    prepared = Prepared.open(shop.prepared)
    weights = {photos: ShardCache(prepared).read(0, photos).estimated_size() for photos in (False, True)}
    cache = ShardCache(prepared, limit=int(1.5 * sum(weights.values())))
    for i in range(3):
        assert cache.read(i, photos=True).columns == ["photos"]
        assert cache.read(i, photos=False).equals(prepared.read(i).frame.drop("photos"))
        assert 0 < cache.size <= cache.limit


def test_a_run_answers_for_each_of_its_products_and_no_other(shop: Shop) -> None:
    published = Published(shop.scores)
    for i in range(24):
        rows = published.tables_of(f"P{i:03d}")
        assert rows is not None
        assert len(rows["stage"]) + len(rows["skipped"]) == 1
    assert published.tables_of("P9") is None


def test_where_nothing_was_published_there_is_no_run(tmp_path: Path) -> None:
    published = Published(tmp_path)
    assert published.run() is None
    assert published.tables_of("P001") is None
    assert published.stages().is_empty()
