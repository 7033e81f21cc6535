"""The commands. Each parses, calls the library and says what came of it; it imports what it needs itself, so that help is instant."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plcp.command import AsOf, Data, DataOption, Model, Out, PreparedPath, Scores, application, monday, number, start, with_settings
from plcp.data.sources import SOURCES

if TYPE_CHECKING:
    from plcp.config import Settings
    from plcp.data.problems import Report
    from plcp.training.runs import RunResult

FINDINGS_SHOWN = 40  # those that pass their limit come first; all stand in the file
THRESHOLD_PASSED = 3  # exit code of a command that did its work and found cause for alarm

Resume = Annotated[bool, typer.Option(help="Continue an interrupted run.")]

app = application(help="Life-cycle prediction for every product in a catalog, and what to do about it.", no_args_is_help=True)


def command(run: Callable[..., None]) -> Callable[..., None]:
    """Make a function one of the commands of `plcp`."""
    return app.command(run.__name__.rstrip("_"))(with_settings(run))


@command
def simulate(
    out: Out,
    settings: "Settings",
    skus: Annotated[int | None, typer.Option(min=1, help="Products in the catalog.", show_default="simulate.skus")] = None,
    weeks: Annotated[int | None, typer.Option(min=8, help="Weeks of sales.", show_default="simulate.weeks")] = None,
) -> None:
    """A simulated shop with known truth."""
    from plcp.console import console, progress
    from plcp.data.simulator import stream

    given = {"skus": skus, "weeks": weeks, "seed": settings.seed}
    config = settings.simulate.model_copy(update={name: value for name, value in given.items() if value is not None})
    with progress("SKUs") as told:
        stream.simulate(config, out, told)
    console.print(f"{config.skus:,} SKUs × {config.weeks} weeks in {out}")


@command
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"What SRC is: {', '.join(SOURCES)}.", show_default=False)],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The foreign file or folder.", show_default=False)],
    out: Out,
    settings: "Settings",
) -> None:
    """Turn foreign data into the data contract."""
    from plcp.console import console
    from plcp.data.sources import importer

    console.print(str(importer(source)(src, out)))


def show_problems(report: "Report") -> None:
    """What is wrong with a data folder and where, a line for each kind."""
    import polars as pl

    from plcp.console import show_table

    if report.problems:
        where = pl.concat_str(
            [pl.when(pl.col("file") == "").then("table").otherwise("file"), pl.col("row").cast(pl.String)], separator=":", ignore_nulls=True
        )
        show_table(report.frame().select(where.alias("where"), "field", "value", "reason", "rows", "outcome"))


@command
def check(data: Data, settings: "Settings", quarantine: Annotated[Path | None, typer.Option(help="Where bad rows go.")] = None) -> None:
    """Validate a data folder: a table of what is wrong, and where."""
    from plcp.base import DataError
    from plcp.console import console
    from plcp.data import contract

    report = contract.check(data, settings.data, quarantine)
    show_problems(report)
    for name, rows in report.rows.items():
        console.print(f"{name}: {report.kept[name]:,} of {rows:,} rows can be used")
    if not report.ok:
        raise DataError("\n".join(report.stops))


@command
def prepare(data: Data, out: Out, settings: "Settings", as_of: AsOf = None) -> None:
    """Turn data into shards for training and scoring."""
    from plcp.console import console, progress
    from plcp.data import asof, contract, prepared

    quarantine = out.with_name(f"{out.name}-quarantine")
    dataset = contract.open_dataset(data, settings.data, quarantine)
    show_problems(dataset.report)
    if quarantine.exists():
        console.print(f"bad rows are in {quarantine}", soft_wrap=True)
    with progress("shards") as told:
        result = prepared.prepare(asof.cut(dataset, as_of) if as_of else dataset, out, settings.prepare, told)
    console.print(str(result.account))
    console.print(f"{result.skus:,} SKUs × {result.weeks} weeks to {result.origin} in {out}")


@command
def curves(prepared: PreparedPath, out: Out, settings: "Settings") -> None:
    """One parametric life-cycle curve per SKU: its family and parameters, its peak, decline and end, as one line of a table."""
    import polars as pl

    from plcp.console import console, progress, show_table
    from plcp.data import curves
    from plcp.data.prepared import Prepared

    with progress("shards") as told:
        counts = curves.fit_curves(Prepared.open(prepared), out, told)
    show_table(pl.DataFrame(sorted(counts.items()), schema={"best family": pl.String, "SKUs": pl.Int64}, orient="row"))
    console.print(f"{sum(counts.values()):,} SKUs in {out}")


@command
def pretrain(prepared: PreparedPath, out: Out, settings: "Settings", resume: Resume = True) -> None:
    """Learn the encoder from the shop's own data without labels; `plcp train --from` begins with it. Continues where it was interrupted.

    Model, spec, loader and engine are those of the section train, unless the section pretrain says otherwise.
    """
    from plcp.training import loop

    show_result(loop.train(prepared, out, settings.pretrain, settings.seed, resume))


@command
def train(
    prepared: PreparedPath,
    out: Out,
    settings: "Settings",
    resume: Resume = True,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Begin with the encoder of this `plcp pretrain`.", show_default=False)
    ] = None,
) -> None:
    """Fine-tune the model on Ray Train workers, sharded by DeepSpeed; the last weeks validate. Continues where it was interrupted."""
    from plcp.training import loop

    show_result(loop.train(prepared, out, settings.train, settings.seed, resume, from_))


def show_result(result: "RunResult") -> None:
    """What came of a run, a line."""
    from plcp.console import console

    losses = ", ".join(f"{name} {value:.4f}" for name, value in result.validation.items())
    console.print(f"{result.steps:,} steps, best at {result.best_step:,} ({losses}): {result.run}")


@command
def tune(prepared: PreparedPath, out: Out, settings: "Settings") -> None:
    """Search the options of training (tune.space) by the validation loss, and finish the best run. Continues where it was interrupted."""
    from plcp.console import console, show_table
    from plcp.training import tune

    search = tune.tune(prepared, out, settings.train, settings.tune, settings.seed)
    show_table(search.table())
    console.print(f"best: {search.best}; `plcp export {out / str(search.best)} --out MODEL` takes it", soft_wrap=True)


@command
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What `plcp train` wrote.", show_default=False)], out: Out, settings: "Settings"
) -> None:
    """Turn a run's best checkpoint into a model to serve: safetensors, calibrated, with checksums."""
    from plcp.console import console
    from plcp.training import export

    console.print(str(export.export(run, out)))


