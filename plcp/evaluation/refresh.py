"""Fine-tuning the live model on new weeks, and the gate that lets the result go live only if it is not worse.

OUT/<origin>-<key>/    one refresh: `prepared` (the data without the weeks judged, until it is decided), `run`, `model`, decision.json
OUT/LIVE.json          the model that is live, and the one it all began with

Both models forecast the same products over the last weeks, which neither learned from. Whatever is interrupted continues, and what was
decided stays decided.
"""

import datetime as dt
import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from plcp.base import Config, ConfigError, ModelError
from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.evaluation.cases import ACTIVE_WITHIN, Cases
from plcp.evaluation.metrics import quantile_loss
from plcp.evaluation.trained import forecast_in_life
from plcp.forecast import artifact
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.tables import QUANTILES
from plcp.training.export import export
from plcp.training.loop import train
from plcp.training.runs import TrainConfig, read_json, write_json

CONFIDENT = 1.96  # standard errors on either side: 95% of a normal distribution
FEW = 30  # products below which the interval means nothing


class RefreshConfig(Config):
    """How the live model is fine-tuned, and what lets the result go live."""

    weeks: int = Field(8, ge=1, le=52, description="last weeks, kept from the new model and used to judge both")
    cases: int = Field(20_000, ge=FEW, description="products that both are judged on at most")
    margin: float = Field(0.01, ge=0, description="how much worse, as a share of the old model's loss, still counts as not worse")
    steps: int = Field(300, ge=1, description="steps of fine-tuning at most; all else as in train")
    refit_steps: int = Field(100, ge=0, description="as train.refit_steps")
    learning_rate: float = Field(5e-4, gt=0, description="at its highest; lower than a new model's, which knows nothing yet")

    def training(self, config: TrainConfig, old: artifact.ArtifactConfig) -> TrainConfig:
        """The options of the fine-tuning: the shop's own, with the old model's shape."""
        own = {"steps": self.steps, "refit_steps": self.refit_steps, "validate_every": min(config.validate_every, self.steps)}
        engine = config.engine.model_copy(update={"learning_rate": self.learning_rate})
        return config.model_copy(update={**own, "model": old.model, "spec": old.spec, "engine": engine})


@dataclass(frozen=True)
class Decision:
    """Of one refresh, as decision.json holds it. Losses are weighted quantile losses, relative to the units sold."""

    accepted: bool
    reason: str
    old: str  # digest of the model that was live
    new: str | None = None  # None: none was made
    first_week: str | None = None  # of those judged
    weeks: int = 0
    cases: int = 0
    old_loss: float | None = None
    new_loss: float | None = None
    change: float | None = None  # of the loss, as a share of the old model's
    interval: tuple[float, float] | None = None  # 95%, over products


def live_model(out: Path, given: Path, origin: dt.date) -> Path:
    """The model that refreshes of `given` made live; `given` itself where none did, where it is another than they began with, and for data
    up to an earlier `origin`, which a refreshed model may have learned from the time after."""
    path = out / "LIVE.json"
    if not path.exists():
        return given
    live = read_json(path)
    model = out / str(live.get("model"))
    same = live.get("began_with") == artifact.digest(given) and model.exists()
    return model if same and artifact.read_config(model).origin <= origin else given


def refresh(
    given: Path,
    dataset: Dataset,
    prepared: Prepared,
    out: Path,
    config: RefreshConfig,
    training: TrainConfig,
    shards: PrepareConfig | None = None,
    seed: int = 0,
) -> Decision:
    """Fine-tune the live model on the weeks of `dataset` but the last ones, judge both models on those, and make the better one live.

    Args:
        given: the model that refreshes in `out` began with.
        prepared: the whole dataset, prepared, whose last weeks both models are judged on.
        training: options of a training; the fine-tuning takes what is not of the model's shape, nor in `config`, from them.
    Raises:
        ModelError, DataError, TrainingError: the model, the data or the training is at fault; the old model stays live.
    """
    out = Path(out).resolve()
    origin = artifact.digest(given)
    parts = (prepared.digest, origin, config.model_dump_json(), training.model_dump_json(), str(seed))
    folder = out / f"{prepared.origin}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"
    decided = folder / "decision.json"
    if decided.exists():
        decision = read_decision(decided)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        live = live_model(out, given, prepared.origin)
        with sharing_vectors(folder / "prepared", prepared.root):
            decision = decide(live, dataset, prepared, folder, config, training, shards or PrepareConfig(), seed)
        write_json(decided, asdict(decision))
        shutil.rmtree(folder / "prepared", ignore_errors=True)  # as large as the catalog, and of no more use
    if decision.accepted and not superseded(out, given, folder / "model"):
        write_json(out / "LIVE.json", {"model": f"{folder.name}/model", "began_with": origin})
    return decision


def superseded(out: Path, given: Path, model: Path) -> bool:
    """Whether a model that learned from later weeks is live: an old week that is run again does not bring its own back."""
    return artifact.read_config(live_model(out, given, dt.date.max)).origin > artifact.read_config(model).origin


