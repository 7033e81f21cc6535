"""What a call of gRPC is answered, apart from Serve."""

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from ray.serve.grpc_util import RayServegRPCContext

from plcp.serving.auth import fingerprint
from plcp.serving.problems import ProblemError
from plcp.serving.remote import LONGEST, Remote

TOKEN = "a token of the tests' own"


class Context:
    """What Remote asks of Serve's."""

    def __init__(self, **metadata: str) -> None:
        self.metadata, self.code, self.details = metadata, None, ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return list(self.metadata.items())

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


async def fails(error: Exception) -> bytes:
    raise error


def reply(context: Context, error: Exception, token: str | None = TOKEN) -> bytes:
    service: Any = SimpleNamespace(token=fingerprint(token) if token else None)
    made: RayServegRPCContext = context  # type: ignore[assignment]
    return asyncio.run(Remote._reply(service, made, "Score", lambda: fails(error))).value


def bearer() -> Context:
    return Context(authorization=f"Bearer {TOKEN}")


def test_what_was_not_foreseen_is_raised_for_the_log_and_not_told() -> None:
    context = bearer()
    with pytest.raises(ValueError, match="the secret"):
        reply(context, ValueError("the secret"))
    assert context.code == grpc.StatusCode.INTERNAL
    assert "secret" not in context.details


def test_an_error_fits_into_a_header_whatever_its_script() -> None:
    context = bearer()
    assert reply(context, ProblemError(404, "商品" * LONGEST)) == b""
    assert context.code == grpc.StatusCode.NOT_FOUND
    assert context.details.startswith("商品")
    assert len(context.details.encode()) <= LONGEST


@pytest.mark.parametrize("token", [TOKEN, None])
def test_nobody_is_let_in_without_the_token_or_where_there_is_none(token: str | None) -> None:
    context = Context() if token else bearer()
    assert reply(context, AssertionError("was asked"), token) == b""
    assert context.code == grpc.StatusCode.UNAUTHENTICATED
