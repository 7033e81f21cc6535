"""The endpoint over gRPC as well: the bodies of HTTP, JSON and Arrow, in messages of bytes.

Serve's proxy hears of the methods from `add_to_server`, and calls those of the same names on a replica.
"""

# ruff: noqa: N802  methods of gRPC have capitals

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from ray.serve.grpc_util import RayServegRPCContext

from plcp.base import ConfigError
from plcp.serving import arrow, problems
from plcp.serving.api import MAX_BODY, parsed
from plcp.serving.auth import bears
from plcp.serving.problems import FieldError, ProblemError, invalid
from plcp.serving.schemas import ObserveRequest, ScoreRequest
from plcp.serving.service import Service
from plcp.tables import CURVE, FORECAST

PACKAGE, NAME = "plcp.v1", "Plcp"
SERVICERS = [f"{__name__}.add_to_server"]  # for Serve's gRPC options
METHODS = {"Score": BytesValue, "Bulk": BytesValue, "Sku": StringValue, "Observe": BytesValue}  # and what they take; all give bytes
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}
LONGEST = 1000  # characters of an error: it travels in a header


def require_token_if_grpc(port: int | None, token: str | None) -> None:
    """Raises ConfigError where anyone could ask: Serve's gRPC server listens on every address."""
    if port and token is None:
        raise ConfigError(
            f"serve.grpc_port {port}: Serve listens there on every address, so it needs a token: "
            "make one with `plcp token` and set PLCP_TOKEN"
        )


def add_to_server(servicer: Any, server: Any) -> None:
    """What Serve's `grpc_servicer_functions` name: the methods, and their description for clients that ask for it (grpcurl)."""
    file = descriptor_pb2.FileDescriptorProto(
        name="plcp/v1/plcp.proto", package=PACKAGE, syntax="proto3", dependency=[BytesValue.DESCRIPTOR.file.name]
    )
    service, handlers = file.service.add(name=NAME), {}
    for name, asked in METHODS.items():
        service.method.add(name=name, input_type=f".{asked.DESCRIPTOR.full_name}", output_type=f".{BytesValue.DESCRIPTOR.full_name}")
        handlers[name] = grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name), request_deserializer=asked.FromString, response_serializer=BytesValue.SerializeToString
        )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PACKAGE}.{NAME}", handlers),))


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
            problem = problems.answer_to(error, method)
            context.set_code(CODES.get(problem.status_code, grpc.StatusCode.INTERNAL))
            context.set_details(json.loads(bytes(problem.body))["detail"][:LONGEST])
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
