"""The joint encoder: one token per modality and per patch of history, mixed by a small transformer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from plcp.model.history import silent

CODE = 8  # numbers that are left of a tower's vector


class Block(nn.Module):
    """Pre-norm attention and feed-forward (Xiong et al. 2020). Dropout on the branches only: inside attention it is slow on a CPU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, asking: int | None = None) -> Tensor:
        """(batch, tokens, width) → the same, or the first `asking` tokens alone, which still look at all."""
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm_attention(tokens)).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query[:, :, :asking], key, value)
        tokens = tokens[:, :asking] + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return tokens + self.dropout(self.down(F.gelu(self.up(self.norm_forward(tokens)))))


class VectorToken(nn.Module):
    """A tower's vectors → one token per case, a learned one where the modality is missing or dropped in training.

    The way in is narrow and a share of the vector is hidden in training: a few thousand products can be told apart by any wide
    vector, and a model that knows them by name learns their past by heart.
    """

    def __init__(self, tower_width: int, width: int, dropout: float, hidden: float, drop: float) -> None:
        super().__init__()
        self.compress = nn.Sequential(nn.Dropout(hidden), nn.Linear(tower_width, CODE))
        self.project = nn.Linear(CODE, width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.dropout, self.drop = nn.Dropout(dropout), drop

    def forward(self, vectors: Tensor, index: Tensor) -> Tensor:
        """vectors (n, tower_width), n ≥ 1; index (batch,) into them, -1 missing → (batch, width)."""
        vectors = F.layer_norm(vectors.float(), vectors.shape[-1:]).to(self.project.weight.dtype)
        tokens = self.dropout(self.project(self.compress(vectors)))[index.clamp(min=0)]
        there = kept(index >= 0, self.drop, self.training)
        return torch.where(there.unsqueeze(1), tokens, self.missing)


class AttributeToken(nn.Module):
    """Numbers and hashed categories → one token. Every number carries its own "unknown"."""

    def __init__(self, numeric: int, hashed: int, buckets: int, hash_width: int, width: int, drop: float) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(_small(nn.Embedding(buckets, hash_width)) for _ in range(hashed))
        self.project = silent(nn.Linear(2 * numeric + hashed * hash_width, width))
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(width, width))
        self.drop = drop

    def forward(self, numeric: Tensor, hashed: Tensor) -> Tensor:
        """numeric (batch, S) with NaN, hashed (batch, G) int64, 0 = missing → (batch, width)."""
        hashed = torch.where(kept(torch.ones_like(hashed, dtype=torch.bool), self.drop, self.training), hashed, 0)
        known = torch.isfinite(numeric)
        values = torch.where(known, numeric, 0.0)
        values = values.sign() * torch.log1p(values.abs())
        categories = [embedding(hashed[:, g]) for g, embedding in enumerate(self.embeddings)]
        numbers = torch.cat([values, known.to(values.dtype)], 1).to(self.project.weight.dtype)
        return self.mix(self.project(torch.cat([numbers, *categories], 1)))


def _small(embedding: nn.Embedding) -> nn.Embedding:
    nn.init.normal_(embedding.weight, std=0.1)  # a category seldom seen should say little
    return embedding


def kept(there: Tensor, drop: float, training: bool) -> Tensor:
    """What is there, less a random share of it in training, so that whatever may be missing at scoring was missing before."""
    return there & (torch.rand(there.shape, device=there.device) >= drop) if training and drop else there


class Fusion(nn.Module):
    """Modality tokens and history patches → the case's joint vector."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.recompute: dict[str, Any] | None = None

    def gradient_checkpointing_enable(self, how: dict[str, Any]) -> None:
        """Keep no activations of the blocks for the backward pass; `how`: what torch's checkpoint takes. As in transformers' models."""
        self.recompute = how

    def forward(self, modalities: list[Tensor], patches: Tensor) -> Tensor:
        """modalities: (batch, width) each; patches (batch, patches, width) → (batch, width)."""
        return self.norm(self._mixed(modalities, patches, asking=1)[:, 0])

    def patches(self, modalities: list[Tensor], patches: Tensor) -> Tensor:
        """What the patches have become in the light of everything else, (batch, patches, width)."""
        return self.norm(self._mixed(modalities, patches)[:, -patches.shape[1] :])

    def _mixed(self, modalities: list[Tensor], patches: Tensor, asking: int | None = None) -> Tensor:
        """All tokens, or the first `asking` alone: of the last block's answers no others are computed then."""
        cls = self.cls.expand(patches.shape[0], -1)
        tokens = torch.cat([torch.stack([cls, *modalities], 1), patches], 1)
        for depth, block in enumerate(self.blocks, start=1):
            asked = asking if depth == len(self.blocks) else None
            if self.recompute is not None and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, asked, **self.recompute)
            else:
                tokens = block(tokens, asked)
        return tokens
