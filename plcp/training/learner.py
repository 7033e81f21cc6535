"""What each worker of a run does: learn, validate, keep checkpoints, and stop when it is told to."""

import functools
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import Tensor, distributed

from plcp.base import DataError
from plcp.data.features import Arrays
from plcp.data.loader import CaseLoader, Split
from plcp.forecast.embeddings import vectors_beside
from plcp.model.preprocess import Preprocessor
from plcp.training import checkpoint
from plcp.training.checkpoint import Saver
from plcp.training.cluster import DivergedError, TrainingError
from plcp.training.engine import Engine, loading_shares
from plcp.training.preemption import Notice, PreemptedError
from plcp.training.pretraining import PretrainTask
from plcp.training.progress import MetricsLog, Window
from plcp.training.runs import PREPROCESSOR, Options, PretrainConfig, Run
from plcp.training.spikes import Spikes
from plcp.training.task import ForecastTask, Task
from plcp.training.trackers import open_trackers
from plcp.training.work import Work, peak_flops

SHOWN_SKUS = 20  # of a batch that went wrong
SAME_LOSS = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2}  # relative difference that rounding may make


class Learner:
    """One worker's part of a run. Built, and every method called, by all workers at once."""

    def __init__(self, run: Run, threads: int) -> None:
        """Set up, and continue where the last checkpoint stands."""
        config, context = run.config, ray.train.get_context()
        self.run, self.rank, self.world = run, context.get_world_rank(), context.get_world_size()
        self.device = set_up(threads)
        torch.manual_seed(run.seed)  # the same first weights on every worker
        self.task = make_task(run, self.device)
        micro_batch = max(1, config.loader.batch_size // self.world)
        self.engine = Engine(self.task.model, config.engine, micro_batch=micro_batch, slow=self.task.slow)
        self.validation = held_back(self.task.loader("validation", raw=True), self.task.tensors, config, self.rank, self.world)
        self.state = checkpoint.restore(self.engine, run.place)
        if self.state.workers not in (0, self.world):
            self.make_sure_it_continues()
        self.saver, self.notice = Saver(run.place, config.storage_patience), Notice()
        trackers = functools.partial(open_trackers, config.trackers, run.folder, config.model_dump(mode="json"))
        self.log = MetricsLog(run.folder, self.state.step, self.rank == 0, trackers)
        if self.task.fresh is not None and self.state.step == 0:
            self.log.write(0, fresh=self.task.fresh)
        peak = peak_flops(self.device, self.engine.dtype) if self.rank == 0 else 0.0
        self.window = Window(self.device, Work(self.task.model), peak)
        self.spikes = Spikes(config.spike, self.device, self.state.recent)

    def learn(self) -> None:
        """To the end of the run, or to where it is to pause: all but the weeks held back, then, from the best weights, all weeks."""
        state, config = self.state, self.run.config
        if state.refit_from is None:
            self.part("train")
            if config.refit_steps and self.run.pause is None:
                if state.best_step < state.step:
                    checkpoint.load_best(self.engine)
                state.begin_refit()
        if state.refit_from is not None:
            self.part("all")
        self.log.close()

    def part(self, split: Split) -> None:
        """The steps still to come of the run's present part."""
        state, config = self.state, self.run.config
        loader = self.task.loader(split, seed=self.run.seed, rank=self.rank, world_size=self.world)
        if state.loader:
            loader.restore(state.loader)
        batches = iter(loader)
        self.window.open()
        while self.more():
            self.step(batches)
            state.loader = loader.state()
            due, leaving = state.step % config.validate_every == 0 or not self.more(), self.notice.given()
            if due or leaving or state.step % config.log_every == 0:
                self.tell(loader.epoch)
            if due or leaving:
                self.keep(due, leaving)
                self.window.open()  # validation and checkpoint are no part of its speed

    def more(self) -> bool:
        """Whether the run's present part has steps to come."""
        state, config = self.state, self.run.config
        if state.refit_from is None:
            return state.step < min(config.steps, self.run.pause or config.steps) and state.stale < config.patience
        return state.step < state.refit_from + config.refit_steps

    def step(self, batches: Iterator[dict[str, Any]]) -> None:
        """Its randomness is a function of (seed, step, worker), so a resumed run repeats it."""
        state = self.state
        torch.manual_seed(step_seed(self.run.seed, state.step))
        state.learning_rate = self.learning_rate()
        seen = [self.accumulate(batches) for _ in range(self.run.config.engine.accumulation)]
        state.step += 1
        if not self.engine.applied:
            self.left_out(seen)

    def accumulate(self, batches: Iterator[dict[str, Any]]) -> tuple[Tensor, list[str]]:
        """One batch of a step: its loss, (), and its products."""
        started = time.perf_counter()
        batch = next(batches)
        self.window.waited(time.perf_counter() - started)
        self.window.took(batch)
        batch = to_device(batch, self.device)
        total, parts = self.task.loss(self.engine(batch), batch, shared=True)
        self.engine.backward(self.spikes.judged(total, self.state.step + 1, batch["sku_id"]))
        self.engine.step(self.state.learning_rate)
        self.window.add({"loss": total.detach(), **parts}, torch.ones(1, device=self.device))
        return total.detach(), batch["sku_id"]

    def learning_rate(self) -> float:
        """Of the next step: falls from the warm-up to the end, or over the refit where there is one."""
        state, config = self.state, self.run.config
        if not config.refit_steps:
            return config.engine.rate(state.step, 0, config.steps)
        falls = config.steps if state.refit_from is None else state.refit_from
        return config.engine.rate(state.step, falls, falls + config.refit_steps)

    def tell(self, epoch: int) -> None:
        """Lines of the log: losses that leapt, and what happened since the last."""
        state = self.state
        for line in self.spikes.report():
            state.spikes += 1
            self.log.write(spikes=state.spikes, **line)
        self.log.write(state.step, epoch=epoch, learning_rate=state.learning_rate, skipped=state.skipped, **self.window.close())

    def keep(self, due: bool, leaving: bool) -> None:
        """A checkpoint: with weights where they validated best or a refit ends. Raises PreemptedError where a worker has to leave."""
        state = self.state
        state.recent = self.spikes.recent()
        weights = due and state.refit_from is not None and not self.more()
        if due and state.refit_from is None:
            weights = state.judge(self.validate(), self.run.config.select)
            self.log.write(state.step, **state.metrics)
        self.saver.save(self.engine, state, weights=weights)
        if leaving:  # a worker's machine is about to be taken away; Ray Train starts the workers anew
            self.saver.settle()
            raise PreemptedError(f"stopped on notice after step {state.step}")

    def validate(self) -> dict[str, float]:
        """Mean losses over the cases held back, over all workers. Raises TrainingError where they are not finite."""
        window = Window(self.device, whole=True)
        with self.engine.evaluating():
            for batch in self.validation:
                inputs = to_device(batch, self.device)
                total, parts = self.task.loss(self.engine(inputs), inputs)
                window.add({"loss": total, **parts}, inputs["weight"])
        losses = window.means()
        if not np.isfinite(losses["loss"]):
            raise DivergedError("the validation loss is not finite; lower engine.learning_rate and start anew")
        return losses

    def make_sure_it_continues(self) -> None:
        """Where another number of workers took up a checkpoint: raises TrainingError unless it validates as it did (DeepSpeed #6691)."""
        state = self.state
        if state.judged_step == state.step and state.refit_from is None:
            before, now = state.validation[self.task.steady], self.validate()[self.task.steady]
            if abs(now - before) > SAME_LOSS[self.engine.config.precision] * abs(before):
                raise TrainingError(
                    f"step {state.step}: {self.world} workers took up what {state.workers} saved with a validation loss of "
                    f"{before:.6g}, and find {now:.6g}; continue with train.workers={state.workers}"
                )

    def left_out(self, seen: list[tuple[Tensor, list[str]]]) -> None:
        """A step whose loss or gradient is not finite leaves the weights alone and is counted; its products are named.

        Raises TrainingError where that happened more often than the run's options allow. A step whose gradient was too large for the scale
        that fp16 had it at does not count.
        """
        state, limit = self.state, self.run.config.max_skipped
        own = [(bool(torch.isfinite(loss)), skus) for loss, skus in seen]
        everywhere: list[Any] = [None] * self.world
        distributed.all_gather_object(everywhere, own)
        batches = [entry for of_worker in everywhere for entry in of_worker]
        bad = [skus for finite, skus in batches if not finite]
        if self.engine.rescaling and not bad:
            return
        state.skipped += 1
        reason = "loss" if bad else "gradient"
        names = sorted({sku for skus in bad or [skus for _, skus in batches] for sku in skus})
        self.log.write(state.step, skipped=state.skipped, not_finite=reason, sku_id=names)
        if state.skipped > limit:
            raise DivergedError(
                f"step {state.step}: the {reason} is not finite, for the {state.skipped}th time (max_skipped is {limit}). "
                f"Products in the batch: {', '.join(names[:SHOWN_SKUS])}{' …' if len(names) > SHOWN_SKUS else ''}. "
                "Look at their prices and units and prepare again, or lower engine.learning_rate; then start anew"
            )


def set_up(threads: int) -> torch.device:
    """Keep to this worker's share of the processors, and name its device."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # DeepSpeed's calls of older names
    return ray.train.torch.get_device()


def held_back(loader: CaseLoader, made: Callable[[Arrays], dict[str, Any]], config: Options, rank: int, world: int) -> list[dict[str, Any]]:
    """This worker's share of the batches that validate, `made` ready: whole ones, so that the loss is the same for any number of workers.

    Where there are too few for all, a worker gets one of weight 0, so that collective steps stay in step. Raises DataError where there
    is none.
    """
    batches = list(itertools.islice(loader, -(-config.validation_cases // loader.config.batch_size)))
    if not batches:
        raise DataError(
            f"{loader.prepared.root}: nothing to validate on, as no product sold in the {config.loader.active_within} weeks before the "
            f"last {config.loader.validation_weeks}; give newer data, or raise loader.active_within"
        )
    own, filling = batches[rank::world], {**batches[0], "weight": np.zeros_like(batches[0]["weight"])}
    return [made(batch) for batch in own + [filling] * (-(-len(batches) // world) - len(own))]


def make_task(run: Run, device: torch.device) -> Task:
    config, preprocessor = run.config, Preprocessor.load(run.folder / PREPROCESSOR)
    preprocessor.remember(torch.get_num_threads())
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


def step_seed(seed: int, step: int) -> int:
    """For one worker's draws in one step."""
    return int(np.random.SeedSequence([seed, step, distributed.get_rank()]).generate_state(1)[0])


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for name, value in batch.items()}
