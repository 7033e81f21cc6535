"""The whole of it: from a run's folder and a shop's data to the table of decisions."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from plcp import tables
from plcp.base import DataError
from plcp.data.asof import cut
from plcp.decisions import DecideConfig, decide, known_tables
from plcp.decisions.inventory import InventoryConfig
from plcp.decisions.supply import SupplyConfig, terms
from tests.decisions.shop import METADATA, ORIGIN, Product, dataset, write_run
from tests.decisions.test_inventory import SUPPLY

FADING = [8 * 0.85**w for w in range(26)]
PRODUCTS = [
    Product("short", supply=SUPPLY, vector=(1, 0.2, 0)),
    Product("steady", supply=SUPPLY | {"on_hand": 45.0}, vector=(1, 0.1, 0)),
    Product("spare", supply=SUPPLY | {"on_hand": 200.0, "unit_cost": 2.0}, vector=(1, 0.3, 0)),
    Product("ending", FADING, "decline", p_end=(0.3, 0.6, 0.8, 1.0), supply=SUPPLY | {"on_hand": 200.0}, vector=(0, 1, 0)),
    Product("heir", FADING, supply=SUPPLY | {"on_hand": 60.0}, vector=(0, 1, 0.1)),
    Product("rising", stage="growth", p_decline=(0.3, 0.5, 0.7, 0.9), vector=(0, 0, 1)),
    Product("launch", stage="introduction", start=ORIGIN + timedelta(weeks=40), supply=SUPPLY, vector=(0, 0.1, 1)),
]


def test_every_kind_follows_and_conforms_to_the_table(tmp_path: Path) -> None:
    frame = decide(write_run(tmp_path / "run", PRODUCTS), dataset(PRODUCTS), tmp_path)
    kinds = set(frame.select("sku_id", "kind").rows())
    assert {
        ("short", "reorder"),
        ("short", "risk_stockout"),
        ("short", "substitute"),
        ("spare", "promote"),
        ("ending", "markdown"),
        ("ending", "risk_dead_stock"),
        ("ending", "substitute"),
        ("rising", "risk_early_decline"),
    } <= kinds
    assert frame.schema == tables.DECISIONS.schema
    assert set(frame["kind"]) <= set(tables.DECISION_KINDS)
    assert frame.select(tables.DECISIONS.key).is_duplicated().sum() == 0
    required = [c.name for c in tables.DECISIONS.columns if not c.nullable]
    assert frame.select(required).null_count().sum_horizontal()[0] == 0
    assert frame.filter((pl.col("effect_low") > pl.col("expected_effect")) | (pl.col("effect_high") < pl.col("expected_effect"))).is_empty()
    assert frame.select(pl.col("reason").str.contains("NaN|null|\\{")).sum().item() == 0


@pytest.mark.parametrize("weekly", [0.5, 3.0, 40.0])
def test_no_product_is_told_to_order_and_to_clear(weekly: float, tmp_path: Path) -> None:
    ends = [(0.0, 0.0, 0.0, 0.05), (0.1, 0.3, 0.5, 0.8), (0.5, 0.6, 0.7, 0.9)]
    shops = [
        Product(f"{i}-{stock}", weekly, p_end=end, supply=SUPPLY | {"on_hand": float(stock), "case_pack": 12.0})
        for i, end in enumerate(ends)
        for stock in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    ]
    kinds = decide(write_run(tmp_path / "run", shops), dataset(shops), tmp_path).group_by("sku_id").agg("kind")
    ordering = {"reorder", "last_buy"}
    clearing = {"markdown", "promote", "risk_overstock", "risk_dead_stock"}
    told = [set(row) for row in kinds["kind"]]
    assert any(row & ordering for row in told)
    assert any(row & clearing for row in told)
    assert not any(row & ordering and row & clearing for row in told)


def test_substitutes_are_near_and_in_stock(tmp_path: Path) -> None:
    frame = decide(write_run(tmp_path / "run", PRODUCTS), dataset(PRODUCTS), tmp_path).filter(kind="substitute")
    assert frame.filter(sku_id="ending", rank=1)["other_sku_id"].to_list() == ["heir"]
    assert "short" not in frame["other_sku_id"]


def test_ranks_put_the_most_money_first_within_each_kind(tmp_path: Path) -> None:
    frame = decide(write_run(tmp_path / "run", PRODUCTS), dataset(PRODUCTS), tmp_path).filter(pl.col("kind") != "substitute")
    for (kind,), rows in frame.group_by("kind"):
        ordered = rows.sort("rank")
        assert ordered["rank"].to_list() == list(range(1, len(rows) + 1)), kind
        assert ordered["expected_effect"].abs().fill_null(0).is_sorted(descending=True), kind


def test_the_written_table_is_the_returned_one_with_the_runs_metadata_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", PRODUCTS)
    frame = decide(run, dataset(PRODUCTS), tmp_path / "one")
    decide(run, dataset(PRODUCTS), tmp_path / "two")
    one, two = (tmp_path / name / "decisions" / "part-00000.parquet" for name in ("one", "two"))
    assert tables.read(tables.DECISIONS, tmp_path / "one").equals(frame)
    assert one.read_bytes() == two.read_bytes()
    assert METADATA.items() <= pl.read_parquet_metadata(one).items()


def test_decisions_do_not_depend_on_how_the_run_is_cut_into_parts(tmp_path: Path) -> None:
    whole, halves = (decide(write_run(tmp_path / f"{n}", PRODUCTS, parts=n), dataset(PRODUCTS), tmp_path) for n in (1, 2))
    assert whole.equals(halves)


def test_prices_paid_after_the_origin_are_not_known(tmp_path: Path) -> None:
    frame = decide(write_run(tmp_path / "run", PRODUCTS), dataset(PRODUCTS), tmp_path)
    assert "a margin of 6.00" in frame.filter(sku_id="short", kind="reorder")["reason"][0]  # 10 - 4, not 1000 - 4


def test_data_already_cut_at_the_origin_gives_the_same_decisions(tmp_path: Path) -> None:
    run, data = write_run(tmp_path / "run", PRODUCTS), dataset(PRODUCTS)
    assert decide(run, data, tmp_path).equals(decide(run, cut(data, ORIGIN), tmp_path))


def test_a_planned_launch_without_known_at_keeps_title_price_and_supply(tmp_path: Path) -> None:
    launch = Product("launch", stage="introduction", start=ORIGIN + timedelta(weeks=2), supply=SUPPLY, title="New toy", price=12.0)
    data = dataset([launch])
    products = data.tables["products"].with_columns(launch_date=pl.lit(launch.start))
    tables_of_plan = data.tables | {"products": products, "sales": data.tables["sales"].filter(pl.lit(False))}
    known = known_tables(replace(data, tables=tables_of_plan, first_sale=data.first_sale.clear().lazy()), ORIGIN)
    row = terms(known, SupplyConfig()).row(0, named=True)
    assert (row["title"], row["price"], row["on_hand"]) == ("New toy", 12.0, SUPPLY["on_hand"])


def test_without_supply_only_what_needs_none(tmp_path: Path) -> None:
    bare = [replace(p, supply=None) for p in PRODUCTS]
    frame = decide(write_run(tmp_path / "run", bare), dataset(bare), tmp_path)
    assert set(frame["kind"]) == {"risk_early_decline", "substitute"}


def test_configuration_reaches_the_component(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", PRODUCTS)
    cautious = DecideConfig(inventory=InventoryConfig(service_max=0.6))
    orders = [
        decide(run, dataset(PRODUCTS), tmp_path, c).filter(sku_id="short", kind="reorder")["value"][0] for c in (DecideConfig(), cautious)
    ]
    assert orders[1] < orders[0]


def test_an_empty_run_and_an_incomplete_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no forecast in curve/"):
        decide(tmp_path / "none", dataset(PRODUCTS), tmp_path)
    run = write_run(tmp_path / "run", PRODUCTS)
    (run / "stage" / "part-00000.parquet").unlink()
    with pytest.raises(DataError, match="incomplete"):
        decide(run, dataset(PRODUCTS), tmp_path)
