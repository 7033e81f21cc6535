"""The global networks: that they learn, what of, and that a seed decides."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.data.view import panel_view
from plcp.evaluation.baselines.neural import NETWORKS, Neural, NeuralConfig, TFTConfig, history
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.cases import Cases, Truth, Window
from plcp.evaluation.contestant import rows_of
from plcp.evaluation.scoring import score
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON, week

pytestmark = pytest.mark.filterwarnings("ignore:val_check_steps")  # nothing is validated


def quick(name: str, steps: int = 3) -> Neural:
    kind = TFTConfig if name == "tft" else NeuralConfig
    return Neural(name, kind(steps=steps, width=16, windows=64, learning_rate=5e-3))


@pytest.mark.parametrize("name", NETWORKS)
def test_all_cases_are_forecast_and_a_seed_decides_on_the_forecasts(
    name: str, past: Prepared, cases: Cases, truth: Truth, window: Window, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    found = quick(name).forecast(past, cases, 1, tmp_path)
    assert set(score(truth, [window], HORIZON, LAUNCH_HORIZON, found)["track"]) >= {"in_life", "launch", "stage"}
    assert quick(name).forecast(past, cases, 1, tmp_path).in_life.equals(found.in_life)
    assert not quick(name).forecast(past, cases, 2, tmp_path).in_life.equals(found.in_life)
    recent = Recent().forecast(past, cases, 1, tmp_path)
    for track in ("launch", "events", "stages"):  # of which they do not speak
        assert getattr(found, track).equals(getattr(recent, track))
    assert torch.get_num_threads() == threads
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns(name: str, past: Prepared, cases: Cases, truth: Truth, window: Window, tmp_path: Path) -> None:
    def loss(steps: int) -> float:
        found = score(truth, [window], HORIZON, LAUNCH_HORIZON, quick(name, steps).forecast(past, cases, 1, tmp_path))
        return found.filter(pl.col("bucket").is_null(), track="in_life", metric="wql")["value"][0]

    assert loss(60) < 0.95 * loss(1)


def test_where_no_product_is_known_for_longer_than_the_horizon_all_go_on_as_they_did_recently(
    shop: Dataset, truth: Truth, cases: Cases, tmp_path: Path
) -> None:
    early = prepare(asof.cut(shop, week(HORIZON)), tmp_path / "prepared")
    own = Cases(week(HORIZON), [truth.skus[row] for row in truth.in_life(HORIZON)], HORIZON, cases.launches[:0], LAUNCH_HORIZON)
    recent = Recent().forecast(early, own, 1, tmp_path)
    assert quick("nhits").forecast(early, own, 1, tmp_path).in_life.equals(recent.in_life)


def test_a_product_is_read_from_its_first_sale_to_the_origin(past: Prepared, cases: Cases) -> None:
    view = panel_view(past)
    rows = rows_of(view.sku_id, cases.in_life)
    read = history(view, rows)
    for place in (0, len(rows) - 1):
        own = read.filter(unique_id=place)
        assert own["ds"].to_list() == list(range(view.first[rows[place]], view.origin))
        np.testing.assert_allclose(own["y"], np.log1p(view.units[rows[place], view.first[rows[place]] :]), rtol=1e-6)
