from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from plcp.data.lifecycle import CONFIRM
from plcp.data.prepared import Prepared
from plcp.data.view import panel_view
from plcp.evaluation.baselines.text import Targets, Text, TextConfig, TextModel, learn, split, week_loss
from plcp.evaluation.cases import Cases
from plcp.model.towers import TextTowerConfig

TINY = TextTowerConfig(source="tiny", vocabulary=300, width=16)
LEARNED = TextConfig(tower=TINY, epochs=80, batch=8, learning_rate=5e-4)


def test_titles_that_sold_more_are_forecast_more(past: Prepared) -> None:
    view = panel_view(past)
    rng = np.random.default_rng(0)
    texts = [f"red mug no {k}" if k % 2 else f"blue lamp no {k}" for k in range(len(view.units))]
    even = np.arange(len(texts)) % 2 == 0
    units = rng.poisson(np.where(even, 2, 40)[:, None], view.units.shape).astype(float)
    targets = Targets.of(replace(view, units=units), 4)
    torch.manual_seed(1)
    model = TextModel(TINY, texts, targets)
    learn(model, texts, targets, LEARNED)
    out = split(model.predict([texts[1], texts[0]]))[0][:, 0].numpy()
    median, mean = np.expm1(out[:, 4]), np.exp(out[:, -1])
    np.testing.assert_allclose(median, [40, 2], rtol=0.4)
    np.testing.assert_allclose(mean, [40, 2], rtol=0.4)


def test_before_it_has_learned_every_text_is_given_what_all_products_sold(past: Prepared, cases: Cases) -> None:
    view = panel_view(past)
    targets = Targets.of(view, 4)
    weekly, launch, _, _ = split(TextModel(TINY, ["red mug", "blue lamp"], targets).predict(["a text", "another one"]))
    known = targets.weekly[~np.isnan(targets.weekly)]
    for row in weekly[:, 0].numpy():
        np.testing.assert_allclose(np.expm1(row[:-1]), np.quantile(known, np.arange(1, 10) / 10), rtol=0.05, atol=0.05)
        np.testing.assert_allclose(np.exp(row[-1]), known.mean(), rtol=1e-4)
    seen = targets.launch[~np.isnan(targets.launch).any(1)]
    np.testing.assert_allclose(np.exp(launch[0, :, -1].numpy()), seen.mean(0), rtol=1e-4)


def test_targets_are_what_is_known_at_the_origin(past: Prepared) -> None:
    view = panel_view(past)
    targets = Targets.of(view, 4)
    at = view.origin - 12 - CONFIRM
    alive = (view.units[:, at - 26 : at] > 0).sum(1) > 0
    np.testing.assert_array_equal(~np.isnan(targets.events[:, 2]), alive)
    later = (view.units[:, at + 12 :] > 0).sum(1) > 0
    np.testing.assert_array_equal(targets.events[alive, 2], ~later[alive])
    launched = np.flatnonzero(~np.isnan(targets.launch[:, 0]))
    assert set(launched) == set(np.flatnonzero((view.first >= 8) & (view.first + 4 <= view.origin)))


def test_the_losses_least_values_are_the_quantiles_and_the_mean() -> None:
    units = torch.from_numpy(np.random.default_rng(0).poisson(5.0, (1, 4000))).float()
    units[0, ::3] = torch.nan
    known = units[~units.isnan()]
    best = torch.cat([torch.log1p(known).quantile(torch.arange(1, 10) / 10), known.mean().log()[None]])[None, None]
    for k in range(10):
        for step in (-0.3, 0.3):
            moved = best.clone()
            moved[0, 0, k] += step
            assert week_loss(moved, units) > week_loss(best, units)


def test_the_real_encoder_learns_and_forecasts(past: Prepared, cases: Cases, tmp_path: Path) -> None:
    found = Text(TextConfig(epochs=1)).forecast(past, cases, 1, tmp_path)
    by_title = found.in_life.group_by("sku_id", maintain_order=True).agg(pl.col("mean").first())
    assert by_title["mean"].n_unique() > len(by_title) // 2