@contextmanager
def sharing_vectors(known: Path, whole: Path) -> Iterator[None]:
    """Texts and photos of the data without its last weeks are those of the whole: their vectors are kept in one place."""
    place, link = vectors_beside(whole), vectors_beside(known)
    place.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(place, target_is_directory=True)
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def decide(
    old: Path,
    dataset: Dataset,
    prepared: Prepared,
    folder: Path,
    config: RefreshConfig,
    training: TrainConfig,
    shards: PrepareConfig,
    seed: int,
) -> Decision:
    """Make the new model and hold both against what came."""
    before, digest = artifact.read_config(old), artifact.digest(old)
    if config.weeks > before.spec.horizon:
        raise ConfigError(f"refresh.weeks {config.weeks}: the model forecasts {before.spec.horizon} weeks; judge by as many at most")
    first = prepared.origin - dt.timedelta(weeks=config.weeks)
    options = config.training(training, before)
    if before.origin > options.held_back_from(first):
        weeks = config.weeks + options.loader.validation_weeks
        due = before.origin + dt.timedelta(weeks=weeks)
        reason = (
            f"the model learned from weeks up to {before.origin}; from {due} on there are the {weeks} weeks that it has not seen, "
            f"{options.loader.validation_weeks} to validate a new one and {config.weeks} to judge both"
        )
        return Decision(False, reason, digest)
    known = prepare(asof.cut(dataset, first), folder / "prepared", shards)
    train(known.root, folder / "run", options, seed, pretrained=old)
    new = export(folder / "run", folder / "model")
    return judge(digest, artifact.digest(new), *losses(old, new, known, prepared, config), first, config)


def losses(old: Path, new: Path, known: Prepared, whole: Prepared, config: RefreshConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of n products in life: the quantile loss of each model over the weeks judged, (n,) each, and the units sold in them, (n,).

    Shards hold products at random, so the first ones with enough of them are a fair sample.
    """
    forecasters = [Forecaster.load(model, ForecasterConfig(cache=vectors_beside(known.root))) for model in (old, new)]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index in range(len(known.shards)):
        shard = known.read(index)
        came = what_came(whole, shard.sku_id, config.weeks)
        cases = Cases(known.origin, came["sku_id"].to_list(), config.weeks, pl.DataFrame(), 0)
        forecasts = [forecast_in_life(forecaster, shard, cases) for forecaster in forecasters]
        if forecasts[0] is not None and forecasts[1] is not None:
            sold = came["units"].to_numpy().reshape(len(came), -1)
            one, other = (loss_of(forecast.curve, came["sku_id"], sold) for forecast in forecasts if forecast)
            found.append((one, other, sold.sum(1)))
        if sum(len(one) for one, _, _ in found) >= config.cases:
            break
    if not found:
        raise ModelError(f"{known.root}: no product sold in the {ACTIVE_WITHIN} weeks before {known.origin}, so no model can be judged")
    one, other, units = (np.concatenate(column) for column in zip(*found, strict=True))
    return one, other, units


def what_came(whole: Prepared, skus: list[str], weeks: int) -> pl.DataFrame:
    """sku_id and units of the last `weeks`, of those products that sold lately before them; SKUs ascending."""
    start = whole.weeks - weeks
    lately = pl.col("units").arr.slice(max(0, start - ACTIVE_WITHIN), min(start, ACTIVE_WITHIN), as_array=True)
    files = [whole.root / "shards" / shard.file for shard in whole.shards]
    rows = pl.scan_parquet(files).select("sku_id", "units").filter(pl.col("sku_id").is_in(skus)).filter(lately.arr.max() > 0)
    last = pl.col("units").arr.slice(start, weeks, as_array=True)
    return rows.select("sku_id", last).collect(engine="streaming").sort("sku_id")


def loss_of(curve: pl.DataFrame, skus: pl.Series, sold: np.ndarray) -> np.ndarray:
    """Quantile loss of each product, mean over the levels and summed over the weeks, (n,). sold (n, weeks), NaN does not count."""
    weeks = sold.shape[1]
    first = curve.group_by("sku_id", maintain_order=True).head(weeks)
    rows = skus.to_frame("sku_id").join(first, on="sku_id", maintain_order="left")
    quantiles = rows.select(QUANTILES).to_numpy().reshape(len(skus), weeks, len(QUANTILES))
    told = np.isfinite(sold)
    return quantile_loss(np.where(told, sold, 0), np.where(told[:, :, None], quantiles, 0)).mean(1)


def judge(
    old: str, new: str, old_loss: np.ndarray, new_loss: np.ndarray, units: np.ndarray, first: dt.date, config: RefreshConfig
) -> Decision:
    """Not worse: the whole 95% interval of the change lies at or below the margin. (n,) each.

    The change is a ratio of sums over products, paired; its interval is the ratio estimator's (Cochran 1977, Sampling Techniques, §6.4).
    """
    n, sold, base = len(old_loss), float(np.nansum(units)), float(old_loss.sum())
    change = float((new_loss - old_loss).sum()) / max(base, 1e-9)
    spread = (new_loss - old_loss) - change * old_loss
    error = math.sqrt(n / max(1, n - 1) * float((spread**2).sum())) / max(base, 1e-9)
    low, high = change - CONFIDENT * error, change + CONFIDENT * error
    accepted = n >= FEW and high <= config.margin
    said = f"its loss changes by {change:+.2%} (95%: {low:+.2%} to {high:+.2%}), up to {config.margin:+.2%} is allowed"
    verdict = "the new model goes live" if accepted else "the old model stays"
    few = f", but {n} products are too few to tell" if n < FEW else ""
    figures = {"old_loss": base / max(sold, 1e-9), "new_loss": float(new_loss.sum()) / max(sold, 1e-9), "change": change}
    return Decision(accepted, f"{verdict}: {said}{few}", old, new, first.isoformat(), config.weeks, n, **figures, interval=(low, high))


def read_decision(path: Path) -> Decision:
    """Raises ModelError where the file is damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        interval = content.pop("interval")
        return Decision(**content, interval=(interval[0], interval[1]) if interval else None)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged ({error}); remove it, and the same command decides again") from error
