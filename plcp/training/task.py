"""What is learned: a task is a model, the batches it learns from and a loss."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn

from plcp.base import DataError, ModelError
from plcp.data.features import Arrays, texts
from plcp.data.loader import CaseLoader, LoaderConfig, Split
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.forecast.embeddings import TowerEncoder
from plcp.forecast.forecaster import photo_owners, without_broken_photos
from plcp.model.losses import LossConfig, loss, unshared
from plcp.model.model import HEADS, Encoder, InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import TINY, Towers
from plcp.training.engine import gathered

PRETRAINED_RATE = 0.1  # share of the learning rate for a tower that comes with weights: faster, and it forgets what it knew
VALIDATION_BATCH = 256  # cases at most
VOCABULARY_TEXTS = 200_000  # texts a tokenizer is trained on at most: its words are settled long before


class Task(Protocol):
    """All that the training loop knows of what is learned."""

    @property
    def model(self) -> Encoder: ...

    @property
    def slow(self) -> dict[str, float]:
        """Factors of the learning rate, by part of the model."""
        ...

    @property
    def fresh(self) -> list[str] | None:
        """Parts of the model that begin with random weights, where the others come from another run."""
        ...

    @property
    def steady(self) -> str:
        """The validation loss that does not depend on how cases are spread over workers."""
        ...

    def loader(self, split: Split, *, seed: int = 0, rank: int = 0, world_size: int = 1, raw: bool = False) -> CaseLoader:
        """Batches of `train` without end, of what validates (`validation`) once, and without end of both (`all`); `raw`: not yet as
        `tensors` makes them."""
        ...

    def tensors(self, batch: Arrays) -> Arrays:
        """A loader's batch as the model takes it, with the SKUs."""
        ...

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any], shared: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """The total to minimise, and its parts without gradient.

        `shared`: all workers call it, each for its share of one batch; the mean of what they get is the whole batch's loss.
        """
        ...


E = TypeVar("E", bound=Encoder)
L = TypeVar("L")


class CaseTask(Generic[E, L]):
    """Learning from a shop's cases: an encoder with a task's heads, and its batches."""

    network: type[E]
    cases: type[CaseLoader] = CaseLoader
    steady = "loss"

    def __init__(
        self,
        prepared: Prepared,
        preprocessor: Preprocessor,
        *,
        model: ModelConfig,
        spec: Spec,
        loader: LoaderConfig,
        loss: L,
        vectors: Path,
        device: torch.device,
        pretrained: Path | None = None,
        loading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """
        Args:
            vectors: folder where the vectors of frozen towers are kept, shared by the workers.
            pretrained: weights to begin with in place of random ones, where they have a name in common (safetensors).
            loading: context in which towers that learn are loaded from their sources.

        Raises ModelError.
        """
        self.prepared, self.preprocessor = prepared, preprocessor
        self.spec, self.loader_config, self.loss_config = spec, loader, loss
        self.model = self.network.build(model, InputWidths.of_spec(spec), preprocessor, loading)
        self.fresh = take_over(self.model, pretrained) if pretrained else None  # parts that begin with random weights all the same
        towers = {"text": self.model.text, "image": self.model.image}
        frozen = {name: tower for name, tower in towers.items() if tower is not None and not tower.trainable}
        self.frozen = list(frozen)
        self.encoder = None
        if self.frozen:
            self.encoder = TowerEncoder(
                copy.deepcopy(Towers(frozen.get("text"), frozen.get("image"))).eval().to(device), preprocessor, vectors
            )

    @property
    def slow(self) -> dict[str, float]:
        """Factors of the learning rate, by part of the model."""
        towers = {"text": self.model.config.text, "image": self.model.config.image}
        return {name: PRETRAINED_RATE for name, tower in towers.items() if tower is not None and tower.source != TINY}

    def loader(self, split: Split, *, seed: int = 0, rank: int = 0, world_size: int = 1, raw: bool = False) -> CaseLoader:
        """Batches as `tensors` makes them; those that validate are small, as each worker takes whole ones."""
        most = min(VALIDATION_BATCH, self.loader_config.batch_size)
        return self.cases(
            self.prepared,
            self.spec,
            self.loader_config.model_copy(update={"batch_size": most}) if split == "validation" else self.loader_config,
            split=split,
            seed=seed,
            rank=rank,
            world_size=world_size,
            transform=None if raw else self.tensors,
        )

    def tensors(self, batch: Arrays) -> Arrays:
        """A loader's batch as the model takes it, with the SKUs; a photo that cannot be read counts as missing."""
        try:
            modalities = self._modalities(batch)
        except DataError:
            batch = without_broken_photos(batch, range(len(batch["images"])))
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


class ForecastTask(CaseTask[LifeCycleModel, LossConfig]):
    """Learning to forecast cases."""

    network = LifeCycleModel

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any], shared: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """As Task says."""
        return loss(outputs, batch, self.loss_config, mean_over_workers if shared else unshared)


def mean_over_workers(values: Tensor) -> Tensor:
    if not distributed.is_initialized():
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values / distributed.get_world_size()


def take_over(model: nn.Module, path: Path) -> list[str]:
    """Put the weights of a pretraining in the place of a model's own, by name. Returns the parts that keep theirs.

    These are the heads of the task, and towers that were frozen when it was pretrained, which bring their own. Raises ModelError where
    anything else is missing or of another shape.
    """
    found, own = load_file(path), model.state_dict(keep_vars=True)
    shared = {name: value for name, value in found.items() if name in own}
    for name, value in shared.items():
        if value.shape != getattr(own[name], "ds_shape", own[name].shape):
            raise ModelError(
                f"{path}: {name} has the shape {tuple(value.shape)}, not {tuple(own[name].shape)}; pretrain with the same options"
            )
    kept = sorted({name.split(".")[0] for name in own.keys() - shared.keys()})
    if missing := [part for part in kept if part not in (*HEADS, "text", "image")]:
        raise ModelError(f"{path}: holds no weights of {', '.join(missing)}; pretrain again")
    for name, value in shared.items():
        with gathered(own[name], change=True), torch.no_grad():
            own[name].copy_(value)
    return kept


def vocabulary_texts(prepared: Prepared) -> list[str]:
    """Distinct texts of the products, for a tokenizer of the shop's own words; from shards spread over the whole."""
    found: set[str] = set()
    for index in np.random.default_rng(0).permutation(len(prepared.shards)):
        shard = prepared.read(int(index), ["versions"])
        found.update(texts(shard, np.arange(len(shard.versions.row)), np.full(len(shard.versions.row), -1))["texts"])
        if len(found) >= VOCABULARY_TEXTS:
            break
    return sorted(found)
