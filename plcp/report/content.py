"""What the report says, gathered from the run, the history, the decisions and the backtest."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plcp import tables
from plcp.data.prepared import Prepared
from plcp.report import words
from plcp.report.history import History, read_history
from plcp.report.run import ScoredRun, gallery
from plcp.report.svg import Curve, bars, life_curve, total_curve

PER_STAGE = 12  # products shown of each stage
DECISIONS_SHOWN = 25  # of each kind
SKIPPED_SHOWN = 50  # of each reason
HISTORY_WEEKS = 78  # shown before the forecast: the same season of the year before is on the chart
BUCKET, BUCKETS = 4, 6  # weeks of one column, and columns, of the charts of coming events
YEAR = 52

Content = dict[str, Any]


def gather(run: ScoredRun, prepared: Prepared | None, decisions: Path | None, metrics: Path | None) -> Content:
    """Everything the template shows, by name."""
    shown = gallery(run.products, PER_STAGE)
    acts = tables.read(tables.DECISIONS, decisions) if decisions else pl.DataFrame(schema=tables.DECISIONS.schema)
    top = acts.filter(pl.col("rank") <= DECISIONS_SHOWN).sort("rank", "sku_id").group_by("kind", maintain_order=True).head(DECISIONS_SHOWN)
    named = {*shown, *top["sku_id"], *top["other_sku_id"].drop_nulls()}
    history = read_history(prepared, run.origin, named, set(shown))
    return {
        "run": run,
        "tiles": _tiles(run, history, acts),
        "total": _total(run, history),
        "has_history": bool(len(history.total)),
        "stages": _stages(run.products),
        "coming": _coming(run),
        "cards": _cards(run, shown, history, acts),
        "kinds": _kinds(acts, top, history.titles),
        "metrics": _metrics(metrics),
        "skipped": _skipped(run),
    }


def _tiles(run: ScoredRun, history: History, acts: pl.DataFrame) -> list[tuple[str, str, str]]:
    """(figure, what it is, remark) of the summary's tiles."""
    products, weekly = run.products, run.weekly["mean"].to_numpy()
    skipped = run.scan(tables.SKIPPED).select(pl.len()).collect().item()
    ending = (products["p_end_12w"] - products["ended"]).clip(0).sum()
    tiles = [(words.count(len(products)), "products forecast", f"{words.count(skipped)} left out, with reasons below")]
    tiles += [(words.count(weekly[:w].sum()), f"units expected in {w} weeks", _beside_last_year(weekly, history, w)) for w in (4, 12)]
    remark = f"of {words.count(len(products))}, the sum of their chances"
    tiles.append((words.count(float(ending)), "products expected to end in 12 weeks", remark))
    if len(acts):
        gain = acts.filter(pl.col("kind").is_in(["reorder", "last_buy", "markdown", "promote"]))["expected_effect"].sum()
        remark = f"{words.money(float(gain))} expected from orders, markdowns and promotions"
        tiles.append((words.count(len(acts)), "actions and risks", remark))
    return tiles


def _a_year_before(history: History, horizon: int) -> np.ndarray:
    """The catalog's units of the horizon's weeks a year earlier, (horizon,), NaN where unknown."""
    padded = np.concatenate([np.full(YEAR, np.nan), history.total, np.full(horizon, np.nan)])
    return padded[len(history.total) :][:horizon]


def _beside_last_year(weekly: np.ndarray, history: History, weeks: int) -> str:
    before = _a_year_before(history, weeks)
    if np.isnan(before).all() or not np.nansum(before):
        return ""
    known = ~np.isnan(before)  # a closed week then is left out on both sides
    change = weekly[:weeks][known].sum() / before[known].sum() - 1
    return f"{change:+.0%} beside the same weeks a year ago".replace("-", "−")


def _total(run: ScoredRun, history: History) -> str:
    mean = run.weekly["mean"].to_numpy()
    return total_curve(run.origin, history.total, mean, _a_year_before(history, len(mean)))


