"""What each part of the model is worth: the same training without it, judged on weeks before the first test origin.

    PLCP_BENCH_DATA=DATA make bench NAME=online_retail.ablation ARGS="--text path/to/all-MiniLM-L6-v2 --out DIR"

Every variant is trained anew with each seed; what is finished in DIR is kept. Seeds differ by about as much as a small part is worth, so
the spread of the whole model stands beside the differences.
"""

import argparse
import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.online_retail.contest import HORIZON, LAUNCH_HORIZON, merged, shop, with_tower
from benchmarks.results import Figure, write_results
from plcp.data.prepared import PrepareConfig
from plcp.data.timeline import YEAR
from plcp.evaluation.backtest import SHOWN, compete
from plcp.evaluation.contestant import Contestant
from plcp.evaluation.trained import Trained
from plcp.forecast import artifact
from plcp.forecast.calibration import Calibration
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.training.runs import TrainConfig

ORIGIN, UNTIL = dt.date(2010, 12, 27), dt.date(2011, 1, 24)  # all weeks forecast lie before the first test origin
WHOLE, SEEDS = "whole", 3
FEWER = {"steps": 400, "refit_steps": 100}
WITHOUT: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "no_titles": {"model": {"text": None}},
    "no_order_lines": {"spec": {"channels": ["units", "price", "promo", "in_stock", "discount", "bought_with"]}},
    "no_prices_beyond_the_last": {
        "spec": {"channels": ["units", "price", "promo", "in_stock", "lines", "largest", "outlier", "bought_with"]}
    },
    "no_history_beyond_half_a_year": {"spec": {"history_weeks": 26}},
    "no_siblings": {"spec": {"siblings": False}},
    "no_holidays": {"spec": {"country": None}},
    "no_head_of_the_mean": {"loss": {"mean": 0}},
    "no_head_of_events": {"loss": {"hazard": 0}},
    "no_heads_of_stages": {"loss": {"stage": 0, "new_peak": 0}},
    "no_last_year": {"spec": {"history_weeks": YEAR - 1}},
    "no_dropped_seasons": {"model": {"season_dropout": 0}},
    "no_dropped_weeks": {"model": {"week_dropout": 0}},
    "no_dropped_modalities": {"model": {"modality_dropout": 0, "history_dropout": 0}},
    "no_refit": {"refit_steps": 0},
    "no_trees": {"trees": False},
}


class Uncalibrated(Trained):
    """The model's own answers, its trees' among them, but for what no forecast exceeds: no quantile corrected, neither launches nor ends
    shrunk, stages by their probability alone."""

    def forecaster(self, model: Path, cache: Path) -> Forecaster:
        config = ForecasterConfig(cache=cache)
        loaded = artifact.load(model)
        return Forecaster(replace(loaded, calibration=replace(Calibration.identity(), trees=loaded.calibration.trees)), config)


def contestants(text: Path) -> dict[str, Contestant]:
    configs = {name: TrainConfig.model_validate(with_tower(text, merged(FEWER, changes))) for name, changes in WITHOUT.items()}
    return {**{name: Trained(config) for name, config in configs.items()}, "no_calibration": Uncalibrated(configs[WHOLE])}


def figures(details: pl.DataFrame) -> list[Figure]:
    """Of every variant the main metrics, means over the seeds, as differences from the whole model's; its own with their spread."""
    over_all = details.filter(pl.col("origin").is_null() & pl.col("bucket").is_null())
    found = []
    for shown, (track, metric) in SHOWN.items():
        means = (
            over_all.filter(track=track, metric=metric)
            .group_by("model", maintain_order=True)
            .agg(pl.col("value").mean(), spread=pl.col("value").std())
        )
        whole = means.row(by_predicate=pl.col("model") == WHOLE, named=True)
        found.append(Figure(f"{shown}, whole model", round(whole["value"], 4), ""))
        if whole["spread"] is not None:  # of one seed nobody knows
            found.append(Figure(f"{shown}, standard deviation over seeds", round(whole["spread"], 4), ""))
        for model, value, _ in means.filter(pl.col("model") != WHOLE).iter_rows():
            found.append(Figure(f"{shown}, {model.replace('_', ' ')}", round(value - whole["value"], 4), "more than the whole model's"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="folder of the text tower")
    parser.add_argument("--out", type=Path, required=True, help="where forecasts are kept")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--variants", help=f"those to run beside {WHOLE}, by comma; all unless given")
    asked = parser.parse_args()
    variants = contestants(asked.text)
    chosen = [WHOLE, *asked.variants.split(",")] if asked.variants else [*variants]
    if unknown := {*chosen} - {*variants}:
        parser.error(f"--variants: {', '.join(sorted(unknown))} unknown; there are {', '.join(variants)}")
    compete(
        shop(asked.out / "data"),
        [ORIGIN],
        asked.out,
        {name: variants[name] for name in chosen},
        seeds=range(1, asked.seeds + 1),
        horizon=HORIZON,
        launch_horizon=LAUNCH_HORIZON,
        launch_until=UNTIL,
        prepare=PrepareConfig(),
    )
    whole = len(chosen) == len(variants) and asked.seeds >= SEEDS
    write_results("online_retail_ablation", figures(pl.read_parquet(asked.out / "details.parquet")), whole=whole)


if __name__ == "__main__":
    main()
