"""The statistical forecasters of single series: what they forecast, of which cases, and within which limits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared, prepare
from plcp.data.timeline import Timeline
from plcp.data.view import PanelView, panel_view
from plcp.evaluation import cases as the_cases
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.baselines.stats import LEAST_WEEKS, METHODS, Statistical, fitted_quantiles, history, season
from plcp.evaluation.cases import Cases, Truth, Window, sampled
from plcp.evaluation.contestant import rows_of
from plcp.evaluation.scoring import score
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON, week

FEW = 6  # cases that the slow one is tried on


def panel(units: list[list[float]], closed: tuple[int, ...] = ()) -> PanelView:
    n, weeks = len(units), len(units[0])
    products = pl.DataFrame({"sku_id": [f"P{k}" for k in range(n)]})
    return PanelView(
        Timeline(week(0), weeks, closed), weeks, products, np.array(units, float), np.full((n, weeks), np.nan), np.full(n, np.nan)
    )


@pytest.mark.parametrize("name", METHODS)
def test_all_cases_are_forecast_and_the_same_way_again(
    name: str, past: Prepared, cases: Cases, truth: Truth, window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_cases, "SAMPLE", FEW)
    found = Statistical(name).forecast(past, cases, 1, tmp_path)
    assert set(score(truth, [window], HORIZON, LAUNCH_HORIZON, found)["track"]) >= {"in_life", "launch", "stage"}
    again = Statistical(name).forecast(past, cases, 2, tmp_path)
    recent = Recent().forecast(past, cases, 1, tmp_path)
    assert again.in_life.equals(found.in_life)  # whatever the seed
    assert not found.in_life.equals(recent.in_life)
    for track in ("launch", "events", "stages"):  # of which they do not speak
        assert getattr(found, track).equals(getattr(recent, track))


@pytest.mark.parametrize("name", METHODS)
def test_with_little_past_products_go_on_as_they_did_recently(name: str, shop: Dataset, truth: Truth, cases: Cases, tmp_path: Path) -> None:
    at = 6
    early = prepare(asof.cut(shop, week(at)), tmp_path / "prepared")
    own = Cases(week(at), [truth.skus[row] for row in truth.in_life(at)], HORIZON, cases.launches[:0], LAUNCH_HORIZON)
    recent = Recent().forecast(early, own, 1, tmp_path)
    assert Statistical(name).forecast(early, own, 1, tmp_path).in_life.equals(recent.in_life)


def test_autoarima_forecasts_the_sample_and_recent_the_rest(
    past: Prepared, cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_cases, "SAMPLE", FEW)
    found, recent = (own.forecast(past, cases, 1, tmp_path).in_life for own in (Statistical("autoarima"), Recent()))
    changed = {a for a, *rest in set(found.rows()) - set(recent.rows())}
    chosen = {sku for sku, own in zip(cases.in_life, sampled(cases.in_life), strict=True) if own}
    assert changed
    assert changed <= chosen
    view = panel_view(past)
    known = (np.flatnonzero(~view.closed) >= view.first[rows_of(view.sku_id, sorted(chosen)), None]).sum(1)
    assert len(changed) == (known >= LEAST_WEEKS).sum()


@pytest.mark.parametrize("name", METHODS)
def test_what_never_varies_is_forecast_as_certain(name: str) -> None:
    quantiles = fitted_quantiles(METHODS[name], panel([[7.0] * 40]), np.array([0]), 5, fourier=False)
    np.testing.assert_allclose(quantiles, 7, rtol=1e-6)


def test_tsb_forecasts_the_smoothed_chance_of_a_sale_and_the_quantiles_of_what_it_erred() -> None:
    y = np.log1p(np.array([3.0, 0, 5, 0, 0, 0, 8, 2, 0, 1, 4, 0]))
    size, chance, fitted = y[0], 1.0, []
    for value in y[1:]:  # Teunter et al. 2011, equations 2 and 3
        fitted.append(chance * size)
        size, chance = (size + 0.3 * (value - size), chance + 0.3 * (1 - chance)) if value else (size, chance - 0.3 * chance)
    expected = np.clip(chance * size + np.quantile(y[1:] - fitted, np.arange(1, 10) / 10), 0, y.max())
    found = fitted_quantiles(METHODS["tsb"], panel([np.expm1(y).tolist()]), np.array([0]), 3, fourier=False)
    np.testing.assert_allclose(found, np.broadcast_to(np.expm1(expected), (1, 3, 9)), rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_rise_is_not_carried_beyond_the_most_ever_sold(name: str) -> None:
    rising = np.round(np.exp(np.arange(40) / 8)).tolist()
    quantiles = fitted_quantiles(METHODS[name], panel([rising]), np.array([0]), 8, fourier=False)
    assert quantiles.min() >= 0
    assert quantiles.max() <= rising[-1] + 1e-6


def test_weeks_in_which_the_shop_was_shut_and_those_before_the_launch_are_not_read() -> None:
    read = history(panel([[0, 0, 4, 0, 6, 7], [1, 2, 3, 0, 5, 6]], closed=(3,)), np.arange(2), fourier=True)
    assert read.filter(unique_id=0)["y"].to_list() == pytest.approx(np.log1p([4, 6, 7]))
    assert read.filter(unique_id=1)["y"].to_list() == pytest.approx(np.log1p([1, 2, 3, 5, 6]))
    assert read.group_by("unique_id").agg(pl.col("ds").max())["ds"].to_list() == [5, 5]  # the week ahead is the origin


def test_the_season_comes_back_every_year_and_is_read_by_products_that_were_sold_for_one(past: Prepared, cases: Cases) -> None:
    view = panel_view(past)
    now, later = season(view, np.arange(10)), season(view, np.arange(10) + 365.25 / 7)
    for name in now:
        np.testing.assert_allclose(now[name], later[name], atol=1e-9)
    rows = rows_of(view.sku_id, cases.in_life)
    without, seasonal = (mask for mask, _ in Statistical("autoarima").groups(view, rows, cases))
    assert (view.first[rows[seasonal]] <= view.origin - 52).all()
    assert seasonal.any()
    assert without.any()
    assert not (seasonal & without).any()
    assert not Statistical("autoets").groups(view, rows, cases)[1][0].any()


def test_the_season_decides_on_what_autoarima_forecasts() -> None:
    weeks = np.arange(104)
    units = np.round(20 + 15 * np.sin(2 * np.pi * weeks * 7 / 365.25))
    view = panel([units.tolist()])
    view = replace(view, timeline=replace(view.timeline, weeks=104))
    ahead = np.round(20 + 15 * np.sin(2 * np.pi * (104 + np.arange(12)) * 7 / 365.25))
    found = fitted_quantiles(METHODS["autoarima"], view, np.array([0]), 12, fourier=True)[0, :, 4]
    assert np.abs(found - ahead).mean() < 3
