import datetime as dt
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from plcp.base import DataError
from plcp.data.contract import Dataset
from plcp.data.features import Arrays, inputs
from plcp.data.prepared import Prepared, announced, prepare
from plcp.data.shards import Shard
from plcp.forecast.calibration import HIGHEST, ROOM, TAIL, often, usual
from plcp.forecast.forecaster import Forecast, Forecaster, ForecasterConfig
from plcp.forecast.replicas import cores
from plcp.model.heads import LEVEL_FLOOR
from plcp.model.history import LEVEL_WEEKS
from plcp.tables import CURVE, EVENT_TABLE, QUANTILES, STAGE_TABLE, STAGES
from tests.conftest import little_shop, photo
from tests.forecast.shop import prepared_shop, tiny_artifact

TABLES = ("curve", "events", "stage", "embedding")
NUMBERS = ("mean", *QUANTILES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=24, per_shard=24)


@pytest.fixture(scope="module")
def model(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("model") / "MODEL", prepared)


@pytest.fixture(scope="module")
def forecaster(model: Path) -> Forecaster:
    return Forecaster.load(model)


@pytest.fixture(scope="module")
def trained_like(model: Path) -> Forecaster:
    """Layers that start at zero made random, so that outputs depend on every input."""
    forecaster = Forecaster.load(model, ForecasterConfig(batch_size=5))
    torch.manual_seed(0)
    for parameter in forecaster.artifact.model.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return forecaster


@pytest.fixture(scope="module")
def scored(forecaster: Forecaster, prepared: Prepared) -> tuple[Forecast, pl.DataFrame]:
    return forecaster.forecast_shard(prepared.read(0), prepared.origin)


def cases(prepared: Prepared, forecaster: Forecaster, rows: list[int]) -> Arrays:
    at = np.full(len(rows), prepared.weeks)
    return inputs(prepared.read(0), np.array(rows), at, at, forecaster.spec)


def test_every_product_comes_back_once(scored: tuple[Forecast, pl.DataFrame], prepared: Prepared) -> None:
    forecast, skipped = scored
    assert sorted([*forecast.stage["sku_id"], *skipped["sku_id"]]) == sorted(prepared.read(0).sku_id)
    assert forecast.stage["sku_id"].to_list() == forecast.embedding["sku_id"].to_list()
    assert len(forecast.curve) == 26 * len(forecast.stage)
    assert len(forecast.events) == 3 * len(forecast.stage)
    assert len(forecast.p_new_peak_12w) == len(forecast.stage)


def test_tables_keep_to_their_schema_and_ranges(scored: tuple[Forecast, pl.DataFrame], prepared: Prepared) -> None:
    forecast, _ = scored
    for table, frame in ((CURVE, forecast.curve), (EVENT_TABLE, forecast.events), (STAGE_TABLE, forecast.stage)):
        assert frame.schema == table.schema
        for column in table.columns:
            assert column.nullable or not frame[column.name].null_count()
            if column.minimum is not None:
                assert frame[column.name].min() >= column.minimum  # type: ignore[operator]
            if column.maximum is not None:
                assert frame[column.name].max() <= column.maximum  # type: ignore[operator]
    quantiles = forecast.curve.select(QUANTILES).to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert forecast.curve["week"].min() == prepared.origin
    assert np.allclose(forecast.stage.select(STAGES).to_numpy().sum(1), 1)
    within = forecast.events.select("p_4w", "p_8w", "p_12w", "p_26w").to_numpy()
    assert (np.diff(within, axis=1) >= 0).all()


def test_an_untrained_model_forecasts_the_recent_level(
    scored: tuple[Forecast, pl.DataFrame], forecaster: Forecaster, prepared: Prepared
) -> None:
    skus = scored[0].stage["sku_id"].to_list()
    asked = cases(prepared, forecaster, [i for i, sku in enumerate(prepared.read(0).sku_id) if sku in set(skus)])
    asked["future"][:] = np.nan  # a planned price would move it
    forecast = forecaster.forecast(asked, skus, prepared.origin, [prepared.origin] * len(skus))
    mean, middle = (
        forecast.curve.select(columns).to_numpy().reshape(len(skus), -1, len(columns)).mean(2) for columns in (["mean"], QUANTILES)
    )
    units = asked["history"][:, :, 0]
    level = np.nanmean(units[:, -LEVEL_WEEKS:], 1) + LEVEL_FLOOR
    lasting = np.maximum(HIGHEST * middle + ROOM, usual(units)[:, None])  # a level that is owed to few weeks is not forecast to last
    # what sells often is met half-way by its quantiles
    expected = np.where(often(units)[:, None], (level[:, None] + TAIL * middle) / 2, level[:, None])
    assert np.allclose(mean, np.minimum(expected, lasting), rtol=1e-4)
    assert np.isclose(mean, expected, rtol=1e-4).all(1).mean() > 0.8


def test_one_alone_and_all_together_agree(trained_like: Forecaster, prepared: Prepared) -> None:
    together, _ = trained_like.forecast_shard(prepared.read(0), prepared.origin)
    for row in (0, 5):
        sku = prepared.read(0).sku_id[row]
        alone = trained_like.forecast(cases(prepared, trained_like, [row]), [sku], prepared.origin, [prepared.origin])
        same = together.curve.filter(pl.col("sku_id") == sku)
        assert np.allclose(alone.curve.select(NUMBERS).to_numpy(), same.select(NUMBERS).to_numpy(), rtol=1e-4, atol=1e-6)


