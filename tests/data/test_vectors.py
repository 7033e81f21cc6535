import numpy as np
import polars as pl

from plcp.data.vectors import WIDTH, projected


def test_projection_keeps_who_is_near_whom_and_depends_on_nothing_else() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(30, 300)).astype(np.float32)
    vectors = np.concatenate([base, base * 7 + 0.05 * rng.normal(size=base.shape)]).astype(np.float32)
    entries = pl.DataFrame({"kind": ["audio"] * 60, "vector": vectors.tolist()}, {"kind": pl.String, "vector": pl.List(pl.Float32)})
    found = projected(entries)
    assert found.shape == (60, WIDTH)
    near = ((found[:30, None] - found[None, 30:]) ** 2).sum(2)
    assert (near.argmin(1) == np.arange(30)).all()
    assert projected(entries[7:9]).tobytes() == found[7:9].tobytes()
    other = entries.with_columns(kind=pl.lit("video"))
    assert not np.allclose(projected(other), found)
