from dataclasses import replace

import numpy as np
import pytest

from plcp.data.simulator import Decisions, Observation, Outcome, ShopEnvironment, ShopPolicy, SimulatorConfig

CONFIG = SimulatorConfig(skus=200, weeks=40, seed=2)


class Cautious(ShopPolicy):
    """The shop's own policy with twice its orders."""

    def decide(self, seen: Observation) -> Decisions:
        decided = super().decide(seen)
        return replace(decided, order=2 * decided.order)


def play(kind: type[ShopPolicy], config: SimulatorConfig = CONFIG) -> list[Outcome]:
    environment = ShopEnvironment(config)
    policy = kind(environment.expected)
    outcomes = []
    while not environment.finished:
        outcomes.append(environment.step(policy.decide(environment.observe())))
    return outcomes


def test_the_same_decisions_meet_the_same_customers() -> None:
    for ours, theirs in zip(play(ShopPolicy), play(ShopPolicy), strict=True):
        assert np.array_equal(ours.sales, theirs.sales)
        assert np.array_equal(ours.money, theirs.money)


def test_another_policy_meets_nearly_the_same_demand_but_sells_more() -> None:
    ours, theirs = play(ShopPolicy), play(Cautious)
    assert np.array_equal(ours[0].truth.demand, theirs[0].truth.demand)
    demand = np.stack([np.stack([o.truth.demand for o in played]).ravel() for played in (ours, theirs)])
    assert np.corrcoef(demand)[0, 1] > 0.9  # common random numbers; what differs is what reviews make of it
    assert sum(o.sales.sum() for o in theirs) > sum(o.sales.sum() for o in ours)


def test_observations_hold_nothing_of_the_truth() -> None:
    environment = ShopEnvironment(CONFIG)
    before = environment.observe()
    assert not before.sales.any()
    assert np.isnan(before.in_stock).all()
    seen = set(vars(before))
    assert not seen & {"demand", "intensity", "quality", "elasticity"}


def test_after_the_last_week_there_is_none() -> None:
    environment = ShopEnvironment(SimulatorConfig(skus=20, weeks=8))
    policy = ShopPolicy(environment.expected)
    for _ in range(8):
        environment.step(policy.decide(environment.observe()))
    assert environment.finished
    with pytest.raises(IndexError, match="only 8 weeks"):
        environment.step(Decisions(np.ones(20), np.ones(20), np.zeros(20), np.zeros(20, bool)))


@pytest.mark.parametrize(("field", "value"), [("order", -1.0), ("order", np.nan), ("list_price", 0.0), ("promo", 1.0), ("promo", -0.1)])
def test_decisions_that_cannot_be_are_refused(field: str, value: float) -> None:
    environment = ShopEnvironment(CONFIG)
    good = ShopPolicy(environment.expected).decide(environment.observe())
    with pytest.raises(ValueError, match=field):
        environment.step(replace(good, **{field: np.full(200, value)}))
