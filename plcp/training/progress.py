"""What a run tells of itself: metrics.jsonl and TensorBoard files from worker 0, and from them a live line where it was started."""

import json
import logging
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed

from plcp.console import errors
from plcp.training.trackers import Tracker
from plcp.training.work import Done, Work

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
POLL_SECONDS = 0.5
QUIET_SECONDS = 30.0  # between two lines where there is no terminal
RECENT_BYTES = 1 << 16  # of metrics.jsonl: hundreds of lines, validations among them


class MetricsLog:
    """Writes what is measured at a step, on one worker. Continues behind `step`: what a killed run wrote beyond it is dropped."""

    def __init__(self, run: Path, step: int, write: bool, open_others: Callable[[], list[Tracker]] = list) -> None:
        """`open_others`: the trackers that get its numbers too, called on the worker that writes."""
        self._file: TextIO | None = None
        if not write:
            return
        self._others = open_others()
        self._telling = ThreadPoolExecutor(1)  # whom it has to wait for makes no worker wait
        from torch.utils.tensorboard import SummaryWriter  # here: only one worker waits for it

        path = run / METRICS
        kept = [line for line in read(path) if line["step"] <= step]
        aside = path.with_name(f".{METRICS}.writing")  # a killed run's worker that has not noticed yet keeps the old file
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        aside.replace(path)
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(run / TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, **values: Any) -> None:
        """One line; its numbers go to TensorBoard too."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        numbers = dict(scalars(values))
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._others:
            self._telling.submit(self._tell, lambda other: other.write(step, numbers))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for other in [*self._others]:
            try:
                what(other)
            except Exception as error:  # of whatever kind: who looks on must not end a training
                self._others.remove(other)
                logging.getLogger(__name__).warning("%s is told no more of this run: %s", type(other).__name__, error)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._telling.submit(self._tell, lambda other: other.close())
            self._telling.shutdown()


def scalars(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line by name; those of a list by their place in it, as each worker's memory is."""
    for name, value in values.items():
        for place, number in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(number, int | float):
                yield (f"{name}/{place}" if isinstance(value, list) else name), number


class Window:
    """What happened since the last line, over all workers."""

    def __init__(self, device: torch.device, work: Work | None = None, peak: float = 0.0, whole: bool = False) -> None:
        """`work`: what the model has to do for a batch. `peak`: FLOP/s that one worker's device reaches at most; read on worker 0 alone.
        `whole`: a batch whose loss is not finite makes the mean so; else it is left out of it."""
        self.device, self.work, self.peak, self.whole = device, work, peak, whole
        self.open()

    def open(self) -> None:
        """From now on: what was noted before is forgotten."""
        self.names: tuple[str, ...] = ()
        self.sums = torch.zeros(0, dtype=torch.float64)
        self.done = Done()
        self.waiting, self.started = 0.0, time.perf_counter()

    def waited(self, seconds: float) -> None:
        """For data."""
        self.waiting += seconds

    def took(self, batch: dict[str, Any]) -> None:
        """A batch to learn from, still in the host's memory."""
        if self.work is not None:
            self.done = self.done.plus(self.work.of(batch))

    def add(self, losses: dict[str, Tensor], weight: Tensor) -> None:
        """A batch's mean losses, and the weights of its cases."""
        cases = weight.sum().double()
        values = torch.stack([*losses.values()]).double()
        row = torch.cat([values * cases, cases.unsqueeze(0)])
        counts = cases > 0 if self.whole else torch.isfinite(values).all()
        row = torch.where(counts, row, 0.0)
        self.names, self.sums = tuple(losses), row if not self.names else self.sums + row

    def means(self) -> dict[str, float]:
        """Losses per case."""
        distributed.all_reduce(self.sums)
        *sums, cases = self.sums.tolist()
        return {name: value / cases if cases else float("nan") for name, value in zip(self.names, sums, strict=True)}

    def close(self) -> dict[str, float | list[float]]:
        """Losses, speed, the worst worker's share of time spent waiting and each one's memory; and a new window."""
        losses, elapsed = self.means(), time.perf_counter() - self.started
        own = torch.tensor([*self.done, self.waiting, memory_gb(self.device)], dtype=torch.float64, device=self.device)
        every = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(every, own)
        cases, tokens, flops, waiting, memory = torch.stack(every, 1).tolist()
        speed = {"cases_per_second": sum(cases) / elapsed, "tokens_per_second": sum(tokens) / elapsed, "waiting": max(waiting) / elapsed}
        if self.peak:
            speed["peak_share"] = sum(flops) / elapsed / (self.peak * len(flops))
        self.open()
        rounded = {name: float(f"{value:.4g}") for name, value in speed.items()}
        return {**losses, **rounded, "memory_gb": [float(f"{value:.4g}") for value in memory]}


def memory_gb(device: torch.device) -> float:
    """The most that this worker has held at once, on its device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts it in kilobytes


def read(path: Path, recent: int | None = None) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, or those whole in its last `recent` bytes; one that is still being written is left out, and one that a
    power cut left unreadable."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        skipped = max(0, path.stat().st_size - recent) if recent else 0
        file.seek(skipped)
        lines = file.read().split(b"\n")
    return [found for line in lines[1 if skipped else 0 : -1] if (found := readable(line))]


def readable(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def live(run: Path, steps: int) -> Iterator[None]:
    """Shows a run's progress while the body waits for it: a bar on a terminal, else a line every half minute."""
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(run, steps, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(run: Path, steps: int, done: threading.Event) -> None:
    columns = (TextColumn("train"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bars:
        bar = bars.add_task("starting", total=steps)
        spoken, said = time.monotonic(), 0
        while not done.wait(POLL_SECONDS):
            lines = read(run / METRICS, RECENT_BYTES)
            if not lines:
                continue
            step, text = lines[-1]["step"], describe(lines)
            bars.update(bar, completed=step, description=text)
            if not errors.is_terminal and step > said and time.monotonic() - spoken > QUIET_SECONDS:
                errors.print(f"train: step {step} of {steps}, {text}")
                spoken, said = time.monotonic(), step


def describe(lines: list[dict[str, Any]]) -> str:
    """Where a run stands, from its metrics."""
    latest: dict[str, Any] = {}
    for line in lines:
        latest.update(line)
    shown = (("loss", "loss", ".4f"), ("score", "validation", ".4f"), ("best_score", "best", ".4f"))
    parts = [f"{label} {latest[name]:{form}}" for name, label, form in shown if name in latest]
    speed = (("cases_per_second", ",.0f", "cases/s"), ("tokens_per_second", ",.0f", "tokens/s"))
    shares = (("peak_share", ".0%", "of peak"), ("waiting", ".1%", "waiting for data"))
    parts += [f"{latest[name]:{form}} {label}" for name, form, label in (*speed, *shares) if name in latest]
    if "memory_gb" in latest:
        parts.append(f"{max(latest['memory_gb']):.1f} GB at most")
    if latest.get("spikes"):
        parts.append(f"{latest['spikes']} losses leapt")
    if latest.get("skipped"):
        parts.append(f"{latest['skipped']} steps skipped")
    return ", ".join(parts)
