"""Training, from top to bottom: `train` starts a run, `worker` is what each of its workers does."""

import functools
import itertools
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import Tensor, distributed

from plcp.base import DataError
from plcp.data.loader import CaseLoader
from plcp.data.prepared import Prepared
from plcp.forecast.embeddings import vectors_beside
from plcp.model.preprocess import Preprocessor
from plcp.training import checkpoint, cluster, progress
from plcp.training.checkpoint import State
from plcp.training.cluster import TrainingError
from plcp.training.engine import Engine
from plcp.training.progress import MetricsLog, Window
from plcp.training.runs import PREPROCESSOR, Run, RunResult, TrainConfig
from plcp.training.start import take_weights
from plcp.training.task import ForecastTask

SHOWN_SKUS = 20  # of a batch that went wrong


def train(prepared: Path, run: Path, config: TrainConfig | None = None, seed: int = 0, resume: bool = True) -> RunResult:
    """Learn from PREPARED, whose last weeks validate; everything goes below the folder `run`.

    A run that was interrupted continues from its last checkpoint, to the same weights; a finished one is returned as it is.
    `resume=False` starts anew. Raises ConfigError where the folder holds a run with other options or data, TrainingError where
    it cannot go on, KeyboardInterrupt on Ctrl-C.
    """
    data = Prepared.open(Path(prepared).resolve())
    this = Run(Path(run).resolve(), data, (config or TrainConfig()).fitted(data), seed)
    if not resume:
        this.forget()
    this.begin()
    result = this.finished()
    if result is None:
        workers, asked = this.config.workers, (this.config.cpus_per_worker, this.config.gpus_per_worker)
        cluster.connect(workers)
        cpus, gpus = cluster.share(cluster.nodes_up(), workers, *asked)
        with progress.live(this.folder, this.config.steps + this.config.refit_steps):
            cluster.fit(functools.partial(worker, this, cpus), this.folder, workers, cpus, gpus)
        result = this.finish()
    return result


