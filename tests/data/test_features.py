import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.features import NUMERIC, Arrays, inputs, targets
from plcp.data.lifecycle import Levels
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.shards import Shard, first_sale
from plcp.data.spec import CHANNELS, CORE, FUTURE, Spec
from tests.conftest import FIRST_WEEK, little_shop

SPEC = Spec(history_weeks=52, horizon=12, country="GB")
UNITS = CHANNELS.index("units")
AHEAD = 4  # weeks from an origin to a launch


def cases_at(prepared: Prepared, origin: dt.date, spec: Spec = SPEC, ahead: int = 0) -> dict[str, Arrays]:
    """Inputs of every SKU sold before an origin, by SKU, each array with its texts and photos in place of indices.

    With `ahead`, of every SKU not yet sold instead, to be launched so many weeks after the origin.
    """
    found = {}
    at = prepared.timeline.index(origin)
    for i in range(len(prepared.shards)):
        shard = prepared.read(i)
        rows, origins = np.arange(len(shard)), np.full(len(shard), at)
        sold = ~np.isnan(first_sale(shard.units_as_of(rows, origins), origins))
        rows, origins = rows[sold ^ bool(ahead)], origins[sold ^ bool(ahead)]
        arrays = inputs(shard, rows, origins, origins + ahead, spec)
        for k, row in enumerate(rows):
            case: Arrays = {
                name: np.asarray(a[k]) for name, a in arrays.items() if isinstance(a, np.ndarray) and name not in ("text", "image")
            }
            case["text"] = arrays["texts"][arrays["text"][k]] if arrays["text"][k] >= 0 else None
            case["image"] = arrays["images"][arrays["image"][k]] if arrays["image"][k] >= 0 else None
            found[shard.sku_id[row]] = case
    return found


def bits(value: np.ndarray) -> bytes:
    """Bytes of an array, every NaN the same one."""
    return (np.where(np.isnan(value), np.nan, value).astype(value.dtype) if value.dtype.kind == "f" else value).tobytes()


def assert_same(one: dict[str, Arrays], other: dict[str, Arrays]) -> None:
    assert one.keys() == other.keys()
    for sku, case in one.items():
        for name, value in case.items():
            same = bits(value) == bits(other[sku][name]) if isinstance(value, np.ndarray) else value == other[sku][name]
            assert same, f"{sku}: {name} differs: {value} against {other[sku][name]}"


@pytest.mark.parametrize("week", [13, 30, 50, 66])
def test_inputs_of_the_cut_data_equal_those_of_all_data_at_the_origin_bit_for_bit(week: int, tmp_path: Path) -> None:
    dataset, origin = Dataset.of(little_shop()), FIRST_WEEK + dt.timedelta(weeks=week)
    whole = prepare(dataset, tmp_path / "whole", PrepareConfig(skus_per_shard=11))
    cut = prepare(asof.cut(dataset, origin), tmp_path / "cut", PrepareConfig(skus_per_shard=9))
    assert cut.origin == origin
    spec = SPEC.fitted(whole)
    assert (spec.history, spec.attributes, spec.vectors) == ((*CHANNELS, "signal:interest", "signal:press", "signal:weather"), True, True)
    ours = cases_at(cut, origin, spec)
    assert len(ours) > 10
    assert_same(ours, cases_at(whole, origin, spec))


@pytest.mark.parametrize("week", [13, 30, 50])
def test_inputs_of_products_announced_for_later_know_nothing_of_the_weeks_before_their_launch(week: int, tmp_path: Path) -> None:
    dataset, origin = Dataset.of(little_shop()), FIRST_WEEK + dt.timedelta(weeks=week)
    whole, cut = prepare(dataset, tmp_path / "whole"), prepare(asof.cut(dataset, origin), tmp_path / "cut")
    spec = SPEC.fitted(whole)
    ours, theirs = cases_at(cut, origin, spec, AHEAD), cases_at(whole, origin, spec, AHEAD)
    assert ours
    assert_same(ours, {sku: theirs[sku] for sku in ours})  # what is neither dated nor sold is not known to the cut


