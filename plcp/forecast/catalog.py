"""The resumable run over a catalog: parts planned from the shards, made by `Catalog`, recorded, and published at once."""

import asyncio
import errno
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from plcp.base import Config, ConfigError, ModelError, PlcpError
from plcp.folders import full
from plcp.forecast import replicas, shelves
from plcp.forecast.forecaster import ForecasterConfig
from plcp.forecast.parts import Part
from plcp.forecast.planning import CHANGED, carried_over, plan
from plcp.forecast.replicas import ONGOING, ReplicaConfig
from plcp.forecast.runs import Failure, Manifest, PartRecord, Run, Source, latest, publish, rollback

__all__ = ["CHANGED", "CatalogConfig", "ScoreResult", "latest", "rollback", "score"]


class CatalogConfig(Config):
    """How a catalog is scored."""

    replica: ReplicaConfig = ReplicaConfig()
    forecaster: ForecasterConfig = ForecasterConfig()
    tries: int = Field(4, ge=2, description="tries of a part before it is set aside; the last one is made alone, when all else is done")
    backoff_s: float = Field(1, ge=0, description="seconds before the second try; doubled with each further one")
    snapshots: bool = Field(True, description="make what the endpoint reads; without it the endpoint does when it first looks")
    part_timeout_s: float = Field(3600, gt=0, description="seconds after which a try of a part counts as failed")


@dataclass(frozen=True)
class ScoreResult:
    """What a run did."""

    run: Path  # SCORES/runs/<run id>
    skus: int
    skipped: int | None  # None after a dry run
    parts: int
    kept: int  # parts that an earlier attempt at the same run had finished
    carried: int  # parts of the published run that are what this one would make
    seconds: float

    @property
    def run_id(self) -> str:
        return self.run.name


def score(
    model: Path, prepared: Path, scores: Path, config: CatalogConfig | None = None, dry_run: bool = False, only: Path | str | None = None
) -> ScoreResult:
    """Forecast every SKU of PREPARED with an artifact, and publish the tables in SCORES.

    The run's name follows from its inputs: run again after any interruption, the command makes what is missing, and nothing twice.
    With only="changed", parts whose inputs are those of the published run (same model, origin and settings, and nothing they read has
    changed) are carried over from it: the run and its bytes are those of a whole one. With `only` a file of SKUs, one a line, those alone
    are forecast, into a run of its own that is not published. A dry run only tells what there is to do.

    Raises ModelError or DataError where an input is none, ConfigError where what was asked for is not there, and PlcpError where parts
    failed for good (named with their errors in the run's failures.json) or no space is left; then nothing is published.
    """
    begin, config, scores = time.monotonic(), config or CatalogConfig(), Path(scores)
    some = Path(only) if only and only != CHANGED else None
    source, parts = plan(Path(model), Path(prepared), scores, config, some)
    if only == CHANGED:
        parts = carried_over(parts, source, scores)
    run, skus = Run(scores / "runs" / source.run_id), sum(part.skus for part in parts)
    if dry_run:
        todo = left(parts, run.finished())
        return result(run, parts, todo, skus, None, begin)
    with told_if_full(scores), run.alone():
        finished = run.finished()
        if todo := left(parts, finished):
            finished |= make(run, todo, skus, config)
        manifest = complete(source, [finished[part.name] for part in parts])
        run.complete(manifest)
        if some is None:
            if config.snapshots:
                make_snapshots(Path(prepared), run, parts)
            publish(scores, source.run_id)
    return result(run, parts, todo, skus, manifest.skipped, begin)


@contextmanager
def told_if_full(scores: Path) -> Iterator[None]:
    """A full disk in words that help. It is no part's fault, so no part is tried again for it."""
    try:
        yield
    except OSError as error:
        if not full(error):
            raise
        raise PlcpError(
            f"{error.filename or scores}: no space is left there. What is finished is kept: free some, and run the same command again"
        ) from error


