"""Risks: reported where they are, silent where they are not."""

from pathlib import Path

import pytest

from plcp.decisions.risk import RiskConfig, early_declines, shortages, stockout_probability, surpluses
from tests.decisions.shop import ORIGIN, Product
from tests.decisions.test_inventory import SUPPLY, outlook_of

ENDING = (0.6, 0.9, 0.95, 1.0)


def test_stockout_is_reported_with_its_week_and_what_is_lost(tmp_path: Path) -> None:
    products = Product("short", supply=SUPPLY), Product("enough", supply=SUPPLY | {"on_hand": 90.0})
    outlook = outlook_of(tmp_path, *products)
    assert list(stockout_probability(outlook) > 0.2) == [False, True]
    row = shortages(outlook, RiskConfig()).row(0, named=True)
    assert (row["sku_id"], row["kind"]) == ("short", "risk_stockout")
    assert row["week"] == ORIGIN.replace(day=17)  # 20 in stock, 10 a week: gone in the third week
    assert row["effect_low"] < row["expected_effect"] < row["effect_high"] <= 0


def test_product_that_sells_nothing_is_not_short_of_stock(tmp_path: Path) -> None:
    outlook = outlook_of(tmp_path, Product("idle", 0.0, supply=SUPPLY | {"on_hand": 0.0}))
    assert stockout_probability(outlook)[0] == pytest.approx(0, abs=1e-6)


def test_overstock_of_a_living_product_and_dead_stock_of_an_ending_one(tmp_path: Path) -> None:
    much = SUPPLY | {"on_hand": 800.0}
    products = Product("lives", supply=much), Product("ends", 0.5, "decline", p_end=ENDING, supply=much)
    frame = surpluses(outlook_of(tmp_path, *products), RiskConfig())
    assert dict(frame.select("sku_id", "kind").iter_rows()) == {"lives": "risk_overstock", "ends": "risk_dead_stock"}
    lives, ends = frame.sort("sku_id", descending=True).iter_rows(named=True)
    assert lives["value"] == pytest.approx(800 - 260, rel=0.1)
    assert ends["expected_effect"] < lives["expected_effect"] < 0  # the stock of what lives on keeps most of its worth


def test_early_decline_needs_no_supply_and_speaks_of_rising_products_only(tmp_path: Path) -> None:
    soon = (0.3, 0.5, 0.7, 0.9)
    products = Product("rising", stage="growth", p_decline=soon), Product("mature", p_decline=soon), Product("safe", stage="growth")
    frame = early_declines(outlook_of(tmp_path, *products), RiskConfig())
    assert frame.select("sku_id", "kind").rows() == [("rising", "risk_early_decline")]
    assert frame["expected_effect"].to_list() == [None]


def test_stock_for_a_launch_beyond_the_horizon_is_no_overstock(tmp_path: Path) -> None:
    launch = Product("new", stage="introduction", start=ORIGIN.replace(year=2025, day=2), supply=SUPPLY)
    assert surpluses(outlook_of(tmp_path, launch), RiskConfig()).is_empty()
