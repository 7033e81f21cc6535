from dataclasses import replace
from pathlib import Path

import polars as pl

from plcp.data.prepared import prepare
from plcp.report.history import read_history
from tests.decisions.shop import ORIGIN
from tests.report.shop import dataset, photo


def test_a_photo_cut_short_is_left_out(tmp_path: Path) -> None:
    data = dataset()
    photos = pl.when(pl.col("sku_id") == "tea").then(pl.lit([photo()[:-40]])).otherwise("image")
    damaged = replace(data, tables=data.tables | {"products": data.tables["products"].with_columns(image=photos)})
    history = read_history(prepare(damaged, tmp_path / "prepared"), ORIGIN, {"cup", "tea"}, {"cup", "tea"})
    assert history.photos["cup"].startswith("data:image/webp;base64,")
    assert set(history.photos) == {"cup"}
    assert set(history.titles) == {"cup", "tea"}
