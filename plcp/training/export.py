"""A run as an artifact: plain weights, the best ones or those of its refit, calibrated by the best ones on the weeks held back."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from plcp.base import ModelError
from plcp.data.loader import CaseLoader
from plcp.forecast import artifact, calibration
from plcp.forecast.artifact import FEATURES, Artifact, ArtifactConfig
from plcp.forecast.calibration import Calibration
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.forecast.launches import PastLaunches
from plcp.model.model import InputWidths, LifeCycleModel
from plcp.model.preprocess import Preprocessor
from plcp.training import checkpoint
from plcp.training.runs import PREPROCESSOR, Run, TrainConfig
from plcp.training.task import take_over


def export(run: Path, model: Path) -> Path:
    """Write a run, finished or not, as an artifact to the folder `model`, and return it.

    The weights are those of the finished refit, where the run has one, else the best. Raises ModelError where the run holds no
    usable checkpoint, DataError where the data it was trained on is gone.
    """
    this = Run.open(Path(run).resolve())
    if not isinstance(this.config, TrainConfig):
        raise ModelError(f"{run}: a pretraining forecasts nothing; fine-tune it first: `plcp train PREPARED --from {run} --out RUN`")
    folder, state = checkpoint.best(this.place)
    preprocessor = Preprocessor.load(this.folder / PREPROCESSOR)
    trained = load_weights(this, preprocessor, folder / checkpoint.WEIGHTS)
    calibration = calibrate(this, trained, preprocessor)  # by weights that never saw the weeks held back
    refit = 0
    if refitted := checkpoint.refitted(this.place):
        last, end = refitted
        trained, refit = load_weights(this, preprocessor, last / checkpoint.WEIGHTS), end.step - (end.refit_from or 0)
    facts: dict[str, str | int | float] = {
        "steps": state.best_step,
        "steps of the refit": refit,
        "seed": this.seed,
        "data": this.data.digest[:16],
        **{f"validation {name}": value for name, value in state.validation.items()},
    }
    artifact.write(Path(model), trained, preprocessor, this.config.spec, this.data.origin, calibration, facts)
    return Path(model)


def load_weights(run: Run, preprocessor: Preprocessor, path: Path) -> LifeCycleModel:
    """The run's model with the weights of a checkpoint; frozen towers come from their source again. Raises ModelError."""
    model = LifeCycleModel.build(run.config.model, InputWidths.of_spec(run.config.spec), preprocessor)
    if run.pretrained is not None:
        take_over(model, run.pretrained)  # towers that were learnt then and frozen since
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    weights = load_file(path)
    if missing := learnt - set(weights):
        raise ModelError(f"{path}: {len(missing)} weights are missing, {min(missing)} among them; train again")
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{path}: was trained by another version; train again ({error})") from error
    return model.eval()


def calibrate(run: Run, model: LifeCycleModel, preprocessor: Preprocessor) -> Calibration:
    """Corrections under which the model's quantiles would have held on the cases that validated it."""
    spec, loader = run.config.spec, run.config.loader
    config = ArtifactConfig(origin=run.data.origin, model=model.config, widths=model.widths, spec=spec, features=FEATURES)
    bare = Artifact(model, preprocessor, Calibration.identity(), config, digest="", card="")
    forecaster = Forecaster(bare, ForecasterConfig(cache=vectors_beside(run.data.root)))
    cases = CaseLoader(run.data, spec, loader, split="validation")
    batches = list(itertools.islice(cases, -(-run.config.validation_cases // loader.batch_size)))
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in ("units", "age")}
    velocity = np.concatenate([calibration.velocity(batch["history"][:, :, 0]) for batch in batches])
    outputs = [forecaster.outputs(batch, batch["sku_id"], broken_photos="missing") for batch in batches]  # photos as in training
    quantiles, mean, logits = (np.concatenate([out[name] for out in outputs]) for name in ("quantiles", "mean", "stage"))
    stage = torch.softmax(torch.from_numpy(logits).double(), -1).numpy()
    known = PastLaunches.of(run.data, spec.horizon, until=run.data.weeks - loader.validation_weeks)
    shrunk, _ = known.shrink(quantiles, mean, np.isnan(velocity))
    fitted = calibration.fit(shrunk, columns["units"], columns["age"], velocity, stage)
    return replace(fitted, launches=PastLaunches.of(run.data, spec.horizon))
