"""Pretraining on the shop's own data without labels, as a task of the training loop."""

from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

from plcp.data.features import Arrays, inputs
from plcp.data.lifecycle import Levels
from plcp.data.loader import CaseLoader, Cases, list_cases, sample
from plcp.data.shards import Shard
from plcp.forecast.embeddings import content_key, text_key
from plcp.model.losses import unshared
from plcp.model.pretraining import PretrainingModel, PretrainLossConfig, contrast, rebuilding_losses
from plcp.training.task import CaseTask, mean_over_workers

HELD_OUT = 20  # every so manieth product validates: it is never learned from, so its life cannot be known by heart
ORIGINS = 4  # of each of them


class PretrainingLoader(CaseLoader):
    """Histories before the weeks kept for validation, whose end no split ever sees, with the keys of their title and photo.

    What validates are other products than those learned from, because the histories of one product from two origins overlap.
    """

    @cached_property
    def _first(self) -> np.ndarray:
        """Place in the catalog of each shard's first product."""
        return np.cumsum([0, *(shard.rows for shard in self.prepared.shards)])

    def _list(self, window: int, units: np.ndarray) -> Cases:
        rng = np.random.default_rng([self.seed, self.epoch, window])
        cases = list_cases(units, self.config, "train", rng)
        keep = ~cases.launch  # nothing of them is known yet, so there is nothing to rebuild
        if self.split != "all":
            place = np.concatenate([np.arange(self._first[i], self._first[i + 1]) for i in self._windows()[window]])
            keep &= (place[cases.row] % HELD_OUT == 0) == (self.split == "validation")
        cases = cases.take(np.flatnonzero(keep))
        if self.split == "validation":
            row, origin = sample(cases.row, cases.origin, ORIGINS, rng)
            cases = Cases(row, origin, origin, np.zeros(len(row), bool))
        return cases.take(rng.permutation(len(cases)))

    def _arrays(self, shard: Shard, levels: Levels, cases: Cases) -> Arrays:
        """Inputs and weights, no targets; and `title_key` (b,) int64, 0 where no title was known."""
        arrays = inputs(shard, cases.row, cases.origin, cases.start, self.spec)
        version = shard.version_at(cases.row, cases.origin, np.zeros(len(cases), bool))
        titles = shard.versions.values["title"].gather(pl.Series(version).replace(-1, None))
        keys = np.array([key_of(text_key(title)) if title else 0 for title in titles], np.int64)
        return arrays | {"title_key": keys, "weight": np.ones(len(cases), np.float32)}


class PretrainTask(CaseTask[PretrainingModel, PretrainLossConfig]):
    """Learning what the shop's products are like: see PretrainingModel."""

    network = PretrainingModel
    cases = PretrainingLoader
    steady = "units"  # the alignment has as many negatives as there are cases in a step, of all workers

    def tensors(self, batch: Arrays) -> Arrays:
        """As for forecasts, and `keys` (b, 3) int64 of product, title and photo: cases that share one are alike. 0 is none."""
        made = super().tensors(batch)
        photos = np.array([key_of(content_key(photo)) for photo in batch["images"]] + [0], np.int64)  # the last for -1
        skus = np.array([key_of(text_key(sku)) for sku in batch["sku_id"]], np.int64)
        made["keys"] = torch.from_numpy(np.stack([skus, made.pop("title_key").numpy(), photos[batch["image"]]], 1))
        return made

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any], shared: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """As Task says; the parts are `units`, `channels`, and the alignment of each modality by its name."""
        units, channels = rebuilding_losses(outputs, batch["weight"].float(), mean_over_workers if shared else unshared)
        aligned = {name: self._alignment(name, outputs, batch) for name in self.model.aligned}
        alignment = torch.stack([*aligned.values()]).sum() if aligned else units.new_zeros(())
        config = self.loss_config
        total = config.units * units + config.channels * channels + config.alignment * alignment
        return total, {name: part.detach() for name, part in {"units": units, "channels": channels, **aligned}.items()}

    @staticmethod
    def _alignment(name: str, outputs: dict[str, Tensor], batch: dict[str, Any]) -> Tensor:
        """Mean of InfoNCE both ways over the cases of all workers that have the modality and a history; the candidates are all of these.

        Cases alike (of one product, title or photo) are no negatives of each other. Each worker's part is such that the mean over
        the workers, to which DeepSpeed averages their gradients, is the mean over the cases, however many workers there are.
        """
        lives, others, keys = outputs["life"], outputs[name], batch["keys"]
        there = outputs["lived"] & outputs[f"{name}_there"] & (batch["weight"] > 0)
        rows = most_rows(len(keys), keys.device)
        every_life, every_other, every_key, every_there = (gather(x, rows) for x in (lives, others, keys, there))
        own = rank() * rows + torch.arange(len(keys), device=keys.device)
        alike = ((keys[:, None] == every_key[None]) & (keys != 0)[:, None]).any(2)
        allowed = every_there & ~alike
        allowed[torch.arange(len(keys), device=keys.device), own] = True
        each = (contrast(lives, every_other, own, allowed) + contrast(others, every_life, own, allowed)) / 2
        return (len(every_key) // rows) * (each * there).sum() / every_there.sum().clamp(min=1)


def key_of(digest: bytes) -> int:
    """The first eight bytes of a digest as an int64 that is not 0."""
    return int.from_bytes(digest[:8], "little", signed=True) or 1


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def most_rows(rows: int, device: torch.device) -> int:
    """The rows of the worker that has most of them: shares of a batch may differ by one."""
    most = torch.tensor(rows, device=device)
    if distributed.is_initialized():
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return int(most)


def gather(own: Tensor, rows: int) -> Tensor:
    """Tensors (n, …) of all workers below each other, each filled up with zeros to `rows`; the gradient flows back to each."""
    filled = torch.cat([own, own.new_zeros(rows - len(own), *own.shape[1:])])
    if not distributed.is_initialized():
        return filled
    if filled.is_floating_point():
        return torch.cat(all_gather(filled.contiguous()))
    whole = filled.to(torch.int64)  # gloo gathers no bools
    parts = [torch.empty_like(whole) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, whole.contiguous())
    return torch.cat(parts).to(own.dtype)
