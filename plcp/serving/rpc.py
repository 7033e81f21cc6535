"""What the endpoint offers over gRPC: the bodies of HTTP, JSON and Arrow, in messages of bytes.

Serve's proxies import this, and nothing heavy with it: they hear of the methods from `add_to_server`, and call those of the same names
on a replica (plcp.serving.remote).
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from plcp.base import ConfigError

PACKAGE, NAME = "plcp.v1", "Plcp"
SERVICERS = [f"{__name__}.add_to_server"]  # for Serve's gRPC options
METHODS = {"Score": BytesValue, "Bulk": BytesValue, "Sku": StringValue, "Observe": BytesValue}  # and what they take; all give bytes


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
