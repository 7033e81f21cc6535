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
) -> None:
    """Check, prepare, score, decide, report; everything below --out."""
    from plcp.console import Story
    from plcp.data.asof import cut
    from plcp.data.contract import open_dataset
    from plcp.data.prepared import prepare
    from plcp.decisions import decide
    from plcp.forecast.catalog import score
    from plcp.report import write_report

    story = Story()
    with story.step("check") as say:
        dataset = open_dataset(data, settings.data, quarantine=out / "quarantine")
        dataset = cut(dataset, as_of) if as_of else dataset
        say(f"{sum(dataset.report.kept.values()):,} of {sum(dataset.report.rows.values()):,} rows can be used")

    with story.step("prepare") as say:
        prepared = prepare(dataset, out / "prepared", settings.prepare)
        say(f"{prepared.skus:,} SKUs × {prepared.weeks} weeks, to be forecast from {prepared.origin}")

    with story.step("score") as say:
        scored = score(model, prepared.root, out / "scores", settings.score)
        say(f"{scored.skus:,} SKUs scored in {scored.parts} parts ({scored.kept} kept), {scored.skipped or 0:,} skipped with a reason")

    with story.step("decide") as say:
        decisions = decide(scored.run, dataset, out, settings.decide)
        say(f"{len(decisions):,} decisions for {decisions['sku_id'].n_unique():,} SKUs")

    with story.step("report") as say:
        report = write_report(out / "report.html", scored.run, prepared, out)
        say(f"{report}")

    story.end(f"plcp serve {model} --prepared {prepared.root} --scores {out / 'scores'}")


if __name__ == "__main__":
    job(weekly)
