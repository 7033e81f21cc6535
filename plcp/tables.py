"""Every table as code, once. Validation, writers, the endpoint and the documentation derive from what stands here."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUANTILES = tuple(f"q{round(level * 100)}" for level in LEVELS)
STAGES = ("introduction", "growth", "maturity", "decline", "ended")
EVENTS = ("peak", "decline", "end")
EVENT_WEEKS = (4, 8, 12, 26)
CURVE_FAMILIES = ("bass", "trapezoid", "gamma_shifted_gompertz", "tilted_gompertz")
DECISION_KINDS = (
    "reorder",
    "last_buy",
    "markdown",
    "promote",
    "price_up",
    "price_down",
    "risk_stockout",
    "risk_overstock",
    "risk_early_decline",
    "risk_dead_stock",
    "substitute",
)

STRING, DATE, FLOAT, INT, BINARY = pl.String(), pl.Date(), pl.Float64(), pl.Int64(), pl.Binary()


@dataclass(frozen=True)
class Column:
    """One column: its type, whether it must be there, and the range its values must keep to."""

    name: str
    type: pl.DataType
    doc: str = ""
    required: bool = True  # the column must exist
    nullable: bool = False  # a value may be null; optional columns always may
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table: its columns, the columns that name a row, and whether a data folder must have it."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    required: bool = False

    @property
    def schema(self) -> pl.Schema:
        return pl.Schema({column.name: column.type for column in self.columns})

    @property
    def required_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The table's columns in its order and types; a missing optional column becomes nulls.

        Raises polars.exceptions.ColumnNotFoundError if a required column is missing.
        """
        columns = [
            pl.col(c.name).cast(c.type) if c.required or c.name in frame.columns else pl.lit(None, c.type).alias(c.name)
            for c in self.columns
        ]
        return frame.select(columns)


def sku(doc: str = "the product's key", required: bool = True) -> Column:
    return Column("sku_id", STRING, doc, required)


def optional(name: str, type: pl.DataType, doc: str, minimum: float | None = None, maximum: float | None = None) -> Column:
    return Column(name, type, doc, required=False, nullable=True, minimum=minimum, maximum=maximum)


# The data contract: a folder per table, any number of Parquet files.