@command
def backtest(
    data: Data,
    out: Out,
    settings: "Settings",
    origins: Annotated[str, typer.Option(metavar="MONDAY,…", help="First weeks forecast.", show_default=False)],
    models: Annotated[
        str, typer.Option(metavar="NAME,…", help="plcp, and peers such as recent, lightgbm, theta, nhits; any other word lists all.")
    ] = "plcp,recent",
    horizon: Annotated[int, typer.Option(min=1, help="Weeks forecast of a product in life.")] = 12,
    launch_horizon: Annotated[int, typer.Option(min=1, help="Weeks forecast of a launch.")] = 8,
    launch_until: Annotated[
        date | None,
        typer.Option(parser=monday, metavar="MONDAY", help="Launches after the last origin count up to here.", show_default=False),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="NUMBER,…", help="Each model learns once with each.")] = "1",
) -> None:
    """Forecasts made at past origins, with nothing known from later, judged by what came. What is finished is kept.

    The table shown is OUT/metrics.parquet, a row per model. OUT/details.parquet holds every metric of every model, track, origin and seed,
    and by velocity, age and category. A model that is too slow for all products (autoarima) is judged on a fixed sample, beside the others.
    """
    from plcp.console import show_table
    from plcp.data import contract
    from plcp.evaluation import backtest

    metrics = backtest.backtest(
        contract.open_dataset(data, settings.data),
        [monday(origin) for origin in origins.split(",")],
        out,
        models=models.split(","),
        seeds=[number(seed) for seed in seeds.split(",")],
        horizon=horizon,
        launch_horizon=launch_horizon,
        launch_until=launch_until,
        config=settings.backtest,
    )
    show_table(metrics)


