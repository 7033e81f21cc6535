import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.contract import Dataset
from plcp.data.neighbours import EVERY, LARGEST, NEAREST, pairs, ranked
from plcp.data.prepared import PrepareConfig, prepare
from plcp.data.timeline import Timeline
from tests.conftest import FIRST_WEEK, little_shop

LINE = Timeline(FIRST_WEEK, 40)


def baskets(*purchases: tuple[int, str]) -> pl.DataFrame:
    """Purchases by week, each a word whose letters are the products."""
    rows = [
        (f"b{k}", sku, dt.datetime.combine(FIRST_WEEK, dt.time(9)) + dt.timedelta(weeks=week))
        for k, (week, word) in enumerate(purchases)
        for sku in word
    ]
    return pl.DataFrame(rows, {"basket_id": pl.String, "sku_id": pl.String, "ts": pl.Datetime("us")}, orient="row")


def test_a_pair_counts_once_per_purchase_and_a_restocking_not_at_all() -> None:
    large = "".join(chr(ord("A") + k) for k in range(LARGEST + 1))
    found = pairs(baskets((0, "ab"), (0, "ab"), (1, "abc"), (2, "a"), (3, large)).lazy(), LINE).collect()
    assert dict(found.group_by("sku_id").agg(pl.col("count").sum()).rows()) == {"a": 4, "b": 4, "c": 2}
    assert found.filter((pl.col("sku_id") == "a") & (pl.col("week") == 0))["count"].to_list() == [2]


def test_neighbours_are_the_most_frequent_before_each_quarter() -> None:
    early, late = [(1, "ab")] * 3 + [(2, "ac")], [(20, "ac")] * 5
    names = pl.DataFrame({"sku_id": ["a", "b", "c"]}).select("sku_id", other=pl.col("sku_id").hash(0))
    found = ranked(pairs(baskets(*early, *late).lazy(), LINE).collect(), 40).join(names.rename({"sku_id": "name"}), on="other")
    of_a = found.filter(pl.col("sku_id") == "a").group_by("known", maintain_order=True).agg("name").sort("known")
    assert of_a.rows() == [(EVERY, ["b", "c"]), (2 * EVERY, ["c", "b"]), (3 * EVERY, ["c", "b"]), (4 * EVERY, ["c", "b"])]


@pytest.mark.parametrize("size", [7, 100])
def test_a_case_sees_what_its_neighbours_sold_whatever_shard_they_are_in(size: int, tmp_path: Path) -> None:
    shop = little_shop()
    prepared = prepare(Dataset.of(shop), tmp_path / "p", PrepareConfig(skus_per_shard=size))
    seen = 0
    for index in range(len(prepared.shards)):
        shard = prepared.read(index)
        cases = np.arange(len(shard))
        rows, listed = shard.neighbours_at(cases, np.full(len(shard), 60))
        assert rows.shape == (len(shard), NEAREST)
        assert (rows[listed] >= 0).all()
        weeks = np.tile(np.arange(60), (len(shard), 1))
        own = shard.shop.neighbours.rows(shard.frame.select(pl.col("sku_id").hash(0)).to_series().to_numpy())
        alone = shard.shop.neighbours.mean(own[:, None], own[:, None] >= 0, weeks)
        assert alone == pytest.approx(shard.first_print[:, :60], rel=1e-4)
        seen += int(listed.sum())
    assert seen > 100
