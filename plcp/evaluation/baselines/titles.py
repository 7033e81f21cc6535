"""What products are called, as text and as numbers: n products of the panel, then m launches."""

from typing import Any

import numpy as np
import polars as pl

from plcp.data.view import PanelView
from plcp.evaluation.cases import Cases

WIDTH = 24  # of compressed titles
WORD = r"(?u)\b[^\W\d]{2,}\b"  # two letters at least


def product_texts(view: PanelView, cases: Cases) -> list[str]:
    """Category, brand and title of each, in lower case."""
    columns = ["category", "brand", "title"]
    frame = pl.concat([view.products.select(columns), cases.launches.select(columns)])
    return frame.select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True).str.to_lowercase()).to_series().to_list()


def title_words(texts: list[str]) -> Any:
    """TF-IDF of words and pairs of words that stand in two texts at least, (n + m, words) sparse rows of length 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        return TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD).fit_transform(texts)
    except ValueError:  # no word stands twice
        return TfidfVectorizer(analyzer="char").fit_transform([text or "?" for text in texts])


def title_vectors(view: PanelView, cases: Cases, seed: int) -> tuple[Any, np.ndarray]:
    """TF-IDF of the products' texts: sparse (n + m, words), and compressed to (n + m, ≤ WIDTH)."""
    from sklearn.decomposition import TruncatedSVD

    texts = product_texts(view, cases)
    words = title_words(texts)
    width = min(WIDTH, min(words.shape) - 1)
    return words, TruncatedSVD(width, random_state=seed).fit_transform(words) if width > 0 else np.zeros((len(texts), 0))
