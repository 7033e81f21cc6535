"""What is learned: a model, its batches and its loss."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plcp.base import DataError
from plcp.data.features import Arrays, texts
from plcp.data.loader import CaseLoader, LoaderConfig, Split
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.embeddings import TowerEncoder
from plcp.forecast.forecaster import photo_owners, without_broken_photos
from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import TINY

PRETRAINED_RATE = 0.1  # share of the learning rate for a tower that comes with weights: faster, and it forgets what it knew
VOCABULARY_TEXTS = 200_000  # texts a tokenizer is trained on at most: its words are settled long before


class ForecastTask:
    """Learning to forecast cases: `model`, the loaders of its batches, and the loss of its outputs."""

    def __init__(
        self,
        prepared: Prepared,
        preprocessor: Preprocessor,
        *,
        model: ModelConfig,
        spec: Spec,
        loader: LoaderConfig,
        loss: LossConfig,
        vectors: Path,
        device: torch.device,
    ) -> None:
        """`vectors`: folder where the vectors of frozen towers are kept, shared by the workers. Raises ModelError."""
        self.prepared, self.preprocessor = prepared, preprocessor
        self.spec, self.loader_config, self.loss_config = spec, loader, loss
        self.model = LifeCycleModel.build(model, InputWidths.of_spec(spec), preprocessor)
        towers = {"text": self.model.text, "image": self.model.image}
        self.frozen = [name for name, tower in towers.items() if tower is not None and not tower.trainable]
        self.encoder = None
        if self.frozen:
            self.encoder = TowerEncoder(copy.deepcopy(self.model).eval().to(device), preprocessor, vectors)

    @property
    def slow(self) -> dict[str, float]:
        """Factors of the learning rate, by part of the model."""
        towers = {"text": self.model.config.text, "image": self.model.config.image}
        return {name: PRETRAINED_RATE for name, tower in towers.items() if tower is not None and tower.source != TINY}

    def loader(self, split: Split, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> CaseLoader:
        """Batches as `tensors` makes them."""
        return CaseLoader(
            self.prepared,
            self.spec,
            self.loader_config,
            split=split,
            seed=seed,
            rank=rank,
            world_size=world_size,
            transform=self.tensors,
        )

    def tensors(self, batch: Arrays) -> Arrays:
        """A loader's batch as the model takes it, with the SKUs; a photo that cannot be read counts as missing."""
        try:
            modalities = self._modalities(batch)
        except DataError:
            batch = without_broken_photos(batch)
            modalities = self._modalities(batch)
        arrays = {name: torch.from_numpy(value) for name, value in batch.items() if isinstance(value, np.ndarray)}
        return {**arrays, **modalities, "sku_id": batch["sku_id"]}

    def _modalities(self, batch: Arrays) -> Arrays:
        """Tokens and pixels; for towers that do not learn, their vectors."""
        owners = photo_owners(batch, batch["sku_id"])
        learnt_texts = [] if "text" in self.frozen else batch["texts"]
        learnt_images = [] if "image" in self.frozen else batch["images"]
        made: Arrays = {**self.preprocessor.preprocess(learnt_texts, learnt_images, owners[: len(learnt_images)])}
        if self.encoder is not None and "text" in self.frozen:
            made["text_vector"] = self.encoder.text(batch["texts"])
        if self.encoder is not None and "image" in self.frozen:
            made["image_vector"] = self.encoder.image(batch["images"], owners)
        return made

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The total to minimise, and its parts without gradient."""
        return loss(outputs, batch, self.loss_config)


def vocabulary_texts(prepared: Prepared) -> list[str]:
    """Distinct texts of the products, for a tokenizer of the shop's own words; from shards spread over the whole."""
    found: set[str] = set()
    for index in np.random.default_rng(0).permutation(len(prepared.shards)):
        shard = prepared.read(int(index), ["versions"])
        found.update(texts(shard, np.arange(len(shard.versions.row)), np.full(len(shard.versions.row), -1))["texts"])
        if len(found) >= VOCABULARY_TEXTS:
            break
    return sorted(found)
