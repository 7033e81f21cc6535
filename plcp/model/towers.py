"""Text and image encoders, loaded by transformers from any local folder or hub name, or built tiny from a configuration."""

from pathlib import Path
from typing import Any

import torch
import transformers  # its parts are loaded as they are named: a driver or a help text needs none
from pydantic import Field
from torch import Tensor, nn

from plcp.base import Config, ModelError

TINY = "tiny"


class TextTowerConfig(Config):
    """A text encoder: `tiny` is built from these sizes and trained with the model, anything else is loaded whole."""

    source: str = Field(TINY, description='"tiny", a local folder, or the name of a hub model (then it is downloaded)')
    trainable: bool = Field(True, description="a frozen tower's vectors are cached by content")
    max_tokens: int = Field(32, ge=2, description="longer texts are cut")
    width: int = Field(64, ge=8, description="the tiny tower's")
    layers: int = Field(1, ge=1, description="the tiny tower's")
    heads: int = Field(4, ge=1, description="the tiny tower's")
    vocabulary: int = Field(4096, ge=300, description="tokens of the tokenizer trained for the tiny tower")


class ImageTowerConfig(Config):
    """An image encoder: `tiny` is a small ViT built from these sizes, anything else is loaded whole."""

    source: str = Field(TINY, description='"tiny", a local folder, or the name of a hub model (then it is downloaded)')
    trainable: bool = Field(True, description="a frozen tower's vectors are cached by content")
    size: int = Field(32, ge=8, description="pixels a side that the tiny tower sees")
    patch: int = Field(8, ge=2, description="the tiny tower's; divides size")
    width: int = Field(64, ge=8, description="the tiny tower's")
    layers: int = Field(2, ge=1, description="the tiny tower's")
    heads: int = Field(4, ge=1, description="the tiny tower's")


def location(source: str) -> tuple[str, bool]:
    """What transformers should load, and whether it may only read local files.

    Only a plain hub name ("name" or "organisation/name") that is no folder here is ever downloaded.
    Raises ModelError where a path is named that does not exist.
    """
    if Path(source).is_dir():
        return source, True
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise ModelError(f"{source}: no such model folder; give a folder with config.json and weights, a hub name, or 'tiny'")
    return source, False


def _load(source: str) -> "transformers.PreTrainedModel":
    name, local = location(source)
    try:
        return transformers.AutoModel.from_pretrained(name, local_files_only=local, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: cannot be loaded as a model: {error}") from error


class Tower(nn.Module):
    """An encoder and its pooling: items in, one vector each out. A frozen one stays in evaluation mode and without gradients."""

    part: str  # the attribute that holds this tower in a model of several modalities (CLIP, SigLIP)

    def __init__(self, encoder: "transformers.PreTrainedModel", trainable: bool) -> None:
        super().__init__()
        encoder = getattr(encoder, self.part, encoder)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # not pretrained in general, and nothing here reads it
        self.encoder = encoder
        self.trainable = trainable
        self.width = int(encoder.config.hidden_size)
        if not trainable:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> "Tower":
        return super().train(mode and self.trainable)

    def save_config(self, folder: Path) -> None:
        self.encoder.config.save_pretrained(folder)


class TextTower(Tower):
    part = "text_model"

    @classmethod
    def build(cls, config: TextTowerConfig, vocabulary: int, dropout: float = 0.1) -> "TextTower":
        """The tower its configuration names. `vocabulary` is the tokenizer's size; `dropout` is a tiny one's. Raises ModelError."""
        if config.source != TINY:
            return cls(_load(config.source), config.trainable)
        bert = transformers.BertConfig(
            vocab_size=vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=2 * config.width,
            max_position_embeddings=config.max_tokens,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=0.0,  # slow on a CPU: no fused kernel
        )
        return cls(transformers.BertModel(bert, add_pooling_layer=False), config.trainable)

    @classmethod
    def restore(cls, folder: Path, config: TextTowerConfig) -> "TextTower":
        """The tower's shape from a saved configuration, its weights still to be loaded."""
        return cls(_from_config(folder), config.trainable)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens, mask (n, length) → (n, width): the mean of the last layer over the text's tokens."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(states.dtype)
            return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


class ImageTower(Tower):
    part = "vision_model"

    @classmethod
    def build(cls, config: ImageTowerConfig) -> "ImageTower":
        """The tower its configuration names. Raises ModelError."""
        if config.source != TINY:
            return cls(_load(config.source), config.trainable)
        vit = transformers.ViTConfig(
            image_size=config.size,
            patch_size=config.patch,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=2 * config.width,
        )
        return cls(transformers.ViTModel(vit, add_pooling_layer=False), config.trainable)

    @classmethod
    def restore(cls, folder: Path, config: ImageTowerConfig) -> "ImageTower":
        """The tower's shape from a saved configuration, its weights still to be loaded."""
        return cls(_from_config(folder), config.trainable)

    @property
    def size(self) -> int:
        return int(self.encoder.config.image_size)

    @property
    def positions(self) -> int:
        """Tokens that one photo is to the encoder: its patches and the one before them; 0 where it sees no patches."""
        patch = getattr(self.encoder.config, "patch_size", None)
        return (self.size // int(patch)) ** 2 + 1 if patch else 0

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (m, 3, size, size) → (m, width): the encoder's own pooling, else the mean of its last layer."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            out = self.encoder(pixel_values=pixels.to(self.encoder.dtype))
            pooled = getattr(out, "pooler_output", None)
            return out.last_hidden_state.mean(1) if pooled is None else pooled


class Towers(nn.Module):
    """Towers alone, without the model over them."""

    def __init__(self, text: Tower | None, image: Tower | None) -> None:
        super().__init__()
        self.text, self.image = text, image


def _from_config(folder: Path) -> "transformers.PreTrainedModel":
    try:
        config: Any = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no usable tower configuration: {error}") from error