def test_the_size_of_batches_and_the_cache_do_not_matter(trained_like: Forecaster, prepared: Prepared, tmp_path: Path) -> None:
    expected, _ = trained_like.forecast_shard(prepared.read(0), prepared.origin)
    other = Forecaster(trained_like.artifact, ForecasterConfig(batch_size=512, cache=tmp_path))
    for _ in ("empty cache", "full cache"):
        found, _ = other.forecast_shard(prepared.read(0), prepared.origin)
        assert np.allclose(found.curve.select(NUMBERS).to_numpy(), expected.curve.select(NUMBERS).to_numpy(), rtol=1e-4, atol=1e-6)


def test_the_same_call_gives_the_same_numbers_to_the_bit(trained_like: Forecaster, prepared: Prepared) -> None:
    one, other = (trained_like.forecast_shard(prepared.read(0), prepared.origin)[0] for _ in range(2))
    assert all(getattr(one, name).equals(getattr(other, name)) for name in TABLES)
    assert np.array_equal(one.p_new_peak_12w, other.p_new_peak_12w)


def test_batches_beside_one_another_give_the_same_numbers_to_the_bit(trained_like: Forecaster, prepared: Prepared) -> None:
    expected = []
    for count in (1, 3):
        forecaster = Forecaster(trained_like.artifact, ForecasterConfig(batch_size=5), cores(count).map)
        expected.append(forecaster.forecast_shard(prepared.read(0), prepared.origin)[0])
    one, other = expected
    assert all(getattr(one, name).equals(getattr(other, name)) for name in TABLES)


def test_a_planned_launch_is_forecast_from_its_first_week_as_new(forecaster: Forecaster, prepared: Prepared) -> None:
    start = prepared.origin + dt.timedelta(weeks=3)
    launches = pl.DataFrame({"sku_id": ["N1"], "start": [start], "title": ["red mug no 99"], "list_price": [4.0]})
    forecast, skipped = forecaster.forecast_shard(announced(launches, prepared), prepared.origin)
    assert not len(skipped)
    assert forecast.curve["week"].min() == start
    assert forecast.curve["age"].to_list() == list(range(26))
    assert forecast.stage["stage"].item() == "introduction"
    assert forecast.curve["q50"].max() > 0  # type: ignore[operator]
    assert forecast.events["p_4w"].max() < 0.1  # type: ignore[operator]


def test_products_that_cannot_be_forecast_say_why(forecaster: Forecaster, prepared: Prepared, tmp_path: Path) -> None:
    shop = little_shop(12)
    weeks = [dt.timedelta(weeks=w) for w in (2, 200)]
    dates = [*(prepared.origin + w for w in weeks), None]
    planned = pl.DataFrame({"sku_id": ["SOON", "FAR", "NEVER"], "title": ["x"] * 3, "launch_date": dates})
    shop["products"] = pl.concat([shop["products"], planned], how="diagonal")
    made = prepare(Dataset.of(shop), tmp_path / "P")
    forecast, skipped = forecaster.forecast_shard(made.read(0), made.origin)
    reasons = dict(skipped.select("sku_id", "reason").rows())
    assert "SOON" in forecast.stage["sku_id"].to_list()
    assert "launch_date is more than 52 weeks ahead" in reasons["FAR"]
    assert "set it to forecast the launch" in reasons["NEVER"]


def test_a_shard_without_anything_to_forecast_gives_empty_tables(forecaster: Forecaster, prepared: Prepared) -> None:
    shard = prepared.read(0)
    forecast, skipped = forecaster.forecast_shard(Shard(shard.frame.head(0), shard.timeline, shard.shop), prepared.origin)
    assert [len(getattr(forecast, f.name)) for f in fields(forecast)] == [0] * 5
    assert not len(skipped)


def test_a_broken_photo_is_named_online_and_left_out_in_a_catalog(forecaster: Forecaster, prepared: Prepared) -> None:
    shard = prepared.read(0)
    whole = photo((1, 2, 3))
    row = next(i for i, found in enumerate(shard.frame["photos"]) if found is not None)
    found = cases(prepared, forecaster, [row])
    sku = shard.sku_id[row]
    found["images"] = [whole[:-30]]
    with pytest.raises(DataError, match=sku):
        forecaster.forecast(found, [sku], prepared.origin, [prepared.origin])
    assert len(forecaster.forecast(found, [sku], prepared.origin, [prepared.origin], broken_photos="missing").stage) == 1
    broken = pl.lit([{"known_from": None, "photos": [whole[:-30]]}], shard.frame.schema["photos"])
    damaged = Shard(shard.frame.with_columns(photos=broken), shard.timeline, shard.shop)
    none = Shard(shard.frame.with_columns(photos=pl.lit(None, shard.frame.schema["photos"])), shard.timeline, shard.shop)
    one, other = (forecaster.forecast_shard(s, prepared.origin)[0] for s in (damaged, none))
    assert one.curve.equals(other.curve)


def test_bf16_agrees_with_fp32(model: Path, trained_like: Forecaster, prepared: Prepared) -> None:
    short = Forecaster.load(model, ForecasterConfig(precision="bf16"))
    short.artifact.model.load_state_dict(trained_like.artifact.model.state_dict())
    exact, rough = (f.forecast_shard(prepared.read(0), prepared.origin)[0].curve["q50"].to_numpy() for f in (trained_like, short))
    assert np.abs(exact - rough).sum() < 0.03 * exact.sum()
