"""Trees grown from a shop's past."""

import numpy as np
import pytest

from plcp.data.features import inputs
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast import tabular
from plcp.forecast.trees import TOLD, Trees
from plcp.model.heads import BINS
from plcp.training import growing
from plcp.training.growing import WEEKS_EACH, _curve_rows, _end_rows, grown, past
from tests.forecast.shop import prepared_shop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=300, per_shard=100)


@pytest.fixture(scope="module")
def trees(prepared: Prepared) -> Trees:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "LEAST", 1000)
        return grown(prepared, spec_of(prepared), LoaderConfig(), 1)


def spec_of(prepared: Prepared) -> Spec:
    return Spec(history_weeks=52, horizon=8).fitted(prepared)


def test_a_small_shop_has_none_and_its_forecast_stands_alone(prepared: Prepared) -> None:
    assert grown(prepared, spec_of(prepared), LoaderConfig(), 1).curve.models == 0


def test_they_forecast_the_next_weeks_better_than_the_recent_level(prepared: Prepared, trees: Trees) -> None:
    """By what they were grown on: that they learned, and that log units and levels fit each other."""
    shard, spec = prepared.read(0), spec_of(prepared)
    at = np.full(len(shard), prepared.weeks - 8)
    cases = inputs(shard, np.arange(len(shard)), at, at, spec)
    level, came = tabular.level(cases["history"], spec), np.log1p(shard.units[:, -8:])
    lasting = np.repeat(np.log1p(level)[:, None, None], 9, 2).repeat(8, 1)
    told = Trees(trees.curve, weeks=10**6).quantiles(lasting, np.zeros((len(shard), 8)), cases, spec)  # half the way
    middle = len(TOLD) // 2 * 2
    alive = (shard.units[:, -34:-8] > 0).any(1)
    assert np.abs(told[alive, :, middle] - came[alive]).mean() < np.abs(lasting[alive, :, middle] - came[alive]).mean()
    below = (came[alive, :, None] <= told[alive]).mean((0, 1))
    assert below[0] < below[middle] < below[-1]


def test_the_same_seed_grows_the_same_trees(prepared: Prepared, trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "LEAST", 1000)
    assert grown(prepared, spec_of(prepared), LoaderConfig(), 1).to_dict() == trees.to_dict()
    assert trees.weeks == prepared.weeks
    assert 0 < trees.bins <= BINS


def test_of_each_case_some_weeks_that_came_are_learned_from_and_none_without_stock() -> None:
    rng = np.random.default_rng(0)
    came = {"units": rng.poisson(5, (50, 8)).astype(np.float32), "censored": np.zeros((50, 8), bool)}
    came["units"][:10, 2:] = np.nan  # the data ends
    came["censored"][10:20] = True
    came["units"][10:20] = np.minimum(came["units"][10:20], 3)
    came["units"][10, 4] = 40  # more than the level, in spite of what was out of stock
    x = np.arange(50 * 8, dtype=np.float32).reshape(50, 8, 1)
    rows = _curve_rows(x, came, np.full(50, 3.0), np.arange(50), rng)
    row, week = np.divmod(rows.x[:, 0].astype(int), 8)
    assert np.bincount(row, minlength=50).tolist() == [2] * 10 + [1] + [0] * 9 + [WEEKS_EACH] * 30
    assert np.allclose(rows.y, np.log1p(came["units"][row, week]) - np.log1p(3))
    assert len({*zip(row, week, strict=True)}) == len(row)
    assert (np.diff(rows.weight[np.unique(row, return_index=True)[1]]) < 0).all(), "what lies further back counts less"


def test_bins_lived_through_and_the_one_of_the_end_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "SHARE_OF_BINS", 1.0)
    time, seen = np.full((4, 3), np.nan), np.zeros((4, 3), bool)
    time[:3, 2] = 5, 7, 0  # ended within the third bin of two weeks; alive for seven weeks; silent already
    seen[0, 2] = seen[2, 2] = True
    rows = _end_rows(
        np.arange(4, dtype=np.float32)[:, None], {"event_time": time, "event_seen": seen}, np.zeros(4), np.random.default_rng(0)
    )
    told = [(int(row), int(at), bool(y)) for (row, at), y in zip(rows.x, rows.y, strict=True)]
    lived = [(0, 0, False), (0, 1, False), (0, 2, False), (0, 3, True), (1, 0, False), (1, 1, False), (1, 2, False), (1, 3, False)]
    assert told == [*lived, (2, 0, True)], "of the fourth nothing is known"


def test_a_week_of_a_planned_promotion_is_not_learned_from(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(len(part[0].y) for part in past(prepared, spec_of(prepared), LoaderConfig(), np.random.default_rng(0)))
    monkeypatch.setattr(tabular, "promoted", lambda cases: np.ones(cases["future"].shape[:2], bool))
    none = sum(len(part[0].y) for part in past(prepared, spec_of(prepared), LoaderConfig(), np.random.default_rng(0)))
    assert (count > 0, none) == (True, 0)


def test_no_week_after_the_data_is_learned_from_and_every_product_is_drawn_alike(prepared: Prepared) -> None:
    parts = list(past(prepared, spec_of(prepared), LoaderConfig(), np.random.default_rng(0)))
    curve = np.concatenate([part[0].y for part in parts])
    assert np.isfinite(curve).all()
    assert all(np.isfinite(part[0].weight).all() and (part[0].weight > 0).all() for part in parts)
    units = np.concatenate([prepared.read(i).units for i in range(len(prepared.shards))])
    assert curve.max() < np.log1p(units.max()) - np.log1p(tabular.LEAST_LEVEL)
