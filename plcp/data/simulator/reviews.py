"""Reviews whose stars and words follow the quality that nothing else tells."""

import numpy as np
import polars as pl

from plcp.data.simulator import vocabulary
from plcp.data.simulator.calendar import days
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.history import History
from plcp.data.simulator.sales import sku_column

Array = np.ndarray

WORDLESS = 0.25  # share of the reviews that are stars alone


def sentences() -> tuple[list[str], int]:
    """All review texts, ordered by language, stars, opening and reason; and how many there are per language and stars."""
    texts = []
    for language, joint in ((0, ", "), (1, "，")):
        for openings, reasons in zip(vocabulary.OPENINGS, vocabulary.REASONS, strict=True):
            texts += [f"{o}{joint}{r}{'.' if language == 0 else '。'}" for o in openings[language] for r in reasons[language]]
    return texts, len(texts) // 10


def reviews_table(config: SimulatorConfig, history: History, chunk: int) -> pl.DataFrame:
    """One row per review, in the order of product and date."""
    draws, customers = Draws(config.seed, chunk), history.environment.shop.customers
    count = history.reviews.astype(np.int64)
    cells = np.repeat(np.arange(count.size), count.ravel())
    rows, week = np.divmod(cells, config.weeks)
    total = count.sum(1)
    number = np.arange(len(cells)) - np.repeat(np.cumsum(total) - total, total)
    stars = customers.rating(rows, customers.reviews[rows] - total[rows] + number)
    u = draws.hashed("review-words", rows[:, None], number[:, None], np.arange(4))
    texts, each = sentences()
    chinese = u[:, 0] < np.where(history.environment.products.chinese[rows], 0.8, 0.1)
    at = (chinese * 5 + stars.astype(np.int64) - 1) * each + np.floor(u[:, 1] * each).astype(np.int64)
    words = pl.Series(texts, dtype=pl.Categorical()).gather(at) if len(at) else pl.Series([], dtype=pl.Categorical())
    return pl.DataFrame(
        {
            "sku_id": sku_column(history.environment.products.index[rows]),
            "date": days(config.first_week, week, np.floor(u[:, 2] * 7).astype(np.int64)),
            "rating": stars,
            "text": words.cast(pl.String),
        }
    ).with_columns(pl.col("date").cast(pl.Date), text=pl.when(pl.Series(u[:, 3] >= WORDLESS)).then("text"))
