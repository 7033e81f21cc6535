"""The weekly run: the newest data in, forecasts, decisions and a report out.

ray job submit --working-dir . -- python jobs/weekly.py DATA --model MODEL --out DIR

Every step keeps what is finished: the same command again continues, and makes the same bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plcp.command import AsOf, Data, Out, job

if TYPE_CHECKING:
    from plcp.config import Settings


def weekly(
    data: Data,
    out: Out,
    settings: "Settings",
    model: Annotated[Path, typer.Option(metavar="MODEL", help="What `plcp export` wrote.", show_default=False)],
    as_of: AsOf = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Also fine-tune the model on the new weeks; the result goes live if it is not worse on the last ones, and stays live "
            "in later runs with the same --model and --out.",
        ),
    ] = False,
) -> None:
    """Check, prepare, refresh the model if asked to, score, decide, report; everything below --out."""
    from plcp.base import PlcpError
    from plcp.console import Story
    from plcp.data.asof import cut
    from plcp.data.contract import open_dataset
    from plcp.data.prepared import prepare
    from plcp.evaluation.refresh import live_model
    from plcp.evaluation.refresh import refresh as refreshed
    from plcp.weekly import score_decide_report

    story = Story()
    with story.step("check") as say:
        dataset = open_dataset(data, settings.data, quarantine=out / "quarantine")
        dataset = cut(dataset, as_of) if as_of else dataset
        say(f"{sum(dataset.report.kept.values()):,} of {sum(dataset.report.rows.values()):,} rows can be used")

    with story.step("prepare") as say:
        prepared = prepare(dataset, out / "prepared", settings.prepare)
        say(f"{prepared.skus:,} SKUs × {prepared.weeks} weeks, to be forecast from {prepared.origin}")

    failed: PlcpError | None = None
    if refresh:
        with story.step("refresh") as say:
            try:
                options = (settings.refresh, settings.train, settings.prepare, settings.seed)
                decision = refreshed(model, dataset, prepared, out / "refresh", *options)
                say(decision.reason)
            except PlcpError as error:  # the week's forecasts do not wait for it; the exit code tells all the same
                failed = error
                say(f"no new model, the old one stays: {error}")

    score_decide_report(story, live_model(out / "refresh", model, prepared.origin), prepared, dataset, out, settings)
    if failed:
        raise failed


if __name__ == "__main__":
    job(weekly)