def test_changing_what_is_not_yet_known_changes_no_input(tmp_path: Path) -> None:
    shop, origin = little_shop(), FIRST_WEEK + dt.timedelta(weeks=40)
    later = pl.col("date") >= origin
    rewritten = {
        **shop,
        "sales": shop["sales"].with_columns(
            units=pl.when(later).then(pl.col("units") * 7 + 1).otherwise(pl.col("units")),
            price=pl.when(later).then(99.0).otherwise(pl.col("price")),
            cancelled_at=pl.when(pl.col("cancelled_at") >= origin).then(None).otherwise(pl.col("cancelled_at")),
        ),
        "products": shop["products"].filter((pl.col("known_at") < origin).fill_null(True)),
        "reviews": shop["reviews"].filter(pl.col("date") < origin),
        "baskets": shop["baskets"].filter(pl.col("ts").dt.date() < origin),
        "signals": shop["signals"].filter(pl.coalesce("known_at", "date") < origin),
        "vectors": shop["vectors"].filter((pl.col("known_at") < origin).fill_null(True)),
    }
    one, other = prepare(Dataset.of(shop), tmp_path / "one"), prepare(Dataset.of(rewritten), tmp_path / "other")
    spec = SPEC.fitted(one)
    assert_same(cases_at(one, origin, spec), cases_at(other, origin, spec))


def small_shard(tmp_path: Path, **changes: pl.DataFrame) -> Shard:
    return prepare(Dataset.of({**little_shop(), **changes}), tmp_path / "p").read(0)


def test_weeks_off_sale_shut_or_after_the_origin_are_unknown_and_not_zero(tmp_path: Path) -> None:
    shard = small_shard(tmp_path)
    rows, origin = np.arange(len(shard)), np.full(len(shard), 40)
    arrays = inputs(shard, rows, origin, origin + 2, SPEC)
    units = arrays["history"][:, :, UNITS]
    assert np.isnan(units[:, -2:]).all()
    shut = SPEC.history_weeks - (42 - 32)
    assert np.isnan(units[:, shut]).all()
    first = first_sale(shard.units_as_of(rows, origin), origin)
    for k in np.flatnonzero(first >= 8):
        announced = 5 if int(shard.sku_id[k][1:]) % 8 == 1 else 0  # weeks that its launch_date lies before its first sale
        before = SPEC.history_weeks - 42 + int(first[k])
        assert np.isnan(units[k, : before - announced]).all()
        assert (units[k, before - announced : before] == 0).all()
        assert units[k, before] > 0
        assert arrays["age"][k] == 42 - first[k] + announced
    dated = np.array([int(sku[1:]) % 4 == 1 for sku in shard.sku_id])  # their launch_date says what the first weeks hide
    assert np.isnan(arrays["age"][(first < 8) & ~dated]).all()
    assert not np.isnan(arrays["age"][dated]).any()


def test_plans_stand_in_the_weeks_they_speak_of(tmp_path: Path) -> None:
    shard = small_shard(tmp_path)
    rows, start = np.arange(12), np.full(12, 68)
    future = inputs(shard, rows, start, start, SPEC)["future"]
    assert np.isnan(future[:10, :2]).all()
    assert (future[:10, 2:10, FUTURE.index("price")] == 3.0).all()
    assert np.isnan(future[:10, 10:]).all()
    assert np.isnan(future[10:]).all()


def test_a_week_missing_in_a_plan_is_unknown_and_the_others_stay(tmp_path: Path) -> None:
    plans = little_shop()["plans"].filter(pl.col("week") != FIRST_WEEK + dt.timedelta(weeks=73))
    shard = small_shard(tmp_path, plans=plans)
    rows, start = np.arange(10), np.full(10, 70)
    price = inputs(shard, rows, start, start, SPEC)["future"][:, :8, FUTURE.index("price")]
    assert np.isnan(price).nonzero()[1].tolist() == [3] * 10
    assert (price[~np.isnan(price)] == 3.0).all()


