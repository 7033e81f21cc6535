"""Boosted trees as plain arrays: grown by LightGBM, run by torch, so that whoever serves them needs no LightGBM."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plcp.forecast.embeddings import Run

DEPTH = 6  # splits on the way to a leaf at most
NODES, LEAVES = 2**DEPTH - 1, 2**DEPTH
UNKNOWN = -1000.0  # stands for NaN, below whatever is known
KINDS = {"feature": "<i2", "threshold": "<f4", "leaf": "<f4"}  # of the arrays, in a file
ROWS = 2048  # run at once: their places in all trees stay in the processor's cache


@dataclass(frozen=True)
class Forest:
    """k models of t trees each, every tree a whole binary one of DEPTH levels, its nodes in the order of a heap.

    At a node a row goes right where its feature is above the threshold; a branch that ends early sends all rows left.
    """

    feature: np.ndarray  # (k, t, NODES) int16
    threshold: np.ndarray  # (k, t, NODES) float32
    leaf: np.ndarray  # (k, t, LEAVES) float32
    width: int  # features that are read

    @staticmethod
    def none() -> "Forest":
        return Forest(np.zeros((0, 0, NODES), np.int16), np.zeros((0, 0, NODES), np.float32), np.zeros((0, 0, LEAVES), np.float32), 0)

    @staticmethod
    def of(boosters: Sequence[Any]) -> "Forest":
        """LightGBM's boosters of the same features. One that found no more to split has fewer trees; those it lacks say zero."""
        if not boosters:
            return Forest.none()
        models = [booster.dump_model()["tree_info"] for booster in boosters]
        shape = len(models), max(map(len, models))
        feature, leaf = np.zeros((*shape, NODES), np.int16), np.zeros((*shape, LEAVES), np.float32)
        threshold = np.full((*shape, NODES), np.inf, np.float32)
        for k, trees in enumerate(models):
            for t, tree in enumerate(trees):
                feature[k, t], threshold[k, t], leaf[k, t] = _whole(tree["tree_structure"])
        return Forest(feature, threshold, leaf, boosters[0].num_feature())

    @property
    def models(self) -> int:
        return len(self.feature)

    @property
    def trees(self) -> int:
        """Of all models."""
        return self.feature.shape[0] * self.feature.shape[1]

    def __call__(self, x: np.ndarray, run: Run = map) -> np.ndarray:
        """Features (n, width), NaN where unknown → each model's raw score, (n, k) float32; `run` as Forecaster has it.

        Raises ValueError for another width.
        """
        if x.shape[1] != self.width:
            raise ValueError(f"trees that read {self.width} features are given {x.shape[1]}")
        if not len(x):
            return np.zeros((0, self.models), np.float32)
        feature = torch.from_numpy(self.feature.reshape(-1).astype(np.int32))
        threshold, leaf = (torch.from_numpy(part.reshape(-1)) for part in (self.threshold, self.leaf))
        root, first = (torch.arange(self.trees, dtype=torch.int32) * count for count in (NODES, LEAVES))

        def scores(part: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                leaves = _leaves(torch.from_numpy(without_unknown(part)), feature, threshold, leaf, root, first)
                return leaves.view(len(part), self.models, -1).sum(2).numpy()

        return np.concatenate([*run(scores, np.array_split(x, -(-len(x) // ROWS)))])

    def to_dict(self) -> dict[str, Any]:
        """Arrays as text (base64 of their bytes, little-endian)."""
        return {
            "shape": self.feature.shape[:2],
            "width": self.width,
            **{name: b64encode(getattr(self, name).astype(kind).tobytes()).decode() for name, kind in KINDS.items()},
        }

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "Forest":
        """Raises ValueError or KeyError where the content has another shape."""
        models, trees = content["shape"]
        width = int(content["width"])
        feature, threshold, leaf = (
            np.frombuffer(b64decode(content[name], validate=True), kind).reshape(models, trees, count).copy()
            for (name, kind), count in zip(KINDS.items(), (NODES, NODES, LEAVES), strict=True)
        )
        forest = Forest(feature, threshold, leaf, width)
        if ((forest.feature < 0) | (forest.feature >= width)).any():
            raise ValueError(f"trees read features beyond the {width} that there are")
        return forest


def without_unknown(x: np.ndarray) -> np.ndarray:
    """Features as trees are grown on and run on, float32."""
    return np.nan_to_num(x.astype(np.float32, copy=False), nan=UNKNOWN)


def _leaves(x: Tensor, feature: Tensor, threshold: Tensor, leaf: Tensor, root: Tensor, first: Tensor) -> Tensor:
    """x (n, F) → the leaf's value of each row in every tree, (n, trees)."""
    rows, width = x.shape
    flat, row = x.reshape(-1), (torch.arange(rows, dtype=torch.int32) * width).unsqueeze(1)
    node = torch.zeros(rows, len(root), dtype=torch.int32)
    for _ in range(DEPTH):
        at = node + root
        value = flat[(feature[at] + row)]
        node = 2 * node + 1 + (value > threshold[at])
    return leaf[node - NODES + first]


def _whole(tree: dict[str, Any]) -> tuple[list[int], list[float], list[float]]:
    """LightGBM's tree as heap-ordered features and thresholds of the nodes, and values of the leaves."""
    feature, threshold, leaf = [0] * NODES, [np.inf] * NODES, [0.0] * LEAVES

    def place(part: dict[str, Any], node: int) -> None:
        if node >= NODES:
            leaf[node - NODES] = part["leaf_value"]
        elif "split_feature" in part:
            feature[node], threshold[node] = part["split_feature"], _below(part["threshold"])
            place(part["left_child"], 2 * node + 1)
            place(part["right_child"], 2 * node + 2)
        else:
            place(part, 2 * node + 1)

    place(tree, 0)
    return feature, threshold, leaf


def _below(threshold: float) -> float:
    """The largest float32 that is no larger: features are float32, and one just above the threshold must stay above it."""
    near = np.float32(threshold)
    return float(near if near <= threshold else np.nextafter(near, np.float32(-np.inf)))