def worker(run: Run, threads: int) -> None:
    """One worker's part of a run: set up, continue where the last checkpoint stands, then learn, validate and report."""
    config, context = run.config, ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = set_up(threads)
    torch.manual_seed(run.seed)  # the same first weights on every worker
    task = make_task(run, device)
    engine = Engine(task.model, config.engine, micro_batch=max(1, config.loader.batch_size // world), slow=task.slow)
    validation = held_back(task.loader("validation", rank=rank, world_size=world), config)
    state = checkpoint.restore(engine)
    log = MetricsLog(run.folder, state.step, write=rank == 0)
    if state.refit_from is None:
        for due in steps(engine, task, task.loader("train", seed=run.seed, rank=rank, world_size=world), state, run, log):
            if due:
                best = state.judge(validate(engine, task, validation), config.select)
                log.write(state.step, **state.metrics)
                checkpoint.save(engine, state, weights=best)
        if config.refit_steps:
            if state.best_step < state.step:  # from the weights that were judged the best
                engine.load(checkpoint.best(run.folder)[0])
            state.begin_refit()
    if state.refit_from is not None:
        for due in steps(engine, task, task.loader("all", seed=run.seed, rank=rank, world_size=world), state, run, log):
            if due:
                checkpoint.save(engine, state, weights=not more(state, config))
    log.close()


def more(state: State, config: TrainConfig) -> bool:
    """Whether the run's present part, learning or refit, has steps to come."""
    if state.refit_from is None:
        return state.step < config.steps and state.stale < config.patience
    return state.step < state.refit_from + config.refit_steps


def steps(engine: Engine, task: ForecastTask, loader: CaseLoader, state: State, run: Run, log: MetricsLog) -> Iterator[bool]:
    """The steps still to come of the run's present part; after each, whether a checkpoint is due."""
    config = run.config
    if state.loader:
        loader.restore(state.loader)
    window, batches = Window(engine.device), iter(loader)
    while more(state, config):
        learn(engine, task, batches, state, run, window, log)
        state.loader = loader.state()
        due = state.step % config.validate_every == 0 or not more(state, config)
        if due or state.step % config.log_every == 0:
            log.write(state.step, epoch=loader.epoch, learning_rate=state.learning_rate, skipped=state.skipped, **window.close())
        yield due


def set_up(threads: int) -> torch.device:
    """Keep to this worker's share of the processors, and name its device."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # DeepSpeed's calls of older names
    return ray.train.torch.get_device()


def held_back(loader: CaseLoader, config: TrainConfig) -> list[dict[str, Any]]:
    """This worker's share of the batches that validate. Raises DataError where there is none."""
    batches = list(itertools.islice(loader, -(-config.validation_cases // config.loader.batch_size)))
    if not batches:
        raise DataError(
            f"{loader.prepared.root}: nothing to validate on, as no product sold in the {config.loader.active_within} weeks before the "
            f"last {config.loader.validation_weeks}; give newer data, or raise loader.active_within"
        )
    return batches


def make_task(run: Run, device: torch.device) -> ForecastTask:
    config, preprocessor = run.config, Preprocessor.load(run.folder / PREPROCESSOR)
    task = ForecastTask(
        run.data,
        preprocessor,
        model=config.model,
        spec=config.spec,
        loader=config.loader,
        loss=config.loss,
        vectors=vectors_beside(run.data.root),
        device=device,
    )
    take_weights(task.model, run.folder)
    return task


def learn(
    engine: Engine, task: ForecastTask, batches: Iterator[dict[str, Any]], state: State, run: Run, window: Window, log: MetricsLog
) -> None:
    """One step. Its randomness is a function of (seed, step, worker), so a resumed run repeats it."""
    torch.manual_seed(step_seed(run.seed, state.step))
    state.learning_rate = learning_rate(state, run.config)
    seen: list[tuple[Tensor, list[str]]] = []
    for _ in range(run.config.engine.accumulation):
        started = time.perf_counter()
        batch = to_device(next(batches), engine.device)
        window.waited(time.perf_counter() - started)
        total, parts = task.loss(engine(batch), batch)
        engine.backward(total)
        engine.step(state.learning_rate)
        window.add({"loss": total.detach(), **parts}, batch["weight"])
        seen.append((total.detach(), batch["sku_id"]))
    state.step += 1
    if not engine.applied:
        state.skipped += 1
        report_skipped(seen, state, run.config.max_skipped, log)


def learning_rate(state: State, config: TrainConfig) -> float:
    """Of the next step: falls from the warm-up to the end, or over the refit where there is one."""
    if not config.refit_steps:
        return config.engine.rate(state.step, 0, config.steps)
    falls = config.steps if state.refit_from is None else state.refit_from
    return config.engine.rate(state.step, falls, falls + config.refit_steps)


def step_seed(seed: int, step: int) -> int:
    """For one worker's draws in one step."""
    return int(np.random.SeedSequence([seed, step, distributed.get_rank()]).generate_state(1)[0])


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for name, value in batch.items()}


def report_skipped(seen: list[tuple[Tensor, list[str]]], state: State, limit: int, log: MetricsLog) -> None:
    """A step whose loss or gradient is not finite leaves the weights alone and is counted; its products are named.

    Raises TrainingError where that happened more than `limit` times.
    """
    own = [(bool(torch.isfinite(loss)), skus) for loss, skus in seen]
    everywhere: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everywhere, own)
    batches = [entry for of_worker in everywhere for entry in of_worker]
    bad = [skus for finite, skus in batches if not finite]
    reason = "loss" if bad else "gradient"
    names = sorted({sku for skus in bad or [skus for _, skus in batches] for sku in skus})
    log.write(state.step, skipped=state.skipped, not_finite=reason, sku_id=names)
    if state.skipped > limit:
        raise TrainingError(
            f"step {state.step}: the {reason} is not finite, for the {state.skipped}th time (max_skipped is {limit}). "
            f"Products in the batch: {', '.join(names[:SHOWN_SKUS])}{' …' if len(names) > SHOWN_SKUS else ''}. "
            "Look at their prices and units and prepare again, or lower engine.learning_rate; then start anew"
        )


def validate(engine: Engine, task: ForecastTask, batches: list[dict[str, Any]]) -> dict[str, float]:
    """Mean losses over the cases held back, over all workers. Raises TrainingError where they are not finite."""
    window = Window(engine.device)
    with engine.evaluating():
        for batch in batches:
            inputs = to_device(batch, engine.device)
            total, parts = task.loss(engine(inputs), inputs)
            window.add({"loss": total, **parts}, inputs["weight"])
    losses = window.means()
    if not np.isfinite(losses["loss"]):
        raise TrainingError("the validation loss is not finite; lower engine.learning_rate and start anew")
    return losses
