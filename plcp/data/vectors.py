"""Embeddings made elsewhere, of any kind and width, as one vector of fixed width."""

import zlib
from functools import lru_cache

import numpy as np
import polars as pl

WIDTH = 64


@lru_cache(maxsize=64)
def projection(kind: str, width: int) -> np.ndarray:
    """(width, WIDTH) float32, the same for ever: a random projection keeps distances (Johnson & Lindenstrauss 1984)."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), width])
    return (rng.standard_normal((width, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)


def projected(entries: pl.DataFrame) -> np.ndarray:
    """Each vector at unit length, projected by its kind: kind, vector → (entries, WIDTH) float32."""
    out = np.zeros((len(entries), WIDTH), np.float32)
    groups = entries.with_row_index("row").with_columns(width=pl.col("vector").list.len()).group_by("kind", "width", maintain_order=True)
    for (kind, width), part in groups:
        if width:
            values = part["vector"].explode().to_numpy().reshape(-1, int(width)).astype(np.float32)
            length = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
            # row by row: a product of matrices may round differently with the number of rows
            out[part["row"].to_numpy()] = np.einsum("nw,wk->nk", values / length, projection(str(kind), int(width)))
    return out
