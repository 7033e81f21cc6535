"""Substitutes of one product: the nearest by embedding among those that can be sold, searched block by block on disk.

One pass over the run's directions: its time grows with the catalog, its memory does not.
"""

from typing import Any

import numpy as np
import polars as pl

from plcp.decisions.substitutes import SubstitutesConfig
from plcp.decisions.supply import FIRST_LEVEL
from plcp.forecast.shelves import DIRECTIONS
from plcp.serving.observations import Observations
from plcp.serving.problems import ProblemError
from plcp.serving.store import LISTED, Catalogue, Shelf

BLOCK = 1 << 16  # directions compared at a time
NEAREST = 512  # of all products; among them are sought those that can be sold
LOOK = 64  # candidates looked up at a time
ENDING = 0.5  # probability of the end within 12 weeks from which a product is no substitute


def substitutes(
    catalogue: Catalogue, shelf: Shelf, observations: Observations, sku_id: str, category: str | None, limit: int
) -> list[dict[str, Any]]:
    """Rows of Substitute, nearest first. Raises ProblemError (404) where the run has no forecast of the SKU."""
    place = shelf.snapshot.find([sku_id])
    if place[0] < 0 or shelf.snapshot.take(place, ["vector"])["vector"][0] is None:
        raise ProblemError(404, f"run {shelf.name} has no forecast of {sku_id}, and so no embedding", sku_ids=[sku_id])
    rows, cosine = nearest(shelf, int(place[0]))
    found: list[dict[str, Any]] = []
    for first in range(0, len(rows), LOOK):
        near = available(catalogue, shelf, observations, rows[first : first + LOOK], cosine[first : first + LOOK])
        same = pl.lit(True) if group(category) is None else pl.col("group") == group(category)
        found += near.filter(same & (pl.col("sku_id") != sku_id)).drop("group").to_dicts()
        if len(found) >= limit:
            break
    return found[:limit]


def nearest(shelf: Shelf, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The NEAREST products at least as similar as a substitute must be: their rows in the order of the parts, and the cosines."""
    directions = np.load(shelf.snapshot.root / DIRECTIONS, mmap_mode="r")
    part, row = shelf.snapshot.rows[place]
    own = directions[shelf.snapshot.starts[part] + row].astype(np.float32)
    rows, cosine = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for first in range(0, len(directions), BLOCK):
        similar = directions[first : first + BLOCK].astype(np.float32) @ own
        rows = np.concatenate([rows, np.arange(first, first + len(similar))])
        cosine = np.concatenate([cosine, similar])
        best = np.argsort(-cosine, kind="stable")[:NEAREST]
        rows, cosine = rows[best], cosine[best]
    near = cosine >= SubstitutesConfig().similarity
    return rows[near], cosine[near]


def available(catalogue: Catalogue, shelf: Shelf, observations: Observations, rows: np.ndarray, cosine: np.ndarray) -> pl.DataFrame:
    """Those of the run's rows that last, are in the catalog, and are not known to be out of stock: LISTED, stage, units, ending, group,
    similarity."""
    part = np.searchsorted(shelf.snapshot.starts, rows, side="right") - 1
    columns = ["sku_id", "stage", "units", "ending"]
    near = pl.concat(
        [
            shelf.snapshot.part(int(p)).select(columns)[int(r) : int(r) + 1]
            for p, r in zip(part, rows - shelf.snapshot.starts[part], strict=True)
        ]
    ).with_columns(pl.col("stage").struct.field("stage"), similarity=pl.Series(cosine, dtype=pl.Float64))
    near = near.filter((pl.col("stage") != "ended") & (pl.col("ending") < ENDING))
    near = near.with_columns(place=pl.Series(catalogue.snapshot.find(near["sku_id"].to_list()))).filter(pl.col("place") >= 0)
    facts = [*LISTED, *(["in_stock"] if "in_stock" in catalogue.columns else [])]
    known = catalogue.snapshot.take(near["place"].to_numpy(), facts).drop("sku_id")
    near = near.drop("place").hstack(known)
    sold_out = out_of_stock(near, observations, catalogue)
    near = near.filter(~pl.col("sku_id").is_in(sold_out)).with_columns(group=FIRST_LEVEL)
    return near.select(*LISTED, "stage", "units", "ending", "similarity", "group")


def out_of_stock(near: pl.DataFrame, observations: Observations, catalogue: Catalogue) -> list[str]:
    """SKUs of which the last that is known says that they were not on sale."""
    last: dict[str, float] = {}
    if "in_stock" in near.columns:
        share = near.select("sku_id", pl.col("in_stock").arr.to_list().list.eval(pl.element().fill_nan(None).drop_nulls()).list.last())
        last |= dict(share.drop_nulls().iter_rows())
    told = observations.of(near["sku_id"].to_list(), catalogue.prepared.origin).drop_nulls("in_stock")
    last |= dict(told.sort("date", maintain_order=True).select("sku_id", "in_stock").iter_rows())
    return [sku for sku, share in last.items() if share <= 0]


def group(category: str | None) -> str | None:
    """The first level of a category."""
    return category.split(">")[0].strip() if category else None
