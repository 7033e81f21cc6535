"""Honest figures from the past: forecasts made at past origins with nothing known from later, judged by what came.

OUT/<model>/seed-<n>/{in_life,launch,events,stages}.parquet   the forecasts of all origins
OUT/metrics.parquet                                            a row per model: its main figures over all origins, means over seeds
OUT/details.parquet                                            every metric of every model, track, seed, origin and bucket of velocity,
                                                               age and category; both of all that was ever finished in OUT for the
                                                               data and weeks asked for last
OUT/.work/<origin>-<key>/                                      the data cut at an origin, and what each (model, seed) made of it
"""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import polars as pl
from pydantic import Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plcp.base import Config, ConfigError
from plcp.console import errors
from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import FORMAT, PrepareConfig, Prepared
from plcp.data.prepared import prepare as prepare_data
from plcp.evaluation.baselines.curve_clusters import CurveClusters
from plcp.evaluation.baselines.kaplan_meier import KaplanMeier
from plcp.evaluation.baselines.lightgbm import LightGBM, LightGBMConfig
from plcp.evaluation.baselines.lstm import LSTM, LSTMConfig
from plcp.evaluation.baselines.neighbours import Neighbours, NeighboursByEmbedding
from plcp.evaluation.baselines.neural import Neural, NeuralConfig, TFTConfig
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.baselines.seasonal_naive import SeasonalNaive
from plcp.evaluation.baselines.stats import SAMPLED, Statistical
from plcp.evaluation.baselines.text import Text, TextConfig
from plcp.evaluation.cases import Cases, Truth, Window, windows
from plcp.evaluation.contestant import Contestant, Forecasts
from plcp.evaluation.judged import IN_SAMPLE
from plcp.evaluation.scoring import score
from plcp.evaluation.trained import Trained
from plcp.training.runs import TrainConfig

SHOWN = {  # columns of metrics.parquet: track and metric
    "in-life wql": ("in_life", "wql"),
    "wape": ("in_life", "wape"),
    "wape_total": ("in_life", "wape_total"),
    "bias": ("in_life", "bias"),
    "calibration_gap": ("in_life", "calibration_gap"),
    "launch wql": ("launch", "wql"),
    "end_4w AUC": ("end_4w", "auc"),
    "end_8w AUC": ("end_8w", "auc"),
    "end_12w AUC": ("end_12w", "auc"),
    "new_peak AUC": ("new_peak_12w", "auc"),
    "stage F1": ("stage", "macro_f1"),
}


COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


class BacktestConfig(Config):
    """How the data is prepared and the contestants are made."""

    prepare: PrepareConfig = Field(default_factory=lambda: PrepareConfig.model_validate({}))
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))
    lightgbm: LightGBMConfig = Field(default_factory=lambda: LightGBMConfig.model_validate({}))
    nhits: NeuralConfig = Field(default_factory=NeuralConfig)
    tft: TFTConfig = Field(default_factory=TFTConfig)
    lstm: LSTMConfig = Field(default_factory=lambda: LSTMConfig.model_validate({}))
    text: TextConfig = Field(default_factory=lambda: TextConfig.model_validate({}))


CONTESTANTS: dict[str, Callable[[BacktestConfig], Contestant]] = {
    "plcp": lambda config: Trained(config.train),
    "recent": lambda config: Recent(),
    "seasonal_naive": lambda config: SeasonalNaive(),
    "lightgbm": lambda config: LightGBM(config.lightgbm),
    "lstm": lambda config: LSTM(config.lstm),
    "text": lambda config: Text(config.text),
    "neighbours": lambda config: Neighbours(),
    "neighbours_embedding": lambda config: NeighboursByEmbedding(),
    "kaplan_meier": lambda config: KaplanMeier(),
    "bass_clusters": lambda config: CurveClusters("bass"),
    "trapezoid_clusters": lambda config: CurveClusters("trapezoid"),
    "tilted_gompertz_clusters": lambda config: CurveClusters("tilted_gompertz"),
    "autoets": lambda config: Statistical("autoets"),
    "theta": lambda config: Statistical("theta"),
    "croston_sba": lambda config: Statistical("croston_sba"),
    "tsb": lambda config: Statistical("tsb"),
    "autoarima": lambda config: Statistical("autoarima"),
    "nhits": lambda config: Neural("nhits", config.nhits),
    "tft": lambda config: Neural("tft", config.tft),
}


