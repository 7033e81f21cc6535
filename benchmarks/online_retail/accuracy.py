"""The model beside every method that the field knows, on the same cases, judged by a program that knows neither.

    PLCP_BENCH_DATA=DATA make bench NAME=online_retail.accuracy ARGS="--text path/to/all-MiniLM-L6-v2 --out DIR"

The model and its closest peer run with five seeds at each of the four test origins, the others with one; what is finished in DIR is kept,
so that another version of the code wants another DIR.
A figure is the judge's over all origins, a mean over the seeds; targets speak of the best peer in each.
"""

import argparse
import datetime as dt
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.online_retail.contest import HORIZON, LAUNCH_HORIZON, shop, transactions, with_tower
from benchmarks.online_retail.judge import Truth, compare, score
from benchmarks.results import Figure, write_results
from plcp.data.contract import Dataset
from plcp.evaluation.backtest import CONTESTANTS, BacktestConfig, backtest
from plcp.evaluation.baselines.stats import SAMPLED

ORIGINS = [dt.date(2011, 3, 21), dt.date(2011, 5, 16), dt.date(2011, 7, 11), dt.date(2011, 9, 12)]
UNTIL = dt.date(2011, 10, 17)
OURS, CLOSEST, SEEDS = "plcp", "lightgbm", 5


@dataclass(frozen=True)
class Metric:
    """Where the judge writes it, and what of the best peer's is to be reached."""

    track: str
    name: str
    less_is_better: bool | None = True  # None: neither
    share: float | None = None


METRICS = {
    "in-life wql": Metric("in_life", "wql", share=0.965),
    "in-life wape": Metric("in_life", "wape"),
    "in-life wape_total": Metric("in_life", "wape_total", share=0.95),
    "in-life bias": Metric("in_life", "bias", None),
    "launch wql": Metric("launch", "wql", share=0.95),
    "end_4w AUC": Metric("end_4w", "auc", False, 1.0),
    "end_8w AUC": Metric("end_8w", "auc", False, 1.0),
    "end_12w AUC": Metric("end_12w", "auc", False, 1.0),
    "new_peak_12w AUC": Metric("new_peak_12w", "auc", False, 1.0),
    "stage macro-F1": Metric("stage", "macro_f1", False, 1.0),
}
GAP, BUCKET_GAP = 0.02, 0.04


@dataclass(frozen=True)
class Judged:
    """What the judge says of one model's forecasts, by seed."""

    name: str
    folders: list[Path]
    truth: Truth

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        return [score(self.truth, folder) for folder in self.folders]

    def figure(self, *path: str) -> np.ndarray:
        """What stands at a path of the scores, (seeds,)."""
        return np.array([reduce(getitem, path, found) for found in self.scores])

    def metric(self, name: str) -> np.ndarray:
        return self.figure(METRICS[name].track, METRICS[name].name)


def judged(out: Path, truth: Truth) -> dict[str, Judged]:
    """All models and seeds in the table of a backtest's folder."""
    table = pl.read_parquet(out / "details.parquet").select("model", "seed").unique().sort("seed")
    return {
        name: Judged(name, [out / name / f"seed-{seed}" for seed in seeds], truth)
        for name in CONTESTANTS
        if len(seeds := table.filter(model=name)["seed"])
    }


def figures(models: dict[str, Judged]) -> list[Figure]:
    ours, peers = models[OURS], [model for name, model in models.items() if name != OURS]
    # a model that forecast a sample alone owes the curves of the other cases to the rules that stand for it
    whole = [peer for peer in peers if peer.name not in SAMPLED]
    found = [figure for name in METRICS for figure in beside(name, ours, whole)]
    found += by_origin(ours, whole) + calibration(ours) + intervals(ours, models[CLOSEST]) + buckets(models[CLOSEST], f", {CLOSEST}")
    for peer in peers:
        own = [name for name, metric in METRICS.items() if peer in whole or metric.track != "in_life"]
        found += [Figure(f"{name}, {peer.name}", round(peer.metric(name).mean(), 4), f"{len(peer.folders)} seed(s)") for name in own]
        if peer in whole:
            gap = peer.figure("in_life", "calibration_gap").mean()
            found.append(Figure(f"calibration gap, {peer.name}", round(gap, 4), f"{len(peer.folders)} seed(s)"))
    return found