@command
def score(
    model: Model,
    prepared: PreparedPath,
    out: Out,
    settings: "Settings",
    only: Annotated[
        str | None,
        typer.Option(
            metavar="changed|FILE",
            show_default=False,
            help="changed: parts of which nothing they read has changed since the published run (same model, origin and options) are "
            "carried over from it; the result is that of a whole run. FILE, one SKU a line: those alone, into a run of their own that "
            "readers do not see.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing.")] = False,
) -> None:
    """Forecast the whole catalog through Ray Serve. Run again after any interruption, it makes what is missing."""
    from plcp.console import console
    from plcp.forecast import catalog

    result = catalog.score(model, prepared, out, settings.score, dry_run, only)
    parts = f"{result.parts} parts, {result.kept} kept, {result.carried} carried over"
    if dry_run:
        console.print(f"{result.skus:,} SKUs in {parts}, {result.parts - result.kept - result.carried} to be made: {result.run}")
        return
    console.print(f"{result.skus:,} SKUs, {result.skipped:,} of them skipped, in {result.seconds:.0f} s ({parts}): {result.run}")


@command
def show(
    scores: Scores,
    settings: "Settings",
    sku: Annotated[str, typer.Option(metavar="ID", help="Which product.", show_default=False)],
    prepared: Annotated[Path | None, typer.Option(metavar="PREPARED", help="Adds its title and past sales.", show_default=False)] = None,
    decisions: Annotated[Path | None, typer.Option(metavar="DIR", help="What `plcp decide` wrote.", show_default=False)] = None,
) -> None:
    """One product's newest forecast: its stage, its weeks, what comes in its life, and what to do."""
    from plcp.console import console
    from plcp.data.prepared import Prepared
    from plcp.report import show

    console.print(show.show(scores, sku, Prepared.open(prepared) if prepared else None, decisions))


@command
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="SCORES (the run readers see), or SCORES/runs/ID.", show_default=False)],
    settings: "Settings",
    after: Annotated[
        Path | None,
        typer.Argument(metavar="[B]", help="As A; without it, the last two runs published in A are compared.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Writes a row per SKU to OUT/diff/.", show_default=False)] = None,
) -> None:
    """What changed between two runs, and why: new and gone products, units, stages, events; other data, or another model."""
    from plcp import tables
    from plcp.forecast import diff as diffs
    from plcp.report import changes

    old, new = diffs.pair(before, after)
    found = diffs.diff(old, new)
    if out:
        runs = {"before": old.manifest.run_id, "after": new.manifest.run_id}
        tables.write(tables.DIFF, found.frame, out / "diff" / "part-00000.parquet", runs)
    changes.show(found.summary, as_json)
    if out and not as_json:
        typer.echo(f"{len(found.frame):,} rows in {out / 'diff'}")


@command
def rollback(scores: Scores, settings: "Settings") -> None:
    """Show readers the run before the current one again."""
    from plcp.console import console
    from plcp.forecast import runs

    console.print(f"readers now see {runs.rollback(scores)}")


@command
def decide(scores: Scores, data: DataOption, out: Out, settings: "Settings") -> None:
    """What to order, mark down, promote or watch, from the newest forecasts."""
    from plcp.console import console, show_table
    from plcp.data import contract
    from plcp.decisions import decide as decisions_for
    from plcp.forecast import runs

    decisions = decisions_for(runs.latest(scores), contract.open_dataset(data, settings.data), out, settings.decide)
    show_table(decisions.group_by("kind").len("decisions").sort("kind"))
    console.print(f"{len(decisions):,} decisions in {out}")


@command
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Holds scores/; prepared/, decisions/ and backtest/ if there.", show_default=False)
    ],
    settings: "Settings",
) -> None:
    """DIR/report.html: one page to read the forecasts, their uncertainty and the decisions, offline."""
    from plcp.console import console
    from plcp.data.prepared import Prepared
    from plcp.forecast import runs
    from plcp.report import write_report

    prepared, metrics = folder / "prepared", folder / "backtest" / "metrics.parquet"
    page = write_report(
        folder / "report.html",
        runs.latest(folder / "scores"),
        Prepared.open(prepared) if prepared.exists() else None,
        folder if (folder / "decisions").exists() else None,
        metrics if metrics.exists() else None,
    )
    console.print(str(page))