PRODUCTS = Table(
    "products",
    "One row per SKU, or several with known_at: then the newest one known is used.",
    (
        sku(),
        Column("title", STRING, "the product's name as customers read it"),
        optional("description", STRING, "free text"),
        optional("category", STRING, 'path, as "A > B > C"'),
        optional("brand", STRING, "brand or maker"),
        optional("image", BINARY, "encoded photo (JPEG, PNG, WebP), or a list of them"),
        optional("image_path", STRING, "photo below the data folder"),
        optional("list_price", FLOAT, "price without promotion, in the shop's currency", minimum=0),
        optional("launch_date", DATE, "first day on sale, planned or past"),
        optional("attributes", STRING, "struct or JSON object of further properties"),
        optional("known_at", DATE, "day from which this row was known"),
    ),
    key=("sku_id", "known_at"),
    required=True,
)
SALES = Table(
    "sales",
    "What was sold, daily or weekly.",
    (
        sku(),
        Column("date", DATE, "day of the sale, or the Monday of its week"),
        Column("units", FLOAT, "units sold", minimum=0),
        optional("price", FLOAT, "price paid per unit", minimum=0),
        optional("promo", FLOAT, "discount depth", minimum=0, maximum=1),
        optional("in_stock", FLOAT, "share of the day or week on sale", minimum=0, maximum=1),
        optional("page_views", FLOAT, "visits of the product's page", minimum=0),
        optional("ad_spend", FLOAT, "advertising money spent", minimum=0),
        optional("returns", FLOAT, "units sent back", minimum=0),
        optional("cancelled_at", DATE, "day the sale was taken back; null if it stood"),
    ),
    key=("sku_id", "date"),
    required=True,
)
REVIEWS = Table(
    "reviews",
    "What customers wrote.",
    (
        sku(),
        Column("date", DATE, "day of the review"),
        Column("rating", FLOAT, "stars", minimum=1, maximum=5),
        Column("text", STRING, "the review's words", nullable=True),
    ),
)
BASKETS = Table(
    "baskets",
    "Which products were bought together.",
    (
        Column("basket_id", STRING, "one purchase"),
        sku(),
        Column("ts", pl.Datetime("us"), "when"),
        optional("customer_id", STRING, "who"),
    ),
)
SIGNALS = Table(
    "signals",
    "Outside knowledge: trends, weather and its forecasts, holidays, industry reports.",
    (
        Column("date", DATE, "day or week the value speaks of"),
        Column("key", STRING, 'a category, a SKU or "*"'),
        Column("name", STRING, "what is measured"),
        Column("value", FLOAT, "its value"),
        optional("known_at", DATE, "day from which it was known; its own date if missing"),
    ),
)
PLANS = Table(
    "plans",
    "The known future: planned price and promotion.",
    (
        sku(),
        Column("week", DATE, "a Monday"),
        Column("price", FLOAT, "planned price", nullable=True, minimum=0),
        Column("promo", FLOAT, "planned discount depth", nullable=True, minimum=0, maximum=1),
    ),
    key=("sku_id", "week"),
)
VECTORS = Table(
    "vectors",
    "Embeddings made elsewhere: audio, video, a knowledge graph.",
    (
        sku(),
        Column("kind", STRING, "which embedding"),
        Column("vector", pl.List(pl.Float32()), "its values"),
        optional("known_at", DATE, "day from which it was known"),
    ),
    key=("sku_id", "kind", "known_at"),
)
SUPPLY = Table(
    "supply",
    "Stock and terms of supply, for decisions.",
    (
        sku(),
        Column("on_hand", FLOAT, "units in stock", minimum=0),
        Column("unit_cost", FLOAT, "purchase price per unit", minimum=0),
        optional("on_order", FLOAT, "units ordered and not yet delivered", minimum=0),
        optional("lead_time_weeks", FLOAT, "weeks from order to shelf", minimum=0),
        optional("review_weeks", FLOAT, "weeks between two orders", minimum=0),
        optional("case_pack", FLOAT, "units per case", minimum=0),
        optional("min_order", FLOAT, "smallest order in units", minimum=0),
        optional("supplier", STRING, "who delivers"),
        optional("salvage", FLOAT, "money per unit left at the end", minimum=0),
        optional("holding_cost", FLOAT, "money per unit and week in stock", minimum=0),
    ),
    key=("sku_id",),
)
CONTRACT = {t.name: t for t in (PRODUCTS, SALES, REVIEWS, BASKETS, SIGNALS, PLANS, VECTORS, SUPPLY)}

QUARANTINE = Table(
    "quarantine",
    "What was wrong with input rows, a file per table. A row stands here once for the first rule that it breaks.",
    (
        Column("table", STRING, "the table"),
        Column("file", STRING, "its file, below the data folder"),
        Column("row", INT, "number of the row in its file, from 0; null for a whole file", nullable=True),
        Column("field", STRING, "the column"),
        Column("check", STRING, "the rule's name"),
        Column("value", STRING, "what stood there", nullable=True),
        Column("reason", STRING, "what is wrong with it"),
        Column("outcome", STRING, "was the row left out, or only its value?", choices=("quarantined", "emptied")),
    ),
)

# Forecasts and what follows from them: a folder per table, what batch and online both return.

ORIGIN = Column("origin", DATE, "first week forecast, a Monday")


def probability(name: str, doc: str) -> Column:
    return Column(name, FLOAT, doc, minimum=0, maximum=1)


