"""What the endpoint takes and gives, derived from the tables."""

import base64
import datetime as dt
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model, model_validator

from plcp.data import images
from plcp.tables import (
    CURVE,
    DATE,
    DECISIONS,
    EMBEDDING,
    EVENT_TABLE,
    FLOAT,
    INT,
    PLANS,
    PRODUCTS,
    SALES,
    SKIPPED,
    STAGE_TABLE,
    STRING,
    Column,
    Table,
)

MAX_SKUS = 10_000
MAX_PRODUCTS = 100
MAX_OBSERVATIONS = 10_000
MAX_PHOTOS = 8
MAX_PIXELS = 16_000_000  # of a photo: a phone's, not a poster's
MAX_HISTORY = 4_000  # rows of sales a product may bring: ten years of days
MAX_TEXT = 20_000  # characters


def day(value: object) -> dt.date:
    """A date as JSON gives it."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("no date; write YYYY-MM-DD in quotes, as 2026-03-02")
    if len(value) == len("2026-03-02") and value[4] == value[7] == "-" and value.replace("-", "").isdecimal():
        with suppress(ValueError):
            return dt.date.fromisoformat(value)
    raise ValueError(f"{value[:30]!r} is no date; write YYYY-MM-DD, as 2026-03-02")


Day = Annotated[dt.date, BeforeValidator(day)]
TYPES: dict[pl.DataType, Any] = {STRING: str, DATE: Day, FLOAT: float, INT: int, EMBEDDING["vector"].type: list[float]}


def field(column: Column) -> Any:
    """Type and constraints of a table's column, as pydantic takes them."""
    kind: Any = Literal[column.choices] if column.choices else TYPES[column.type]
    limits: dict[str, Any] = {"ge": column.minimum, "le": column.maximum} if column.type in (FLOAT, INT) else {}
    if column.type == FLOAT:
        limits["allow_inf_nan"] = False
    if column.type == STRING and not column.choices:
        limits["max_length"] = MAX_TEXT
    optional = column.nullable or not column.required
    return (kind | None if optional else kind, Field(None if optional else ..., description=column.doc, **limits))


def row_model(name: str, table: Table, without: Iterable[str]) -> type[BaseModel]:
    """A table's row, without the columns named."""
    fields = {column.name: field(column) for column in table.columns if column.name not in without}
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=table.doc, **fields)


def decoded_photos(value: object) -> list[bytes] | None:
    """One photo or several, each in base64, bare or as a data: URL."""
    given = value if isinstance(value, list) else [] if value is None else [value]
    if len(given) > MAX_PHOTOS:
        raise ValueError(f"{len(given)} photos, at most {MAX_PHOTOS} are taken")
    return [decoded_photo(photo) for photo in given] or None


def decoded_photo(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a photo is given in base64")
    body = value.partition(",")[2] if value.startswith("data:") else value
    try:
        photo = base64.b64decode(body, validate=True)
    except ValueError:
        raise ValueError("not base64; a photo is given as its encoded bytes, not as an address") from None
    if reason := images.fault(photo, MAX_PIXELS):  # from its header; pixels are not decoded on the event loop
        raise ValueError(reason)
    return photo


def encoded_attributes(value: object) -> object:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, dict) else value


BASE64 = {"type": "string", "contentEncoding": "base64"}
Photos = Annotated[
    list[bytes] | None,
    BeforeValidator(decoded_photos),
    WithJsonSchema({"anyOf": [BASE64, {"type": "array", "items": BASE64, "maxItems": MAX_PHOTOS}, {"type": "null"}]}),
]
KEY = ("sku_id", "origin")
CurveWeek = row_model("CurveWeek", CURVE, KEY)
Event = row_model("Event", EVENT_TABLE, KEY)
Stage = row_model("Stage", STAGE_TABLE, KEY)
Skipped = row_model("Skipped", SKIPPED, ())
Embedding = row_model("Embedding", EMBEDDING, ())
PlannedWeek = row_model("PlannedWeek", PLANS, ("sku_id",))
Decision = row_model("Decision", DECISIONS, KEY)
Alert = row_model("Alert", DECISIONS, ())
Sale = row_model("Sale", SALES, ("sku_id", "cancelled_at"))
ProductRow = row_model("ProductRow", PRODUCTS, ("sku_id", "image", "image_path", "attributes", "known_at"))


