"""Markdowns and promotions: chosen where they pay, of the depth that pays most."""

from pathlib import Path

import numpy as np
import pytest

from plcp.decisions.pricing import PricingConfig, best_path, markdowns
from plcp.decisions.promotion import PromotionConfig, promotions
from tests.decisions.shop import ORIGIN, Product
from tests.decisions.test_inventory import SUPPLY, outlook_of

ENDING = (0.3, 0.6, 0.8, 1.0)
FADING = [8 * 0.85**w for w in range(26)]


def test_surplus_towards_the_end_is_marked_down(tmp_path: Path) -> None:
    product = Product("a", FADING, "decline", p_end=ENDING, supply=SUPPLY | {"on_hand": 200.0})
    frame = markdowns(outlook_of(tmp_path, product), PricingConfig()).sort("week")
    assert frame["week"][0] == ORIGIN
    assert frame["value"].is_sorted()  # prices never rise
    assert frame["expected_effect"][0] > 0
    assert frame["expected_effect"].null_count() == len(frame) - 1  # the path's money is counted once


@pytest.mark.parametrize(
    "product",
    [
        Product("sells out", FADING, "decline", p_end=ENDING, supply=SUPPLY | {"on_hand": 10.0}),
        Product("lives on", FADING, supply=SUPPLY | {"on_hand": 200.0}),
        Product("no supply", FADING, "decline", p_end=ENDING),
    ],
    ids=lambda p: p.sku_id,
)
def test_no_markdown_of_what(tmp_path: Path, product: Product) -> None:
    assert markdowns(outlook_of(tmp_path, product), PricingConfig()).is_empty()


def test_inelastic_demand_is_not_marked_down(tmp_path: Path) -> None:
    product = Product("a", FADING, "decline", p_end=ENDING, supply=SUPPLY | {"on_hand": 200.0, "salvage": 0.0, "holding_cost": 0.0})
    assert markdowns(outlook_of(tmp_path, product), PricingConfig(elasticity=-0.5)).is_empty()


def test_best_path_equals_a_search_by_hand(tmp_path: Path) -> None:
    product = Product("a", FADING, "decline", p_end=ENDING, supply=SUPPLY | {"on_hand": 100.0, "salvage": 1.0, "holding_cost": 0.1})
    outlook = outlook_of(tmp_path, product)
    flat = [np.full(26, 1 - d) for d in (0.1, 0.3, 0.5)]
    total = outlook.demand.total(26)

    def money(cut: float) -> float:
        results = []
        for level in (0.1, 0.5, 0.9):
            stock, got = 100.0, 0.0
            for week in outlook.demand.mean[0]:
                sold = min(week * (total.quantile(level) / total.mean)[0] * (1 - cut) ** -2.0, stock)
                stock -= sold
                got += sold * 10 * (1 - cut) - 0.1 * stock
            results.append(got + stock * 1.0)
        return 0.3 * results[0] + 0.4 * results[1] + 0.3 * results[2]

    best = best_path(outlook, flat, elasticity=-2.0)
    gains = [money(d) - money(0) for d in (0.1, 0.3, 0.5)]
    assert best.index[0] == int(np.argmax(gains))
    assert best.effect[0] == pytest.approx(max(gains))


def test_promotion_where_stock_is_to_spare_and_the_margin_is_wide(tmp_path: Path) -> None:
    spare = SUPPLY | {"on_hand": 200.0, "unit_cost": 2.0}
    products = Product("wide", supply=spare), Product("narrow", supply=spare | {"unit_cost": 8.0}), Product("short", supply=SUPPLY)
    frame = promotions(outlook_of(tmp_path, *products), PromotionConfig(), elasticity=-2.6)
    assert frame["sku_id"].to_list() == ["wide"]
    assert frame["expected_effect"][0] > 0


def test_ending_products_are_left_to_markdowns(tmp_path: Path) -> None:
    ending = Product("a", p_end=(0.5, 0.8, 0.9, 1.0), supply=SUPPLY | {"on_hand": 200.0, "unit_cost": 2.0})
    assert promotions(outlook_of(tmp_path, ending), PromotionConfig(), elasticity=-2.6).is_empty()


def test_sales_pulled_forward_make_a_promotion_worth_less(tmp_path: Path) -> None:
    outlook = outlook_of(tmp_path, Product("a", supply=SUPPLY | {"on_hand": 200.0, "unit_cost": 2.0}))
    none, half = (promotions(outlook, PromotionConfig(pull_forward=share), elasticity=-2.6)["expected_effect"] for share in (0.0, 0.5))
    assert none[0] > (half[0] if len(half) else 0)
