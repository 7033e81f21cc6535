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
from plcp.console import errors
from plcp.data.loader import CaseLoader
from plcp.data.prepared import Prepared
from plcp.folders import alone
from plcp.forecast.embeddings import vectors_beside
from plcp.model.preprocess import Preprocessor
from plcp.training import checkpoint, cluster, progress
from plcp.training.checkpoint import Saver, State
from plcp.training.cluster import DivergedError, TrainingError
from plcp.training.engine import Engine, loading_shares
from plcp.training.preemption import Notice, PreemptedError
from plcp.training.pretrained import start_of
from plcp.training.pretraining import PretrainTask
from plcp.training.progress import MetricsLog, Window
from plcp.training.runs import PREPROCESSOR, Options, PretrainConfig, Run, RunResult, TrainConfig
from plcp.training.spikes import Spikes
from plcp.training.store import DamagedError, Store
from plcp.training.task import ForecastTask, Task
from plcp.training.trackers import open_trackers, require
from plcp.training.work import Work, peak_flops

SHOWN_SKUS = 20  # of a batch that went wrong
SAME_LOSS = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2}  # relative difference that rounding may make


def train(
    prepared: Path, run: Path, config: Options | None = None, seed: int = 0, resume: bool = True, pretrained: Path | None = None
) -> RunResult:
    """Learn from PREPARED what the options' task is (to forecast, or pretraining); everything goes below the folder `run`.

    It begins with the weights of the run `pretrained` if one is given (see pretrained.start_of).
    A run that was interrupted continues from its last whole checkpoint, to the same weights; a finished one is returned as it is.
    `resume=False` starts anew. Raises ConfigError where the folder holds a run with other options or data, TrainingError where
    it cannot go on, StorageError where its checkpoints cannot be stored, KeyboardInterrupt on Ctrl-C.
    """
    data = Prepared.open(Path(prepared).resolve())
    options = (config or TrainConfig()).fitted(data)
    start = start_of(pretrained.resolve(), data, options) if pretrained else None
    this = Run(Path(run).resolve(), data, options, seed, start.digest if start else None)
    if not resume:
        this.forget()
    this.begin(start)
    result = this.finished()
    if result is None:
        require(this.config.trackers)
        with progress.live(this.folder, this.config.steps + this.config.refit_steps):
            run_workers(this)
        result = this.finish()
    return result


def run_workers(run: Run) -> None:
    """To the end of the run, or to where it is to pause; a checkpoint that turns out damaged is left out, and the one before it taken."""
    config = run.config
    least, most = config.fewest_and_most
    cluster.connect(least)
    asked = config.cpus_per_worker, config.gpus_per_worker
    cpus, gpus = cluster.share(cluster.nodes_up(), cluster.expected(cluster.nodes_up(), least, most, *asked), *asked)
    with alone(run.folder):  # a second driver of the same run waits for the first
        while True:
            checkpoint.recover(run.place)
            try:
                return cluster.fit(functools.partial(worker, run, cpus), run.place, config.workers, cpus, gpus, config.max_failures)
            except DamagedError as damaged:
                Store(run.place).leave_out(damaged)
                errors.print(f"train: {damaged}; continuing from the one before")


