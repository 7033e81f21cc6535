"""What the service is measured on: a simulated shop with photos, prepared, and untrained models of it exported as real artifacts.

Weights decide no speed; what a request costs is decided by the shapes of a case and of the model.
"""

from pathlib import Path

import torch

from plcp.data import contract, prepared
from plcp.data.prepared import Prepared
from plcp.data.simulator import stream
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.spec import Spec
from plcp.evaluation.baselines.language import minilm
from plcp.forecast import artifact
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor

HORIZON = 26  # weeks


def make_shop(folder: Path, skus: int) -> Prepared:
    """Simulates and prepares a shop of two years below a folder."""
    stream.simulate(SimulatorConfig(skus=skus, images=1, image_size=48), folder / "data")
    dataset = contract.open_dataset(folder / "data", quarantine=folder / "quarantine")
    return prepared.prepare(dataset, folder / "prepared")


def make_model(folder: Path, shop: Prepared, preset: str) -> Path:
    """Writes an artifact of a preset, its text tower MiniLM and its image tower the preset's own; returns the folder."""
    torch.manual_seed(0)
    spec = Spec(horizon=HORIZON).fitted(shop)
    config = ModelConfig.model_validate({"preset": preset, "text": minilm().model_dump()})
    preprocessor = Preprocessor.build(config.text, config.image, [])
    model = LifeCycleModel.build(config, InputWidths.of_spec(spec), preprocessor)
    artifact.write(folder, model, preprocessor, spec, shop.origin)
    return folder
