import hashlib
import re
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl
import psutil
import pytest

import plcp
from plcp.base import DataError
from plcp.data.contract import check, open_dataset
from plcp.data.simulator import SimulatorConfig, simulate
from tests.data.simulator.conftest import CONFIG, table

TWO_CHUNKS = SimulatorConfig(skus=1040, weeks=12, seed=6, baskets_per_sku=2, workers=1)
VERSION_1 = {
    "baskets": "0dce12494bccffb7",
    "plans": "e03d20ec527e2adb",
    "products": "89430366bf1eafa3",
    "reviews": "e128e7f4eb90427e",
    "sales": "7738d03368c1a97c",
    "signals": "55ddf4f9e30470ed",
    "supply": "04c6fce8c0937b8c",
    "truth/demand": "94a2c6ccfc46c623",
    "truth/events": "862297d601fc528b",
    "truth/products": "e8aa5a643157addd",
    "truth/relations": "5dfc4246efe8c62e",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*"))}


def test_processes_and_their_number_leave_no_trace_in_the_bytes(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    simulate(TWO_CHUNKS, tmp_path / "one", lambda *counts: done.append(counts))
    simulate(TWO_CHUNKS.model_copy(update={"workers": 2}), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert done == [(0, 1040), (1000, 1040), (1040, 1040)]


def test_another_seed_is_another_shop(tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(SimulatorConfig(skus=30, weeks=12, seed=seed), tmp_path / str(seed))
    one, two = (contents(tmp_path / str(seed)) for seed in (1, 2))
    assert one.keys() == two.keys()
    assert all(one[name] != two[name] for name in one)


def test_a_broken_off_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    simulate(TWO_CHUNKS, tmp_path)
    whole = contents(tmp_path)
    for name in ("truth/products", "sales"):  # the last file of a chunk, and one before it
        (tmp_path / name / "part-00001.parquet").unlink()
    counted: list[int] = []
    simulate(TWO_CHUNKS, tmp_path, lambda done, _: counted.append(done))
    assert counted == [1000, 1040]
    assert contents(tmp_path) == whole


def test_no_worker_outlives_a_killed_run(tmp_path: Path) -> None:
    lines = (
        "from pathlib import Path",
        "from plcp.data.simulator import SimulatorConfig, simulate",
        "if __name__ == '__main__':",
        f"    simulate(SimulatorConfig(skus=100_000, workers=2), Path({str(tmp_path / 'shop')!r}))",
    )
    (tmp_path / "run.py").write_text("\n".join(lines))
    run = psutil.Popen([sys.executable, str(tmp_path / "run.py")])
    while not list(tmp_path.glob("shop/sales/*.parquet")):
        time.sleep(0.1)
    children = run.children(recursive=True)
    run.kill()
    run.wait()
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    simulate(SimulatorConfig(skus=5, weeks=8), tmp_path / "shop")
    with pytest.raises(DataError, match="other settings"):
        simulate(SimulatorConfig(skus=6, weeks=8), tmp_path / "shop")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("dear")
    with pytest.raises(DataError, match="not empty"):
        simulate(SimulatorConfig(skus=5, weeks=8), tmp_path / "notes")


def test_without_dirt_the_contract_finds_nothing_bad(shop: Path, tmp_path: Path) -> None:
    open_dataset(shop, quarantine=tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_dirt_is_found_and_borne(tmp_path: Path) -> None:
    config = SimulatorConfig(skus=300, weeks=60, seed=3)
    simulate(config, tmp_path / "shop")
    report = str(check(tmp_path / "shop"))
    assert "units: below 0" in report
    assert "rating: below 1" in report
    products = table(tmp_path / "shop", "products")
    assert products["sku_id"].is_duplicated().sum() > 0  # a mended title is a second row
    assert products["launch_date"].null_count() > 0
    sales = table(tmp_path / "shop", "sales")
    assert sales["cancelled_at"].is_not_null().sum() > 0
    assert sales["price"].null_count() > 0
    # all that stands, corrections left out, is what the clean shop sold
    stands = sales.filter(pl.col("cancelled_at").is_null(), pl.col("units") >= 0)["units"].sum()
    assert stands == table(tmp_path / "shop", "truth/demand")["sales"].sum()


def test_what_is_launched_after_the_data_is_announced_in_it(shop: Path) -> None:
    last = table(shop, "sales")["date"].max()
    coming = table(shop, "products").filter(pl.col("launch_date") > last)
    assert coming.height > 0
    assert (coming["known_at"] <= last).all()
    assert table(shop, "sales").join(coming, on="sku_id", how="semi").is_empty()


def test_version_1_stays_as_it_is(tmp_path: Path) -> None:
    """Figures are quoted for this version: what changes a value belongs into a version 2 beside it."""
    simulate(SimulatorConfig(version=1, skus=40, weeks=30, seed=1), tmp_path)
    found = {
        str(p.parent.relative_to(tmp_path)): hashlib.sha256(pl.read_parquet(p).write_csv().encode()).hexdigest()[:16]
        for p in sorted(tmp_path.rglob("*.parquet"))
    }
    assert found == VERSION_1


def test_nothing_in_the_library_reads_the_truth() -> None:
    library = Path(plcp.__file__).parent
    readers = [p for p in library.rglob("*.py") if "simulator" not in p.parts and re.search(r"[\"'/]truth[\"'/]", p.read_text())]
    assert readers == []


def test_a_first_week_that_is_no_monday_is_refused() -> None:
    with pytest.raises(ValueError, match="no Monday"):
        SimulatorConfig(first_week=date(2023, 1, 3))


def test_config_of_the_fixture_is_version_1() -> None:
    assert CONFIG.world.version == CONFIG.version == 1
