import numpy as np

from plcp.data.outliers import soften


def series(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_bulk_order_is_softened_and_the_usual_weeks_are_left() -> None:
    rng = np.random.default_rng(0)
    usual = rng.poisson(6, (50, 60)).astype(np.float32)
    bulk = usual.copy()
    bulk[:, 30] = 2000
    softened = soften(bulk.copy())
    others = np.arange(60) != 30
    assert np.array_equal(soften(usual.copy()), usual)
    assert np.array_equal(softened[:, others], bulk[:, others])
    assert (softened[:, 30] > usual.max()).all()
    assert (softened[:, 30] < 500).all()


def test_a_season_of_three_weeks_and_a_lasting_rise_stay() -> None:
    season = [1.0] * 30 + [300.0, 500.0, 350.0] + [1.0] * 19
    rise = [2.0] * 40 + [400.0] * 12
    units = series(season, rise)
    assert np.array_equal(soften(units.copy()), units)


def test_few_known_weeks_call_nothing_unusual() -> None:
    units = np.full((1, 52), np.nan, np.float32)
    units[0, -5:] = 1, 1, 900, 1, 1
    assert np.array_equal(soften(units.copy()), units, equal_nan=True)


def test_each_product_is_judged_by_itself() -> None:
    rng = np.random.default_rng(1)
    units = rng.negative_binomial(1, 0.05, (200, 104)).astype(np.float32)
    units[rng.random(units.shape) < 0.02] = 5000
    units[:, :20][rng.random((200, 20)) < 0.5] = np.nan
    whole = soften(units.copy())
    assert (whole != units)[~np.isnan(units)].any()
    alone = np.concatenate([soften(units[i : i + 1].copy()) for i in range(200)])
    assert whole.tobytes() == alone.tobytes()
