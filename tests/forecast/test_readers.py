"""What a run leaves is read by others without help."""

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from plcp import tables
from plcp.forecast.runs import Run
from tests.forecast.shop import made, score_here


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("readers")
    shop = made(folder, skus=24, per_shard=8)
    return score_here(shop.model, shop.prepared, folder / "scores")


def asked(query: str) -> duckdb.DuckDBPyRelation:
    found = duckdb.sql(query)
    assert found is not None
    return found


@pytest.mark.parametrize("table", tables.FORECAST.values(), ids=lambda table: table.name)
def test_duckdb_and_polars_read_every_table_alike(run: Run, table: tables.Table) -> None:
    files = str(run.root / table.name / "*.parquet")
    own = pl.scan_parquet(files).collect()
    found = asked(f"select * from read_parquet('{files}')")  # noqa: S608
    assert found.columns == own.columns == [column.name for column in table.columns]
    assert len(found.fetchall()) == len(own) == len(tables.read(table, run.root))


def test_duckdb_asks_of_a_week_what_a_planner_would(run: Run) -> None:
    query = f"""
        select stage, count(*) as products, sum(units) as units
        from read_parquet('{run.root}/stage/*.parquet')
        join (select sku_id, sum(mean) as units from read_parquet('{run.root}/curve/*.parquet') group by sku_id) using (sku_id)
        group by stage
    """  # noqa: S608
    stages = tables.read(tables.STAGE_TABLE, run.root)
    curve = tables.read(tables.CURVE, run.root).group_by("sku_id").agg(units=pl.col("mean").sum())
    expected = stages.join(curve, on="sku_id").group_by("stage").agg(products=pl.len(), units=pl.col("units").sum())
    found = {stage: (products, units) for stage, products, units in asked(query).fetchall()}
    assert {stage: (products, pytest.approx(units)) for stage, products, units in expected.rows()} == found


def test_duckdb_reads_vectors_as_numbers(run: Run) -> None:
    rows = asked(f"select sku_id, vector from read_parquet('{run.root}/embedding/*.parquet') order by sku_id").fetchall()  # noqa: S608
    own = tables.read(tables.EMBEDDING, run.root).sort("sku_id")
    assert {sku: list(vector) for sku, vector in rows} == dict(own.rows())


def test_every_file_says_of_which_version_its_columns_are(run: Run) -> None:
    for path in run.root.glob("*/*.parquet"):
        metadata = pq.read_schema(path).metadata
        assert metadata[b"schema"] == tables.SCHEMA.encode()
        assert metadata[b"table"] == path.parent.name.encode()
