"""A run as an artifact: plain weights, the best ones or those of its refit, its quantiles corrected by what the best ones forecast of the
weeks held back."""

import itertools
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from scipy.special import softmax

from plcp.base import ModelError
from plcp.data.history import past_units
from plcp.data.loader import CaseLoader, narrow
from plcp.forecast import artifact, calibration
from plcp.forecast.artifact import FEATURES, Artifact, ArtifactConfig
from plcp.forecast.calibration import LEAST_SHARE, Calibration
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.ends import PastEnds
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.forecast.launches import PastLaunches
from plcp.forecast.stages import PastStages
from plcp.forecast.trees import Trees
from plcp.model.model import InputWidths, LifeCycleModel
from plcp.model.preprocess import Preprocessor
from plcp.tables import STAGES
from plcp.training import checkpoint
from plcp.training.growing import grown
from plcp.training.runs import PREPROCESSOR, Run, TrainConfig
from plcp.training.task import take_over

TRUSTED = 0.25  # share of a correction that is made: the weeks held back are one season, whose surprises are not the next one's
SHARE_CASES = 8192  # products that tell how common stages are


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
    shift = corrections(this, trained, preprocessor)  # by weights that never saw the weeks held back
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
    launched, ended = PastLaunches.of(this.data, this.config.spec), PastEnds.of(this.data)
    stages = PastStages.of(this.data, this.config.spec)
    trees = grown(this.data, this.config.spec, this.config.loader, this.seed) if this.config.trees else Trees()
    facts["boosted trees"] = f"{trees.curve.trees} of curves, {trees.ends.trees} of ends"
    own = Calibration(shift, stage_share(this, trained, preprocessor, stages), launched, ended, stages, trees)
    artifact.write(Path(model), trained, preprocessor, this.config.spec, this.data.origin, own, facts)
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


def bare_forecaster(run: Run, model: LifeCycleModel, preprocessor: Preprocessor) -> Forecaster:
    """The model's own answers, as an artifact gives them."""
    config = ArtifactConfig(origin=run.data.origin, model=model.config, widths=model.widths, spec=run.config.spec, features=FEATURES)
    bare = Artifact(model, preprocessor, Calibration.identity(), config, digest="", card="")
    return Forecaster(bare, ForecasterConfig(cache=vectors_beside(run.data.root)))


def corrections(run: Run, model: LifeCycleModel, preprocessor: Preprocessor) -> np.ndarray:
    """TRUSTED of the corrections under which the network's own quantiles would have held on the cases that validated it, as
    Calibration.shift; trees, grown on those too, are held to the same."""
    forecaster, loader = bare_forecaster(run, model, preprocessor), run.config.loader
    cases = CaseLoader(run.data, run.config.spec, loader, split="validation")
    batches = list(itertools.islice(cases, -(-run.config.validation_cases // loader.batch_size)))
    units, age = (np.concatenate([batch[name] for batch in batches]) for name in ("units", "age"))
    velocity = np.concatenate([calibration.velocity(batch["history"][:, :, 0]) for batch in batches])
    outputs = [forecaster.outputs(batch, batch["sku_id"], broken_photos="missing") for batch in batches]  # photos as in training
    return TRUSTED * calibration.fit(np.concatenate([out["quantiles"] for out in outputs]), units, age, velocity)


def stage_share(run: Run, model: LifeCycleModel, preprocessor: Preprocessor, past: PastStages) -> np.ndarray:
    """Mean probability of each stage (5,) of the products that sell as the data ends: a season shifts how common stages are, and the weeks
    held back lie in another one."""
    forecaster, found = bare_forecaster(run, model, preprocessor), [np.zeros((0, len(STAGES)))]
    for index in np.random.default_rng(0).permutation(len(run.data.shards)):
        asked = forecaster.asked(run.data.read(int(index)), run.data.origin)
        selling = np.flatnonzero(np.nansum(asked.cases["history"][:, -run.config.loader.active_within :, 0], 1) > 0)
        skus = [asked.sku_id[place] for place in selling]
        cases = narrow(asked.cases, selling)
        own = softmax(forecaster.outputs(cases, skus, broken_photos="missing")["stage"].astype(np.float64), 1)
        found.append(past.probability(own, past_units(cases["history"], run.config.spec), np.isfinite(cases["age"])))
        if sum(map(len, found)) >= SHARE_CASES:
            break
    share = np.concatenate(found)
    return np.maximum(share.mean(0), LEAST_SHARE) if len(share) else np.full(len(STAGES), 1 / len(STAGES))
