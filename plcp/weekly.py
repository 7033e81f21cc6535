"""What the weekly run and the demo end with: forecasts of the catalog, what to do about them, and a page to read."""

from pathlib import Path

from plcp.config import Settings
from plcp.console import Story
from plcp.data.contract import Dataset
from plcp.data.prepared import Prepared
from plcp.decisions import decide
from plcp.forecast.catalog import CHANGED, score
from plcp.report import write_report


def score_decide_report(story: Story, model: Path, prepared: Prepared, dataset: Dataset, out: Path, settings: Settings) -> None:
    """Everything below `out`; a backtest found there has its figures in the report."""
    with story.step("score") as say:
        scored = score(model, prepared.root, out / "scores", settings.score, only=CHANGED)
        parts = f"{scored.parts} parts ({scored.kept} kept, {scored.carried} carried over)"
        say(f"{scored.skus:,} SKUs scored in {parts}, {scored.skipped or 0:,} skipped with a reason")

    with story.step("decide") as say:
        decisions = decide(scored.run, dataset, out, settings.decide)
        say(f"{len(decisions):,} decisions for {decisions['sku_id'].n_unique():,} SKUs")

    with story.step("report") as say:
        metrics = out / "backtest" / "metrics.parquet"
        report = write_report(out / "report.html", scored.run, prepared, out, metrics if metrics.exists() else None)
        say(f"{report}")

    story.end(f"plcp serve {model} --prepared {prepared.root} --scores {out / 'scores'}")
