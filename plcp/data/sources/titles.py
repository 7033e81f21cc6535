"""Titles as a shop's staff typed them: which of them are names of a product, and when each became known."""

from collections.abc import Sequence

import polars as pl

# What a hand notes in the place of a name. Names of products are written in capitals where such notes are not.
NOTES = (
    "adjust|amazon|barcode|broken|check|code mix|counted|cracked|credit|crushed|damage|damges|dotcom|ebay|faulty|found|given|had been",
    "incorrect|invoice|lost|manual|mia|missing|mix|mouldy|mystery|on cargo|re-?adjust|return|rust|sale|sample|smashed|sold as|stock|test",
    "thrown|to push|unsale?able|used|water damage|wet|wrong",
)
NOTE = rf"(?i)^\W*({'|'.join(NOTES)})"


def is_dirt(title: pl.Expr) -> pl.Expr:
    """Blank, a question mark, fewer than two letters, or a hand-typed note ("damaged", "sold as set on dotcom")."""
    few_letters = title.str.count_matches(r"\p{L}") < 2
    note = title.str.contains(NOTE) & ~title.str.contains(r"\p{Lu}{2}")
    return (few_letters | title.str.contains(r"\?") | note).fill_null(True)


def versions(lines: pl.DataFrame, properties: Sequence[str] = ()) -> pl.DataFrame:
    """From lines in order of time (sku_id, date, title and further properties), each state of a product and the day it was known from.

    Returns sku_id, title, the properties and known_at. A day's state is that of its first line. Dirt counts only until a name is known; a
    SKU without any title has no version.
    """
    titled = lines.filter(pl.col("title").str.contains(r"\S")).with_columns(pl.col("title").str.strip_chars())
    titled = titled.with_columns(dirt=is_dirt(pl.col("title")))
    of_day = titled.sort("dirt", maintain_order=True).group_by("sku_id", "date", maintain_order=True).first().sort("sku_id", "date")
    named_before = (~pl.col("dirt")).cum_max().shift(1, fill_value=False).over("sku_id")
    useful = of_day.filter(~pl.col("dirt") | ~named_before)
    state = ["title", *properties]
    changed = pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift()).over("sku_id") for c in state)
    first = pl.col("sku_id").is_first_distinct()
    return useful.filter(first | changed).select("sku_id", *state, pl.col("date").alias("known_at"))
