"""The routes of the endpoint."""

from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError
from starlette.types import Scope

from plcp.serving import arrow, problems
from plcp.serving.endpoint import JSON, Answer, Endpoint
from plcp.serving.problems import FieldError, ProblemDetails, ProblemError, invalid
from plcp.serving.reading import RISKS, Sort
from plcp.serving.schemas import (
    AlertPage,
    EmbedAnswer,
    ModelAnswer,
    ObserveAnswer,
    ObserveRequest,
    Ready,
    ScenarioAnswer,
    ScenarioRequest,
    ScoreAnswer,
    ScoreRequest,
    SkuAnswer,
    SkuPage,
    SubstitutesAnswer,
)
from plcp.serving.service import Service
from plcp.tables import CURVE, FORECAST, STAGES

M = TypeVar("M", bound=BaseModel)
Sku = Annotated[str, Path(description="SKU of the catalog", examples=["85123A"])]
MAX_BODY = 64 << 20  # bytes
SCORE, SKU, SUBSTITUTES = "/v1/score", "/v1/sku/", "/substitutes"
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDetails, "description": title, "content": {problems.MEDIA_TYPE: {}}}
    for status, title in problems.TITLES.items()
}
ERRORS: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (401, 403, 404, 413, 422, 503)}
BINARY = {arrow.MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": arrow.MEDIA_TYPE}}}
READ = {**ERRORS, 415: PROBLEMS[415]}
SCORED: dict[int | str, dict[str, Any]] = {**READ, 200: {"content": BINARY}}
ASKED = {"requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/ScoreRequest"}}, **BINARY}}}


def create_api(service: Service, token: str | None) -> Endpoint:
    """The application over a service. `token` is the fingerprint of the token that requests must bear; None: loopback only."""

    def shortcut(scope: Scope) -> Answer | None:
        path: str = scope["path"]
        if scope["method"] == "GET" and path.startswith(SKU) and not path.endswith(SUBSTITUTES):
            return lambda _: service.sku(path.removeprefix(SKU))
        if scope["method"] == "POST" and path == SCORE and not scope["query_string"] and content_types(scope) == [JSON.encode()]:
            return score_in_json
        return None

    async def score_in_json(request: Request) -> bytes:
        return await service.score(parsed(ScoreRequest, await request.body()))

    api = Endpoint(
        shortcut,
        token,
        MAX_BODY,
        title="PLCP",
        version=version("plcp"),
        description="Life-cycle forecasts of a catalog's products.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )
    reader = service.reader
    page = (files("plcp.serving") / "web" / "index.html").read_text()

    @api.get("/", include_in_schema=False)
    async def planners_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff"})

    @api.head("/healthz", include_in_schema=False)
    @api.get("/healthz", summary="Does the process answer?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.head("/readyz", include_in_schema=False)
    @api.get("/readyz", summary="Does the model answer?")
    async def readyz() -> Ready:
        await service.check()
        return Ready(ready=True, model=service.forecaster.digest)

    @api.post(
        SCORE,
        response_model=ScoreAnswer,
        responses=SCORED,
        openapi_extra=ASKED,
        summary="Forecast products, of the catalog or never seen; in bulk as Arrow streams",
    )
    async def score(
        request: Request,
        table: Annotated[Literal[tuple(FORECAST)] | None, Query(description="what an Arrow stream asks for; curve if not given")] = None,  # type: ignore[valid-type]
    ) -> Response:
        kind = kind_of(request)
        if kind == arrow.MEDIA_TYPE:
            return Response(await service.bulk(await body_of(request, arrow.MAX_BODY), table or CURVE.name), media_type=arrow.MEDIA_TYPE)
        if kind != JSON:
            raise ProblemError(415, f"Content-Type {kind or 'not given'}; send {JSON}, or {arrow.MEDIA_TYPE}")
        if table:
            raise invalid(
                [FieldError(field="table", message=f"goes with {arrow.MEDIA_TYPE} alone; leave it out, JSON has curve, events and stage")]
            )
        return Response(await score_in_json(request), media_type=JSON)

    @api.post("/v1/observe", responses=READ, dependencies=IN_JSON, summary="Tell sales, prices and stock as they happen")
    async def observe(request: ObserveRequest) -> ObserveAnswer:
        return await service.observe(request)

    @api.post("/v1/scenario", responses=READ, dependencies=IN_JSON, summary="A price and promotion path beside the plan")
    async def scenario(request: ScenarioRequest) -> ScenarioAnswer:
        return await service.scenario(request)

    @api.post("/v1/embed", responses=READ, dependencies=IN_JSON, summary="The vectors of products, of the catalog or never seen")
    async def embed(request: ScoreRequest) -> EmbedAnswer:
        return await service.embed(request)

    @api.get(SKU + "{sku_id:path}" + SUBSTITUTES, responses=ERRORS, summary="What to offer in a product's place")
    async def substitutes(sku_id: Sku, limit: Annotated[int, Query(ge=1, le=50)] = 5) -> SubstitutesAnswer:
        return await service.search(reader.substitutes, sku_id, limit)

    @api.get(SKU + "{sku_id:path}", response_model=SkuAnswer, responses=ERRORS, summary="A product, its sales, and its forecast")
    async def sku(sku_id: Sku) -> Response:
        return Response(await service.sku(sku_id), media_type=JSON)

    @api.get("/v1/skus", responses=ERRORS, summary="Search the catalog")
    async def skus(
        q: Annotated[str, Query(max_length=200, description="words in the key, title, category or brand", examples=["heart"])] = "",
        stage: Annotated[Literal[STAGES] | None, Query(description="stage of life by the last run", examples=["decline"])] = None,  # type: ignore[valid-type]
        sort: Annotated[Sort, Query(description="what to sort by; products without it come last")] = "sku_id",
        descending: bool = False,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> SkuPage:
        return await service.search(reader.skus, q, stage, sort, descending, limit, offset)

    @api.get("/v1/alerts", responses=ERRORS, summary="What is at risk")
    async def alerts(
        kind: Annotated[Literal[RISKS] | None, Query(description="one kind of risk; all if not given", examples=["risk_stockout"])] = None,  # type: ignore[valid-type]
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> AlertPage:
        return await service.search(reader.alerts, kind, limit, offset)

    @api.get("/v1/model", responses=ERRORS, summary="The model that answers")
    async def model() -> ModelAnswer:
        return await service.model()

    return api


def content_types(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"content-type"]


def kind_of(request: Request) -> str:
    """Media type of a request's body; "" where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises ProblemError (415) for a body of another kind."""
    if (kind := kind_of(request)) != JSON:
        raise ProblemError(415, f"Content-Type {kind or 'not given'}; send {JSON}")


IN_JSON = [Depends(require_json)]


async def body_of(request: Request, most: int) -> bytes:
    """A request's body. Raises ProblemError (413) as soon as more than `most` bytes are announced or have come."""
    size, parts = int(request.headers.get("content-length", 0)), bytearray()
    async for part in request.stream():
        parts += part
        if max(size, len(parts)) > most:
            raise ProblemError(413, f"the body has more than {most:,} bytes; send fewer SKUs a request")
    return bytes(parts)


def parsed(kind: type[M], body: bytes) -> M:
    """A request in JSON. Raises RequestValidationError."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
