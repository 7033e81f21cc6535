"""What a forecaster loses that reads sales as demand, and that one that knows of stock-outs does not.

    python -m benchmarks.simulator.censoring

The forecasters know everything about a product but its level (its season, prices, ratings … are taken from the truth), estimate the level
from the 26 weeks before an origin and forecast the 8 weeks from it. They differ in what they take for the demand of a past week:

- sales: the units sold.
- censored: (units − 1) / share of the week in stock where stock ran out, which is unbiased for units asked for evenly over the week;
  where nothing was in stock, or one unit alone, page views times the product's units per view.
- demand: the true one, as a control.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.results import Figure, write_results
from plcp.data.simulator import SimulatorConfig, simulate

Array = np.ndarray

SKUS = 10_000
SEEDS = (31, 32, 33, 34, 35, 36)  # of one shop alone the best sellers' luck moves the total by about 1%
PAST, HORIZON, STEP = 26, 8, 4
PARTS = ("life", "season", "trend", "signal", "price", "rating")
PRIOR_VIEWS = 20.0  # page views that the shop's mean of units per view weighs against a product's own
MOST_SALES_BIAS, MOST_CENSORED_BIAS = -0.05, 0.01


@dataclass(frozen=True)
class Weeks:
    """What happened by SKU and week, shape (SKUs, weeks) each; zeros where not on sale."""

    sales: Array
    in_stock: Array
    views: Array
    demand: Array  # truth
    pattern: Array  # truth: expected units at the reference level, without noise
    on_sale: Array


def read(folder: Path, config: SimulatorConfig) -> Weeks:
    """The sales table as a shop would clean it, and the truth beside it."""
    sales = (
        pl.read_parquet(folder / "sales" / "*.parquet")
        .filter(pl.col("cancelled_at").is_null(), pl.col("units") >= 0)
        .group_by("sku_id", week="date")
        .agg(pl.col("units").sum(), pl.col("in_stock").first(), pl.col("page_views").sum())
    )
    truth = pl.read_parquet(folder / "truth" / "demand" / "*.parquet").with_columns(log=pl.sum_horizontal(f"log_{part}" for part in PARTS))
    rows = truth.join(sales, on=["sku_id", "week"], how="left").with_columns(
        row=pl.col("sku_id").rank("dense") - 1, at=(pl.col("week") - pl.lit(config.first_week)).dt.total_days() // 7
    )

    def grid(values: pl.Series, missing: float) -> Array:
        found = np.full((rows["sku_id"].n_unique(), config.weeks), missing)
        found[rows["row"].to_numpy(), rows["at"].to_numpy()] = values.fill_null(missing).to_numpy()
        return found

    return Weeks(
        sales=grid(rows["units"], 0.0),
        in_stock=grid(rows["in_stock"], 1.0),
        views=grid(rows["page_views"], 0.0),
        demand=grid(rows["demand"], 0.0),
        pattern=grid(rows["log"].exp(), 0.0),
        on_sale=grid(pl.Series(np.ones(rows.height)), 0.0) > 0,
    )


def censored_demand(weeks: Weeks) -> Array:
    """Demand as estimated from what the shop's tables show. Shape (SKUs, weeks)."""
    ran_out = weeks.on_sale & (weeks.in_stock < 1)
    timed = ran_out & (weeks.in_stock > 0) & (weeks.sales >= 2)
    known = np.where(timed, (weeks.sales - 1) / np.maximum(weeks.in_stock, 1e-3), weeks.sales)
    unknown = ran_out & ~timed
    units, views = np.where(unknown, 0, known).sum(1), np.where(unknown, 0, weeks.views).sum(1)
    per_view = (units + PRIOR_VIEWS * units.sum() / views.sum()) / (views + PRIOR_VIEWS)
    return np.where(unknown, per_view[:, None] * weeks.views, known)


def forecast(weeks: Weeks, read_as: Array) -> tuple[float, float]:
    """Units forecast and units truly asked for, over all origins."""
    forecasts = actuals = 0.0
    for origin in range(PAST, weeks.sales.shape[1] - HORIZON, STEP):
        past, future = slice(origin - PAST, origin), slice(origin, origin + HORIZON)
        rows = weeks.on_sale[:, past].all(1)
        level = read_as[rows, past].sum(1) / weeks.pattern[rows, past].sum(1)
        forecasts += float((level * weeks.pattern[rows, future].sum(1)).sum())
        actuals += float(weeks.demand[rows, future].sum())
    return forecasts, actuals


def main() -> None:
    totals = {name: np.zeros(2) for name in ("demand", "sales", "censored")}
    by_seed: dict[str, list[float]] = {name: [] for name in totals}
    lost, short = [], []
    for seed in SEEDS:
        config = SimulatorConfig(skus=SKUS, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            simulate(config, Path(folder) / "shop")
            weeks = read(Path(folder) / "shop", config)
        lost.append(1 - weeks.sales.sum() / weeks.demand.sum())
        short.append((weeks.in_stock[weeks.on_sale] < 1).mean())
        for name, read_as in (("demand", weeks.demand), ("sales", weeks.sales), ("censored", censored_demand(weeks))):
            pair = np.array(forecast(weeks, read_as))
            totals[name] += pair
            by_seed[name].append(pair[0] / pair[1] - 1)
    bias = {name: float(f / a - 1) for name, (f, a) in totals.items()}
    spread = {name: " ".join(f"{b:+.4f}" for b in found) for name, found in by_seed.items()}
    write_results(
        "simulator_censoring",
        [
            Figure("demand lost to stock-outs", round(float(np.mean(lost)), 4), "share of units"),
            Figure("weeks in which stock ran out", round(float(np.mean(short)), 4), "share of weeks on sale"),
            Figure(f"bias with the true demand (seeds {spread['demand']})", round(bias["demand"], 4), "share of units"),
            Figure(
                "censored estimate relative to the one with the true demand",
                round((1 + bias["censored"]) / (1 + bias["demand"]) - 1, 4),
                "share of units",
            ),
            Figure(
                f"bias with sales read as demand (seeds {spread['sales']})",
                round(bias["sales"], 4),
                "share of units",
                target=f"< {MOST_SALES_BIAS}",
                met=bias["sales"] < MOST_SALES_BIAS,
            ),
            Figure(
                f"bias of the censored estimate (seeds {spread['censored']})",
                round(bias["censored"], 4),
                "share of units",
                target=f"± {MOST_CENSORED_BIAS}",
                met=abs(bias["censored"]) <= MOST_CENSORED_BIAS,
            ),
        ],
    )


if __name__ == "__main__":
    main()
