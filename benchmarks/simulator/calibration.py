"""The simulated shop beside Online Retail II: a table and a picture of their distributions.

    PLCP_BENCH_DATA=… python -m benchmarks.simulator.calibration benchmarks/results

Both panels are cut to weeks × SKUs of units sold and go through the same functions.
"""

import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl

from benchmarks.online_retail.contest import transactions
from benchmarks.results import Figure, write_results
from plcp.data.simulator import SimulatorConfig, simulate

Array = np.ndarray

WEEKS = 105
FIRST_WEEK = date(2009, 11, 30)
SKUS = 5000  # Online Retail II has 4,699
SEED = 7  # the defaults were chosen on other seeds
EDGE = 8  # weeks at either end of the data in which a launch or an end is not visible
SHARES = (5, 10, 25, 50, 75, 90, 95)
TOLERANCE = 0.10  # Kolmogorov-Smirnov distance of a distribution called close, or what chance alone gives in few values
SHARE_TOLERANCE = 0.05  # difference of a share called close


@dataclass(frozen=True)
class Shop:
    """Units sold (SKUs, WEEKS) of SKUs that sold anything, and the price of each row of weeks with a known price."""

    units: Array
    prices: pl.DataFrame  # sku_id, week, price, in order

    @property
    def first(self) -> Array:
        return (self.units > 0).argmax(1)

    @property
    def last(self) -> Array:
        return WEEKS - 1 - (self.units[:, ::-1] > 0).argmax(1)

    @property
    def life(self) -> Array:
        return self.last - self.first + 1


def panel(sales: pl.DataFrame) -> Array:
    """sku_id, date, units → units by week, shape (SKUs that sold, WEEKS)."""
    week = (pl.col("date") - pl.lit(FIRST_WEEK)).dt.total_days() // 7
    cells = (
        sales.with_columns(week=week).filter(pl.col("week").is_between(0, WEEKS - 1)).group_by("sku_id", "week").agg(pl.col("units").sum())
    )
    cells = cells.filter(pl.col("units") > 0).with_columns(row=pl.col("sku_id").rank("dense") - 1)
    units = np.zeros((cells["sku_id"].n_unique(), WEEKS))
    units[cells["row"].to_numpy(), cells["week"].to_numpy()] = cells["units"].to_numpy()
    return units


def online_retail() -> Shop:
    """Positive lines of sellable codes; orders of more than 20,000 units, which were taken back within minutes, left out."""
    lines = (
        pl.read_parquet(transactions())
        .with_columns(
            sku_id=pl.col("stock_code").str.to_uppercase(), date=pl.col("ts").dt.date(), units=pl.col("quantity").cast(pl.Float64)
        )
        .filter(pl.col("sku_id").str.contains(r"^\d{5}[A-Z]{0,2}$"), pl.col("unit_price") > 0, pl.col("units").is_between(1, 20_000))
    )
    # lines without a customer carry another price list
    weekly = lines.filter(pl.col("customer_id").is_not_null()).group_by("sku_id", pl.col("date").dt.truncate("1w").alias("week"))
    return Shop(panel(lines), weekly.agg(price=pl.col("unit_price").mode().sort().last()).sort("sku_id", "week"))


def simulated(folder: Path) -> Shop:
    simulate(SimulatorConfig(skus=SKUS, weeks=WEEKS, first_week=FIRST_WEEK, seed=SEED), folder)
    sales = pl.read_parquet(folder / "sales" / "*.parquet").filter(pl.col("cancelled_at").is_null(), pl.col("units") > 0)
    prices = (
        sales.drop_nulls("price").select("sku_id", "price", week="date").unique(["sku_id", "week"], keep="first").sort("sku_id", "week")
    )
    return Shop(panel(sales), prices)


def within_life(shop: Shop) -> list[Array]:
    return [shop.units[row, a : b + 1] for row, (a, b) in enumerate(zip(shop.first, shop.last, strict=True))]


def autocorrelation(units: Array) -> float:
    """Lag one, of log1p units."""
    x = np.log1p(units)
    x = x - x.mean()
    return float((x[1:] * x[:-1]).sum() / max((x * x).sum(), 1e-9))


def price_moves(shop: Shop) -> tuple[float, Array]:
    """Share of consecutive weeks of a SKU whose price differs by over 1%, and the size of these moves as |log|.

    Moves beyond a doubling or a halving are left out: in Online Retail II they are changes of the unit of sale.
    """
    step = (
        shop.prices.with_columns(move=(pl.col("price") / pl.col("price").shift(1).over("sku_id")).log().abs())
        .drop_nulls("move")["move"]
        .to_numpy()
    )
    step = step[step < np.log(2)]
    return float((step > 0.01).mean()), step[step > 0.01]


