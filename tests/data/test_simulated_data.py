"""Nothing of the future in the inputs cut from a simulated shop, with every table that a shop may have."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.data import asof
from plcp.data.contract import Dataset, open_dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.simulator import SimulatorConfig, simulate
from plcp.data.spec import CHANNELS, FUTURE, Spec
from plcp.tables import CONTRACT
from tests.conftest import vectors_of
from tests.data.shop_tables import write
from tests.data.test_features import AHEAD, assert_same, cases_at

SHOP = SimulatorConfig(skus=300, weeks=80, seed=5, images=1, image_size=16, frequency="daily", workers=1)
SIGNALS = ("signal:consumer_confidence", "signal:search_interest", "signal:temperature_anomaly")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The simulator's tables, dirt and all, and vectors, which it does not make."""
    folder = tmp_path_factory.mktemp("simulated") / "shop"
    simulate(SHOP, folder)
    skus = pl.read_parquet(folder / "products").select(pl.col("sku_id").unique().sort()).to_series().to_numpy()
    rng = np.random.default_rng(0)
    write(folder, {"vectors": vectors_of(rng, skus, rng.integers(0, SHOP.weeks, len(skus)), SHOP.first_week)})
    dataset = open_dataset(folder)
    assert dataset.tables.keys() == CONTRACT.keys()
    return dataset


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(dataset, tmp_path_factory.mktemp("simulated") / "whole", PrepareConfig(skus_per_shard=130))


@pytest.mark.parametrize("week", [60, 69])  # in the second year: siblings of the same season were launched a year before
def test_inputs_of_the_cut_shop_equal_those_of_all_its_data_at_the_origin_bit_for_bit(
    week: int, dataset: Dataset, whole: Prepared, tmp_path: Path
) -> None:
    origin = SHOP.first_week + dt.timedelta(weeks=week)
    cut = prepare(asof.cut(dataset, origin), tmp_path / "cut", PrepareConfig(skus_per_shard=90))
    spec = Spec(history_weeks=104, horizon=12, country="GB").fitted(whole)
    assert (spec.history, spec.attributes, spec.vectors) == ((*CHANNELS, *SIGNALS), True, True)
    ours = cases_at(cut, origin, spec)
    assert len(ours) > 150
    for name in ("history", "pool", "due", "numeric", "planned", "vector"):
        said = np.stack([case["future"][:, : len(FUTURE)] if name == "planned" else case[name] for case in ours.values()])
        assert (np.nan_to_num(said) != 0).reshape(-1, said.shape[-1]).any(0).all(), f"{name}: what says nothing cannot be seen to leak"
    assert_same(ours, cases_at(whole, origin, spec))
    announced, planned = cases_at(cut, origin, spec, AHEAD), cases_at(whole, origin, spec, AHEAD)
    assert announced
    assert_same(announced, {sku: planned[sku] for sku in announced})