@command
def monitor(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The shop up to its newest week: DATA, or what `plcp prepare` wrote.", show_default=False)
    ],
    out: Out,
    settings: "Settings",
    against: Annotated[Path, typer.Option(metavar="PREPARED", help="What the model was trained on.", show_default=False)],
    scores: Annotated[
        Path | None, typer.Option(metavar="SCORES", help="Past forecasts, held against what came.", show_default=False)
    ] = None,
) -> None:
    """Is the newest week like those the model learned from, and did past forecasts come true? Exit code 3 if a threshold is passed."""
    from plcp.console import console, show_table
    from plcp.data.prepared import Prepared
    from plcp.monitor import PAGE, monitor, opened

    with opened(data, settings.data, settings.prepare) as new:
        findings = monitor(new, Prepared.open(against), out, scores, settings.monitor)
    show_table(findings.head(FINDINGS_SHOWN))
    console.print(f"{findings['passed'].sum()} of {len(findings)} findings pass their limit: {out / PAGE}")
    if findings["passed"].any():
        raise typer.Exit(THRESHOLD_PASSED)


@command
def serve(
    model: Model,
    settings: "Settings",
    prepared: Annotated[Path, typer.Option(metavar="PREPARED", help="What `plcp prepare` wrote.", show_default=False)],
    scores: Annotated[Path | None, typer.Option(metavar="SCORES", help="What `plcp score` wrote.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default="serve.port")] = None,
) -> None:
    """The API and the page on 127.0.0.1:8000, until Ctrl-C. Another address (serve.host) needs a token."""
    from plcp.console import console
    from plcp.forecast.runs import published
    from plcp.serving.app import Application, serving

    hosting = settings.serve.model_dump() | ({"port": port} if port else {})
    hosted = Application(model=model.resolve(), prepared=prepared.resolve(), scores=scores and scores.resolve(), **hosting)
    with ExitStack() as stack:
        with console.status("starting Ray and the replicas"):
            address = stack.enter_context(serving(hosted))
        if scores and not published(scores):
            console.print(f"{scores}: no run was published here yet; one is shown as soon as it is")
        grpc = f", gRPC on port {hosted.grpc_port}," if hosted.grpc_port else ""
        console.print(f"serving on {address}{grpc} until Ctrl-C")
        wait_for_signal()
    console.print("stopped")


def wait_for_signal() -> None:
    """Return at Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    stop.wait()


@command
def token(settings: "Settings") -> None:
    """Print a new token for the endpoint; set it as PLCP_TOKEN where the server runs."""
    from plcp.serving import auth

    typer.echo(auth.new_token())


@command
def size(
    settings: "Settings",
    skus: Annotated[int | None, typer.Option(min=1, help="Products.", show_default="size.skus")] = None,
    weeks: Annotated[int | None, typer.Option(min=8, help="Weeks of data.", show_default="size.weeks")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Workers, one on each.", show_default="size.gpus")] = None,
    gpu: Annotated[str | None, typer.Option(metavar="KIND", help="h200, h100, a100-80, l40s …", show_default="size.gpu")] = None,
    hourly_price: Annotated[float | None, typer.Option(help="Of one GPU.", show_default="size.hourly_price")] = None,
    images_per_sku: Annotated[float | None, typer.Option(min=0, help="Photos of a product.", show_default="size.images_per_sku")] = None,
    model: Annotated[str | None, typer.Option(metavar="PRESET", help="tiny, base or large.", show_default="train.model")] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Weeks forecast.", show_default="train.spec.horizon")] = None,
    measure: Annotated[bool, typer.Option(help="Measure how fast this machine is, and size it in place of GPUs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Memory, time and cost of training and scoring before a cluster is rented: every ZeRO stage and offload, the cheapest that fits."""
    from plcp.size import show
    from plcp.size.request import sized

    given = {"skus": skus, "weeks": weeks, "gpus": gpus, "gpu": gpu, "hourly_price": hourly_price, "images_per_sku": images_per_sku}
    plan = sized(settings.size, {k: v for k, v in given.items() if v is not None}, settings.train, model, horizon, measure)
    show.show(plan, json)


def main(*command: str) -> None:
    """Run the command line, or the command given with the command line's arguments."""
    start(app, *command)
