import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp import tables
from plcp.base import DataError
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.forecast import artifact
from plcp.forecast.calibration import Calibration
from plcp.forecast.diff import Diff, diff, pair
from plcp.forecast.runs import MANIFEST, Run
from plcp.report import changes
from tests.conftest import little_shop
from tests.forecast.shop import prepared_shop, score_here, tiny_artifact

SHARDS = PrepareConfig(skus_per_shard=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weeks")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return prepared_shop(folder / "prepared", skus=24, per_shard=8)


@pytest.fixture(scope="module")
def model(folder: Path, prepared: Prepared) -> Path:
    return tiny_artifact(folder / "model", prepared)


@pytest.fixture(scope="module")
def run(folder: Path, prepared: Prepared, model: Path) -> Run:
    return score_here(model, prepared.root, folder / "first")


def other_model(folder: Path, model: Path) -> Path:
    """The same weights, corrected otherwise: quantiles move, nothing else does."""
    parts = artifact.load(model)
    shift = Calibration(np.full_like(Calibration.identity().shift, 0.25))
    artifact.write(folder, parts.model, parts.preprocessor, parts.config.spec, parts.config.origin, shift)
    return folder


def between(one: Run, other: Run) -> Diff:
    return diff(*pair(one.root, other.root))


def test_a_run_and_itself_differ_in_nothing(run: Run) -> None:
    found = between(run, run)
    assert found.frame["change"].unique().to_list() == ["same"]
    assert found.frame["cause"].null_count() == len(found.frame) == 24
    assert found.summary["cause"] == "the same model with the same data: the same run"
    assert not found.summary["largest"]


def test_another_model_with_the_same_data_is_the_cause_of_every_change(run: Run, model: Path, prepared: Prepared, tmp_path: Path) -> None:
    other = score_here(other_model(tmp_path / "model", model), prepared.root, tmp_path / "scores")
    found = between(run, other)
    assert found.summary["cause"] == "another model with the same data"
    assert found.summary["causes"] == {"model": 24}
    assert found.summary["tables"] == {"curve": 24, "events": 0, "stage": 0, "embedding": 0}
    assert found.summary["skus"]["moved"] == 0


def test_other_data_changes_those_products_alone_that_lie_in_its_shards(run: Run, model: Path, prepared: Prepared, tmp_path: Path) -> None:
    shop = little_shop(24)
    renamed = pl.when(pl.col("sku_id") == "P003").then(pl.lit("green vase")).otherwise("title")
    shop["products"] = shop["products"].with_columns(title=renamed)
    second = prepare(Dataset.of(shop), tmp_path / "prepared", SHARDS)
    assert sum(a.digest != b.digest for a, b in zip(prepared.shards, second.shards, strict=True)) == 1
    found = between(run, score_here(model, second.root, tmp_path / "scores"))
    assert found.summary["cause"] == "the same model with other data"
    changed = found.frame.filter(pl.col("change") == "changed")
    assert "P003" in changed["sku_id"]
    home = next(shard for shard in map(second.read, range(3)) if "P003" in shard.sku_id)
    assert set(changed["sku_id"]) <= set(home.sku_id)
    assert changed["cause"].unique().to_list() == ["data"]


def test_a_new_week_brings_new_products_and_units_are_those_of_the_weeks_in_common(run: Run, model: Path, tmp_path: Path) -> None:
    second = prepare(Dataset.of(little_shop(30, weeks=71)), tmp_path / "prepared", SHARDS)
    other = score_here(model, second.root, tmp_path / "scores")
    found = between(run, other)
    assert found.summary["window"] == {"first": "2023-05-15", "weeks": 25}
    assert found.summary["skus"] | {"moved": 0} == dict.fromkeys(tables.DIFF["change"].choices, 0) | {"new": 6, "changed": 24, "moved": 0}
    assert found.summary["skus"]["moved"] > 0, "one shard more"
    assert between(other, run).summary["skus"]["gone"] == 6
    row = found.frame.row(0, named=True)
    for side, scored in (("before", run), ("after", other)):
        curve = tables.read(tables.CURVE, scored.root).filter(pl.col("sku_id") == row["sku_id"]).sort("week")
        weeks = curve.filter(pl.col("week") >= other.manifest().source.origin)["mean"][:25]  # type: ignore[union-attr]
        assert row[f"units_{side}"] == pytest.approx(weeks.sum())
    assert row["units_change"] == pytest.approx(row["units_after"] - row["units_before"])


def test_products_no_longer_forecast_or_forecast_again_are_told_apart(run: Run, tmp_path: Path) -> None:
    """A run of which one product is skipped."""
    manifest = run.manifest()
    assert manifest
    other = Run(tmp_path / "runs" / "other")
    part = manifest.parts[0].part
    stage = pl.read_parquet(run.file("stage", part))
    left = stage["sku_id"][0]
    for record in manifest.parts:
        for name in tables.FORECAST:
            frame = pl.read_parquet(run.file(name, record.part)).filter(pl.col("sku_id") != left)
            if name == "skipped" and record.part == part:
                frame = pl.concat([frame, stage.head(1).select("sku_id", "origin", reason=pl.lit("because"))])
            tables.write(tables.FORECAST[name], frame, other.file(name, record.part), {})
    (other.root / MANIFEST).write_text(manifest.model_dump_json())
    assert between(run, other).frame.filter(sku_id=left)["change"].item() == "skipped"
    assert between(other, run).frame.filter(sku_id=left)["change"].item() == "resumed"


def test_the_last_two_runs_published_are_compared_where_one_folder_is_given(
    model: Path, prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = score_here(model, prepared.root, tmp_path / "scores")
    with pytest.raises(DataError, match="fewer than two runs"):
        pair(tmp_path / "scores", None)
    other = score_here(other_model(tmp_path / "model", model), prepared.root, tmp_path / "scores")
    found = pair(tmp_path / "scores", None)
    assert [side.run.root.name for side in found] == [one.root.name, other.root.name]
    summary = diff(*found).summary
    changes.show(summary, as_json=True)
    assert json.loads(capsys.readouterr().out) == summary
    changes.show(summary)
    assert "another model with the same data" in capsys.readouterr().out


def test_a_run_that_is_not_finished_or_damaged_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "half").mkdir(parents=True)
    with pytest.raises(DataError, match="not finished"):
        pair(run.root, tmp_path / "runs" / "half")
    side, _ = pair(run.root, run.root)
    broken = replace(side, run=Run(tmp_path / "runs" / "half"))
    with pytest.raises(DataError, match=r"part-00000\.parquet: cannot be read"):
        diff(broken, side)
