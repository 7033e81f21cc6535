"""The endpoint's application, with a short way for what is asked most."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from plcp.serving import problems
from plcp.serving.auth import OPEN, Guard

JSON = "application/json"
Answer = Callable[[Request], Awaitable[bytes]]


class Endpoint(FastAPI):
    """FastAPI, but for the requests that `shortcut` answers itself, in JSON: the layers between a request and its function take longer
    than looking a product up. Who may ask and how errors leave is the same on both ways."""

    def __init__(self, shortcut: Callable[[Scope], Answer | None], token: str | None, body_limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.add_middleware(Guard, token=token, body_limit=body_limit)
        problems.install(self)
        self._shortcut, self._guard = shortcut, Guard(self, token, body_limit)

    def openapi(self) -> dict[str, Any]:
        """FastAPI's description, with errors as the problems that they are, and the token where one is asked for."""
        if self.openapi_schema is None:
            self.openapi_schema = described(super().openapi(), self._guard.token is not None)
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._shortcut(scope) if scope["type"] == "http" else None
        if answer is None or self._guard.refusal(scope):  # FastAPI's own guard says why
            await super().__call__(scope, receive, send)
            return
        try:
            response = Response(await answer(Request(scope, self._guard.limited(receive))), media_type=JSON)
        except ClientDisconnect:
            return
        except Exception as error:
            response = problems.answer_to(error, f"{scope['method']} {quote(scope['path'])}")
            await response(scope, receive, send)
            if not isinstance(error, problems.FORESEEN):  # Serve logs and counts it, as what Starlette raises
                raise
            return
        await response(scope, receive, send)


def described(schema: dict[str, Any], token: bool) -> dict[str, Any]:
    """The schema, in which is mended what FastAPI says of the answers' media types, and of who may ask."""
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            for answer in operation["responses"].values():
                if problems.MEDIA_TYPE in answer.get("content", {}):
                    answer["content"] = {problems.MEDIA_TYPE: answer["content"][JSON]}
            if token and path in OPEN:
                operation["security"] = []
    if token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
    return schema
