from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.base import DataError
from plcp.forecast import snapshot
from plcp.forecast.snapshot import Snapshot, build, source_of


def part(number: int, rows: int = 50) -> pl.DataFrame:
    skus = [f"SKU {number}-{i} é" for i in range(rows)]
    return pl.DataFrame({"sku_id": skus, "value": np.arange(rows) + 100 * number, "words": [[s, None] for s in skus]})


@pytest.fixture
def made(tmp_path: Path) -> Snapshot:
    return build(tmp_path / "made", source_of("a"), 4, part)


def test_rows_come_in_the_order_asked_from_whatever_part(made: Snapshot) -> None:
    asked = [(int(p), int(r)) for p, r in np.random.default_rng(0).integers((0, 0), (4, 50), (200, 2))]
    rows = made.take(made.find([f"SKU {p}-{r} é" for p, r in asked]), ["value", "words"])
    assert rows["value"].to_list() == [r + 100 * p for p, r in asked]
    assert rows["words"][0].to_list() == [f"SKU {asked[0][0]}-{asked[0][1]} é", None]


def test_what_is_unknown_is_nowhere(made: Snapshot) -> None:
    assert made.find(["", "SKU 4-0 é", "SKU 0-0 é", "zzz"])[[0, 1, 3]].tolist() == [-1, -1, -1]
    assert len(made.find([])) == 0
    assert made.take(np.zeros(0, np.int64), ["value"]).schema == {"value": pl.Int64}


def test_skus_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "hashes", lambda skus: np.array([len(sku) for sku in skus], np.uint64))
    made = build(tmp_path / "made", source_of("a"), 2, part)
    everything = [f"SKU {p}-{r} é" for p in range(2) for r in range(50)]
    assert made.take(made.find(everything), ["sku_id"])["sku_id"].to_list() == everything
    assert [made.find([sku]).tolist() for sku in everything] == made.find(everything)[:, None].tolist()
    assert made.find(["SKU 7-0 é"]).tolist() == [-1]


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path: Path, made: Snapshot) -> None:
    asked: list[int] = []

    def until(stop: int) -> None:
        def frame(number: int) -> pl.DataFrame:
            if number == stop:
                raise KeyboardInterrupt
            asked.append(number)
            return part(number)

        build(tmp_path / "other", source_of("a"), 4, frame)

    with pytest.raises(KeyboardInterrupt):
        until(2)
    assert Snapshot.open(tmp_path / "other") is None
    until(9)
    assert sorted(asked) == [0, 1, 2, 3]
    assert {p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()} == {p.name: p.read_bytes() for p in made.root.iterdir()}
    until(0)
    assert sorted(asked) == [0, 1, 2, 3], "what is there is kept"
    build(tmp_path / "other", source_of("b"), 1, part)
    assert len(Snapshot.open(tmp_path / "other") or []) == 50


def test_a_part_that_is_gone_is_an_error_of_the_data(made: Snapshot) -> None:
    place = made.find(["SKU 0-0 é"])
    (made.root / snapshot.part_name(0)).unlink()
    assert made.take(place, ["value"])["value"].to_list() == [0], "what is mapped stays"
    again = Snapshot.open(made.root)
    assert again
    with pytest.raises(DataError, match=r"part-00000\.arrow: cannot be read"):
        again.take(place, ["value"])


def own_memory() -> int:
    """Bytes of this process that no file backs."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def test_reading_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    def wide(number: int) -> pl.DataFrame:
        text = pl.Series("text", [f"{number} {i} of a text long enough to stand outside" for i in range(5000)])
        numbers = pl.Series("numbers", np.full((5000, 100), 1.0), dtype=pl.Array(pl.Float64, 100))
        return pl.DataFrame({"sku_id": [f"{number}-{i}" for i in range(5000)], "text": text, "numbers": numbers})

    made = build(tmp_path / "wide", source_of(), 12, wide)  # 12 × 4.5 MB
    made.take(made.find(["0-0"]), ["text", "numbers"])
    before = own_memory()
    for number in range(12):
        made.take(made.find([f"{number}-{i}" for i in range(0, 5000, 50)]), ["text", "numbers"])
    assert own_memory() - before < 10e6
