"""A model under DeepSpeed: sharded by ZeRO, stepped, saved, restored, and gathered back into plain weights."""

import importlib
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from plcp.base import Config, ModelError
from plcp.training import resharding
from plcp.training.average import WeightAverage

SAVED = "engine"  # folder of the sharded state in a checkpoint
STATISTICS = 1  # parameters of one dimension (norms, biases) are not decayed


class EngineConfig(Config):
    """How the weights move, and how they are held."""

    zero_stage: int = Field(1, ge=0, le=3, description="each worker holds its share only of: 1 moments, 2 also gradients, 3 also weights")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the computing; fp16, for GPUs without bf16, scales its loss")
    # not to nvme: DeepSpeed 0.19 trains with moments there, but has forgotten them, and the weights, when it loads its checkpoint
    offload_moments: Literal["none", "cpu"] = Field("none", description="where the optimizer's state lies and its step is computed")
    offload_weights: Literal["none", "cpu", "nvme"] = Field(
        "none", description="where a worker's share of them lies; asks for zero_stage 3"
    )
    nvme: Path | None = Field(None, description="folder on a drive of each worker's machine, for offload_weights nvme (needs libaio)")
    recompute: bool = Field(False, description="compute activations again in the backward pass, in place of keeping them")
    learning_rate: float = Field(2e-3, gt=0, description="at its highest")
    warmup_steps: int = Field(50, ge=0, description="steps in which the learning rate rises from 0")
    final_rate: float = Field(0.02, ge=0, le=1, description="share of the learning rate left at the end of the cosine")
    weight_decay: float = Field(0.01, ge=0)
    clipping: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 leaves it as it is")
    accumulation: int = Field(1, ge=1, description="batches per step")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="decay of the weights' moving average, which is then what is validated and exported; 0 is none"
    )

    @model_validator(mode="after")
    def _sharded_masters(self) -> "EngineConfig":
        if self.precision != "fp32" and self.zero_stage == 0:
            raise ValueError(f"precision {self.precision} keeps its fp32 master weights sharded: set zero_stage to 1, 2 or 3")
        return self

    @model_validator(mode="after")
    def _offloaded(self) -> "EngineConfig":
        if self.zero_stage < 3 and self.offload_weights != "none":
            raise ValueError("offload_weights takes shares of the weights: set zero_stage to 3")
        if self.zero_stage == 0 and self.offload_moments != "none":
            raise ValueError("offload_moments takes shares of the optimizer: set zero_stage to 1, 2 or 3")
        if (self.offload_weights == "nvme") != (self.nvme is not None):
            raise ValueError("nvme is the folder for offload_weights nvme: give both or neither")
        if self.offload_weights == "nvme" and self.averaging:
            raise ValueError("averaging needs the weights in memory: set it to 0 with offload_weights nvme")
        return self

    def rate(self, step: int, falls: int, end: int) -> float:
        """Learning rate of a step (from 0): a linear warm-up, level up to step `falls`, then half a cosine down to step `end`."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        falls = max(falls, self.warmup_steps)
        done = max(0, step - falls) / max(1, end - falls)
        cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return self.learning_rate * warm * (self.final_rate + (1 - self.final_rate) * cosine)

    def deepspeed(self, micro_batch: int) -> dict[str, Any]:
        """The same in DeepSpeed's words. `micro_batch`: cases that one worker sees at once."""
        return {
            "train_micro_batch_size_per_gpu": micro_batch,
            "gradient_accumulation_steps": self.accumulation,
            "gradient_clipping": self.clipping,
            "zero_optimization": {"stage": self.zero_stage, **self._offload()},
            "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW steps on a CPU as well
            "bf16": {"enabled": self.precision == "bf16"},
            "fp16": {"enabled": self.precision == "fp16"},
            "steps_per_print": None,
        }

    def _offload(self) -> dict[str, Any]:
        places = {"offload_optimizer": self.offload_moments, "offload_param": self.offload_weights}
        common = {"pin_memory": torch.cuda.is_available(), "nvme_path": self.nvme and str(self.nvme)}
        return {name: {"device": place, **common} for name, place in places.items() if place != "none"}