CURVE = Table(
    "curve",
    "Weekly demand with its uncertainty. Quantiles never cross and are never negative.",
    (
        sku(),
        ORIGIN,
        Column("week", DATE, "the week forecast, a Monday"),
        Column("age", INT, "weeks since launch; null where the launch is not visible", nullable=True),
        Column("mean", FLOAT, "expected units", minimum=0),
        *(Column(q, FLOAT, f"units not exceeded with probability {level}", minimum=0) for q, level in zip(QUANTILES, LEVELS, strict=True)),
    ),
    key=("sku_id", "origin", "week"),
)
EVENT_TABLE = Table(
    "events",
    "When peak, decline and end come. Dates are null where later than 52 weeks.",
    (
        sku(),
        ORIGIN,
        Column("event", STRING, "peak, decline or end", choices=EVENTS),
        *(probability(f"p_{w}w", f"probability that it has come within {w} weeks") for w in EVENT_WEEKS),
        *(Column(f"date_p{p}", DATE, f"week by which it has come with probability {p / 100}", nullable=True) for p in (10, 50, 90)),
    ),
    key=("sku_id", "origin", "event"),
)
STAGE_TABLE = Table(
    "stage",
    "The stage of life in the week before the origin.",
    (
        sku(),
        ORIGIN,
        Column("stage", STRING, "the one that stands out: probable for how common it is", choices=STAGES),
        *(probability(s, f"probability of {s}") for s in STAGES),
    ),
    key=("sku_id", "origin"),
)
EMBEDDING = Table(
    "embedding",
    "The joint encoder's vector of each product.",
    (sku(), Column("vector", pl.List(pl.Float32()), "stored as float16")),
    key=("sku_id",),
)
DECISIONS = Table(
    "decisions",
    "What to do, and what it is expected to bring.",
    (
        sku(),
        ORIGIN,
        Column("kind", STRING, "which action or risk", choices=DECISION_KINDS),
        Column("week", DATE, "when", nullable=True),
        Column("value", FLOAT, "how much", nullable=True),
        Column("unit", STRING, "of what", nullable=True),
        Column("other_sku_id", STRING, "the substitute, where there is one", nullable=True),
        Column("rank", INT, "1 is the most urgent of its kind; of a product's substitutes, the nearest"),
        Column("expected_effect", FLOAT, "money, mean", nullable=True),
        Column("effect_low", FLOAT, "money, 10% quantile", nullable=True),
        Column("effect_high", FLOAT, "money, 90% quantile", nullable=True),
        Column("reason", STRING, "one sentence a merchant understands"),
    ),
    key=("sku_id", "origin", "kind", "week", "other_sku_id"),
)
EXPLANATIONS = Table(
    "explanations",
    "What moved a forecast.",
    (
        sku(),
        ORIGIN,
        Column("modality", STRING, "text, image, history, price, reviews, attributes, siblings"),
        Column("contribution", FLOAT, "share of the forecast total it moves"),
        Column("detail", STRING, "words, weeks, sells-like products", nullable=True),
        Column("sentence_en", STRING, "the reason in English"),
        Column("sentence_zh", STRING, "the reason in Chinese"),
    ),
    key=("sku_id", "origin", "modality"),
)
LIFE_CURVES = Table(
    "life_curves",
    "One parametric curve per SKU, as known at the end of the data, followed for 52 weeks beyond it.",
    (
        sku(),
        Column("start", DATE, "week 0 of the curve: the launch, or the first week sold where that is not visible", nullable=True),
        Column("family", STRING, "the best one by its error in the last part of the life", nullable=True, choices=CURVE_FAMILIES),
        Column("parameters", pl.List(pl.Struct({"name": STRING, "value": FLOAT})), "the family's own, weeks since start", nullable=True),
        Column("peak_units", FLOAT, "units of the highest week, if in stock; null where no peak is in sight", nullable=True, minimum=0),
        Column("peak_week", DATE, "the highest week; null where none is in sight", nullable=True),
        Column("decline_week", DATE, "first week after the peak below half of it; null where later", nullable=True),
        Column("end_week", DATE, "first week after the peak below a twentieth of it; null where later", nullable=True),
        Column("total_units", FLOAT, "units of all weeks followed; null where no peak is in sight", nullable=True, minimum=0),
        Column(
            "held_out_error",
            FLOAT,
            "mean absolute error of the last fifth of its weeks, fitted to the others, in mean weeks",
            nullable=True,
        ),
        Column("reason", STRING, "why there is no curve", nullable=True),
    ),
    key=("sku_id",),
)
SKIPPED = Table(
    "skipped",
    "Products that could not be forecast.",
    (sku(), ORIGIN, Column("reason", STRING, "why, and what to do")),
    key=("sku_id",),
)
DIFF = Table(
    "diff",
    "What changed between two runs, a row per SKU of either.",
    (
        sku(),
        Column(
            "change",
            STRING,
            "new and gone SKUs; skipped: no longer forecast; resumed: forecast again; changed, same: forecast in both",
            choices=("new", "gone", "skipped", "resumed", "changed", "same"),
        ),
        Column("cause", STRING, "what differs: data (its shard, the weeks or the shop as a whole), model, options", nullable=True),
        Column("tables", STRING, "in which it differs", nullable=True),
        Column("part_before", STRING, "file it stood in", nullable=True),
        Column("part_after", STRING, "file it stands in; another one: moved", nullable=True),
        *(
            Column(f"units_{side}", FLOAT, "units expected in the weeks that both runs forecast", nullable=True)
            for side in ("before", "after", "change")
        ),
        *(Column(f"stage_{side}", STRING, "the stage named", nullable=True, choices=STAGES) for side in ("before", "after")),
        *(
            Column(f"p_{event}_{side}", FLOAT, f"probability of {event} within 12 weeks of the run's origin", nullable=True)
            for event in EVENTS
            for side in ("before", "after")
        ),
    ),
    key=("sku_id",),
)

