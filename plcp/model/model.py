"""The life-cycle model: every modality into one encoder, out of it the curve, the events and the stage."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from plcp.base import Config
from plcp.data.calendar import CALENDAR
from plcp.data.features import NUMERIC, POOL
from plcp.data.hashing import ATTRIBUTES, BUCKETS, HASHED
from plcp.data.spec import Spec
from plcp.data.timeline import YEAR
from plcp.data.totals import DUE
from plcp.data.vectors import WIDTH
from plcp.model.fusion import AttributeToken, Fusion, VectorToken
from plcp.model.heads import CurveHead, EventHead, StageHead
from plcp.model.history import PRICE, UNITS, HistoryEncoder, channels, recent_state, scale, silent
from plcp.model.preprocess import Preprocessor
from plcp.model.steps import planned_price, step_features, without_promotion
from plcp.model.towers import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "layers": 1, "heads": 4},
    "base": {
        "width": 256,
        "layers": 4,
        "heads": 8,
        "hash_width": 16,
        "text": {"width": 256, "layers": 4, "heads": 8, "vocabulary": 16384, "max_tokens": 64},
        "image": {"size": 64, "patch": 8, "width": 256, "layers": 4, "heads": 8},
    },
    "large": {
        "width": 1024,
        "layers": 12,
        "heads": 16,
        "hash_width": 32,
        "text": {"width": 768, "layers": 12, "heads": 12, "vocabulary": 32768, "max_tokens": 128},
        "image": {"size": 224, "patch": 16, "width": 768, "layers": 12, "heads": 12},
    },
}


HEADS = ("curve", "events", "stages")  # parts of LifeCycleModel that are no encoder's


class ModelConfig(Config):
    """Sizes of the model. `preset` fills in whatever is not given; a given field wins over it."""

    preset: str = Field("tiny", description="tiny, base or large")
    width: int = Field(ge=8, description="of the joint encoder's tokens")
    layers: int = Field(ge=0, description="of the joint encoder")
    heads: int = Field(ge=1, description="of attention; divides width")
    dropout: float = Field(0.1, ge=0, lt=1)
    # a product has one life, seen from many weeks: these heads would learn it by heart
    life_dropout: float = Field(0.4, ge=0, lt=1, description="of the heads of events and stages")
    vector_dropout: float = Field(0.5, ge=0, lt=1, description="share of a tower's vector that is hidden in training")
    modality_dropout: float = Field(0.5, ge=0, lt=1, description="share of cases that lose a modality in training")
    week_dropout: float = Field(0.1, ge=0, lt=1, description="share of a case's weeks of history that are hidden in training")
    season_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of cases that lose in training what lies more than a year back, and of those that lose what is due",
    )
    history_dropout: float = Field(0.05, ge=0, lt=1, description="share of cases that lose all of their history in training")
    patch_weeks: int = Field(8, ge=1, description="weeks in one token of history")
    hash_width: int = Field(8, ge=1, description="of a category's embedding")
    text: TextTowerConfig | None = TextTowerConfig()
    image: ImageTowerConfig | None = ImageTowerConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: dict[str, Any]) -> dict[str, Any]:
        preset = PRESETS.get(given.get("preset", "tiny"))
        if preset is None:
            raise ValueError(f"preset {given['preset']!r} is none of {', '.join(PRESETS)}")
        merged = {**preset, **given}
        for tower in ("text", "image"):
            if isinstance(given.get(tower), dict):
                merged[tower] = {**preset.get(tower, {}), **given[tower]}
        return merged

    @model_validator(mode="after")
    def _divides(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class InputWidths(Config):
    """The shape of the inputs that a model was built for."""

    weeks: int
    horizon: int
    channels: int
    calendar: int
    numeric: int
    future: int
    hashed: int
    pool: int
    due: int
    vector: int  # 0: none is read

    @classmethod
    def of_spec(cls, spec: Spec) -> "InputWidths":
        """The shape of what features.inputs makes."""
        return cls(
            weeks=spec.history_weeks,
            horizon=spec.horizon,
            channels=len(spec.history),
            calendar=len(CALENDAR),
            numeric=len(NUMERIC),
            future=len(spec.future),
            hashed=len(HASHED) + (ATTRIBUTES if spec.attributes else 0),
            pool=len(POOL),
            due=len(DUE),
            vector=WIDTH if spec.vectors else 0,
        )


class Encoder(nn.Module):
    """What every task shares: the modalities' towers, the history, and the joint encoder over them. Tasks add heads of their own.

    Runs in fp32 and bf16; features are always computed in fp32.
    """

    def __init__(self, config: ModelConfig, widths: InputWidths, text: TextTower | None, image: ImageTower | None) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        self.text, self.image = text, image
        width, drop = config.width, config.modality_dropout
        if text is not None:
            self.text_token = VectorToken(text.width, width, config.dropout, config.vector_dropout, drop)
        if image is not None:
            self.image_token = VectorToken(image.width, width, config.dropout, config.vector_dropout, drop)
        if widths.vector:
            self.vector_token = VectorToken(widths.vector, width, config.dropout, config.vector_dropout, drop)
        self.attributes = AttributeToken(widths.numeric + 1, widths.hashed, BUCKETS, config.hash_width, width, drop)
        self.history = HistoryEncoder(widths.weeks, config.patch_weeks, widths.channels, widths.calendar, width)
        state_width, _ = _feature_widths(widths)
        self.state = nn.Sequential(silent(nn.Linear(state_width, 2 * width)), nn.GELU(), nn.Linear(2 * width, width))
        self.fusion = Fusion(width, config.layers, config.heads, config.dropout)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        widths: InputWidths,
        preprocessor: Preprocessor,
        loading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Self:
        """A new model; towers with a source bring their pretrained weights. `loading`: context for those that learn. Raises ModelError."""
        text = image = None
        if config.text is not None:
            with loading() if config.text.trainable else nullcontext():
                text = TextTower.build(config.text, preprocessor.vocabulary, config.dropout)
        if config.image is not None:
            with loading() if config.image.trainable else nullcontext():
                image = ImageTower.build(config.image)
        return cls(config, widths, text, image)

    @classmethod
    def restore(cls, config: ModelConfig, widths: InputWidths, folder: Path) -> Self:
        """A model of saved tower configurations (`save_towers`), whose weights are still to be loaded. Raises ModelError."""
        text = TextTower.restore(folder / "text", config.text) if config.text is not None else None
        return cls(config, widths, text, ImageTower.restore(folder / "image", config.image) if config.image is not None else None)

    def save_towers(self, folder: Path) -> None:
        """The towers' configurations (no weights), for `restore`."""
        for name, tower in (("text", self.text), ("image", self.image)):
            if tower is not None:
                tower.save_config(folder / name)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.fusion.parameters()).dtype

    def vectors(self, batch: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each modality's name, its vectors (n, d), n ≥ 1, and the cases' index (batch,) into them, -1 where a case has none."""
        if self.text is not None:
            yield "text", text_vectors(self.text, batch), batch["text"]
        if self.image is not None:
            yield "image", image_vectors(self.image, batch), batch["image"]
        if self.widths.vector:
            vector = batch["vector"]
            place = torch.arange(vector.shape[0], device=vector.device)  # len would be a constant where the pass is recorded
            yield "vector", torch.nan_to_num(vector), torch.where(torch.isfinite(vector[:, 0]), place, -1)

    def modalities(self, summary: Tensor, batch: dict[str, Tensor], vectors: Iterable[tuple[str, Tensor, Tensor]]) -> list[Tensor]:
        """A token (batch, width) of the recent state, one of the attributes, and one of each modality in `vectors`."""
        attributes = self.attributes(torch.cat([batch["numeric"], batch["age"].unsqueeze(1)], 1), batch["hashed"])
        return [summary, attributes, *(getattr(self, f"{name}_token")(found, index) for name, found, index in vectors)]


class LifeCycleModel(Encoder):
    """The encoder with the heads that forecast; see `forward`. The laying of shapes on levels is always computed in fp32."""

    def __init__(self, config: ModelConfig, widths: InputWidths, text: TextTower | None, image: ImageTower | None) -> None:
        super().__init__(config, widths, text, image)
        width, (_, step_width) = config.width, _feature_widths(widths)
        self.curve = CurveHead(2 * width, 2 * width, step_width, widths.horizon, config.dropout)
        self.events = EventHead(2 * width, width, config.life_dropout)
        self.stages = StageHead(2 * width, width, config.life_dropout)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch of features.inputs as tensors, with tokens, token_mask, pixels or the towers' vectors in their place
        (`text_vector` (n, d), `image_vector` (m, d)) →

        quantiles (batch, horizon, 9) in log1p units, never crossing or negative; mean (batch, horizon) units; response (batch, horizon),
        what planned prices and, once trained, promotions add to the median, in log1p units; hazard
        (batch, 3, BINS) logits; stage (batch, 5) logits; new_peak (batch,) logit; embedding (batch, width);
        level (batch,) units a week, the scale the forecast was laid on, without gradient.
        """
        batch = self._drop_inputs(batch)
        with torch.no_grad(), torch.autocast(batch["history"].device.type, enabled=False):
            values, known = channels(batch["history"].float())
            size = scale(values[..., UNITS], known[..., UNITS], batch["pool"].float())
            state = recent_state(values, known, size, batch["age"].float(), batch["due"].float())
            steps, unpromoted = (step_features(each, values, known, size) for each in (batch, without_promotion(batch)))
            price = planned_price(batch["future"].float(), batch["history"][..., PRICE].float())
        summary = self.state(state.to(self.dtype))
        modalities = self.modalities(summary, batch, self.vectors(batch))
        joint = self.fusion(modalities, self.history(values, known, batch["calendar_history"], size))
        context = torch.cat([joint, summary], 1)
        # only who forecasts asks what promotions do
        quantiles, mean, response = self.curve(context, steps, size, price, None if self.training else unpromoted)
        stage, new_peak = self.stages(context)
        return {
            "quantiles": quantiles,
            "mean": mean,
            "response": response,
            "hazard": self.events(context),
            "stage": stage,
            "new_peak": new_peak,
            "embedding": joint.float(),
            "level": size.level,
        }

    def _drop_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """In training a share of the cases lose their history, so that the model learns what the other modalities say.

        Others lose last year's weeks, or what is due: a shop of two years has seen one of them follow the other, and what follows from them
        would be learned by heart. Single weeks are hidden lest a product be known by them.
        """
        if not self.training:
            return batch
        history, due, config = batch["history"], batch["due"], self.config
        shares = (config.history_dropout, config.season_dropout, config.season_dropout)
        all_of_it, old, undue = (torch.rand(len(history), 1, 1, device=history.device) < share for share in shares)
        weeks_ago = torch.arange(history.shape[1], 0, -1, device=history.device).unsqueeze(1)
        week = torch.rand(*history.shape[:2], 1, device=history.device) < config.week_dropout
        history = torch.where(all_of_it | (old & (weeks_ago >= YEAR)) | week, torch.nan, history)
        return {**batch, "history": history, "due": torch.where(undue, torch.nan, due)}


def text_vectors(tower: TextTower, batch: dict[str, Tensor]) -> Tensor:
    """The text tower's (n, d), or what a cache already holds of it; at least one row."""
    return _at_least_one(batch["text_vector"]) if "text_vector" in batch else tower(batch["tokens"], batch["token_mask"])


def image_vectors(tower: ImageTower, batch: dict[str, Tensor]) -> Tensor:
    """The image tower's (m, d), or what a cache already holds of it; at least one row."""
    return _at_least_one(batch["image_vector"]) if "image_vector" in batch else tower(batch["pixels"])


def _at_least_one(vectors: Tensor) -> Tensor:
    return vectors if len(vectors) else F.pad(vectors, (0, 0, 0, 1))


def _feature_widths(widths: InputWidths) -> tuple[int, int]:
    """Widths of recent_state and step_features, by computing them once on one empty case."""
    empty = {
        "history": torch.full((1, widths.weeks, widths.channels), torch.nan),
        "future": torch.full((1, widths.horizon, widths.future), torch.nan),
        "calendar_future": torch.zeros(1, widths.horizon, widths.calendar),
        "pool": torch.full((1, widths.horizon, widths.pool), torch.nan),
        "due": torch.full((1, widths.horizon, widths.due), torch.nan),
        "age": torch.full((1,), torch.nan),
    }
    values, known = channels(empty["history"])
    size = scale(values[..., UNITS], known[..., UNITS], empty["pool"])
    return recent_state(values, known, size, empty["age"], empty["due"]).shape[1], step_features(empty, values, known, size).shape[2]