class Engine:
    """A model that learns on all workers at once. Every method is called by all of them."""

    def __init__(self, model: nn.Module, config: EngineConfig, *, micro_batch: int, slow: dict[str, float] | None = None) -> None:
        """`slow`: factor of the learning rate by the first part of the parameters' names."""
        if config.recompute:
            recompute(model)
        groups = parameter_groups(model, config.weight_decay, slow or {})
        kind = CarefulAdamW if config.zero_stage == 0 else torch.optim.AdamW
        optimizer = kind(groups, lr=config.learning_rate, fused=True)
        self.config = config
        self.deepspeed, *_ = load_deepspeed().initialize(model=model, optimizer=optimizer, config=config.deepspeed(micro_batch))
        self.average = WeightAverage(self._trainable(), config.averaging) if config.averaging else None
        self._leave_judging()

    @property
    def model(self) -> nn.Module:
        return cast(nn.Module, self.deepspeed.module)

    @property
    def device(self) -> torch.device:
        return torch.device(self.deepspeed.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's arithmetic."""
        return next(self.model.parameters()).dtype

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return cast(dict[str, Tensor], self.deepspeed(batch))

    def backward(self, loss: Tensor) -> None:
        self.deepspeed.backward(loss)

    def step(self, rate: float) -> None:
        """After each backward: move the weights if the batches of a step are complete."""
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.deepspeed.step()
        if self.average is not None and self.applied:
            self.average.update(self._trainable())

    @property
    def applied(self) -> bool:
        """Whether the last step moved the weights; it does not where a gradient is not finite on any worker."""
        return bool(self.deepspeed.was_step_applied())

    @property
    def rescaling(self) -> bool:
        """Whether the last step was left out in search of a scale of the loss that fp16 can bear: no fault of the data, if its loss was
        finite."""
        return self.config.precision == "fp16" and not self.applied and self.deepspeed.optimizer.loss_scale > 1

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, on the averaged weights if there are any."""
        self.deepspeed.eval()
        try:
            with torch.no_grad(), self._averaged():
                yield
        finally:
            self.deepspeed.train()

    def weights(self) -> dict[str, Tensor]:
        """All that was learnt, in fp32, on worker 0 (empty on the others): one tensor is gathered at a time."""
        first = torch.distributed.get_rank() == 0
        out = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
                continue
            with gathered(tensor):
                if first:
                    whole = tensor.detach().cpu()
                    out[name] = (whole.float() if whole.is_floating_point() else whole).clone()
        return out

    def save(self, folder: Path) -> None:
        """Each worker's share of what was learnt, of its moments and of its average, into a folder."""
        self.deepspeed.save_checkpoint(str(folder), tag=SAVED, save_latest=False, exclude_frozen_parameters=True)
        if self.average is not None and (self._sharded or torch.distributed.get_rank() == 0):
            torch.save(self.average.values, folder / SAVED / average_file(torch.distributed.get_rank()))

    def load(self, folder: Path) -> None:
        """What `save` wrote, on any number of workers. Raises ModelError where it is of another kind of engine."""
        before, now = resharding.world_size(folder / SAVED), torch.distributed.get_world_size()
        if before == now or self.config.zero_stage == 0:  # without ZeRO every worker saves and needs the same
            self._load_shares(folder)
        else:
            self._load_universal(folder)
        if self.average is not None:
            self.average.restore(self._load_average(folder / SAVED, before), self._trainable())

    def _load_shares(self, folder: Path) -> None:
        path, _ = self.deepspeed.load_checkpoint(str(folder), tag=SAVED, load_module_strict=False, load_lr_scheduler_states=False)
        if path is None:
            raise ModelError(f"{folder / SAVED}: cannot be loaded as a checkpoint of zero_stage {self.config.zero_stage}")
        self._leave_judging()

    def _leave_judging(self) -> None:
        """Have DeepSpeed go on where fp16 overflows at the lowest scale too: how many steps may be left out is for the run to say."""
        scaler: Any = getattr(self.deepspeed.optimizer, "loss_scaler", None)
        if hasattr(scaler, "raise_error_at_min_scale"):
            scaler.raise_error_at_min_scale = False

    def _load_universal(self, folder: Path) -> None:
        """The shares of another number of workers, put together and cut anew."""
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.deepspeed.optimizer.param_groups]
        with resharding.universal(folder / SAVED) as whole, resharding.loading_universal(self.deepspeed):
            self._load_shares(whole.parent)
        # under ZeRO-3, DeepSpeed gives all groups the options of the first, and all their steps one tensor
        for group, own in zip(self.deepspeed.optimizer.param_groups, options, strict=True):
            group.update(own)
        for state in self._moments():
            state["step"] = state["step"].clone()

    def _moments(self) -> list[dict[str, Tensor]]:
        """Adam's state, by parameter group or part of one."""
        return list(self.deepspeed.optimizer.optimizer.state.values())

    def _load_average(self, folder: Path, before: int) -> list[Tensor]:
        """This worker's share of the average, from those of as many workers as there were before."""
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if before == world or not self._sharded:
            own = folder / average_file(rank if self._sharded else 0)
            return cast(list[Tensor], torch.load(own, map_location="cpu", weights_only=True))
        files = [torch.load(folder / average_file(k), mmap=True, weights_only=True) for k in range(before)]
        learnt: list[Any] = [p for p in self.model.parameters() if p.requires_grad]
        sizes = [p.ds_numel for p in learnt]  # whole, as DeepSpeed notes it
        return [*(resharding.cut(parts, size, rank, world) for size, *parts in zip(sizes, *files, strict=False)), files[0][-1]]

    @property
    def _sharded(self) -> bool:
        """Whether a worker holds its share only of the weights, and so of their average."""
        return self.config.zero_stage == 3

    def _trainable(self) -> list[Tensor]:
        """The weights this worker computes with: its shares under ZeRO-3, the whole ones otherwise."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return [getattr(p, "ds_tensor", p.data) for p in parameters]

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self.average is None:
            yield
            return
        with self.average.swapped(self._trainable()):
            self._refresh()
            yield
        self._refresh()

    def _refresh(self) -> None:
        """Gather again the small weights that ZeRO-3 keeps whole, after their shares were replaced."""
        small = getattr(self.deepspeed.optimizer, "persistent_parameters", [])
        if small:
            small[0].partition(small)
            small[0].all_gather(small)


class CarefulAdamW(torch.optim.AdamW):
    """AdamW that leaves the weights alone where a gradient is not finite, as DeepSpeed's own optimizers do for ZeRO."""

    overflow = False  # DeepSpeed reads it after each step

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.overflow = not all(bool(torch.isfinite(g).all()) for g in gradients)
        if not self.overflow:
            super().step(closure)


