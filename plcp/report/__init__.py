"""report.html: one file that a planner opens, offline, to see what is forecast, how sure it is, and what to do."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from plcp.data.prepared import Prepared
from plcp.report import words
from plcp.report.content import gather
from plcp.report.run import ScoredRun


def write_report(
    out: Path, scores_run: Path, prepared: Prepared | None = None, decisions: Path | None = None, metrics: Path | None = None
) -> Path:
    """Write the report of one scored run as one self-contained HTML file.

    Args:
        out: the file to write, for example report.html.
        scores_run: a run's folder with the forecast tables.
        prepared: the history, titles and photos to show beside the forecast; without it SKUs stand alone.
        decisions: the folder that `plcp decide` wrote (it holds decisions/).
        metrics: a Parquet table of a backtest's metrics, a row per model.
    Returns:
        out.
    Raises:
        DataError: the run holds no forecast, or more than one origin.
    """
    page = Environment(
        loader=PackageLoader("plcp.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters |= {"count": words.count, "money": words.money, "percent": words.percent}
    html = page.get_template("report.html").render(**gather(ScoredRun(scores_run), prepared, decisions, metrics))
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.writing")
    aside.write_text(html, encoding="utf-8")
    return aside.replace(out)
