"""What to offer instead: products whose embeddings are nearest and that can be sold."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from plcp.base import Config
from plcp.decisions.outlook import Outlook
from plcp.decisions.rows import decision
from plcp.decisions.wording import count

BLOCK = 1024  # queries at a time: (BLOCK, candidates) similarities are held in memory
PAIRS = {"row": pl.get_index_type(), "other": pl.get_index_type(), "value": pl.Float64()}
SOON_WEEKS = 12  # a product that probably ends within so many weeks needs a successor

Vectors = NDArray[np.float32]


class SubstitutesConfig(Config):
    """count: substitutes per product. similarity: cosine below which two products are no substitutes."""

    count: int = Field(3, gt=0)
    similarity: float = Field(0.3, ge=-1, le=1)


@dataclass(frozen=True)
class Nearest:
    """Places of the nearest candidates (queries, k), nearest first, and their cosines; -1 and NaN where there are fewer."""

    index: NDArray[np.int64]
    cosine: Vectors


def directions(embedding: pl.DataFrame) -> Vectors:
    """The embedding table's vectors, centred and of length 1, (n, width) float32.

    Joint encoders put all products into a narrow cone; about their common mean the angles tell products apart (Mu & Viswanath,
    ICLR 2018).
    """
    if embedding.is_empty():
        return np.zeros((0, 1), np.float32)
    vectors = embedding["vector"].list.to_array(len(embedding["vector"][0])).to_numpy()
    vectors = vectors - vectors.mean(axis=0)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest(queries: NDArray[np.int64], candidates: NDArray[np.int64], vectors: Vectors, k: int) -> Nearest:
    """The k candidates nearest to each query, never itself; both are rows of `vectors` (directions)."""
    index, cosine = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.nan, np.float32)
    found = min(k, len(candidates))
    pool = vectors[candidates]
    for begin in range(0, len(queries) if found else 0, BLOCK):
        rows = queries[begin : begin + BLOCK]
        similarity = vectors[rows] @ pool.T
        similarity[rows[:, None] == candidates[None, :]] = -np.inf
        top = np.sort(np.argpartition(-similarity, found - 1, axis=1)[:, :found], axis=1)
        values = np.take_along_axis(similarity, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        values, top = np.take_along_axis(values, order, axis=1), np.take_along_axis(top, order, axis=1)
        itself = np.isneginf(values)
        index[begin : begin + BLOCK, :found] = np.where(itself, -1, candidates[top])
        cosine[begin : begin + BLOCK, :found] = np.where(itself, np.nan, values)
    return Nearest(index, cosine)


def standing(outlook: Outlook, short: NDArray[np.bool_]) -> pl.DataFrame:
    """Who needs a substitute and who can be one: sku_id, title, group, on_hand, ending, short, available.

    Args:
        short: (n,) products at risk of a stock-out. They and the ending ones need a substitute; products that are neither short nor
            out of stock nor at their end can be one. Unknown stock does not exclude.
    """
    in_stock = ~(outlook["on_hand"] <= 0)
    lasting = (outlook.ended_by(SOON_WEEKS) < 0.5) & ~outlook.stage_in("ended")
    columns = outlook.frame.select("sku_id", "title", "group", "on_hand")
    return columns.with_columns(ending=~lasting, short=short, available=lasting & in_stock & ~short)


def substitutes(standing: pl.DataFrame, embedding: pl.DataFrame, origin: date, config: SubstitutesConfig) -> pl.DataFrame:
    """`substitute` rows for every product that needs one, found within its group (the first level of its category)."""
    known = embedding.join(standing, on="sku_id", how="inner", maintain_order="left")
    vectors = directions(known)
    known = known.drop("vector").with_row_index("row")
    pairs = [_pairs(group, vectors, config) for group in known.partition_by("group", maintain_order=True)]
    found = pl.concat([pl.DataFrame(schema=PAIRS), *pairs])
    other = known.select("row", other_sku_id="sku_id", other_title="title", other_on_hand="on_hand")
    frame = known.join(found, on="row").join(other, left_on="other", right_on="row")
    return decision(frame, origin, "substitute", "cosine", REASON)


def _pairs(group: pl.DataFrame, vectors: Vectors, config: SubstitutesConfig) -> pl.DataFrame:
    queries = group.filter(pl.col("ending") | pl.col("short"))["row"].to_numpy().astype(np.int64)
    candidates = group.filter("available")["row"].to_numpy().astype(np.int64)
    found = nearest(queries, candidates, vectors, config.count)
    near = found.cosine >= config.similarity
    columns = {"row": np.repeat(queries, near.sum(axis=1)), "other": found.index[near], "value": found.cosine[near]}
    return pl.DataFrame(columns, schema_overrides=PAIRS)


WHY = pl.when("ending").then(pl.lit("its sales have ended or are about to")).otherwise(pl.lit("its stock may run out"))
STOCK = (
    pl.when(pl.col("other_on_hand").is_null()).then(pl.lit("stock not known")).otherwise(pl.format("{} in stock", count("other_on_hand")))
)
REASON = pl.format(
    "Offer {} ({}) instead, since {}: the two are alike in what they are and how they sell (similarity {}, 1 is the same).",
    pl.coalesce("other_title", "other_sku_id"),
    STOCK,
    WHY,
    pl.col("value").round(2),
)
