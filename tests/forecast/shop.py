"""A little shop, prepared, and a tiny exported model of it: random weights, but every part real."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plcp.data.contract import Dataset
from plcp.data.features import Arrays, inputs
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.spec import Spec
from plcp.forecast import artifact, tabular
from plcp.forecast.calibration import Calibration
from plcp.forecast.catalog import CatalogConfig, complete
from plcp.forecast.forest import LEAVES, NODES, Forest
from plcp.forecast.planning import plan
from plcp.forecast.replicas import Catalog
from plcp.forecast.runs import Run, publish
from plcp.forecast.trees import TOLD, Trees
from plcp.model.model import LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from tests.conftest import little_shop
from tests.model.batches import widths


@dataclass(frozen=True)
class Made:
    """PREPARED and MODEL of a little shop."""

    prepared: Path
    model: Path


def made(folder: Path, skus: int = 40, per_shard: int = 8) -> Made:
    prepared = prepared_shop(folder / "prepared", skus, per_shard)
    return Made(prepared.root, tiny_artifact(folder / "model", prepared, lively=True))


def prepared_shop(folder: Path, skus: int = 40, per_shard: int = 8, seed: int = 0) -> Prepared:
    return prepare(Dataset.of(little_shop(skus, seed=seed)), folder, PrepareConfig(skus_per_shard=per_shard))


def tiny_artifact(folder: Path, prepared: Prepared, horizon: int = 26, seed: int = 0, lively: bool = False) -> Path:
    """Writes MODEL and returns it. `lively`: layers that start at zero made random, so that outputs depend on every input."""
    torch.manual_seed(seed)
    spec, config = Spec(history_weeks=52, horizon=horizon).fitted(prepared), ModelConfig.model_validate({"preset": "tiny"})
    shard, origin = prepared.read(0), np.array([prepared.weeks])
    cases = inputs(shard, np.array([0]), origin, origin, spec)
    preprocessor = Preprocessor.build(config.text, config.image, shard.versions.values["title"].to_list())
    model = LifeCycleModel.build(config, widths(cases), preprocessor)
    for parameter in model.parameters():
        if lively and parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    trees = lively_trees(cases, spec) if lively else Trees()
    artifact.write(folder, model, preprocessor, spec, prepared.origin, Calibration(Calibration.identity().shift, trees=trees))
    return folder


def lively_trees(cases: Arrays, spec: Spec, seed: int = 0) -> Trees:
    """Trees grown at random, which read every feature of the cases."""
    rng = np.random.default_rng(seed)
    product = tabular.of_product(cases, spec, tabular.level(cases["history"], spec)).shape[1] + 1
    curve, ends = (
        Forest(
            rng.integers(0, width, (models, 20, NODES)).astype(np.int16),
            rng.normal(0, 1, (models, 20, NODES)).astype(np.float32),
            rng.normal(0, 0.1, (models, 20, LEAVES)).astype(np.float32),
            width,
        )
        for models, width in ((len(TOLD), tabular.features(cases, spec).shape[2]), (1, product))
    )
    return Trees(curve, ends, 104, 10)


def score_here(model: Path, prepared: Path, scores: Path) -> Run:
    """What `plcp score` does, without a cluster: the same parts, made by the same replica in this process."""
    source, parts = plan(model, prepared, scores, CatalogConfig())
    run, catalog = Run(parts[0].run), Catalog()
    records = [asyncio.run(catalog.score(part)) for part in parts]
    run.complete(complete(source, records))
    publish(scores, source.run_id)
    return run
