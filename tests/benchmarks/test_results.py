from pathlib import Path

import pytest

from benchmarks.results import real_data


def test_who_does_not_say_where_the_data_lies_is_told_what_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLCP_BENCH_DATA", raising=False)
    with pytest.raises(SystemExit, match=r"give the folder that holds shop/sales\.parquet"):
        real_data("shop/sales.parquet")
    monkeypatch.setenv("PLCP_BENCH_DATA", "data")
    assert real_data("shop/sales.parquet") == Path("data/shop/sales.parquet")