def test_a_stock_out_censors_and_a_week_not_yet_observed_has_no_target(tmp_path: Path) -> None:
    shard = small_shard(tmp_path)
    rows, start = np.arange(len(shard)), np.full(len(shard), 64)
    found = targets(shard, Levels(shard.units), rows, start, SPEC)
    assert np.isnan(found["units"][:, 6:]).all()
    assert not np.isnan(found["units"][:, :6]).any()
    assert found["censored"].any()
    assert not found["censored"][:, 6:].any()
    assert (found["stage"] == -1).all()


def test_every_channel_is_there_and_says_something(tmp_path: Path) -> None:
    prepared = prepare(Dataset.of(little_shop()), tmp_path / "p")
    spec = SPEC.fitted(prepared)
    assert spec.history[: len(CHANNELS)] == CHANNELS
    shard = prepared.read(0)
    rows, origin = np.arange(len(shard)), np.full(len(shard), 60)
    history = inputs(shard, rows, origin, origin, spec)["history"]
    spread = np.nanmax(history, (0, 1)) - np.nanmin(history, (0, 1))
    assert dict(zip(spec.history, spread > 0, strict=True)) == dict.fromkeys(spec.history, True)
    softened = history[:, :, CHANNELS.index("outlier")] > 0
    assert 0 < softened.sum() < 60
    assert targets(shard, Levels(shard.units), rows, origin - 40, SPEC)["units"].max() > 500  # targets are as they came


def test_a_shop_without_optional_data_has_the_core_channels_alone(tmp_path: Path) -> None:
    day = [FIRST_WEEK + dt.timedelta(weeks=w) for w in range(20)]
    shop = {
        "sales": pl.DataFrame({"sku_id": ["a"] * 20, "date": day, "units": [1.0] * 20}),
        "products": pl.DataFrame({"sku_id": ["a"], "title": ["thing"]}),
    }
    prepared = prepare(Dataset.of(shop), tmp_path / "p")
    assert SPEC.fitted(prepared).history == (*CORE, "outlier")
    with pytest.raises(ValueError, match="channels"):
        Spec(channels=("units", "weather"))


def test_price_stands_against_its_category_and_fills_its_gaps(tmp_path: Path) -> None:
    day = [FIRST_WEEK + dt.timedelta(weeks=w) for w in range(20)]
    prices = {"a": [10.0] * 20, "b": [20.0] * 20, "c": [40.0] * 20}
    sales = pl.concat([pl.DataFrame({"sku_id": s, "date": day, "units": 1.0, "price": p}) for s, p in prices.items()])
    gap = (pl.col("sku_id") == "c") & pl.col("date").is_between(day[5], day[7])
    products = pl.DataFrame({"sku_id": ["a", "b", "c"], "title": ["A", "B", "C"], "category": ["X"] * 3})
    shard = prepare(Dataset.of({"sales": sales.filter(~gap), "products": products}), tmp_path / "p").read(0)
    rows, origin = np.arange(3), np.full(3, 12)
    history = inputs(shard, rows, origin, origin, SPEC)["history"][:, -12:]
    assert (history[2, :, CHANNELS.index("price")] == 40).all()
    assert history[:, -1, CHANNELS.index("price_to_category")] == pytest.approx(np.log([0.5, 1, 2]), abs=0.08)


def test_ratings_and_prices_run_up_to_the_origin(tmp_path: Path) -> None:
    day = [FIRST_WEEK + dt.timedelta(weeks=w) for w in (10, 20)]
    reviews = pl.DataFrame({"sku_id": ["P000"] * 2, "date": day, "rating": [5.0, 2.0], "text": ["good", "bad"]})
    shard = small_shard(tmp_path, reviews=reviews)
    rows = np.zeros(3, np.int64)
    weeks = np.array([10, 12, 30])
    numeric = inputs(shard, rows, weeks, weeks, SPEC)["numeric"]
    rating = numeric[:, NUMERIC.index("rating")]
    sold = np.flatnonzero(shard.units[0])
    assert np.isnan(rating[0])
    if sold[0] <= 9:
        assert rating[1:].tolist() == [5.0, 3.5]
