import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.base import DataError
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, announced, prepare
from plcp.data.shards import first_sale
from plcp.data.view import panel_view
from tests.conftest import FIRST_WEEK, little_shop


@pytest.fixture(scope="module")
def shop() -> dict[str, pl.DataFrame]:
    return little_shop()


@pytest.fixture(scope="module")
def prepared(shop: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(Dataset.of(shop), tmp_path_factory.mktemp("prepared") / "P", PrepareConfig(skus_per_shard=7))


def test_every_sku_stands_once_and_every_unit_is_there(prepared: Prepared, shop: dict[str, pl.DataFrame]) -> None:
    view = panel_view(prepared)
    assert view.sku_id == sorted(set(shop["products"]["sku_id"]))
    standing = shop["sales"].filter(pl.col("cancelled_at").is_null())
    assert view.units.sum() == standing["units"].sum()


def test_units_as_of_an_origin_count_what_was_cancelled_later(prepared: Prepared, shop: dict[str, pl.DataFrame]) -> None:
    for week in (20, 45):
        origin = FIRST_WEEK + dt.timedelta(weeks=week)
        known = shop["sales"].filter((pl.col("date") < origin) & (pl.col("cancelled_at").is_null() | (pl.col("cancelled_at") >= origin)))
        expected = dict(known.group_by("sku_id").agg(pl.col("units").sum()).rows())
        view = panel_view(prepared, origin)
        assert view.units.shape[1] == week
        assert view.units.sum(1).tolist() == [expected.get(s, 0) for s in view.sku_id]


def test_a_shut_week_is_found_and_a_cut_short_one_left_out(prepared: Prepared, shop: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    assert prepared.timeline.closed == (32,)
    short = {**shop, "sales": shop["sales"].filter(pl.col("date") < FIRST_WEEK + dt.timedelta(days=60 * 7 + 3))}
    assert prepare(Dataset.of(short), tmp_path / "short").weeks == 60


def test_the_same_rows_in_another_order_give_the_same_digest(shop: dict[str, pl.DataFrame], prepared: Prepared, tmp_path: Path) -> None:
    turned = {name: frame.sample(fraction=1, shuffle=True, seed=3) for name, frame in shop.items() if name in ("sales", "plans")}
    again = prepare(Dataset.of({**shop, **turned}), tmp_path / "again", PrepareConfig(skus_per_shard=7))
    assert again.digest == prepared.digest


def test_price_is_what_a_unit_cost_on_average(tmp_path: Path) -> None:
    day = [FIRST_WEEK, FIRST_WEEK + dt.timedelta(days=1), FIRST_WEEK + dt.timedelta(days=6)]
    sales = pl.DataFrame({"sku_id": ["a"] * 3, "date": day, "units": [1.0, 3.0, 0.5], "price": [10.0, 6.0, 2.0]})
    products = pl.DataFrame({"sku_id": ["a"], "title": ["thing"]})
    view = panel_view(prepare(Dataset.of({"sales": sales, "products": products}), tmp_path / "p"))
    assert view.units.tolist() == [[4.5]]
    assert view.price[0, 0] == pytest.approx(29 / 4.5)


def test_many_small_orders_are_told_from_one_large_and_weekly_data_has_none(tmp_path: Path) -> None:
    day = [FIRST_WEEK + dt.timedelta(days=d) for d in (0, 1, 6, 7, 8)]
    back = [None, FIRST_WEEK + dt.timedelta(days=20), None, None, None]
    sales = pl.DataFrame({"sku_id": ["a"] * 5, "date": day, "units": [1.0, 3.0, 0.0, 4.0, 0.5], "cancelled_at": back})
    products = pl.DataFrame({"sku_id": ["a"], "title": ["thing"]})
    shard = prepare(Dataset.of({"sales": sales, "products": products}), tmp_path / "P").read(0)
    assert shard.units[0].tolist() == [1, 4.5]
    assert shard.channels["lines"][0].tolist() == [2, 2]  # what was taken back later was an order when it came
    assert shard.channels["largest"][0].tolist() == [3, 4]
    weekly = sales.with_columns(pl.col("date").dt.truncate("1w")).unique("date")
    assert "lines" not in prepare(Dataset.of({"sales": weekly, "products": products}), tmp_path / "W").channels


def test_an_announced_product_is_a_shard_without_sales(prepared: Prepared) -> None:
    launches = pl.DataFrame(
        {"sku_id": ["b", "a"], "title": ["B", "A"], "start": [prepared.origin, prepared.origin + dt.timedelta(weeks=3)]}
    )
    shard = announced(launches, prepared)
    rows, origins = np.arange(2), np.full(2, prepared.weeks)
    assert shard.sku_id == ["a", "b"]
    first = first_sale(shard.units_as_of(rows, origins), origins)
    version = shard.version_at(rows, origins, np.isnan(first))
    assert shard.versions.values["title"].gather(version).to_list() == ["A", "B"]
    assert shard.launch(first, version).tolist() == [prepared.weeks + 3, prepared.weeks]


def test_what_is_no_prepared_folder_says_so(tmp_path: Path, prepared: Prepared) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        Prepared.open(tmp_path)
    broken = tmp_path / "broken"
    (broken / "shards").mkdir(parents=True)
    manifest = broken / "manifest.json"
    for content in ("{", "[]", '{"format": 0}', '{"format": 3}'):
        manifest.write_text(content)
        with pytest.raises(DataError, match=r"manifest\.json.*plcp prepare"):
            Prepared.open(broken)
    manifest.write_text((prepared.root / "manifest.json").read_text())
    with pytest.raises(DataError, match="part-00000"):
        Prepared.open(broken)


def test_a_shard_that_changed_since_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    root = tmp_path / "P"
    shutil.copytree(prepared.root, root)
    opened = Prepared.open(root)
    opened.read(0)
    (root / "shards" / opened.shards[0].file).write_bytes((root / "shards" / opened.shards[1].file).read_bytes())
    with pytest.raises(DataError, match=r"part-00000\.parquet: not the shard"):
        opened.read(0)
    (root / "shards" / opened.shards[0].file).unlink()
    with pytest.raises(DataError, match="cannot be read as a shard"):
        opened.read(0)


def test_the_same_data_is_not_prepared_again_and_other_data_is(shop: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    told: list[int] = []
    for data in (shop, shop, {**shop, "sales": shop["sales"][:-1]}):
        prepare(Dataset.of(data), tmp_path / "P", progress=lambda done, of: told.append(done))
    assert told == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["P"]


def test_a_folder_of_something_else_is_left_alone(shop: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    with pytest.raises(DataError, match=r"holds no manifest\.json"):
        prepare(Dataset.of(shop), tmp_path)
    assert thesis.read_text() == "years of work"


def test_rows_before_the_first_sale_touch_no_other_product(tmp_path: Path) -> None:
    """A full grid with zeros ahead of the shop's first sale."""
    weeks = [FIRST_WEEK + dt.timedelta(weeks=w) for w in range(6)]
    units = {"a": [0.0, 0, 3, 1, 0, 5], "b": [0.0, 0, 0, 0, 2, 7]}
    sales = pl.concat([pl.DataFrame({"sku_id": s, "date": weeks, "units": u}) for s, u in units.items()])
    products = pl.DataFrame({"sku_id": ["a", "b"], "title": ["A", "B"]})
    view = panel_view(prepare(Dataset.of({"sales": sales, "products": products}), tmp_path / "p"))
    assert view.timeline.first_week == weeks[2]
    assert view.units.tolist() == [units["a"][2:], units["b"][2:]]


def test_a_failed_attempt_leaves_nothing(shop: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    early = {**shop, "sales": shop["sales"].filter(pl.col("date") <= FIRST_WEEK + dt.timedelta(days=2))}
    dataset = Dataset.of(early)
    with pytest.raises(DataError, match="origin"):
        prepare(replace(dataset, origin=FIRST_WEEK), tmp_path / "p")
    assert not (tmp_path / "p").exists()