def worker(run: Run, threads: int) -> None:
    """One worker's part of a run: set up, continue where the last checkpoint stands, then learn, validate and report."""
    config, context = run.config, ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = set_up(threads)
    torch.manual_seed(run.seed)  # the same first weights on every worker
    task = make_task(run, device)
    engine = Engine(task.model, config.engine, micro_batch=max(1, config.loader.batch_size // world), slow=task.slow)
    validation = held_back(task.loader("validation"), config, rank, world)
    state = checkpoint.restore(engine, run.place)
    if state.workers not in (0, world):
        make_sure_it_continues(engine, task, validation, state)
    saver, notice = Saver(run.place, config.storage_patience), Notice()
    others = functools.partial(open_trackers, config.trackers, run.folder, config.model_dump(mode="json"))
    log = MetricsLog(run.folder, state.step, rank == 0, others)
    if task.fresh is not None and state.step == 0:
        log.write(0, fresh=task.fresh)
    if state.refit_from is None:
        for due, leaving in steps(engine, task, task.loader("train", seed=run.seed, rank=rank, world_size=world), state, run, log, notice):
            if due:
                best = state.judge(validate(engine, task, validation), config.select)
                log.write(state.step, **state.metrics)
                saver.save(engine, state, weights=best)
            if leaving:
                leave(saver, engine, state, saved=due)
        if config.refit_steps and run.pause is None:
            if state.best_step < state.step:  # from the weights that were judged the best
                checkpoint.load_best(engine)
            state.begin_refit()
    if state.refit_from is not None:
        for due, leaving in steps(engine, task, task.loader("all", seed=run.seed, rank=rank, world_size=world), state, run, log, notice):
            if due:
                saver.save(engine, state, weights=not more(state, run))
            if leaving:
                leave(saver, engine, state, saved=due)
    log.close()


def leave(saver: Saver, engine: Engine, state: State, saved: bool) -> None:
    """Stop with a checkpoint of this very step: a worker's machine is about to be taken away. Ray Train starts the workers anew."""
    if not saved:
        saver.save(engine, state, weights=False)
    saver.settle()
    raise PreemptedError(f"stopped on notice after step {state.step}")


def more(state: State, run: Run) -> bool:
    """Whether the run's present part, learning or refit, has steps to come."""
    config = run.config
    if state.refit_from is None:
        return state.step < min(config.steps, run.pause or config.steps) and state.stale < config.patience
    return state.step < state.refit_from + config.refit_steps


def steps(
    engine: Engine, task: Task, loader: CaseLoader, state: State, run: Run, log: MetricsLog, notice: Notice
) -> Iterator[tuple[bool, bool]]:
    """The steps still to come of the run's present part; after each, whether a checkpoint is due, and whether a worker was given notice."""
    config = run.config
    if state.loader:
        loader.restore(state.loader)
    peak = peak_flops(engine.device, engine.dtype) if distributed.get_rank() == 0 else 0.0
    window, batches = Window(engine.device, Work(task.model), peak), iter(loader)
    spikes = Spikes(config.spike, engine.device, state.recent)
    while more(state, run):
        learn(engine, task, batches, state, run, window, spikes, log)
        state.loader = loader.state()
        due, leaving = state.step % config.validate_every == 0 or not more(state, run), notice.given()
        if due or leaving or state.step % config.log_every == 0:
            for line in spikes.report():
                state.spikes += 1
                log.write(spikes=state.spikes, **line)
            log.write(state.step, epoch=loader.epoch, learning_rate=state.learning_rate, skipped=state.skipped, **window.close())
        if due or leaving:
            state.recent = spikes.recent()
        yield due, leaving
        if due:
            window.open()  # validation and checkpoint are no part of its speed


def set_up(threads: int) -> torch.device:
    """Keep to this worker's share of the processors, and name its device."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # DeepSpeed's calls of older names
    return ray.train.torch.get_device()


def held_back(loader: CaseLoader, config: Options, rank: int, world: int) -> list[dict[str, Any]]:
    """This worker's share of the batches that validate: whole ones, so that the loss is the same for any number of workers.

    Where there are too few for all, a worker gets one of weight 0, so that collective steps stay in step. Raises DataError where there
    is none.
    """
    batches = list(itertools.islice(loader, -(-config.validation_cases // loader.config.batch_size)))
    if not batches:
        raise DataError(
            f"{loader.prepared.root}: nothing to validate on, as no product sold in the {config.loader.active_within} weeks before the "
            f"last {config.loader.validation_weeks}; give newer data, or raise loader.active_within"
        )
    own, filling = batches[rank::world], {**batches[0], "weight": torch.zeros_like(batches[0]["weight"])}
    return own + [filling] * (-(-len(batches) // world) - len(own))


def make_task(run: Run, device: torch.device) -> Task:
    config, preprocessor = run.config, Preprocessor.load(run.folder / PREPROCESSOR)
    loading = functools.partial(loading_shares, config.engine)
    common: dict[str, Any] = {
        "loading": loading,
        "model": config.model,
        "spec": config.spec,
        "loader": config.loader,
        "vectors": vectors_beside(run.data.root),
        "device": device,
    }
    if isinstance(config, PretrainConfig):
        return PretrainTask(run.data, preprocessor, loss=config.loss, **common)
    return ForecastTask(run.data, preprocessor, loss=config.loss, pretrained=run.pretrained, **common)


def learn(
    engine: Engine,
    task: Task,
    batches: Iterator[dict[str, Any]],
    state: State,
    run: Run,
    window: Window,
    spikes: Spikes,
    log: MetricsLog,
) -> None:
    """One step. Its randomness is a function of (seed, step, worker), so a resumed run repeats it."""
    torch.manual_seed(step_seed(run.seed, state.step))
    state.learning_rate = learning_rate(state, run.config)
    seen: list[tuple[Tensor, list[str]]] = []
    for _ in range(run.config.engine.accumulation):
        started = time.perf_counter()
        batch = next(batches)
        window.waited(time.perf_counter() - started)
        window.took(batch)
        batch = to_device(batch, engine.device)
        total, parts = task.loss(engine(batch), batch)
        engine.backward(spikes.judged(total, state.step + 1, batch["sku_id"]))
        engine.step(state.learning_rate)
        window.add({"loss": total.detach(), **parts}, batch["weight"])
        seen.append((total.detach(), batch["sku_id"]))
    state.step += 1
    if not engine.applied and not engine.rescaling:
        state.skipped += 1
        report_skipped(seen, state, run.config.max_skipped, log)


def learning_rate(state: State, config: Options) -> float:
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
        raise DivergedError(
            f"step {state.step}: the {reason} is not finite, for the {state.skipped}th time (max_skipped is {limit}). "
            f"Products in the batch: {', '.join(names[:SHOWN_SKUS])}{' …' if len(names) > SHOWN_SKUS else ''}. "
            "Look at their prices and units and prepare again, or lower engine.learning_rate; then start anew"
        )


def make_sure_it_continues(engine: Engine, task: Task, batches: list[dict[str, Any]], state: State) -> None:
    """Where another number of workers took up a checkpoint: raises TrainingError unless it validates as it did (DeepSpeed #6691)."""
    if state.judged_step == state.step and state.refit_from is None:
        before, now = state.validation[task.steady], validate(engine, task, batches)[task.steady]
        if abs(now - before) > SAME_LOSS[engine.config.precision] * abs(before):
            raise TrainingError(
                f"step {state.step}: {distributed.get_world_size()} workers took up what {state.workers} saved with a validation loss of "
                f"{before:.6g}, and find {now:.6g}; continue with train.workers={state.workers}"
            )


def validate(engine: Engine, task: Task, batches: list[dict[str, Any]]) -> dict[str, float]:
    """Mean losses over the cases held back, over all workers. Raises TrainingError where they are not finite."""
    window = Window(engine.device)
    with engine.evaluating():
        for batch in batches:
            inputs = to_device(batch, engine.device)
            total, parts = task.loss(engine(inputs), inputs)
            window.add({"loss": total, **parts}, inputs["weight"])
    losses = window.means()
    if not np.isfinite(losses["loss"]):
        raise DivergedError("the validation loss is not finite; lower engine.learning_rate and start anew")
    return losses
