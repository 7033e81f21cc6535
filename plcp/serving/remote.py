"""The endpoint over gRPC: a service whose methods Serve's proxies call by the names in plcp.serving.rpc."""

# ruff: noqa: N802  methods of gRPC have capitals

from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from ray.serve.grpc_util import RayServegRPCContext

from plcp.serving import arrow, problems
from plcp.serving.api import MAX_BODY, parsed
from plcp.serving.auth import bears
from plcp.serving.problems import FieldError, ProblemError, invalid
from plcp.serving.schemas import ObserveRequest, ScoreRequest
from plcp.serving.service import Service
from plcp.tables import CURVE, FORECAST

CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}
LONGEST = 1300  # bytes of an error: it travels in a header, where each may take three


class Remote(Service):
    """A service that gRPC asks too."""

    token: str | None  # fingerprint of the one that requests must bear; without one nobody is let in this way

    async def Score(self, request: BytesValue, grpc_context: RayServegRPCContext) -> BytesValue:
        """A ScoreRequest in JSON → a ScoreAnswer in JSON."""
        return await self._reply(grpc_context, "Score", lambda: self.score(parsed(ScoreRequest, within(request.value, MAX_BODY))))

    async def Bulk(self, request: BytesValue, grpc_context: RayServegRPCContext) -> BytesValue:
        """An Arrow stream of SKUs → an Arrow stream of the forecast table that the metadata name (`table`), else of the curve."""
        table = said(grpc_context, "table") or CURVE.name
        return await self._reply(grpc_context, "Bulk", lambda: self.bulk(within(request.value, arrow.MAX_BODY), known(table)))

    async def Sku(self, request: StringValue, grpc_context: RayServegRPCContext) -> BytesValue:
        """A SKU → its SkuAnswer in JSON."""
        return await self._reply(grpc_context, "Sku", lambda: self.sku(request.value))

    async def Observe(self, request: BytesValue, grpc_context: RayServegRPCContext) -> BytesValue:
        """An ObserveRequest in JSON → an ObserveAnswer in JSON."""

        async def observed() -> bytes:
            asked = parsed(ObserveRequest, within(request.value, MAX_BODY))
            return (await self.observe(asked)).model_dump_json().encode()

        return await self._reply(grpc_context, "Observe", observed)

    async def _reply(self, context: RayServegRPCContext, method: str, ask: Callable[[], Awaitable[bytes]]) -> BytesValue:
        """An error leaves as a status with the problem's words. One that was not foreseen is raised as well, so that Serve logs it."""
        try:
            if self.token is None or not bears(said(context, "authorization"), self.token):
                raise ProblemError(401, "send the server's token in the metadata, as authorization: Bearer <token>")
            return BytesValue(value=await ask())
        except Exception as error:
            problem = problems.problem_of(error, method)[0].details
            context.set_code(CODES.get(problem.status, grpc.StatusCode.INTERNAL))
            context.set_details(problem.detail.encode()[:LONGEST].decode(errors="ignore"))
            if not isinstance(error, problems.FORESEEN):
                raise
            return BytesValue()


def said(context: RayServegRPCContext, name: str) -> str:
    """An entry of a request's metadata; "" where it is not given."""
    return dict(context.invocation_metadata()).get(name, "")


def within(body: bytes, most: int) -> bytes:
    """Raises ProblemError (413) for a larger body."""
    if len(body) > most:
        raise ProblemError(413, f"the body has {len(body):,} bytes, {most:,} are allowed; send fewer products a request")
    return body


def known(table: str) -> str:
    """Raises ProblemError (422) for a table that is none."""
    if table not in FORECAST:
        raise invalid([FieldError(field="table", message=f"{table} is none of {', '.join(FORECAST)}")])
    return table