class Product(ProductRow):  # type: ignore[valid-type,misc]
    """A whole product: what the tables products and sales would hold of it."""

    sku_id: str | None = Field(None, max_length=200, description="a name for the answer; its place in the request if not given")
    image: Photos = Field(None, description="encoded photo (JPEG, PNG, WebP) in base64, or a list of them; the first one counts")
    attributes: Annotated[str | None, BeforeValidator(encoded_attributes)] = Field(
        None, max_length=MAX_TEXT, description="further properties"
    )
    history: list[Sale] = Field([], max_length=MAX_HISTORY, description="sales so far, daily or weekly")  # type: ignore[valid-type]


class ScoreRequest(BaseModel):
    """Products of the catalog by their keys, or whole products."""

    sku_ids: list[str] = Field([], max_length=MAX_SKUS, description="SKUs of the catalog")
    products: list[Product] = Field([], max_length=MAX_PRODUCTS, description="whole products, never seen or with their own history")
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"sku_ids": ["85123A", "22423"]},
                {"products": [{"title": "Red enamel jug", "category": "Kitchen > Jugs", "list_price": 12.5, "launch_date": "2026-01-05"}]},
            ]
        },
    )

    @model_validator(mode="after")
    def asks_for_something(self) -> "ScoreRequest":
        if not self.sku_ids and not self.products:
            raise ValueError("name at least one SKU in sku_ids, or give a product in products")
        return self


class Observation(row_model("ObservedSale", SALES, ("cancelled_at",))):  # type: ignore[misc]
    """A sale, a price or a stock as it happened: a row of the table sales. Rows of one week add up."""

    event_id: str = Field(min_length=1, max_length=200, description="names the event: sent again, it does not count again")


class ObserveRequest(BaseModel):
    """What happened since the last weekly run, and how far all of it was told."""

    observations: list[Observation] = Field([], max_length=MAX_OBSERVATIONS)
    complete_until: Day | None = Field(
        None, description="a Monday: all sales of the shop before it were sent; a product without one sold nothing in those weeks"
    )
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"observations": [{"event_id": "order-7719-1", "sku_id": "85123A", "date": "2011-12-12", "units": 6, "price": 2.95}]},
                {"complete_until": "2011-12-19"},
            ]
        },
    )

    @model_validator(mode="after")
    def tells_something(self) -> "ObserveRequest":
        if not self.observations and self.complete_until is None:
            raise ValueError("tell at least one observation, or how far they are complete")
        return self


class ObserveAnswer(BaseModel):
    """What became of the observations. Whatever is accepted is on disk, and the next score of its SKU sees it."""

    accepted: int
    duplicates: int = Field(description="of an event_id that was there before; the first one stands")
    contained: int = Field(description="dated before the last weekly run's origin, whose data speak for those weeks; not kept")
    origin: dt.date = Field(description="first week forecast of products without newer observations of their own")


class Forecast(BaseModel):
    """What is expected of one product."""

    sku_id: str
    origin: dt.date
    curve: list[CurveWeek]  # type: ignore[valid-type]
    events: list[Event]  # type: ignore[valid-type]
    stage: Stage  # type: ignore[valid-type]


class ScoreAnswer(BaseModel):
    """Forecasts in the order of the request, sku_ids first; `skipped` names what cannot be forecast, and why."""

    model: str = Field(description="digest of the model")
    origin: dt.date
    forecasts: list[Forecast]
    skipped: list[Skipped]  # type: ignore[valid-type]


class EmbedAnswer(BaseModel):
    """The joint encoder's vector of each product, in the order of the request, sku_ids first."""

    model: str = Field(description="digest of the model")
    embeddings: list[Embedding]  # type: ignore[valid-type]
    skipped: list[Skipped]  # type: ignore[valid-type]


