"""Errors as RFC 9457 problem details."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from plcp.base import DataError, PlcpError

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "A token is needed",
    403: "Not from here",
    404: "Not found",
    405: "Method not allowed",
    413: "Request too large",
    415: "Unknown kind of body",
    422: "Invalid request",
    500: "Internal error",
    503: "Not ready",
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="its path, as products[0].image")
    message: str


class ProblemDetails(BaseModel):
    """What went wrong, where, and what to do (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    sku_ids: list[str] | None = Field(None, description="the SKUs that it is about")
    errors: list[FieldError] | None = Field(None, description="the fields that are wrong")


class ProblemError(PlcpError):
    """Ends a request with a problem."""

    def __init__(self, status: int, detail: str, **more: Any):
        super().__init__(detail)
        self.details = ProblemDetails(title=TITLES[status], status=status, detail=detail, **more)


def respond(problem: ProblemError, headers: dict[str, str] | None = None) -> JSONResponse:
    details = problem.details
    return JSONResponse(details.model_dump(exclude_none=True), details.status, headers, media_type=MEDIA_TYPE)


def invalid(errors: Sequence[FieldError]) -> ProblemError:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ProblemError(422, f"{first.field}: {first.message}{more}", errors=list(errors))


def path_of(location: Sequence[str | int]) -> str:
    """("body", "products", 0, "image") → products[0].image"""
    parts = location[1:] if location and location[0] in ("body", "query", "path") else location
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".") or "body"


FORESEEN = (ProblemError, RequestValidationError, HTTPException, DataError)


def answer_to(error: Exception, asked: str) -> JSONResponse:
    """Any error as a problem. `asked` is the request's method and path."""
    return respond(*problem_of(error, asked))


def problem_of(error: Exception, asked: str) -> tuple[ProblemError, dict[str, str]]:
    """The problem that an error is, and the headers it brings."""
    match error:
        case ProblemError():
            return error, {}
        case RequestValidationError():
            wrong = [FieldError(field=path_of(e["loc"]), message=e["msg"].removeprefix("Value error, ")) for e in error.errors()]
            return invalid(wrong), {}
        case HTTPException():
            status = error.status_code if error.status_code in TITLES else 400
            return ProblemError(status, f"{asked}: {error.detail}"), dict(error.headers or {})
        case DataError():
            logging.getLogger(__name__).error("%s: %s", asked, error)
            wait = {"Retry-After": "1"}
            return ProblemError(503, "the catalog or its last run cannot be read, or is being replaced; ask again"), wait
    return ProblemError(500, "something failed here that should not; the server's log tells more"), {}


def install(api: FastAPI) -> None:
    """Let every error of an application leave as a problem."""

    async def problem(request: Request, error: Exception) -> JSONResponse:
        return answer_to(error, f"{request.method} {request.url.path}")

    for kind in (*FORESEEN, Exception):
        api.add_exception_handler(kind, problem)
