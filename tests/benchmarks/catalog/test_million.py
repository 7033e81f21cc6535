from pathlib import Path

import polars as pl
import pytest

from benchmarks.catalog.million import rates, renamed
from benchmarks.catalog.scene import copied
from plcp.data.prepared import Prepared
from tests.forecast.shop import prepared_shop


def test_a_run_that_slows_down_is_seen() -> None:
    steady = [10.0 + i for i in range(11)]
    assert rates(steady, 1100) == pytest.approx((100, 100))
    assert rates([*steady[:9], 20.0, 22.0], 1100)[1] == pytest.approx(50)


def test_copies_have_keys_and_titles_of_their_own(tmp_path: Path) -> None:
    base = prepared_shop(tmp_path / "base", skus=24, per_shard=8)
    shards = len(base.shards)
    made = Prepared.open(copied(base.root, tmp_path / "copies", renamed(shards), shards=2 * shards))
    frames = [made.read(i).frame for i in range(2 * shards)]
    skus = pl.concat([frame["sku_id"] for frame in frames])
    assert made.skus == len(skus) == skus.n_unique() == 48
    titles = [frame["versions"].list.first().struct.field("title") for frame in (frames[0], frames[shards])]
    assert titles[1].to_list() == [f"no 1 {title}" for title in titles[0]]
    assert made.digest != base.digest