class ScenarioRequest(BaseModel):
    """A price and promotion path of one product, of the catalog or whole. Weeks not named stay as planned."""

    sku_id: str | None = Field(None, description="SKU of the catalog")
    product: Product | None = Field(None, description="or a whole product")
    path: list[PlannedWeek] = Field(min_length=1, max_length=520, description="what is to be tried")  # type: ignore[valid-type]
    unit_cost: float | None = Field(None, ge=0, allow_inf_nan=False, description="purchase price per unit; without it there is no margin")
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"sku_id": "85123A", "path": [{"week": "2011-12-12", "price": 2.55, "promo": 0.15}], "unit_cost": 1.1},
            ]
        },
    )

    @model_validator(mode="after")
    def names_one_product(self) -> "ScenarioRequest":
        if (self.sku_id is None) == (self.product is None):
            raise ValueError("give sku_id, or product, and not both")
        if wrong := [row.week for row in self.path if row.week.weekday()]:  # type: ignore[attr-defined]
            raise ValueError(f"path: {wrong[0]} is a {wrong[0]:%A}; a week is dated by its Monday")
        if len({row.week for row in self.path}) < len(self.path):  # type: ignore[attr-defined]
            raise ValueError("path: a week stands in it twice")
        return self


class Outcome(BaseModel):
    """What is expected of one path over the horizon."""

    curve: list[CurveWeek]  # type: ignore[valid-type]
    price: list[float | None] = Field(description="of each week; the last known one where none is planned, null where none is known")
    demand: float = Field(description="expected units")
    demand_q10: float = Field(description="units not exceeded with probability 0.1")
    demand_q90: float
    revenue: float | None = Field(description="expected money; null without a price")
    margin: float | None = Field(description="revenue less the purchase price of what is asked for; null without unit_cost")


class ScenarioAnswer(BaseModel):
    """The scenario beside the plan."""

    model: str = Field(description="digest of the model")
    sku_id: str
    origin: dt.date
    plan: Outcome
    scenario: Outcome


class SkuSummary(BaseModel):
    """A product of the catalog."""

    sku_id: str
    title: str | None
    category: str | None
    brand: str | None
    list_price: float | None
    stage: str | None = Field(description="stage of life by the last run; null without one")
    units: float | None = Field(description="units expected over the horizon by the last run")
    ending: float | None = Field(description="probability by the last run that its life ends within 12 weeks")


class SkuPage(BaseModel):
    total: int
    skus: list[SkuSummary]


class HistoryWeek(BaseModel):
    """What was sold in a week; units are null where the whole shop was shut."""

    week: dt.date
    units: float | None
    price: float | None


class SkuAnswer(SkuSummary):
    """A product, its sales so far, and its forecast: of the last run where there is one, else made for this request."""

    description: str | None
    run: str | None = Field(description="the run the forecast is from; null where it was made for this request")
    history: list[HistoryWeek]
    forecast: Forecast | None
    skipped: str | None = Field(description="why there is no forecast")
    decisions: list[Decision] = Field(description="what to do, by the last decisions over that run")  # type: ignore[valid-type]


class Substitute(SkuSummary):
    """A product to offer instead."""

    similarity: float = Field(description="cosine of the two embeddings about the catalog's mean; 1 is the same")


class SubstitutesAnswer(BaseModel):
    """The products nearest to one by embedding, of the same group (first level of the category), lasting and not known to be out of
    stock; nearest first."""

    run: str
    sku_id: str
    substitutes: list[Substitute]


class AlertPage(BaseModel):
    """Risks of the last decisions, the most money at stake first."""

    run: str | None = Field(description="the run they were decided on; null where nothing was decided")
    total: int
    alerts: list[Alert]  # type: ignore[valid-type]


class ModelAnswer(BaseModel):
    """The model that answers."""

    digest: str
    origin: dt.date = Field(description="first week it forecasts here")
    horizon: int = Field(description="weeks it forecasts")
    prepared: str = Field(description="digest of the prepared data")
    run: str | None = Field(description="the scoring run in sight")
    card: str = Field(description="the model's card, in Markdown")


class Ready(BaseModel):
    ready: bool
    model: str
