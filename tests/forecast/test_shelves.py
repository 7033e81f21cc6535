"""Snapshots for the endpoint, made by a process of their own."""

import errno
import sys
from pathlib import Path

import pytest

from plcp.base import PlcpError
from plcp.data.prepared import Prepared
from plcp.forecast import shelves
from plcp.forecast.catalog import CatalogConfig, make_snapshots
from plcp.forecast.embeddings import TowerEncoder, vectors_beside
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.forecast.planning import plan
from plcp.forecast.runs import MANIFEST, Run
from plcp.forecast.snapshot import Snapshot
from tests.forecast.shop import Made, made, score_here


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("shop"), skus=12, per_shard=6)


@pytest.fixture
def run(shop: Made, tmp_path: Path) -> Run:
    return score_here(shop.model, shop.prepared, tmp_path / "scores")


def python_that(does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{does}\n")
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))


def test_both_are_there_when_the_command_ends(shop: Made, run: Run) -> None:
    make_snapshots(shop.prepared, run, [])
    forecast = Snapshot.open(run.root / "snapshot")
    assert forecast is not None
    assert len(forecast) == 12
    shelf = shop.prepared.with_name(f".{shop.prepared.name}.catalog")
    assert [len(Snapshot(path, "")) for path in shelf.iterdir() if path.is_dir()] == [12]


def test_the_endpoint_runs_no_tower_for_what_the_run_has_seen(shop: Made, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, parts = plan(shop.model, shop.prepared, run.root.parent.parent, CatalogConfig())
    make_snapshots(shop.prepared, run, parts)
    bare, reading = (Forecaster.load(shop.model, ForecasterConfig()) for _ in range(2))
    shard = Prepared.open(shop.prepared).read(0)
    made = bare.forecast_shard(shard, shard.timeline.origin)[0]
    reading.encoder.look_up_in(vectors_beside(shop.prepared))
    monkeypatch.setattr(TowerEncoder, "_made", lambda *_: pytest.fail("a tower was run"))
    assert reading.forecast_shard(shard, shard.timeline.origin)[0].curve.equals(made.curve)


def test_why_they_could_not_be_made_is_said(shop: Made, run: Run) -> None:
    (run.root / MANIFEST).unlink()
    with pytest.raises(PlcpError, match=r"every product is forecast, but .*\(.*the run is not complete.*\)\. Mend it and run the same"):
        make_snapshots(shop.prepared, run, [])


def test_a_process_that_was_killed_is_told_from_a_full_disk(shop: Made, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_that("kill -9 $$", tmp_path, monkeypatch)
    with pytest.raises(PlcpError, match="ended by signal 9; is there too little memory"):
        make_snapshots(shop.prepared, run, [])
    python_that(f"exit {errno.ENOSPC}", tmp_path, monkeypatch)
    with pytest.raises(OSError, match="No space left") as error:
        make_snapshots(shop.prepared, run, [])
    assert error.value.errno == errno.ENOSPC


def test_a_full_disk_is_told_by_the_exit_code(shop: Made, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "part-00000.arrow")

    monkeypatch.setattr(shelves, "build", full)
    monkeypatch.setattr(sys, "argv", ["shelves", str(shop.prepared), str(run.root)])
    with pytest.raises(SystemExit) as ended:
        shelves.main()
    assert ended.value.code == errno.ENOSPC
