"""What changed between two runs, on the terminal."""

import json
from typing import Any

import polars as pl

from plcp.console import console, show_table


def show(summary: dict[str, Any], as_json: bool = False) -> None:
    """The summary of forecast.diff as tables, or as JSON alone."""
    if as_json:
        console.out(json.dumps(summary, indent=1, ensure_ascii=False), highlight=False)  # not wrapped to the terminal's width
        return
    sides = [{"": name, **summary[name]} for name in ("before", "after")]
    show_table(pl.DataFrame(sides).with_columns(pl.col("model", "prepared").str.head(12)))
    units, window = summary["units"], summary["window"]
    share = f" ({units['after'] / units['before'] - 1:+.1%})" if units["before"] else ""
    expected = f"{units['before']:,.0f} units expected before, {units['after']:,.0f} after{share}"
    console.print(
        f"{summary['cause']}; in the {window['weeks']} weeks from {window['first']} that both forecast, {expected}", soft_wrap=True
    )
    show_table(pl.DataFrame([summary["skus"]]), "SKUs")
    if summary["causes"]:
        show_table(pl.DataFrame([summary["causes"]]), "SKUs changed, by cause")
    show_table(pl.DataFrame([summary["tables"]]), "SKUs whose rows differ, by table")
    for title, key in (("Stages that changed", "stages"), ("Events within 12 weeks", "events"), ("Largest changes in units", "largest")):
        if summary[key]:
            show_table(pl.DataFrame(summary[key]), title)