def beside(name: str, ours: Judged, peers: list[Judged]) -> list[Figure]:
    """Ours and the best peer's."""
    less, share, own = METRICS[name].less_is_better, METRICS[name].share, ours.metric(name)
    mean, spread = own.mean(), Figure(f"{name}, spread over seeds", round(own.std(ddof=1) if len(own) > 1 else 0.0, 4), "")
    if less is None:
        return [Figure(name, round(mean, 4), ""), spread]
    best = (min if less else max)(peers, key=lambda peer: peer.metric(name).mean())
    theirs = best.metric(name).mean()
    ratio, won = mean / theirs, (own < theirs if less else own > theirs).sum()
    target = None if share is None else f"{'at most' if less else 'above'} {share} of {best.name}'s"
    met = None if share is None else bool(ratio <= share if less else ratio > share)
    whole = Figure(name, round(mean, 4), "", reference=round(theirs, 4), ratio=round(ratio, 4), target=target, met=met)
    return [whole, spread, Figure(f"{name}, seeds ahead of {best.name}", int(won), f"of {len(own)}")]


def by_origin(ours: Judged, peers: list[Judged]) -> list[Figure]:
    """In-life wql at each origin beside the best peer's there."""
    found = []
    for origin in ORIGINS:
        mine, *theirs = (model.figure(f"in_life@{origin}", "wql").mean() for model in (ours, *peers))
        best = min(theirs)
        found.append(
            Figure(
                f"in-life wql at {origin}",
                round(mine, 4),
                "",
                reference=round(best, 4),
                ratio=round(mine / best, 4),
                target="below every peer",
                met=bool(mine < best),
            )
        )
    return found


def calibration(ours: Judged) -> list[Figure]:
    pooled, found = ours.figure("in_life", "calibration_gap").mean(), []
    found.append(Figure("calibration gap, pooled", round(pooled, 4), "", target=f"at most {GAP}", met=bool(pooled <= GAP)))
    return found + buckets(ours, bound=BUCKET_GAP)


def buckets(model: Judged, of: str = "", bound: float | None = None) -> list[Figure]:
    """A model's in-life calibration and wql by velocity and age; the calibration beside what it is to keep to, where that is given."""
    found, target = [], None if bound is None else f"at most {bound}"
    for name in model.scores[0]["in_life_buckets"]:
        gap, wql = (model.figure("in_life_buckets", name, metric).mean() for metric in ("calibration_gap", "wql"))
        met = None if bound is None else bool(gap <= bound)
        found.append(Figure(f"calibration gap, {name}{of}", round(gap, 4), "", target=target, met=met))
        found.append(Figure(f"in-life wql, {name}{of}", round(wql, 4), ""))
    return found


def intervals(ours: Judged, peer: Judged) -> list[Figure]:
    """Ratios of wql, seed by seed, with the judge's 95% intervals over SKUs, means over the seeds."""
    found = []
    pairs = [compare(ours.truth, mine, theirs) for mine, theirs in zip(ours.folders, peer.folders, strict=False)]
    for track in ("in_life", "launch"):
        low, high = np.mean([pair[track]["interval95"] for pair in pairs], 0)
        ratio = float(np.mean([pair[track]["ratio"] for pair in pairs]))
        found.append(Figure(f"{track} wql over {peer.name}'s", round(ratio, 4), ""))
        found.append(Figure(f"{track} wql over {peer.name}'s, lower end of the 95% interval", round(low, 4), ""))
        found.append(
            Figure(
                f"{track} wql over {peer.name}'s, upper end of the 95% interval", round(high, 4), "", target="below 1", met=bool(high < 1)
            )
        )
    return found


def run(dataset: Dataset, out: Path, text: Path, models: list[str], seeds: int) -> None:
    config = BacktestConfig.model_validate({"train": with_tower(text)})
    often = [name for name in models if name in (OURS, CLOSEST)]
    for some, count in ((often, seeds), ([name for name in models if name not in often], 1)):
        backtest(
            dataset,
            ORIGINS,
            out,
            models=some,
            seeds=range(1, 1 + count),
            horizon=HORIZON,
            launch_horizon=LAUNCH_HORIZON,
            launch_until=UNTIL,
            config=config,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="folder of the text tower")
    parser.add_argument("--out", type=Path, required=True, help="where data and forecasts are kept")
    parser.add_argument("--models", help=f"those to run, by comma, {OURS} and {CLOSEST} among them; all unless given")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of {OURS} and {CLOSEST}")
    asked = parser.parse_args()
    models = asked.models.split(",") if asked.models else [*CONTESTANTS]
    if missing := {OURS, CLOSEST, *models} - ({*models} & {*CONTESTANTS}):
        parser.error(f"--models: {', '.join(sorted(missing))} missing or unknown; there are {', '.join(CONTESTANTS)}")
    run(shop(asked.out / "data"), asked.out, asked.text, models, asked.seeds)
    found = judged(asked.out, Truth(str(transactions())))
    often = all(len(found[name].folders) >= SEEDS for name in (OURS, CLOSEST))
    write_results("online_retail_accuracy", figures(found), whole=often and len(found) == len(CONTESTANTS))


if __name__ == "__main__":
    main()
