"""The endpoint's application, with a short way for what is asked most."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response
from starlette.types import Receive, Scope, Send

from plcp.serving import problems
from plcp.serving.auth import Guard

JSON = "application/json"
Answer = Callable[[Receive], Awaitable[bytes]]


class Endpoint(FastAPI):
    """FastAPI, but for the requests that `shortcut` answers itself, in JSON: the layers between a request and its function take longer
    than looking a product up. Who may ask and how errors leave is the same on both ways."""

    def __init__(self, shortcut: Callable[[Scope], Answer | None], token: str | None, body_limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.add_middleware(Guard, token=token, body_limit=body_limit)
        problems.install(self)
        self._shortcut, self._guard = shortcut, Guard(self, token, body_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._shortcut(scope) if scope["type"] == "http" else None
        if answer is None or self._guard.refusal(scope):  # FastAPI's own guard says why
            await super().__call__(scope, receive, send)
            return
        try:
            response = Response(await answer(self._guard.limited(receive)), media_type=JSON)
        except Exception as error:
            asked = f"{scope['method']} {scope['path']}"
            response = problems.answer_to(error, asked)
            if response.status_code == 500:
                logging.getLogger(__name__).exception(asked)
        await response(scope, receive, send)


async def body_of(receive: Receive) -> bytes:
    """A request's whole body."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
