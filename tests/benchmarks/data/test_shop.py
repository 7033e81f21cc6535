from pathlib import Path

import polars as pl

from benchmarks.data.prepare import plcp_prepare, scan_group_write
from benchmarks.data.shop import WEEKS, make_shop
from plcp.data.contract import open_dataset


def test_the_measured_shop_is_good_data_with_a_row_per_product_and_week(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop", 60)
    report = open_dataset(tmp_path / "shop").report
    assert report.rows == report.kept == {"products": 60, "sales": 60 * WEEKS}
    assert plcp_prepare(tmp_path / "shop", tmp_path / "prepared") == 60


def test_the_physical_limit_does_the_weekly_sums(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop", 60)
    scan_group_write(tmp_path / "shop", tmp_path / "weekly.parquet")
    weekly = pl.read_parquet(tmp_path / "weekly.parquet")
    standing = pl.read_parquet(tmp_path / "shop" / "sales" / "*.parquet").filter(pl.col("cancelled_at").is_null())
    assert len(weekly) == 60 * WEEKS
    assert weekly["units"].sum() == standing["units"].sum()
