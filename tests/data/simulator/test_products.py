import numpy as np
import pytest

from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.lives import ANNOUNCED_WEEKS
from plcp.data.simulator.product import Products
from plcp.data.simulator.products import look_effects, make_products

CONFIG = SimulatorConfig(skus=1000, weeks=104, seed=4)


@pytest.fixture(scope="module")
def products() -> Products:
    return make_products(CONFIG, 0)


def test_a_smaller_catalog_holds_the_first_products_of_a_larger_one(products: Products) -> None:
    few = make_products(CONFIG.model_copy(update={"skus": 50}), 0)
    for name, values in vars(few).items():
        if name not in ("predecessor", "complement"):  # partners beyond the 50 are gone
            assert np.array_equal(values, vars(products)[name][:50]), name
    assert few.complement.max() < 50


def test_looks_carry_the_effect_that_the_world_states(products: Products) -> None:
    looks = look_effects(CONFIG.world, Draws(CONFIG.seed))
    assert sum((t.std(1) ** 2).mean() for t in looks) == pytest.approx(CONFIG.world.look_effect**2)
    assert products.look.std() == pytest.approx(CONFIG.world.look_effect, rel=0.15)


def test_incumbents_launched_before_the_data_and_some_launches_lie_just_after_it(products: Products) -> None:
    assert (products.launch < 0).mean() == pytest.approx(CONFIG.world.incumbent_share, abs=0.05)
    after = products.launch[products.launch >= CONFIG.weeks]
    assert len(after) > 0
    assert (after < CONFIG.weeks + ANNOUNCED_WEEKS).all()


def test_a_successor_comes_later_and_its_predecessor_declines_then(products: Products) -> None:
    new = np.flatnonzero(products.predecessor >= 0)
    old = products.predecessor[new]
    assert len(new) > 10
    assert (products.launch[old] < products.launch[new]).all()
    assert (products.category[old] == products.category[new]).all()
    assert (products.fall[old] <= products.launch[new] - products.launch[old] + products.rise[old] + 4).all()


def test_complements_are_of_the_category_that_goes_along(products: Products) -> None:
    nouns = np.array([c.noun for c in CONFIG.world.categories])
    wanted = np.array([c.complement for c in CONFIG.world.categories])
    assert (nouns[products.category[products.complement]] == wanted[products.category]).all()


def test_substitutes_share_category_and_style(products: Products) -> None:
    for group in np.unique(products.group):
        rows = products.group == group
        assert rows.sum() <= CONFIG.world.group
        assert len(set(zip(products.category[rows].tolist(), products.style[rows].tolist(), strict=True))) == 1


def test_title_claims_follow_quality_only_loosely(products: Products) -> None:
    assert 0.2 < np.corrcoef(products.claim, products.quality)[0, 1] < 0.7
