"""A model as the beginning of a training: its weights and its preprocessing in place of new ones."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from plcp.base import ModelError
from plcp.data.prepared import Prepared
from plcp.forecast import artifact
from plcp.training.runs import CONFIG, START, Run, TrainConfig


def begin_with(model: Path, prepared: Prepared, run: Path, config: TrainConfig, seed: int) -> None:
    """Make a training run's folder, unless it was begun before, so that it learns on from an artifact. Raises ModelError."""
    artifact.verify(model)
    if (run / CONFIG).exists():
        return
    run.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model / artifact.WEIGHTS, run / START)
    Run(run.resolve(), prepared, config.fitted(prepared), seed).begin(preprocessor=model / "tokenizer")


def take_weights(model: torch.nn.Module, run: Path) -> None:
    """Put a run's first weights into its model, where it has any. Raises ModelError where they do not fit."""
    path = run / START
    if path.exists():
        try:
            model.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise ModelError(f"{path}: is of a model of another shape ({error}); train a new one") from error