SCHEMA = "1"  # version of the columns of what is written; another one where a reader of the old ones would go wrong
FORECAST = {t.name: t for t in (CURVE, EVENT_TABLE, STAGE_TABLE, EMBEDDING, SKIPPED)}


def write(table: Table, frame: pl.DataFrame, path: Path, metadata: dict[str, str]) -> None:
    """Write one file of a table aside and rename it, so that no reader ever sees half a file.

    The metadata (model digest, origin, run id) goes into the Parquet schema, beside the table's name and the version of its columns. The
    same frame gives the same bytes. No dictionaries of numbers: hardly one comes twice, and looking for it takes longer than compressing
    them.
    """
    arrow = table.conform(frame).to_arrow(compat_level=pl.CompatLevel.oldest())
    if table is EMBEDDING:
        arrow = arrow.set_column(1, "vector", _halved(arrow["vector"].combine_chunks()))
    arrow = arrow.replace_schema_metadata({"table": table.name, "schema": SCHEMA, **metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.writing")
    repeating = [column.name for column in table.columns if column.type in (STRING, DATE, INT)]
    pq.write_table(arrow, aside, compression="zstd", row_group_size=1 << 20, use_dictionary=repeating)
    aside.replace(path)


def _halved(vectors: pa.ListArray) -> pa.ListArray:
    """float32 lists as float16; numpy converts ten times as fast as Arrow's cast."""
    values = vectors.flatten().to_numpy().astype(np.float16)
    return pa.ListArray.from_arrays(pa.array(vectors.offsets.to_numpy() - vectors.offsets[0].as_py(), pa.int32()), pa.array(values))


def read(table: Table, folder: Path) -> pl.DataFrame:
    """All files of a table's folder, in the order of their names."""
    files: Iterable[Path] = sorted((folder / table.name).glob("*.parquet"))
    return pl.concat([table.conform(pl.read_parquet(f)) for f in files]) if files else pl.DataFrame(schema=table.schema)