def _stages(products: pl.DataFrame) -> list[Content]:
    stages = []
    for stage in tables.STAGES:
        rows = products.filter(stage=stage)
        stages.append({"name": stage, "skus": len(rows), "share": len(rows) / max(len(products), 1), "units": rows["units"].sum()})
    return stages


def _coming(run: ScoredRun) -> list[Content]:
    """Per event a chart of how many products are expected to meet it in each of the next months (by the median date)."""
    edges = [run.origin + timedelta(weeks=BUCKET * i) for i in range(BUCKETS + 1)]
    labels = [f"{edge.day} {edge:%b}" for edge in edges[:-1]]
    charts = []
    for event, name in words.EVENTS.items():
        dates = run.products[event]
        counts = [int(((dates > low) & (dates <= high)).sum()) for low, high in pairwise(edges)]
        charts.append({"name": name, "total": sum(counts), "chart": bars(labels, counts, event)})
    return charts


def _cards(run: ScoredRun, shown: list[str], history: History, acts: pl.DataFrame) -> list[Content]:
    curves, events = run.curves(shown), run.events(shown)
    rows = {row["sku_id"]: row for row in run.products.filter(pl.col("sku_id").is_in(shown)).iter_rows(named=True)}
    urgent = acts.filter(pl.col("sku_id").is_in(shown) & (pl.col("kind") != "substitute")).sort("sku_id", "kind", "rank")
    told = {sku: part.to_dicts() for (sku,), part in urgent.group_by("sku_id", maintain_order=True)}
    cards = []
    for sku in shown:
        weeks = curves[sku]
        mean, quantiles = weeks["mean"].to_numpy(), weeks.select(tables.QUANTILES).to_numpy()
        past = history.of(sku, HISTORY_WEEKS)
        curve = Curve(run.origin, weeks["week"][0], past, mean, quantiles, events[sku])
        title = history.titles.get(sku, sku)
        cards.append(
            rows[sku]
            | {
                "title": title,
                "photo": history.photos.get(sku),
                "chart": life_curve(curve, f"Weekly units of {title}"),
                "horizon": len(mean),
                "age": weeks["age"][0],
                "events": [(words.EVENTS[e.name], e) for e in events[sku]],
                "acts": [(words.KINDS[a["kind"]], words.amount(a), a["reason"]) for a in told.get(sku, [])],
            }
        )
    return cards


def _kinds(acts: pl.DataFrame, top: pl.DataFrame, titles: dict[str, str]) -> list[Content]:
    """Each kind of decision with its number, its money and its most urgent rows."""
    kinds = []
    for kind, label in words.KINDS.items():
        whole = acts.filter(kind=kind)
        if whole.is_empty():
            continue
        rows = [
            row
            | {
                "title": titles.get(row["sku_id"], ""),
                "amount": words.amount(row),
                "other": titles.get(row["other_sku_id"], row["other_sku_id"]),
            }
            for row in top.filter(kind=kind).iter_rows(named=True)
        ]
        known = whole["expected_effect"].drop_nulls()
        kinds.append({"kind": kind, "label": label, "rows": rows, "number": len(whole), "effect": known.sum() if len(known) else None})
    return kinds


def _metrics(metrics: Path | None) -> Content | None:
    if metrics is None:
        return None
    frame = pl.read_parquet(metrics)
    rows = [[f"{v:.3f}" if isinstance(v, float) else "–" if v is None else str(v) for v in row] for row in frame.iter_rows()]
    return {"columns": frame.columns, "rows": rows}


def _skipped(run: ScoredRun) -> list[Content]:
    """Reasons for which products were left out, the most frequent first, with examples."""
    grouped = run.scan(tables.SKIPPED).group_by("reason").agg(pl.len().alias("number"), pl.col("sku_id").sort().head(SKIPPED_SHOWN))
    return grouped.sort(["number", "reason"], descending=[True, False]).collect().to_dicts()
