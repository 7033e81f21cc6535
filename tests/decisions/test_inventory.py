"""Orders: the newsvendor's level, cases, lost sales, the last order of a life."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.decisions.demand import DemandConfig
from plcp.decisions.inventory import InventoryConfig, orders, plan
from plcp.decisions.outlook import Outlook, read_outlook
from plcp.decisions.supply import SupplyConfig, terms
from tests.decisions.shop import ORIGIN, Product, dataset, write_run

SUPPLY = {"on_hand": 20.0, "unit_cost": 4.0, "on_order": 0.0, "lead_time_weeks": 3.0, "review_weeks": 1.0}


def outlook_of(folder: Path, *products: Product) -> Outlook:
    known = terms(dataset(list(products)).tables, SupplyConfig())
    # the fixture's sales after the origin are cut by decide(); here the price is the product's own
    known = known.with_columns(price=pl.Series([p.price for p in sorted(products, key=lambda p: p.sku_id)], dtype=pl.Float64))
    return read_outlook(write_run(folder, list(products)), "part-00000.parquet", known, DemandConfig())


def test_order_lifts_the_position_to_the_newsvendor_quantile(tmp_path: Path) -> None:
    outlook = outlook_of(tmp_path, Product("a", supply=SUPPLY | {"on_hand": 60.0}))
    order = plan(outlook, last=False, config=InventoryConfig(service_max=0.95))
    assert order.service[0] == pytest.approx(0.95)
    assert 60 + order.quantity[0] == pytest.approx(outlook.demand.total(4).quantile(0.95)[0], abs=2)


def test_rare_large_orders_alone_fill_no_shelf_for_years(tmp_path: Path) -> None:
    """Two units a week, most of them in rare large orders: the level is the one whose last unit just pays its time in stock."""
    outlook = outlook_of(tmp_path, Product("a", 2.0, supply=SUPPLY | {"on_hand": 0.0, "case_pack": 1.0}))
    lumpy = replace(outlook, demand=replace(outlook.demand, variance=np.full_like(outlook.demand.variance, 84.0)))
    level = plan(lumpy, last=False, config=InventoryConfig(service_max=0.98)).quantity
    sellable = lumpy.demand.sellable(np.array([3.0]), np.array([4.0]), np.zeros(1))
    assert level[0] < 0.7 * sellable.quantile(0.98)[0]
    sold_by = lumpy.demand.lasts(level + lumpy.demand.total(3).mean)
    assert sold_by[0] > 6
    too_many = 4 - lumpy.left_over_value(sold_by) + lumpy["holding_cost"] * (sold_by - 3)
    assert sellable.exceeded(level)[0] * 6 == pytest.approx((1 - sellable.exceeded(level)[0]) * too_many[0], rel=0.2)


def test_no_order_where_the_smallest_one_would_lie_for_a_year(tmp_path: Path) -> None:
    few = Product("a", 2.0, p_end=(0.0, 0.0, 0.0, 0.2), supply=SUPPLY | {"on_hand": 0.0})
    many = Product("b", 2.0, p_end=(0.0, 0.0, 0.0, 0.2), supply=SUPPLY | {"on_hand": 0.0, "min_order": 100.0})
    assert orders(outlook_of(tmp_path, few, many), InventoryConfig())["sku_id"].to_list() == ["a"]


def test_no_order_where_stock_suffices(tmp_path: Path) -> None:
    assert orders(outlook_of(tmp_path, Product("a", supply=SUPPLY | {"on_hand": 500.0})), InventoryConfig()).is_empty()


def test_open_orders_count_as_stock(tmp_path: Path) -> None:
    products = Product("a", supply=SUPPLY), Product("b", supply=SUPPLY | {"on_hand": 0.0, "on_order": 20.0})
    quantities = orders(outlook_of(tmp_path, *products), InventoryConfig())["value"]
    assert quantities[0] == quantities[1]


def test_orders_come_in_whole_cases_and_not_below_the_smallest_order(tmp_path: Path) -> None:
    frame = orders(
        outlook_of(
            tmp_path,
            Product("cases", supply=SUPPLY | {"case_pack": 12.0, "min_order": 0.0}),
            Product("smallest", supply=SUPPLY | {"on_hand": 55.0, "case_pack": 1.0, "min_order": 30.0}),
        ),
        InventoryConfig(),
    )
    cases, smallest = frame.sort("sku_id")["value"]
    assert cases % 12 == 0
    assert smallest == 30


def test_demand_lost_before_the_delivery_is_not_ordered_for(tmp_path: Path) -> None:
    far = SUPPLY | {"on_hand": 0.0, "lead_time_weeks": 10.0}
    order = plan(outlook_of(tmp_path, Product("a", supply=far)), last=False, config=InventoryConfig())
    assert order.quantity[0] < 40  # of the eleven weeks to cover ten pass with empty shelves: one week's demand and its safety


def test_nothing_is_ordered_at_a_loss_or_without_cost_or_price(tmp_path: Path) -> None:
    products = Product("loss", price=3.0, supply=SUPPLY), Product("unknown cost"), Product("unknown price", price=None, supply=SUPPLY)
    assert orders(outlook_of(tmp_path, *products), InventoryConfig()).is_empty()


def test_a_probable_end_turns_the_order_into_the_last_one_and_makes_it_cautious(tmp_path: Path) -> None:
    fading = [10 * 0.8**w for w in range(26)]
    stays = Product("stays", fading, supply=SUPPLY)
    ends = Product("ends", fading, "decline", p_end=(0.6, 0.9, 0.95, 1.0), supply=SUPPLY)
    outlook = outlook_of(tmp_path, stays, ends)
    kinds: dict[str, str] = dict(orders(outlook, InventoryConfig()).select("sku_id", "kind").iter_rows())
    assert kinds == {"stays": "reorder", "ends": "last_buy"}
    ending = outlook.where(np.array([True, False]))  # rows are sorted by sku_id
    assert plan(ending, last=True, config=InventoryConfig()).service[0] < 0.7


def test_effect_is_that_of_the_simulated_newsvendor(tmp_path: Path) -> None:
    outlook = outlook_of(tmp_path, Product("a", supply=SUPPLY | {"on_hand": 40.0}))
    order = plan(outlook, last=False, config=InventoryConfig())
    total = outlook.demand.sellable(np.array([3.0]), np.array([4.0]), np.array([40.0]))
    draws = np.random.default_rng(1).gamma(total.mean[0] ** 2 / total.variance[0], total.variance[0] / total.mean[0], 200_000)
    sold = np.clip(draws - 40, 0, order.quantity[0])
    sold_by = np.maximum(outlook.demand.lasts(40 + order.quantity), 4)  # what is left of the order then
    too_many = (4 - outlook.left_over_value(sold_by) + outlook["holding_cost"] * (sold_by - 3))[0]
    profit = (10 - 4) * sold - too_many * (order.quantity[0] - sold)
    assert order.effect[0] == pytest.approx(profit.mean(), rel=0.02)
    assert order.effect_low[0] == pytest.approx(np.quantile(profit, 0.1), rel=0.05)
    assert order.effect_high[0] == pytest.approx(np.quantile(profit, 0.9), rel=0.05)


def test_planned_launch_is_ordered_for_before_it_sells(tmp_path: Path) -> None:
    launch = Product("new", stage="introduction", start=ORIGIN.replace(day=17), supply=SUPPLY | {"on_hand": 0.0})
    order = plan(outlook_of(tmp_path, launch), last=False, config=InventoryConfig())
    assert order.asked[0] == pytest.approx(10)  # arrives in three weeks, one after the launch, and lasts for the fourth
    assert order.quantity[0] > 0
