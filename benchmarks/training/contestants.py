"""One model trained on the same batches by PLCP, by a bare torch loop and by the transformers Trainer with DeepSpeed: cases a second each.

Every function runs in a process of its own. The first steps, in which allocators and caches fill, do not count.
"""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from plcp.data.prepared import Prepared
from plcp.training import loop, progress
from plcp.training.engine import load_deepspeed, parameter_groups
from plcp.training.learner import make_task
from plcp.training.runs import Run, TrainConfig
from plcp.training.task import ForecastTask

WARM_UP = 6  # steps
BATCHES = 6  # made beforehand for those that read no data


def plcp(prepared: Path, config: TrainConfig) -> tuple[float, float]:
    """Cases a second and the share of the time spent waiting for data, medians of the lines that `plcp train` writes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "R"
        loop.train(prepared, run, config)
        lines = [line for line in progress.read(run / progress.METRICS) if "cases_per_second" in line and line["step"] > WARM_UP]
    return tuple(statistics.median(line[name] for line in lines) for name in ("cases_per_second", "waiting"))


def bare(prepared: Path, config: TrainConfig, threads: int) -> float:
    """Cases a second of forward, loss, backward, clipping and AdamW, on batches that lie in memory."""
    torch.set_num_threads(threads)
    task, batches = made(prepared, config)
    optimizer = adamw(task, config)
    return speed(steps(task, optimizer, itertools.cycle(batches), config), config.steps)


def steps(task: ForecastTask, optimizer: torch.optim.Optimizer, batches: Iterator[dict[str, Any]], config: TrainConfig) -> Iterator[int]:
    """Yields the number of cases of each step when it is done."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for batch in batches:
        total, _ = task.loss(task.model(batch), batch)
        total.backward()
        nn.utils.clip_grad_norm_(weights, config.engine.clipping)
        optimizer.step()
        optimizer.zero_grad()
        yield len(batch["weight"])


def trainer(prepared: Path, config: TrainConfig, threads: int) -> float:
    """Cases a second of the transformers Trainer with DeepSpeed, on batches that lie in memory."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # or accelerate takes all processors
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, alone(Path(folder)):
        load_deepspeed()  # without what it would otherwise compile
        from transformers import Trainer, TrainerCallback, TrainingArguments

        task, batches = made(prepared, config)
        sizes, ends = [len(batch["weight"]) for batch in batches], []

        class Clock(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                ends.append(time.perf_counter())

        optimizer = adamw(task, config)
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            max_steps=config.steps,
            per_device_train_batch_size=1,  # of batches
            max_grad_norm=config.engine.clipping,
            deepspeed=config.engine.deepspeed(micro_batch=1),
            logging_steps=config.log_every,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        Trainer(
            model=WithLoss(task),
            args=arguments,
            train_dataset=[batches[i % BATCHES] for i in range(config.steps)],
            data_collator=lambda items: items[0],
            optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
            callbacks=[Clock()],
        ).train()
    return statistics.mean(sizes) * (len(ends) - WARM_UP - 1) / (ends[-1] - ends[WARM_UP])


class WithLoss(nn.Module):
    """A task as the Trainer expects a model: a batch by keywords in, its loss out."""

    def __init__(self, task: ForecastTask) -> None:
        super().__init__()
        self.task, self.model = task, task.model

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        return {"loss": self.task.loss(self.model(batch), batch)[0]}


def made(prepared: Path, config: TrainConfig) -> tuple[ForecastTask, list[dict[str, Any]]]:
    """The task of `plcp train`, and its first batches."""
    with tempfile.TemporaryDirectory() as folder:
        data = Prepared.open(prepared)
        run = Run(Path(folder) / "R", data, config.fitted(data), seed=0)
        run.begin()
        torch.manual_seed(0)
        task = cast(ForecastTask, make_task(run, torch.device("cpu")))
        return task, list(itertools.islice(task.loader("train"), BATCHES))


def adamw(task: ForecastTask, config: TrainConfig) -> torch.optim.AdamW:
    """As plcp.training.engine makes it."""
    groups = parameter_groups(task.model, config.engine.weight_decay, task.slow)
    return torch.optim.AdamW(groups, lr=config.engine.learning_rate, fused=True)


def speed(done: Iterator[int], steps: int) -> float:
    """Cases a second over the steps behind the warm-up."""
    for _ in range(WARM_UP):
        next(done)
    begun = time.perf_counter()
    cases = sum(itertools.islice(done, steps - WARM_UP))
    return cases / (time.perf_counter() - begun)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """This process as the only worker."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
