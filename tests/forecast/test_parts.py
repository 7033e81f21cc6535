import asyncio
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from plcp import tables
from plcp.base import DataError, ModelError
from plcp.forecast.catalog import CatalogConfig, score
from plcp.forecast.forecaster import Forecaster
from plcp.forecast.parts import Part, read, write
from plcp.forecast.planning import plan
from plcp.forecast.replicas import FAILED, Catalog
from plcp.forecast.runs import Run
from tests.forecast.shop import Made, made, score_here


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("shop"), skus=24, per_shard=8)


def parts_of(shop: Made, scores: Path) -> list[Part]:
    return plan(shop.model, shop.prepared, scores, CatalogConfig())[1]


def test_every_sku_is_in_the_output_exactly_once(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    answered = pl.concat([tables.read(tables.STAGE_TABLE, run.root)["sku_id"], tables.read(tables.SKIPPED, run.root)["sku_id"]])
    assert answered.sort().to_list() == [f"P{i:03d}" for i in range(24)]


def test_each_shard_becomes_one_file_per_table_that_names_its_model_origin_and_run(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    for name in tables.FORECAST:
        assert [path.name for path in sorted((run.root / name).iterdir())] == [
            "part-00000.parquet",
            "part-00001.parquet",
            "part-00002.parquet",
        ]
    metadata = pq.read_schema(run.file("curve", "part-00001")).metadata
    assert {k: metadata[k] for k in (b"model", b"origin", b"run")} == {
        b"model": Forecaster.load(shop.model).digest.encode(),
        b"origin": b"2023-05-08",
        b"run": run.root.name.encode(),
    }


def test_the_same_run_gives_the_same_bytes(shop: Made, tmp_path: Path) -> None:
    first, second = (score_here(shop.model, shop.prepared, tmp_path / name) for name in ("a", "b"))
    assert first.root.name == second.root.name
    assert contents(first.root) == contents(second.root)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_is_left_aside(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    assert sorted(path.name for path in run.root.iterdir()) == sorted([*tables.FORECAST, "manifest.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["HISTORY", "LATEST", "runs"]


def test_a_part_made_twice_at_once_is_made_once(shop: Made, tmp_path: Path) -> None:
    part = parts_of(shop, tmp_path)[0]
    catalog = Catalog()

    async def both() -> None:
        first, second = await asyncio.gather(catalog.score(part), catalog.score(part))
        assert first == second == Run(part.run).record(part.name)

    asyncio.run(both())


@pytest.mark.parametrize("what", ["digest", "context"])
def test_data_prepared_anew_since_the_run_was_planned_is_refused_be_it_the_shard_or_what_is_known_of_the_shop(
    shop: Made, tmp_path: Path, what: str
) -> None:
    changed = Part(**{**vars(parts_of(shop, tmp_path)[0]), what: "0" * 64})
    with pytest.raises(DataError, match=r"prepared/manifest\.json: the data was prepared anew during the run"):
        read(changed)


def test_an_attempt_that_comes_after_the_run_is_complete_moves_no_file(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    before = {path: path.stat().st_ino for path in run.root.rglob("*")}
    asyncio.run(Catalog().score(parts_of(shop, tmp_path)[0]))
    shutil.rmtree(run.root / ".aside", ignore_errors=True)
    assert {path: path.stat().st_ino for path in run.root.rglob("*")} == before


def test_a_file_damaged_after_the_run_was_complete_is_put_right(shop: Made, tmp_path: Path) -> None:
    run, part = score_here(shop.model, shop.prepared, tmp_path), parts_of(shop, tmp_path)[0]
    path = run.file("curve", part.name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    asyncio.run(Catalog().score(part))
    assert path.read_bytes() == whole


def test_a_replica_whose_parts_all_fail_is_ill_until_one_does_not(shop: Made, tmp_path: Path) -> None:
    good = parts_of(shop, tmp_path)[0]
    bad, catalog = Part(**{**vars(good), "digest": "0" * 64}), Catalog()
    for _ in range(FAILED):
        catalog.check_health()
        with pytest.raises(DataError):
            asyncio.run(catalog.score(bad))
    with pytest.raises(RuntimeError, match="the last 16 parts have failed here"):
        catalog.check_health()
    asyncio.run(catalog.score(good))
    catalog.check_health()


def test_another_version_of_plcp_makes_a_run_of_its_own(shop: Made, tmp_path: Path) -> None:
    source, _ = plan(shop.model, shop.prepared, tmp_path, CatalogConfig())
    other = source.model_copy(update={"version": "0.0"})
    assert other.run_id != source.run_id
    assert other.comparable != source.comparable


def test_a_forecast_that_loses_a_sku_is_not_written(shop: Made, tmp_path: Path) -> None:
    part = parts_of(shop, tmp_path)[0]
    shard = read(part)
    forecast, skipped = Forecaster.load(shop.model).forecast_shard(shard, part.origin)
    lost = type(forecast)(**{**vars(forecast), "stage": forecast.stage.slice(1)})
    with pytest.raises(DataError, match="8 SKUs went in, 7 came out"):
        write(part, shard, lost, skipped)
    assert Run(part.run).record(part.name) is None


def test_a_model_replaced_during_the_run_is_told(shop: Made, tmp_path: Path) -> None:
    part = Part(**{**vars(parts_of(shop, tmp_path)[0]), "model_digest": "0" * 64})
    with pytest.raises(ModelError, match="the model was replaced during the run"):
        asyncio.run(Catalog().score(part))


def test_a_file_of_a_finished_part_that_was_damaged_is_made_again(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    run.file("events", "part-00001").write_bytes(b"no Parquet")
    assert sorted(run.finished()) == ["part-00000", "part-00002"]
    assert score(shop.model, shop.prepared, tmp_path, dry_run=True).kept == 2


def test_a_record_counts_only_with_its_files_and_its_input(shop: Made, tmp_path: Path) -> None:
    part = parts_of(shop, tmp_path)[0]
    record, run = asyncio.run(Catalog().score(part)), Run(part.run)
    assert run.made(part.name, part.input) == record
    assert run.made(part.name, "0" * 64) is None, "another shard than now"
    whole = run.file("curve", part.name).read_bytes()
    run.file("curve", part.name).write_bytes(whole[:-1])
    assert run.made(part.name, part.input) is None, "a file is not what it was"
    run.file("curve", part.name).unlink()
    assert run.made(part.name, part.input) is None, "a file is gone"
    run.file("curve", part.name).write_bytes(whole)
    (run.root / ".parts" / f"{part.name}.json").write_text('{"part":')
    assert run.made(part.name, part.input) is None, "the record is half written"


def test_a_damaged_manifest_is_named_to_readers_and_mended_by_the_same_command(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    (run.root / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json: damaged .*run the same `plcp score` again"):
        run.manifest()
    assert score(shop.model, shop.prepared, tmp_path, dry_run=True).kept == 0


def test_the_runs_name_follows_from_what_it_is_made_from(shop: Made, tmp_path: Path) -> None:
    names = {plan(shop.model, shop.prepared, tmp_path, CatalogConfig.model_validate(options))[0].run_id for options in SETTINGS}
    assert len(names) == len(SETTINGS) - 1, "where vectors are cached and how often a part is tried moves no bit"


SETTINGS: list[dict[str, object]] = [
    {},
    {"tries": 7, "forecaster": {"cache": "/x"}},
    {"forecaster": {"precision": "bf16"}},
    {"replica": {"threads": 1}},
]


def test_a_dry_run_tells_what_there_is_to_do_and_does_nothing(shop: Made, tmp_path: Path) -> None:
    result = score(shop.model, shop.prepared, tmp_path / "scores", dry_run=True)
    assert (result.skus, result.parts, result.kept, result.skipped) == (24, 3, 0, None)
    assert not (tmp_path / "scores").exists()


def test_a_finished_run_needs_no_cluster_to_be_published_again(shop: Made, tmp_path: Path) -> None:
    run = score_here(shop.model, shop.prepared, tmp_path)
    made = contents(tmp_path)
    result = score(shop.model, shop.prepared, tmp_path)
    assert (result.run, result.kept) == (run.root, 3)
    published = contents(tmp_path)
    assert {name: published[name] for name in made} == made
    assert {name.split("/")[2] for name in published.keys() - made.keys()} == {"snapshot"}, "beside it only what the endpoint reads"
    score(shop.model, shop.prepared, tmp_path)
    assert contents(tmp_path) == published


def test_a_damaged_model_is_refused_before_anything_starts(shop: Made, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checksums\.json"):
        score(tmp_path, shop.prepared, tmp_path / "scores")


def test_vectors_of_a_part_of_a_table_are_written_as_they_are(tmp_path: Path) -> None:
    vectors = pl.Series("vector", [[0.5, -1.25], [2.0, 3.0], [0.0, 8.0]], dtype=pl.List(pl.Float32))
    frame = pl.DataFrame({"sku_id": ["a", "b", "c"], "vector": vectors})
    tables.write(tables.EMBEDDING, frame.slice(1), tmp_path / "x.parquet", {})
    assert pl.read_parquet(tmp_path / "x.parquet")["vector"].to_list() == [[2.0, 3.0], [0.0, 8.0]]