def make_snapshots(prepared: Path, run: Run, parts: Sequence[Part]) -> None:
    """What endpoints read of a run's parts, before they look; in a process of its own, which gives back all the memory that it takes.

    Raises OSError where the disk is full, and PlcpError where they cannot be made for another reason.
    """
    caches = {part.forecaster.cache for part in parts}
    command = [sys.executable, "-m", shelves.__name__, *map(str, (prepared.resolve(), run.root.resolve(), *filter(None, caches)))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with Progress(SpinnerColumn(), TextColumn("snapshots for the endpoint"), TimeElapsedColumn(), transient=True) as shown:
        shown.add_task("")
        made = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if made.returncode == errno.ENOSPC:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if made.returncode:
        killed = f"ended by signal {-made.returncode}; is there too little memory?"
        said = killed if made.returncode < 0 else (made.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise PlcpError(
            f"{run.root}: every product is forecast, but the snapshots for the endpoint could not be made ({said}). "
            "Mend it and run the same command again, or leave them to the endpoint (score.snapshots=false)"
        )


def left(parts: list[Part], finished: dict[str, PartRecord]) -> list[Part]:
    """The parts still to be made, carried over ones included."""
    return [part for part in parts if part.name not in finished or finished[part.name].input != part.input]


def result(run: Run, parts: list[Part], todo: list[Part], skus: int, skipped: int | None, begin: float) -> ScoreResult:
    carried = sum(part.carried is not None for part in todo)
    return ScoreResult(run.root, skus, skipped, len(parts), len(parts) - len(todo), carried, time.monotonic() - begin)


def complete(source: Source, records: list[PartRecord]) -> Manifest:
    skus, skipped = sum(r.skus for r in records), sum(r.skipped for r in records)
    return Manifest(run_id=source.run_id, source=source, skus=skus, skipped=skipped, parts=records)


def make(run: Run, todo: list[Part], skus: int, config: CatalogConfig) -> dict[str, PartRecord]:
    """Have every part made; their records. Raises PlcpError if some could not be, after all others are."""
    with replicas.catalog(config.replica, run.root) as (handle, count), progress_bar() as bar:
        task = bar.add_task("scoring", total=skus, completed=skus - sum(part.skus for part in todo))
        driver = Driver(run, handle, count * ONGOING, config, lambda part: bar.advance(task, part.skus))
        failures = asyncio.run(driver.drive(todo))
    if failures:
        path, first = run.fail(failures), failures[0]
        raise PlcpError(
            f"{len(failures)} of {len(todo)} parts could not be scored, all others are done and nothing was published: {path} says why. "
            f"First: {first.shard}: {first.error}. Mend it and run the same command again"
        )
    return driver.records


@dataclass
class Driver:
    """Sends descriptors of parts to `Catalog`, a bounded number at a time, and tries again what fails."""

    run: Run
    handle: DeploymentHandle
    in_flight: int
    config: CatalogConfig
    done: Callable[[Part], Any]
    records: dict[str, PartRecord] = field(default_factory=dict)

    async def drive(self, parts: Sequence[Part]) -> list[Failure]:
        """Make the parts; returns those that failed for good. Raises ModelError, ConfigError and OSError (a full disk), which no other try
        mends."""
        await self.wait_for_replica()
        failed = await self.share(parts, self.in_flight, self.config.tries - 1)
        # alone, a part that kills its replica takes no other with it
        return [failure for _, failure in await self.share([part for part, _ in failed], 1, 1)]

    async def wait_for_replica(self) -> None:
        limit = self.config.replica
        try:
            await asyncio.wait_for(_answer(self.handle.ready.remote()), limit.start_timeout_s)
        except TimeoutError:
            raise ConfigError(
                f"no replica of Catalog could start within {limit.start_timeout_s:g} s: each reserves {limit.threads} CPU cores and "
                f"{limit.gpus:g} GPUs; free them in the cluster, or ask for less (threads, gpus)"
            ) from None

    async def share(self, parts: Sequence[Part], width: int, tries: int) -> list[tuple[Part, Failure]]:
        """Work through the parts, `width` at a time."""
        waiting = iter(parts)
        failed: list[tuple[Part, Failure]] = []

        async def work() -> None:
            for part in waiting:
                failure = await self.attempt(part, tries)
                failed.extend([(part, failure)] if failure else [])

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(width, len(parts))):
                    group.create_task(work())
        except* (ModelError, ConfigError, OSError) as errors:
            raise errors.exceptions[0] from None
        return failed

    async def attempt(self, part: Part, tries: int) -> Failure | None:
        for number in range(tries):
            try:
                # a try that was given up may have made it after all
                record = await asyncio.to_thread(self.run.made, part.name, part.input) or await self.ask(part)
            except Exception as error:
                cause = error.cause if isinstance(error, RayTaskError) else error
                if isinstance(cause, (ModelError, ConfigError)) or full(cause):
                    raise cause from None
                failure = Failure(
                    part=part.name,
                    shard=part.shard,
                    tries=self.config.tries,
                    error=f"{type(cause).__name__}: {cause}".strip(": "),
                    traceback="".join(traceback.format_exception(error)),
                )
                await asyncio.sleep(self.config.backoff_s * 2**number)
            else:
                self.records[part.name] = record
                self.done(part)
                return None
        return failure

    async def ask(self, part: Part) -> PartRecord:
        response = self.handle.score.remote(part)
        try:
            return await asyncio.wait_for(_answer(response), self.config.part_timeout_s)
        except TimeoutError:
            response.cancel()
            raise


async def _answer(response: Any) -> Any:
    return await response


class Speed(ProgressColumn):
    """SKUs per second of this run."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} SKUs/s")


def progress_bar() -> Progress:
    counts = TextColumn("{task.completed:,.0f}/{task.total:,.0f} SKUs")
    return Progress(TextColumn("{task.description}"), BarColumn(), counts, Speed(), TimeRemainingColumn(), speed_estimate_period=300)