def distributions(shop: Shop) -> dict[str, Array]:
    lives = within_life(shop)
    steady = [u for u in lives if len(u) >= 26 and u.mean() >= 1]
    launches = np.bincount(shop.first, minlength=WEEKS)[EDGE:-EDGE] / len(shop.units)
    return {
        "units per week of life": np.array([u.mean() for u in lives]),
        "share of zero weeks": np.array([(u == 0).mean() for u in lives]),
        "weeks from first to last sale": shop.life.astype(float),
        "launches per week, per 1,000 SKUs": 1000 * launches,
        "autocorrelation of log units": np.array([autocorrelation(u) for u in steady]),
        "variance over mean": np.array([u.var() / u.mean() for u in steady]),
        "coefficient of variation": np.array([u.std() / u.mean() for u in steady]),
        "size of price moves, |log|": price_moves(shop)[1],
    }


def shares(shop: Shop) -> dict[str, float]:
    lives = within_life(shop)
    return {
        "SKUs first sold in the first 8 weeks": float((shop.first < EDGE).mean()),
        "SKUs whose end is visible": float((shop.last < WEEKS - EDGE).mean()),
        "zero weeks of all weeks of life": float(sum((u == 0).sum() for u in lives) / sum(map(len, lives))),
        "weeks with another price than the week before": price_moves(shop)[0],
        "units of the best tenth of the SKUs": float(np.sort(shop.units.sum(1))[-len(shop.units) // 10 :].sum() / shop.units.sum()),
    }


def distance(a: Array, b: Array) -> float:
    """Kolmogorov-Smirnov: the largest difference of the two cumulative distributions."""
    grid = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(np.sort(a), grid, "right") / len(a) - np.searchsorted(np.sort(b), grid, "right") / len(b)).max())


def tolerance(a: Array, b: Array) -> float:
    """The larger of TOLERANCE and the distance that two samples of one distribution exceed in 5% of the cases."""
    return max(TOLERANCE, 1.36 * float(np.sqrt((len(a) + len(b)) / (len(a) * len(b)))))


def table(real: dict[str, Array], ours: dict[str, Array], real_shares: dict[str, float], our_shares: dict[str, float]) -> str:
    lines = [f"| | | {' | '.join(f'{q}%' for q in SHARES)} | distance |", "|---|---|" + "---|" * (len(SHARES) + 1)]
    for name in real:
        for who, values in (("Online Retail II", real[name]), ("simulated", ours[name])):
            cells = " | ".join(f"{v:.3g}" for v in np.percentile(values, SHARES))
            last = f"{distance(real[name], ours[name]):.3f}" if who == "simulated" else ""
            lines.append(f"| {name} | {who} | {cells} | {last} |")
    lines += ["", "| share of | Online Retail II | simulated |", "|---|---|---|"]
    lines += [f"| {name} | {real_shares[name]:.3f} | {our_shares[name]:.3f} |" for name in real_shares]
    return "\n".join(lines)


def picture(real: dict[str, Array], ours: dict[str, Array], path: Path) -> None:
    """Cumulative distributions, one panel each."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(15, 6.5), layout="constrained")
    logarithmic = ("units per week of life", "variance over mean", "coefficient of variation", "size of price moves, |log|")
    for ax, name in zip(axes.flat, real, strict=True):
        for values, label, colour in ((real[name], "Online Retail II", "#444444"), (ours[name], "simulated, version 1", "#d1495b")):
            ax.plot(np.sort(values), np.linspace(0, 1, len(values)), label=label, color=colour, lw=1.8)
        ax.set_title(name, fontsize=10)
        ax.grid(alpha=0.25)
        if name in logarithmic:
            ax.set_xscale("log")
    axes.flat[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        ours = simulated(Path(folder) / "shop")
    real = online_retail()
    theirs, mine, their_shares, my_shares = distributions(real), distributions(ours), shares(real), shares(ours)
    text = table(theirs, mine, their_shares, my_shares)
    (out / "simulator_calibration.md").write_text(text + "\n")
    picture(theirs, mine, out / "simulator_calibration.png")
    print(text)
    figures = []
    for name in theirs:
        d, limit = distance(theirs[name], mine[name]), tolerance(theirs[name], mine[name])
        figures.append(Figure(f"distance: {name}", round(d, 4), "Kolmogorov-Smirnov", target=f"≤ {limit:.2f}", met=d <= limit))
    for name, reference in their_shares.items():
        value = my_shares[name]
        met = abs(value - reference) <= SHARE_TOLERANCE
        figures.append(
            Figure(name, round(value, 4), "share", round(reference, 4), round(value / reference, 3), f"± {SHARE_TOLERANCE}", met)
        )
    write_results("simulator_calibration", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
