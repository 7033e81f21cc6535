import datetime as dt
import json
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp import tables
from plcp.data.prepared import Prepared
from plcp.data.timeline import Timeline
from plcp.decisions import BY_SKU
from plcp.decisions.substitutes import directions
from plcp.forecast import snapshot
from plcp.serving.problems import ProblemError
from plcp.serving.store import Catalogue, Decided, Published, Shelf, history
from tests.conftest import little_shop
from tests.forecast.shop import score_here
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
    weeks = json.loads(history(catalogue.frame(catalogue.places(["P004"])), catalogue.prepared.timeline))
    assert sum(week["units"] or 0 for week in weeks) == stood["units"].sum()
    assert [week["units"] for week in weeks if week["week"] == "2022-08-15"] == [None], "the shop was shut"


def test_a_row_is_the_shards(catalogue: Catalogue) -> None:
    for number in range(len(catalogue.prepared.shards)):
        frame = catalogue.prepared.read(number).frame
        assert catalogue.frame(catalogue.places(frame["sku_id"].to_list())).equals(frame)


def test_a_run_answers_for_each_of_its_products_and_no_other(shop: Shop) -> None:
    shelf = Published(shop.scores).shelf()
    assert shelf
    curve = tables.read(tables.CURVE, shop.run.root)
    for i in range(24):
        facts, forecast = shelf.find(f"P{i:03d}") or ({}, b"")
        assert forecast
        own = curve.filter(pl.col("sku_id") == f"P{i:03d}")
        assert facts["units"] == pytest.approx(own["mean"].sum())
        assert [week["q90"] for week in json.loads(forecast)["curve"]] == pytest.approx(own["q90"].to_list(), rel=1e-6)
    assert shelf.find("P9") is None


def test_a_run_is_in_sight_of_each_reader_that_looks_even_one_that_was_made_without_a_snapshot(shop: Shop, tmp_path: Path) -> None:
    published = Published(tmp_path)
    assert published.shelf() is None
    run = score_here(shop.model, shop.prepared, tmp_path)
    published.shelf()
    newest = published.newest()
    assert newest is not None
    assert newest.name == run.root.name
    assert (run.root / "snapshot" / "directions.npy").exists()


def test_directions_are_those_the_decisions_compare(shop: Shop) -> None:
    shelf = Published(shop.scores).shelf()
    assert shelf
    stored = np.load(shelf.snapshot.root / "directions.npy")
    vectors = pl.concat([shelf.snapshot.part(i).select("sku_id", "vector") for i in range(3)])
    np.testing.assert_allclose(stored, directions(vectors), atol=1e-3)


def test_decisions_are_found_by_sku(shop: Shop, tmp_path: Path) -> None:
    decided = Decided(tmp_path)
    assert decided.decisions() is None
    rows = [dict.fromkeys(tables.DECISIONS.schema) | {"sku_id": f"P{i % 7:03d}", "kind": "reorder", "rank": i} for i in range(20)]
    frame = pl.DataFrame(rows, schema=tables.DECISIONS.schema)
    tables.write(tables.DECISIONS, frame, tmp_path / "decisions" / "part-00000.parquet", {"run": "the run"})
    snapshot.write(frame.sort("sku_id", "rank"), tmp_path / "decisions" / BY_SKU)
    decided.decisions()
    found = decided.newest()
    assert found is not None
    assert (found.run, [row["rank"] for row in found.of("P003")], len(found.of("P9"))) == ("the run", [3, 10, 17], 0)


def test_a_snapshot_goes_with_its_last_reader(shop: Shop) -> None:
    shelf = Shelf(shop.run)
    assert shelf.find("P003")
    held = weakref.ref(shelf.snapshot)
    del shelf
    assert held() is None, "files that were replaced would stay mapped"


def test_large_sales_are_told_to_the_unit() -> None:
    timeline = Timeline(dt.date(2024, 1, 1), 2)
    frame = pl.DataFrame({"units": pl.Series([[16_777_217.0, 1_234_567.89]], dtype=pl.Array(pl.Float64, 2))})
    assert [week["units"] for week in json.loads(history(frame, timeline))] == [16_777_217.0, 1_234_567.89]
