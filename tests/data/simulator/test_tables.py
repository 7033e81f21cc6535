"""The shop's tables and the truth beside them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data.simulator.history import History, run
from plcp.data.simulator.sales import sales_table
from tests.data.simulator.conftest import CONFIG, table


def test_sales_are_the_truth_cut_by_stock(shop: Path) -> None:
    both = table(shop, "sales").join(table(shop, "truth/demand"), left_on=["sku_id", "date"], right_on=["sku_id", "week"])
    assert both.height == table(shop, "sales").height
    assert (both["units"] == both["sales"]).all()
    assert (both["units"] <= both["demand"]).all()
    units, demand, in_stock = (both[c].to_numpy() for c in ("units", "demand", "in_stock"))
    assert (demand > units)[in_stock < 1].mean() > 0.5  # stock may be out while nobody asks
    assert (demand == units)[in_stock == 1].mean() > 0.999
    assert 0.03 < 1 - units.sum() / demand.sum() < 0.3


def test_daily_sales_add_up_to_the_weeks() -> None:
    config = CONFIG.model_copy(update={"frequency": "daily", "images": 0})
    history = run(config, 0)
    daily = sales_table(config, history, 0)
    weekly = sales_table(CONFIG, history, 0)
    added = daily.group_by("sku_id", pl.col("date").dt.truncate("1w")).agg(pl.col("units").sum()).sort("sku_id", "date")
    assert added["units"].to_list() == weekly.sort("sku_id", "date")["units"].to_list()
    assert (daily["units"] >= 0).all()
    assert daily["in_stock"].is_between(0, 1).all()
    assert daily.group_by(pl.col("date").dt.weekday()).agg(pl.col("units").sum()).height == 7


def test_baskets_hold_what_was_sold_in_their_week_and_complements_above_chance(shop: Path, history: History) -> None:
    baskets = table(shop, "baskets").with_columns(week=pl.col("ts").dt.date().dt.truncate("1w"))
    assert not baskets.select("basket_id", "sku_id").is_duplicated().any()
    sold = table(shop, "sales").filter(pl.col("units") > 0)
    assert baskets.join(sold, left_on=["sku_id", "week"], right_on=["sku_id", "date"], how="anti").is_empty()
    pairs = baskets.join(baskets, on="basket_id").filter(pl.col("sku_id") != pl.col("sku_id_right"))
    complements = table(shop, "truth/relations").filter(pl.col("kind") == "complement")
    together = pairs.join(complements, left_on=["sku_id", "sku_id_right"], right_on=["sku_id", "other_sku_id"], how="semi")
    assert together.height / pairs.height > 0.05


def test_reviews_follow_the_quality_in_stars_and_words(shop: Path) -> None:
    reviews = table(shop, "reviews").join(table(shop, "truth/products"), on="sku_id")
    means = reviews.group_by("sku_id").agg(pl.col("rating").mean(), pl.col("mean_rating").first(), pl.len()).filter(pl.col("len") >= 10)
    assert np.corrcoef(means["rating"], means["mean_rating"])[0, 1] > 0.85
    happy = reviews.filter(pl.col("text").str.contains("love|太喜欢"))
    assert happy["rating"].min() == 5
    assert reviews["text"].null_count() / reviews.height == pytest.approx(0.25, abs=0.05)


def test_plans_tell_nothing_but_the_calendar(shop: Path) -> None:
    plans = table(shop, "plans")
    last = table(shop, "sales")["date"].max()
    assert (plans["promo"] > 0).all()
    assert (plans["week"] > last).any()
    delisted = table(shop, "truth/events").filter(pl.col("event") == "delisted").drop_nulls("week")
    assert plans.join(delisted, on="sku_id").filter(pl.col("week") > pl.col("week_right")).height > 0


def test_supply_lists_what_is_not_delisted(shop: Path) -> None:
    supply = table(shop, "supply")
    gone = table(shop, "truth/events").filter(pl.col("event") == "delisted").drop_nulls("week")
    assert set(supply["sku_id"]) == set(table(shop, "products")["sku_id"]) - set(gone["sku_id"])
    assert (supply["unit_cost"] > 0).all()
    assert (supply["on_hand"] >= 0).all()


def test_true_events_come_in_their_order(shop: Path) -> None:
    events = table(shop, "truth/events").pivot("event", index="sku_id", values="week")
    assert (events["decline"] > events["peak"]).drop_nulls().all()
    assert (events["end"] >= events["decline"]).drop_nulls().all()
    assert events["decline"].null_count() > 0  # not yet seen is not never


def test_the_parts_of_the_log_demand_add_up(shop: Path) -> None:
    demand = table(shop, "truth/demand")
    log = demand.select(pl.sum_horizontal(pl.col("^log_.*$"))).to_series().to_numpy()
    ratio = demand["expected"].to_numpy() / np.exp(log)
    assert (ratio < 1 + 1e-3).all()  # promotions of the weeks before take something away
    assert np.median(ratio) == pytest.approx(1, abs=1e-3)
    assert demand["demand"].sum() == pytest.approx(demand["expected"].sum(), rel=0.05)
