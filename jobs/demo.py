"""The whole road on one page: raw data in; a model, honest figures, forecasts, decisions and a report out.

make demo                 a simulated shop, into demo/
make demo DATA=FILE       Online Retail II (spreadsheet, CSV or Parquet), into demo-<name>/
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plcp.command import job

if TYPE_CHECKING:
    from plcp.config import Settings

MODELS = ("plcp", "recent", "lightgbm")
HORIZON = 12  # weeks


def demo(
    settings: "Settings",
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Online Retail II in place of a simulated shop.", show_default=False)
    ] = None,
) -> None:
    """Import or simulate, check, prepare, train, export, backtest, score, decide, report."""
    from plcp.console import Story, show_table
    from plcp.data.contract import open_dataset
    from plcp.data.prepared import prepare
    from plcp.data.simulator.stream import simulate
    from plcp.data.sources.online_retail import import_online_retail
    from plcp.evaluation.backtest import backtest
    from plcp.training.export import export
    from plcp.training.loop import train
    from plcp.weekly import score_decide_report

    out = Path(f"demo-{data.stem}" if data else "demo")
    story = Story()

    if data:
        with story.step("import") as say:
            imported = import_online_retail(data, out / "data")
            say(f"{imported.kept:,} of {imported.rows:,} order lines, {imported.products:,} products")
    else:
        with story.step("simulate") as say:
            simulate(settings.simulate, out / "data")
            say(f"{settings.simulate.skus:,} products × {settings.simulate.weeks} weeks")

    with story.step("check") as say:
        dataset = open_dataset(out / "data", settings.data, quarantine=out / "quarantine")
        rows, kept = sum(dataset.report.rows.values()), sum(dataset.report.kept.values())
        say(f"{rows:,} rows, {rows - kept:,} of them in quarantine")

    with story.step("prepare") as say:
        prepared = prepare(dataset, out / "prepared", settings.prepare)
        say(f"{prepared.skus:,} SKUs × {prepared.weeks} weeks, to be forecast from {prepared.origin}")

    with story.step("train") as say:
        run = train(prepared.root, out / "run", settings.train, settings.seed)
        say(f"{run.steps:,} steps on {settings.train.workers} workers, ZeRO-{settings.train.engine.zero_stage}")

    with story.step("export") as say:
        model = export(out / "run", out / "model")
        say(f"{model}")

    with story.step("backtest") as say:
        origin = prepared.origin - timedelta(weeks=HORIZON)
        metrics = backtest(
            dataset, [origin], out / "backtest", models=MODELS, seeds=[settings.seed], horizon=HORIZON, config=settings.backtest
        )
        losses = ", ".join(f"{model} {loss:.3f}" for model, loss in metrics.select("model", "in-life wql").iter_rows())
        show_table(metrics.select("model", "in-life wql", "wape_total", "launch wql", "end_4w AUC", "stage F1"))
        say(f"at {origin}, {HORIZON} weeks ahead, quantile loss: {losses}")

    score_decide_report(story, model, prepared, dataset, out, settings)


if __name__ == "__main__":
    job(demo)