def average_file(rank: int) -> str:
    return f"average-{rank:05d}.pt"


def parameter_groups(model: nn.Module, weight_decay: float, slow: dict[str, float]) -> list[dict[str, Any]]:
    """Trainable parameters by decay and by factor of the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if parameter.ndim <= STATISTICS else weight_decay
            groups.setdefault((decay, slow.get(name.split(".")[0], 1.0)), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "factor": factor} for (decay, factor), members in groups.items()]


def recompute(model: Any) -> None:
    """Every part that can: it says so as transformers' models do. By reentrant calls, because ZeRO-3 gives weights back in between."""
    for part in model.modules():
        if enable := getattr(part, "gradient_checkpointing_enable", None):
            enable({"use_reentrant": True})


def gathered(tensor: Tensor, change: bool = False) -> Any:
    """A context in which a tensor is whole on every worker, where ZeRO-3 has sharded it; `change`: what is made of it there is kept."""
    return load_deepspeed().zero.GatheredParameters([tensor], modifier_rank=0 if change else None, enabled=hasattr(tensor, "ds_id"))


@contextmanager
def loading_shares(config: EngineConfig) -> Iterator[None]:
    """While it lasts, what transformers loads comes in shards under ZeRO-3, so that no worker ever holds the whole."""
    if config.zero_stage < 3:
        yield
        return
    load_deepspeed()
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    told = HfDeepSpeedConfig(config.deepspeed(1))  # transformers looks for it as long as it lives
    try:
        yield
    finally:
        del told
        unset_hf_deepspeed_config()


@cache
def load_deepspeed() -> Any:
    """DeepSpeed, without two things that nothing here needs and that cost each worker a minute and some seconds.

    On a CPU it would compile an all-reduce for inference, and its Muon optimizer loads torch's whole compiler when it is imported.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    deepspeed = importlib.import_module("deepspeed")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if os.environ["DS_ACCELERATOR"] == "cpu":
        vars(importlib.import_module("deepspeed.comm.torch"))["build_shm_op"] = lambda: None
        compiler = torch.compile
        torch.compile = lambda function=None, **_: function or (lambda inner: inner)  # type: ignore[assignment]
        try:
            importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
        finally:
            torch.compile = compiler
    return deepspeed
