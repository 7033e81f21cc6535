import numpy as np
import pytest

from plcp.data.simulator import Decisions, Outcome, ShopEnvironment, SimulatorConfig

CONFIG = SimulatorConfig(skus=500, weeks=30, seed=8)


def decisions(environment: ShopEnvironment, stock: float = 0.0, price: float = 1.0, promo: float = 0.0) -> Decisions:
    p = environment.products
    return Decisions(np.full(p.size, stock), price * p.list_price, np.full(p.size, promo), np.zeros(p.size, bool))


def plentiful(config: SimulatorConfig = CONFIG) -> ShopEnvironment:
    environment = ShopEnvironment(config)
    environment.shop.on_hand = np.full(environment.products.size, 1e9)
    return environment


def first_week(price: float = 1.0, promo: float = 0.0) -> tuple[ShopEnvironment, Outcome]:
    environment = plentiful()
    return environment, environment.step(decisions(environment, price=price, promo=promo))


def test_units_are_neither_made_nor_lost() -> None:
    environment = ShopEnvironment(CONFIG)
    opening = environment.shop.on_hand.copy()
    came = sold = np.zeros(environment.products.size)
    for _ in range(20):
        outcome = environment.step(decisions(environment, stock=7))
        came, sold = came + outcome.received, sold + outcome.sales
        assert (outcome.sales <= outcome.truth.demand).all()
        assert (outcome.on_hand >= 0).all()
    assert opening + came - sold == pytest.approx(environment.shop.on_hand)
    assert came + environment.shop.pipeline.sum(1) == pytest.approx(np.full(len(came), 7.0 * 20))


def test_list_prices_move_demand_by_each_products_elasticity() -> None:
    environment, plain = first_week()
    _, dearer = first_week(price=1.1)
    on = plain.on_sale
    p, cross = environment.products, CONFIG.world.cross_elasticity
    others = np.bincount(p.group, on)[p.group] > 1
    expected = 1.1 ** (p.elasticity + np.where(others, cross, 0.0))
    assert dearer.truth.intensity[on] / plain.truth.intensity[on] == pytest.approx(expected[on])


def test_a_promotion_lifts_now_and_takes_from_the_weeks_after() -> None:
    environment, promoted = first_week(promo=0.3)
    plain_environment, plain = first_week()
    on = plain.on_sale
    lift = promoted.truth.intensity[on] / plain.truth.intensity[on]
    assert (lift > 1).all()
    others = np.bincount(environment.products.group, on)[environment.products.group] > 1
    alone = on & ~others
    assert promoted.truth.log_price[alone] == pytest.approx(0.3 * environment.products.lift[alone])
    after = environment.step(decisions(environment)).truth.intensity
    without = plain_environment.step(decisions(plain_environment)).truth.intensity
    assert (after[on].sum()) < 0.97 * without[on].sum()


def test_where_stock_runs_out_the_share_in_stock_gives_back_the_demand() -> None:
    """(units − 1) / share is an unbiased estimate of the demand where at least two units were sold."""
    estimated, true = [], []
    for seed in range(8):
        environment = ShopEnvironment(CONFIG.model_copy(update={"seed": seed, "skus": 1000}))
        for _ in range(10):
            environment.shop.on_hand = np.full(environment.products.size, 6.0)
            outcome = environment.step(decisions(environment))
            out = outcome.on_sale & (outcome.in_stock < 1)
            assert (outcome.sales[out] == 6).all()
            estimated.append(5 / outcome.in_stock[out])
            true.append(outcome.truth.demand[out])
    assert np.concatenate(estimated).sum() == pytest.approx(np.concatenate(true).sum(), rel=0.03)


def test_deliveries_come_after_the_lead_time_and_later_in_an_outage() -> None:
    environment = ShopEnvironment(CONFIG)
    shop = environment.shop
    environment.step(decisions(environment, stock=5))
    arrival = (shop.pipeline > 0).argmax(1) + 1
    late = arrival - environment.products.lead_time
    assert (late >= shop.outage[environment.products.supplier, 0]).all()
    assert (late == 0).mean() > 0.5


def test_what_is_delisted_is_sold_off_and_never_sold_again() -> None:
    environment = plentiful()
    p = environment.products
    stop = Decisions(np.zeros(p.size), p.list_price, np.zeros(p.size), np.ones(p.size, bool))
    outcome = environment.step(stop)
    assert outcome.sales.sum() == outcome.on_hand.sum() == 0
    assert np.isnan(outcome.in_stock).all()
    assert (outcome.money > 0).all()
    assert not environment.step(decisions(environment, stock=3)).on_sale.any()
