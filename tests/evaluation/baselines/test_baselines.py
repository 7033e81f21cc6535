"""Every baseline forecasts every case, from the past alone, and the same again."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.data.view import panel_view
from plcp.evaluation.baselines.curve_clusters import CurveClusters
from plcp.evaluation.baselines.kaplan_meier import KaplanMeier
from plcp.evaluation.baselines.lag_features import LagFeatures
from plcp.evaluation.baselines.launch_features import Launches, LaunchFeatures
from plcp.evaluation.baselines.lightgbm import LightGBM, LightGBMConfig
from plcp.evaluation.baselines.lstm import LSTM, LSTMConfig
from plcp.evaluation.baselines.neighbours import Neighbours, NeighboursByEmbedding
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.baselines.seasonal_naive import SeasonalNaive, seasonal_curves
from plcp.evaluation.baselines.text import Text, TextConfig
from plcp.evaluation.baselines.titles import title_vectors
from plcp.evaluation.cases import Cases, Truth, Window
from plcp.evaluation.contestant import Contestant, rows_of
from plcp.evaluation.scoring import score
from plcp.model.towers import TextTowerConfig
from plcp.tables import QUANTILES
from plcp.training.boosting import TreeConfig
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON, week

QUICK = TreeConfig(rounds=8, least_leaf=10)
CONTESTANTS: list[Contestant] = [
    Recent(),
    SeasonalNaive(),
    LightGBM(LightGBMConfig(curves=QUICK, classes=QUICK, launches=QUICK, rows=4000)),
    LSTM(LSTMConfig(steps=4, batch=32)),
    Text(TextConfig(tower=TextTowerConfig(source="tiny", vocabulary=300, width=16))),
    Neighbours(),
    NeighboursByEmbedding(),
    KaplanMeier(),
    CurveClusters("bass"),
    CurveClusters("trapezoid"),
    CurveClusters("tilted_gompertz"),
]


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda c: type(c).__name__)
def test_all_cases_are_forecast_and_the_same_way_again(
    contestant: Contestant, past: Prepared, cases: Cases, truth: Truth, window: Window, tmp_path: Path
) -> None:
    found = contestant.forecast(past, cases, 1, tmp_path)
    figures = score(truth, [window], HORIZON, LAUNCH_HORIZON, found)
    assert set(figures["track"]) == {"in_life", "launch", "end_4w", "end_8w", "end_12w", "end", "new_peak_12w", "stage"}
    again = contestant.forecast(past, cases, 1, tmp_path)
    for track, frame in vars(found).items():
        assert frame.equals(getattr(again, track)), track


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda c: type(c).__name__)
def test_without_launches_and_with_little_past_the_rest_is_forecast(
    contestant: Contestant, shop: Dataset, truth: Truth, cases: Cases, tmp_path: Path
) -> None:
    at = 6
    early = prepare(asof.cut(shop, week(at)), tmp_path / "prepared")
    skus = [truth.skus[row] for row in truth.in_life(at)]
    found = contestant.forecast(early, Cases(week(at), skus, HORIZON, cases.launches[:0], LAUNCH_HORIZON), 1, tmp_path)
    assert len(found.in_life) == len(skus) * HORIZON
    assert found.launch.is_empty()


def test_recent_forecasts_the_quantiles_of_the_last_13_weeks(past: Prepared, cases: Cases, tmp_path: Path) -> None:
    view = panel_view(past)
    own = view.units[rows_of(view.sku_id, cases.in_life[:1])[0]]
    found = Recent().forecast(past, cases, 1, tmp_path).in_life.filter(pl.col("sku_id") == cases.in_life[0])
    assert found.select(QUANTILES).row(0) == pytest.approx(np.quantile(own[-13:], np.arange(1, 10) / 10))
    assert found["mean"].to_list() == pytest.approx([own[-8:].mean()] * HORIZON)


def test_seasonal_naive_forecasts_the_same_week_of_last_year() -> None:
    units = np.tile(10 + 5 * np.sin(np.arange(110) * 2 * np.pi / 52), (30, 1))
    quantiles, mean = seasonal_curves(units, 8)
    np.testing.assert_allclose(mean, units[:, 58:66])
    np.testing.assert_allclose(quantiles[:, :, 4], units[:, 58:66], rtol=1e-6)  # it never erred, so it is certain


def test_features_of_a_week_do_not_change_with_what_comes_after_it(past: Prepared, cases: Cases) -> None:
    """A later origin's panel is the earlier one's with more weeks: in this shop up to late cancellations, which are undone here."""
    view = panel_view(past)
    words, titles = title_vectors(view, cases, 0)
    at, rows = 40, np.flatnonzero((view.first < 40) & (view.last >= 20))
    before = type(view)(view.timeline, at, view.products, view.units[:, :at], view.price[:, :at], view.launch)
    now, then = (LagFeatures(v, titles[: len(view.units)]).curves(rows, at, HORIZON) for v in (view, before))
    np.testing.assert_array_equal(now, then)
    late, early = (LaunchFeatures(v, words, titles) for v in (view, before))
    launches = Launches.past(early.view)
    np.testing.assert_array_equal(late.curves(launches, 4), early.curves(launches, 4))