def backtest(
    dataset: Dataset,
    origins: Sequence[dt.date],
    out: Path,
    *,
    models: Sequence[str],
    seeds: Sequence[int] = (1,),
    horizon: int = 12,
    launch_horizon: int = 8,
    launch_until: dt.date | None = None,
    config: BacktestConfig | None = None,
) -> pl.DataFrame:
    """Forecast all cases at every origin by every model and seed, and judge them. Returns metrics.parquet: a row per model.

    In life are products that sold within the 26 weeks before an origin; launches are those first sold between an origin and the next,
    for the last origin before `launch_until` (unless given, as late as their first weeks are observed). What is finished is kept
    and not made again; what was finished earlier in OUT, for the same data and weeks, stands in the table too. Raises ConfigError for
    an unknown model and for weeks outside the data.
    """
    config = config or BacktestConfig()
    contestants = {name: make_contestant(name, config) for name in dict.fromkeys(models)}
    return compete(
        dataset,
        origins,
        out,
        contestants,
        seeds=seeds,
        horizon=horizon,
        launch_horizon=launch_horizon,
        launch_until=launch_until,
        prepare=config.prepare,
    )


def compete(
    dataset: Dataset,
    origins: Sequence[dt.date],
    out: Path,
    contestants: dict[str, Contestant],
    *,
    seeds: Sequence[int],
    horizon: int,
    launch_horizon: int,
    launch_until: dt.date | None,
    prepare: PrepareConfig,
) -> pl.DataFrame:
    """As `backtest`, between whatever contestants there are by name."""
    work = Path(out) / ".work"
    whole = kept(work / f"whole-{key(dataset.digest, prepare, FORMAT)}", dataset, prepare)
    truth = Truth.of(whole)
    asked = windows(truth.timeline, origins, horizon, launch_horizon, launch_until)
    places = [Place(dataset, truth, window, horizon, launch_horizon, prepare, work) for window in asked]
    runs = [Run(place, name, own, seed) for name, own in contestants.items() for seed in dict.fromkeys(seeds) for place in places]
    with Progress(*COLUMNS, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task = bars.add_task("backtest", total=len(runs))
        for run in runs:
            bars.update(task, description=f"{run.name} {run.place.origin} seed {run.seed}")
            run.make()
            bars.advance(task)
    return report(places, contestants, Path(out))


@dataclass(frozen=True)
class Place:
    """An origin: its cases, and the data cut there."""

    dataset: Dataset
    truth: Truth
    window: Window
    horizon: int
    launch_horizon: int
    config: PrepareConfig
    work: Path

    @cached_property
    def origin(self) -> dt.date:
        return self.truth.timeline.date(self.window.origin)

    @cached_property
    def folder(self) -> Path:
        """Another one for other data, weeks or options."""
        weeks = (self.window.until, self.horizon, self.launch_horizon)
        return self.work / f"{self.origin}-{key(self.dataset.digest, weeks, self.config, FORMAT)}"

    @cached_property
    def prepared(self) -> Prepared:
        return kept(self.folder / "prepared", asof.cut(self.dataset, self.origin), self.config)

    @cached_property
    def cases(self) -> Cases:
        in_life = [self.truth.skus[row] for row in self.truth.in_life(self.window.origin)]
        launches = asof.launches(self.dataset, self.origin, self.truth.timeline.date(self.window.until))
        return Cases(self.origin, in_life, self.horizon, launches, self.launch_horizon)

    def score(self, forecasts: Forecasts) -> None:
        """Raises ModelError where forecasts do not fit the cases."""
        score(self.truth, [self.window], self.horizon, self.launch_horizon, forecasts)


@dataclass(frozen=True)
class Run:
    """One model, one seed, one origin."""

    place: Place
    name: str
    contestant: Contestant
    seed: int

    @property
    def folder(self) -> Path:
        return self.place.folder / f"{self.name}-{key(self.contestant.config)}" / f"seed-{self.seed}"

    @property
    def forecasts(self) -> Path:
        return self.folder / "forecasts"

    def make(self) -> None:
        """Unless it was finished before."""
        if self.forecasts.exists():
            return
        work, aside = self.folder / "work", self.folder / ".forecasts.writing"
        work.mkdir(parents=True, exist_ok=True)
        made = self.contestant.forecast(self.place.prepared, self.place.cases, self.seed, work)
        self.place.score(made)
        shutil.rmtree(aside, ignore_errors=True)
        made.write(aside)
        aside.replace(self.forecasts)


def make_contestant(name: str, config: BacktestConfig) -> Contestant:
    """Raises ConfigError for a name that is none and where a model's packages are missing."""
    if name not in CONTESTANTS:
        near = get_close_matches(name, CONTESTANTS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(CONTESTANTS)}"
        raise ConfigError(f"unknown model {name}: {hint}")
    return CONTESTANTS[name](config)


def key(*parts: object) -> str:
    """A short name for whatever decides on a result."""
    texts = [part.model_dump_json() if isinstance(part, Config) else str(part) for part in parts]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def kept(folder: Path, dataset: Dataset, config: PrepareConfig) -> Prepared:
    return Prepared.open(folder) if folder.exists() else prepare_data(dataset, folder, config)


def finished(places: list[Place], asked: dict[str, Contestant]) -> list[tuple[str, int, list[Path]]]:
    """Model, seed and the forecasts at every place, of all that was ever finished at all of them; the models asked for come first.

    Of a model that was made with several configurations the one asked for counts, else the one made last.
    """
    chosen, found = {name: f"{name}-{key(own.config)}" for name, own in asked.items()}, []
    for path in sorted(places[0].folder.glob("*/seed-*/forecasts"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        folder, name, seed = path.parts[-3], path.parts[-3].rpartition("-")[0], path.parts[-2].removeprefix("seed-")
        parts = [place.folder.joinpath(*path.parts[-3:]) for place in places]
        if all(part.exists() for part in parts) and chosen.setdefault(name, folder) == folder:
            found.append((name, int(seed), parts))
    order = list(chosen)
    return sorted(found, key=lambda run: (order.index(run[0]), run[1]))


def report(places: list[Place], asked: dict[str, Contestant], out: Path) -> pl.DataFrame:
    """Write every (model, seed) over all origins, and what it is worth."""
    found, first = [], places[0]
    for name, seed, parts in finished(places, asked):
        forecasts = Forecasts.concat([Forecasts.read(part) for part in parts])
        forecasts.write(out / name / f"seed-{seed}")
        figures = score(first.truth, [place.window for place in places], first.horizon, first.launch_horizon, forecasts)
        found.append(own_figures(name, figures).select(pl.lit(name).alias("model"), pl.lit(seed).alias("seed"), pl.all()))
    details = pl.concat(found)
    table = summary(details)
    for file, frame in (("details", details), ("metrics", table)):
        aside = out / f".{file}.parquet.writing"
        frame.write_parquet(aside)
        aside.replace(out / f"{file}.parquet")
    return table


def own_figures(name: str, figures: pl.DataFrame) -> pl.DataFrame:
    """Without those that a model which forecast the sample alone owes to the rules that stand for it in the other cases."""
    if name not in SAMPLED:
        return figures
    return figures.filter(pl.col("track").ne("in_life") | pl.col("bucket").eq_missing(pl.lit(IN_SAMPLE)))


def summary(details: pl.DataFrame) -> pl.DataFrame:
    """A row per model: the figures over all origins, as means over the seeds; null where nothing was judged.

    Where a model stands that forecasts a sample alone, all are held against it on that sample in a column of its own.
    """
    over_all = details.filter(pl.col("origin").is_null())
    shown: dict[str, tuple[str, str, str | None]] = {name: (track, metric, None) for name, (track, metric) in SHOWN.items()}
    if not set(SAMPLED).isdisjoint(details["model"].unique()):
        shown[f"wql, {IN_SAMPLE}"] = ("in_life", "wql", IN_SAMPLE)
    columns = [
        pl.col("value").filter(pl.col("bucket").eq_missing(pl.lit(bucket, pl.String)), track=track, metric=metric).mean().alias(name)
        for name, (track, metric, bucket) in shown.items()
    ]
    return over_all.group_by("model", maintain_order=True).agg(pl.col("seed").n_unique().alias("seeds"), *columns)
