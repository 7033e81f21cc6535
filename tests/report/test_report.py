"""report.html: complete, self-contained, safe, and right in its figures."""

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from plcp import tables
from plcp.base import DataError
from plcp.report import write_report
from plcp.report.run import gallery
from tests.report.shop import Shop


@pytest.fixture(scope="module")
def page(small_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(out, small_shop.run, small_shop.prepared, small_shop.decisions, small_shop.metrics)
    return out.read_text(encoding="utf-8")


def test_one_file_that_loads_nothing_else(page: str) -> None:
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "@import" not in page
    assert "url(" not in page


def test_every_product_has_its_card_and_every_chart_is_well_formed(page: str) -> None:
    assert re.findall(r'<article class="card" data-stage="(\w+)"', page) == ["introduction", "maturity", "decline", "maturity"]
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) >= 4 + 1 + 3
    for chart in charts:
        assert "nan" not in chart.lower()
        ElementTree.fromstring(chart)  # noqa: S314 (our own file)


def test_titles_are_text_never_markup(page: str) -> None:
    assert "<b>Tea" not in page
    assert "&lt;b&gt;Tea &amp;" in page
    assert "茶" in page


def test_photo_becomes_a_small_picture_in_the_page(page: str) -> None:
    assert page.count("data:image/webp;base64,") == 1


def test_sums_stand_beside_the_same_weeks_a_year_ago(page: str) -> None:
    # four weeks: two products at 10 and one at 0.2 a week, the launch's last two at 5; a year before three products sold 20 each
    assert "<b>91</b>units expected in 4 weeks<small>−62% beside the same weeks a year ago" in page


def test_decisions_accuracy_and_skipped_products_are_told(page: str, small_shop: Shop) -> None:
    orders = tables.read(tables.DECISIONS, small_shop.decisions).filter(kind="reorder")
    assert f"Reorder · {len(orders)}" in page
    assert orders["reason"][0] in page
    assert '<td class="num">0.637</td>' in page
    assert "never sold; give a launch_date" in page
    assert "<code>gone</code>" in page


def test_without_history_decisions_and_metrics_it_shows_the_forecast_alone(small_shop: Shop, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", small_shop.run).read_text(encoding="utf-8")
    assert page.count('class="card"') == 4
    assert 'id="decisions"' not in page
    assert 'id="accuracy"' not in page
    assert "a year ago" not in page


def test_the_same_run_gives_the_same_bytes(small_shop: Shop, tmp_path: Path) -> None:
    pages = [
        write_report(tmp_path / n, small_shop.run, small_shop.prepared, small_shop.decisions).read_bytes() for n in ("a.html", "b.html")
    ]
    assert pages[0] == pages[1]


def test_a_folder_that_is_no_run_is_named_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        write_report(tmp_path / "report.html", tmp_path)
    assert not list(tmp_path.iterdir())


def test_gallery_shows_the_best_and_the_last_of_each_stage_in_turns() -> None:
    products = pl.DataFrame(
        {"sku_id": [f"{i:03}" for i in range(200)], "stage": ["growth", "ended"] * 100, "units": [float(i) for i in range(200)]}
    )
    chosen = gallery(products, 5)
    assert chosen[:2] == ["198", "199"]
    assert {"000", "001"} <= set(chosen)
    assert len(chosen) == 10


@pytest.mark.system
def test_a_browser_runs_its_script_without_errors(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    assert browser, "needs Chromium: apt-get install chromium"
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run([browser, *options, str(tmp_path / "report.html")], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    panes = re.findall(r'<div class="panel pane" data-kind="\w+"( hidden="")?', done.stdout)
    assert panes.count("") == 1  # the script opened the first tab and closed the others
