import numpy as np
import pytest

from plcp.data.prices import PriceBuilder, discounts, filled_forward

NAN = np.nan


def test_gaps_are_filled_from_the_past_alone() -> None:
    filled = filled_forward(np.array([[NAN, 2.0, NAN, NAN, 3.0], [NAN] * 5], np.float32))
    assert np.array_equal(filled, np.array([[NAN, 2, 2, 2, 3], [NAN] * 5], np.float32), equal_nan=True)


def test_a_promotion_shows_its_depth_and_a_new_price_becomes_the_regular_one() -> None:
    price = np.full((1, 40), 10.0, np.float32)
    price[0, 20:22] = 7.0
    price[0, 30:] = 8.0
    depth = discounts(price)[0]
    assert depth[:20].max() == 0
    assert depth[20:22] == pytest.approx([0.3, 0.3])
    assert depth[22] == 0
    assert depth[30] == pytest.approx(0.2)
    assert depth[-1] == 0


def test_medians_of_categories_lie_within_a_bin_of_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    price, pool = rng.lognormal(2, 1, (500, 6)), rng.integers(0, 3, 500)
    price[rng.random(price.shape) < 0.3] = NAN
    price[pool == 2, 3] = NAN
    builder = PriceBuilder(6)
    for part in np.array_split(np.arange(500), 3):
        builder.add(price[part], pool[part])
    prices = builder.done()
    found = prices.of(np.array([1, 2, 0]), np.tile(np.arange(6), (3, 1)))
    assert np.isnan(found[2]).all()  # pool 0 is no category
    for k in (1, 2):
        weeks = [w for w in range(6) if not (k == 2 and w == 3)]
        assert found[k - 1, weeks] == pytest.approx(np.nanmedian(price[pool == k][:, weeks], 0), rel=0.04)
    assert found[1, 3] == found[1, 2]  # a week without a price takes the last one known


def test_without_categories_nothing_is_kept() -> None:
    builder = PriceBuilder(6)
    builder.add(np.ones((4, 6)), np.zeros(4, np.int64))
    assert builder.done().median.size == 0
