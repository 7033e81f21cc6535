"""Which parts a run takes: all, those that changed, or those with the SKUs asked for."""

import asyncio
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from plcp import tables
from plcp.base import DataError, ModelError
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.data.shards import Shard
from plcp.folders import sha256
from plcp.forecast import artifact
from plcp.forecast.catalog import CatalogConfig, complete, score
from plcp.forecast.parts import Part, read
from plcp.forecast.planning import carried_over, plan
from plcp.forecast.replicas import Catalog
from plcp.forecast.runs import Run, published
from tests.conftest import little_shop
from tests.forecast.shop import Made, made, score_here, tiny_artifact

SKUS, SHARDS = 24, PrepareConfig(skus_per_shard=8)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("shop"), skus=SKUS, per_shard=8)


def corrected(folder: Path, weeks: int = 70, **units: float) -> Prepared:
    """The same shop with another planned price of one product, or other sales."""
    frames = little_shop(SKUS, weeks)
    price = pl.when(pl.col("sku_id") == "P003").then(2.0).otherwise("price")
    frames["plans"] = frames["plans"].with_columns(price=price)
    frames["sales"] = frames["sales"].with_columns(**{name: pl.col(name) + value for name, value in units.items()})
    return prepare(Dataset.of(frames), folder, SHARDS)


def changed_parts(model: Path, prepared: Path, scores: Path, config: CatalogConfig | None = None) -> list[Part]:
    source, parts = plan(model, prepared, scores, config or CatalogConfig())
    return carried_over(parts, source, scores)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_carried_over_or_not_a_run_has_the_same_bytes(shop: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, second = tmp_path / "scores", corrected(tmp_path / "second").root
    score_here(shop.model, shop.prepared, scores)
    parts = changed_parts(shop.model, second, scores)
    assert [part.carried is None for part in parts].count(True) == 1, "one shard of three holds the product"
    catalog, forecast, own = Catalog(), [], read

    def noted(part: Part) -> Shard:
        forecast.append(part.name)
        return own(part)

    monkeypatch.setattr("plcp.forecast.parts.read", noted)
    records = [asyncio.run(catalog.score(part)) for part in parts]
    assert forecast == [part.name for part in parts if part.carried is None]
    run = Run(parts[0].run)
    run.complete(complete(plan(shop.model, second, scores, CatalogConfig())[0], records))
    whole = score_here(shop.model, second, tmp_path / "whole")
    assert run.root.name == whole.root.name
    assert contents(run.root) == contents(whole.root)


@pytest.mark.parametrize("why", ["a new week", "sales that siblings pool", "another model", "other options", "nothing published"])
def test_nothing_is_carried_over_where_every_part_would_come_out_otherwise(shop: Made, tmp_path: Path, why: str) -> None:
    scores, model, config = tmp_path / "scores", shop.model, CatalogConfig()
    prepared = corrected(tmp_path / "second").root
    if why != "nothing published":
        score_here(shop.model, shop.prepared, scores)
    if why == "a new week":
        prepared = corrected(tmp_path / "later", weeks=71).root
    elif why == "sales that siblings pool":
        prepared = corrected(tmp_path / "more", units=1).root
    elif why == "another model":
        model = tiny_artifact(tmp_path / "model", Prepared.open(shop.prepared), seed=1)
    elif why == "other options":
        config = CatalogConfig.model_validate({"forecaster": {"precision": "bf16"}})
    assert all(part.carried is None for part in changed_parts(model, prepared, scores, config))


def test_a_part_damaged_since_is_made_anew_instead_of_carried_over(shop: Made, tmp_path: Path) -> None:
    scores, second = tmp_path / "scores", corrected(tmp_path / "second").root
    first = score_here(shop.model, shop.prepared, scores)
    part = next(part for part in changed_parts(shop.model, second, scores) if part.carried)
    first.file("curve", part.name).write_bytes(b"no Parquet")
    record = asyncio.run(Catalog().score(part))
    assert Run(part.run).intact(record)
    assert record.input == part.input


def test_only_the_skus_asked_for_are_forecast_and_readers_see_nothing_of_it(shop: Made, tmp_path: Path) -> None:
    scores, asked = tmp_path / "scores", ["P005", "P011", "P020"]
    whole = score_here(shop.model, shop.prepared, scores)
    (tmp_path / "skus.txt").write_text("P020\n\nP005\nP011\nP005\n")
    source, parts = plan(shop.model, shop.prepared, scores, CatalogConfig(), tmp_path / "skus.txt")
    assert sum(part.skus for part in parts) == 3
    for part in parts:
        asyncio.run(Catalog().score(part))
    run = Run(parts[0].run)
    run.complete(complete(source, [record for part in parts if (record := run.record(part.name))]))
    assert run.root.name != whole.root.name
    assert sorted(tables.read(tables.STAGE_TABLE, run.root)["sku_id"]) == asked
    result = score(shop.model, shop.prepared, scores, only=tmp_path / "skus.txt")
    assert (result.run, result.kept) == (run.root, len(parts)), "made once"
    assert published(scores) == [whole.root.name]
    curves = [tables.read(tables.CURVE, r.root).filter(pl.col("sku_id").is_in(asked)).sort("sku_id", "week") for r in (run, whole)]
    assert (curves[0]["mean"] - curves[1]["mean"]).abs().max() <= 1e-4 * curves[1]["mean"].max()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P001\nNOPE\n", "not in .*: NOPE; take them from the list"),
        (b"\n", "names no SKU"),
        (b"\xff\xfe", "cannot be read as a list of SKUs"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(shop: Made, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "skus.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        plan(shop.model, shop.prepared, tmp_path / "scores", CatalogConfig(), path)
    with pytest.raises(DataError, match="cannot be read"):
        plan(shop.model, shop.prepared, tmp_path / "scores", CatalogConfig(), tmp_path / "none.txt")


def test_a_dry_run_tells_what_would_be_carried_over(shop: Made, tmp_path: Path) -> None:
    scores, second = tmp_path / "scores", corrected(tmp_path / "second").root
    score_here(shop.model, shop.prepared, scores)
    result = score(shop.model, second, scores, dry_run=True, only="changed")
    assert (result.parts, result.kept, result.carried) == (3, 0, 2)


def test_a_model_of_another_version_is_refused_before_anything_is_started(shop: Made, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(shop.model, model)
    config, sums = model / artifact.CONFIG, model / artifact.CHECKSUMS
    config.write_text(config.read_text().replace(f'"format": {artifact.FORMAT}', '"format": 1'))
    sums.write_text(json.dumps({"files": json.loads(sums.read_text())["files"] | {artifact.CONFIG: sha256(config)}}))
    with pytest.raises(ModelError, match=r"format 1, this version reads .*export the run again"):
        score(model, shop.prepared, tmp_path / "scores", dry_run=True)
