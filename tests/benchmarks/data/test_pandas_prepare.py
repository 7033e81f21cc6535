"""The peer does the work that it is measured against: its panel is the panel of `plcp prepare`."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import pandas_prepare
from plcp.data import panel
from plcp.data.contract import open_dataset
from plcp.data.prepared import PrepareConfig, prepare
from tests.conftest import little_shop


def test_pandas_and_plcp_make_the_same_panel_and_pools(tmp_path: Path) -> None:
    shop = little_shop()
    products = shop["products"].drop("image").unique("sku_id", keep="first", maintain_order=True).drop("known_at")
    for name, frame in (("products", products), ("sales", shop["sales"])):
        (tmp_path / "shop" / name).mkdir(parents=True)
        frame.write_parquet(tmp_path / "shop" / name / "part-0.parquet")
    pandas_prepare.prepare(tmp_path / "shop", tmp_path / "pandas", skus_per_shard=16)
    ours = prepare(open_dataset(tmp_path / "shop"), tmp_path / "ours", PrepareConfig(skus_per_shard=16))

    theirs = pl.read_parquet(tmp_path / "pandas" / "shards" / "*.parquet").sort("sku_id")
    frame = pl.concat([ours.read(i).frame for i in range(len(ours.shards))]).sort("sku_id")
    assert theirs["sku_id"].to_list() == frame["sku_id"].to_list()
    for channel in {*ours.channels} - {*panel.LINES}:  # which the measured shop, being weekly, does not have
        np.testing.assert_allclose(np.array(theirs[channel].to_list()), frame[channel].to_numpy(), rtol=1e-6, atol=1e-9)

    late = pl.read_parquet(tmp_path / "pandas" / "cancelled" / "*.parquet")
    entries = frame.select("sku_id", "cancelled").explode("cancelled").drop_nulls().unnest("cancelled")
    assert late.select("sku_id", "sold", "known", "units").rows() == entries.select("sku_id", "sold", "known", "units").rows()

    pools = pl.read_parquet(tmp_path / "pandas" / "pools.parquet")
    whole = pools.filter(pl.col("category") == "")
    assert whole["count"].sum() == ours.shop.pools.count[0, -1].sum()
    assert np.isclose(float(whole["sum"].sum()), ours.shop.pools.total[0, -1].sum(), rtol=1e-4)

    manifest = json.loads((tmp_path / "pandas" / "manifest.json").read_text())
    assert (manifest["first_week"], manifest["weeks"], manifest["closed"]) == (ours.first_week.isoformat(), ours.weeks, [32])
