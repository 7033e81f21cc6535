"""Curves of a little shop: a row per SKU, finite numbers or a reason, whatever was sold."""

import datetime as dt
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plcp.base import DataError
from plcp.data import curves
from plcp.data.contract import Dataset
from plcp.data.curves import AHEAD, fit_curves, shard_curves
from plcp.data.lives import lives_of
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.shards import Shard
from plcp.tables import LIFE_CURVES, read
from tests.conftest import FIRST_WEEK, little_shop

NUMBERS = ("peak_units", "total_units", "held_out_error")


def shard(units: np.ndarray, stock: np.ndarray | None = None) -> Shard:
    """One shard of weekly units (skus, weeks), and of a last product that sells every week."""
    units = np.vstack([units, np.ones(units.shape[1])])
    row, week = np.nonzero(np.ones_like(units))
    dates = [FIRST_WEEK + dt.timedelta(weeks=int(w)) for w in week]
    sales = pl.DataFrame({"sku_id": [f"s{r:03d}" for r in row], "date": dates, "units": units.ravel()})
    if stock is not None:
        sales = sales.with_columns(in_stock=pl.Series(np.vstack([stock, np.ones(units.shape[1])]).ravel()))
    products = pl.DataFrame({"sku_id": [f"s{r:03d}" for r in range(len(units))], "title": "thing"})
    with tempfile.TemporaryDirectory() as folder:
        return prepare(Dataset.of({"products": products, "sales": sales}), Path(folder) / "P").read(0)


def curves_of(units: np.ndarray, stock: np.ndarray | None = None) -> pl.DataFrame:
    return shard_curves(shard(units, stock))[:-1]


def trapezoid(launch: int, rise: int, plateau: int, fall: int, weeks: int = 90) -> np.ndarray:
    t = np.arange(weeks) - launch + 0.5
    return np.clip(np.minimum(t / rise, (rise + plateau + fall - t) / fall), 0, 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(Dataset.of(little_shop()), tmp_path_factory.mktemp("curves") / "P", PrepareConfig(skus_per_shard=7))


def test_a_known_curve_gives_its_family_parameters_and_dates() -> None:
    row = curves_of(40 * trapezoid(20, 10, 20, 16)[None]).row(0, named=True)
    assert row["family"] == "trapezoid"
    assert {p["name"]: round(p["value"]) for p in row["parameters"]} == {"rise": 10, "plateau": 20, "fall": 16}
    weeks = {name: (row[name] - FIRST_WEEK).days // 7 for name in ("start", "peak_week", "decline_week", "end_week")}
    assert weeks["start"] == 20
    assert 29 <= weeks["peak_week"] <= 50
    assert (weeks["decline_week"], weeks["end_week"]) == (58, 65)
    assert row["peak_units"] == pytest.approx(40, rel=0.01)
    assert row["total_units"] == pytest.approx(40 * 33, rel=0.01)
    assert row["held_out_error"] < 0.01


def test_weeks_out_of_stock_hide_demand_and_do_not_bend_the_curve() -> None:
    demand = np.round(400 * np.stack([trapezoid(20, 10, 20, 16), trapezoid(9, 30, 10, 25)]))
    stock = np.ones_like(demand)
    stock[:, 35:45] = 0.5
    stock[:, 47] = 0
    whole, hidden = curves_of(demand), curves_of(demand * stock, stock)
    for name in ("peak_units", "total_units"):
        assert hidden[name].to_list() == pytest.approx(whole[name].to_list(), rel=0.02)


def test_a_life_too_short_or_too_thin_says_so() -> None:
    units = np.zeros((5, 60))
    units[0, 50:] = 5
    units[1, [20, 30, 40]] = 1
    units[3:, 20:50] = 9
    frame = curves_of(units)
    assert frame["reason"].to_list() == [
        "needs 12 known weeks of life, has 10",
        "needs 4 weeks with sales before the last fifth of its life, has 3",
        "never sold",
        None,
        None,
    ]
    assert frame["family"].is_null().to_list() == frame["reason"].is_not_null().to_list()


def test_a_product_that_still_rises_has_no_peak_in_sight() -> None:
    rising = np.zeros((2, 60))
    rising[:, 20:] = np.round(np.exp(np.arange(40) / 6))
    frame = curves_of(rising)
    last = FIRST_WEEK + dt.timedelta(weeks=60 + AHEAD)
    for row in frame.iter_rows(named=True):
        assert row["peak_week"] is None or FIRST_WEEK + dt.timedelta(weeks=55) < row["peak_week"] < last
        assert row["peak_units"] is None or row["peak_units"] <= 11 * rising.max()


def test_a_life_does_not_depend_on_what_else_the_shard_holds() -> None:
    rng = np.random.default_rng(0)
    units = rng.poisson(20 * np.stack([trapezoid(10 + k, 5 + k, 10, 20) for k in range(12)])).astype(float)
    every = curves_of(units).drop("sku_id", "parameters")
    units[4:] = 0
    few = curves_of(units).drop("sku_id", "parameters")
    for name in every.columns:
        a, b = every[name][:4], few[name][:4]
        assert a.to_list() == (pytest.approx(b.to_list(), rel=1e-3) if name in NUMBERS else b.to_list()), name


def test_lives_begin_at_the_launch_and_end_with_their_confirmation() -> None:
    units = np.zeros((3, 60))
    units[0, 12:30], units[1, 2:55] = 3, 4
    lives = lives_of(shard(units))
    assert lives.start.tolist() == [12, 2, 0, 0]
    assert lives.known.tolist() == [18 + 8, 58, 0, 60]
    assert lives.units[:-1].sum(1).tolist() == units.sum(1).tolist()


@settings(max_examples=25)
@given(
    arrays(np.float64, (4, 30), elements=st.sampled_from([0.0, 0.0, 1.0, 3.0, 20.0, 1e8])),
    arrays(np.float64, (4, 30), elements=st.sampled_from([0.0, 0.01, 0.5, 1.0])),
)
def test_every_sku_has_finite_numbers_or_a_reason(units: np.ndarray, stock: np.ndarray) -> None:
    frame = curves_of(units, stock)
    assert len(frame) == len(units)
    assert (frame["family"].is_null() == frame["reason"].is_not_null()).all()
    assert frame.filter(pl.col("family").is_not_null())["held_out_error"].is_finite().all()
    for name in NUMBERS:
        known = frame[name].drop_nulls()
        assert (known.is_finite() & (known >= 0)).all()


def test_the_table_holds_every_sku_once_and_is_the_same_each_time(prepared: Prepared, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    counts = fit_curves(prepared, tmp_path / "A", lambda done, of: told.append((done, of)))
    table = read(LIFE_CURVES, tmp_path / "A")
    assert table["sku_id"].sort().to_list() == sorted(s for i in range(len(prepared.shards)) for s in prepared.read(i).sku_id)
    assert sum(counts.values()) == len(table) == prepared.skus
    assert counts.get("none", 0) == table["family"].null_count()
    assert told == [(k + 1, len(prepared.shards)) for k in range(len(prepared.shards))]
    fit_curves(prepared, tmp_path / "A")
    assert read(LIFE_CURVES, tmp_path / "A").equals(table)
    assert json.loads((tmp_path / "A" / curves.MARK).read_text())["prepared"] == prepared.digest


def test_other_folders_are_left_alone(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"holds no curves\.json"):
        fit_curves(prepared, tmp_path)
    assert (tmp_path / "thesis.txt").exists()
