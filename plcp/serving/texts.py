"""Numbers as JSON spells them."""

import numpy as np
import polars as pl

NO_NUMBERS = {"NaN": "null", "inf": "null", "-inf": "null"}


def number_texts(numbers: np.ndarray) -> list[list[str]]:
    """Of each row the shortest text of each number that tells it from its neighbours in the array's type; null for what is no number."""
    flat = numbers.reshape(-1)
    texts = pl.Series(flat).cast(pl.String).to_list()
    if not np.isfinite(flat).all():
        texts = [NO_NUMBERS.get(text, text) for text in texts]
    width = numbers.shape[1]
    return [texts[i : i + width] for i in range(0, len(texts), width)]
