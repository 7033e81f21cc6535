"""A page of 60 simulated products to look at: photos, title, curve and truth.

python -m benchmarks.simulator.gallery OUT
"""

import base64
import html
import sys
import tempfile
from datetime import date
from pathlib import Path

import polars as pl

from plcp.data.simulator import SimulatorConfig, simulate

CONFIG = SimulatorConfig(skus=1000, weeks=104, seed=7, images=2, dirt=False)
SHOWN = 60
WIDTH, HEIGHT = 320, 96
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; color: #222; background: #fff; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 18px; }
article { border: 1px solid #ddd; border-radius: 8px; padding: 12px; }
h2 { font-size: 15px; margin: 6px 0 0; } p { margin: 2px 0; } img { height: 72px; border-radius: 4px; margin-right: 6px; }
.small { color: #666; font-size: 12px; } svg { display: block; margin-top: 6px; background: #fafafa; }
"""
LEGEND = (
    "grey: true demand; blue: units sold; red bars: weeks in which stock ran out; green: discounts; dashed: true peak, decline, delisting."
)


def points(values: list[float], top: float) -> str:
    return " ".join(f"{k * WIDTH / CONFIG.weeks:.1f},{HEIGHT - 4 - (HEIGHT - 16) * v / top:.1f}" for k, v in enumerate(values))


def curve(weeks: pl.DataFrame, events: pl.DataFrame) -> str:
    """The weeks of one product as an SVG: demand, sales, stock-outs, discounts, events."""
    frame = pl.DataFrame({"date": pl.date_range(CONFIG.first_week, interval="1w", end=weeks["date"].max(), eager=True)})
    rows = frame.join(weeks, on="date", how="left").fill_null(0)
    top = max(float(rows["demand"].max()), 1.0)  # type: ignore[arg-type]
    step = WIDTH / CONFIG.weeks
    marks = []
    for k, (in_stock, promo, on_sale) in enumerate(rows.select("in_stock", "promo", "on_sale").iter_rows()):
        if on_sale and in_stock < 1:
            marks.append(f'<rect x="{k * step:.1f}" y="{HEIGHT - 4}" width="{step:.1f}" height="4" fill="#d1495b"/>')
        if promo > 0:
            marks.append(f'<rect x="{k * step:.1f}" y="0" width="{step:.1f}" height="{2 + 12 * promo:.1f}" fill="#6a994e"/>')
    for name, week in events.select("event", "week").iter_rows():
        at = week and (week - CONFIG.first_week).days // 7
        if at is not None and 0 <= at < CONFIG.weeks and name != "end":
            x = at * step
            marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#555" stroke-dasharray="3 3"/>')
            marks.append(f'<text x="{x + 2:.1f}" y="12" font-size="9" fill="#555">{name}</text>')
    lines = [
        f'<polyline points="{points(rows[c].to_list(), top)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        for c, colour, width in (("demand", "#b8b8b8", 2), ("units", "#2b6cb0", 1.2))
    ]
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(marks + lines)}</svg><p class="small">top {top:.0f} units a week</p>'
    )


def card(product: dict[str, object], weeks: pl.DataFrame, events: pl.DataFrame) -> str:
    photos = "".join(f'<img src="data:image/jpeg;base64,{base64.b64encode(p).decode()}" alt="">' for p in product["image"])  # type: ignore[attr-defined]
    told = " · ".join(str(product[k]) for k in ("category", "brand") if product[k])
    dates = dict(events.select("event", "week").iter_rows())
    true = (
        f"quality {product['quality']:+.1f} sd · looks {product['look_effect']:+.2f} · elasticity {product['elasticity']:.1f}"
        f" · lift {product['lift']:.1f} · {product['family']} · peak {dates['peak']} · end {dates['end'] or 'later'}"
    )
    return (
        f"<article>{photos}<h2>{html.escape(str(product['title']))}</h2><p class='small'>{html.escape(told)} · {product['list_price']:.2f}"
        f" · launched {product['launch_date']}</p>{curve(weeks, events)}<p class='small'>truth: {html.escape(true)}</p></article>"
    )


def page(shop: Path) -> str:
    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(shop / name / "*.parquet")

    sales = (
        table("sales").join(table("truth/demand").select("sku_id", "demand", date="week"), on=["sku_id", "date"]).with_columns(on_sale=True)
    )
    sold = sales.group_by("sku_id").agg(pl.col("units").sum(), pl.len()).filter(pl.col("units") > 100, pl.col("len") > 20)
    products = table("products").join(table("truth/products"), on="sku_id").join(sold, on="sku_id", how="semi").head(SHOWN)
    events = table("truth/events")
    cards = [
        card(p, sales.filter(pl.col("sku_id") == p["sku_id"]), events.filter(pl.col("sku_id") == p["sku_id"]))
        for p in products.iter_rows(named=True)
    ]
    head = f"<meta charset='utf-8'><title>A simulated shop</title><style>{STYLE}</style>"
    first: date = CONFIG.first_week
    note = f"Version {CONFIG.version}, seed {CONFIG.seed}, {CONFIG.weeks} weeks from {first}. In the curves, {LEGEND}"
    return f"<!doctype html>{head}<h1>A simulated shop</h1><p>{note}</p><main>{''.join(cards)}</main>"


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        simulate(CONFIG, Path(folder) / "shop")
        (out / "gallery.html").write_text(page(Path(folder) / "shop"))
    print(out / "gallery.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
