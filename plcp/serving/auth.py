"""Who may ask: this machine alone unless a token is configured, and then whoever bears it."""

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plcp.base import ConfigError
from plcp.serving.problems import ProblemError, respond

VARIABLE = "PLCP_TOKEN"
SHORTEST = 16  # characters of a token
OPEN = frozenset({"/", "/healthz", "/readyz"})  # the page holds no data; it asks for the token itself
NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def new_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token from its file, else from PLCP_TOKEN; None if neither is there. Raises ConfigError for one that is too short."""
    source = str(file) if file else VARIABLE
    try:
        token = file.read_text().strip() if file else environment.get(VARIABLE, "").strip()
    except OSError as error:
        raise ConfigError(f"{file}: the token file cannot be read ({error.strerror}); make one with `plcp token`") from error
    if file is None and not token:
        return None
    if len(token) < SHORTEST:
        raise ConfigError(f"{source}: a token needs at least {SHORTEST} characters; make one with `plcp token`")
    return token


def fingerprint(token: str) -> str:
    """What replicas hold in the token's place."""
    return hashlib.sha256(token.encode()).hexdigest()


def bears(authorization: str, token: str) -> bool:
    """Whether a request's `Authorization` gives the token of this fingerprint."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(fingerprint(given.strip()), token)


def is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def require_token_beyond_loopback(host: str | None, token: str | None) -> None:
    """Raises ConfigError where other machines could reach a server that has no token."""
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"host {host}: other machines could reach this server, so it needs a token: make one with `plcp token` and set {VARIABLE}"
        )


class Guard:
    """ASGI middleware: lets in who may ask, and no body above `body_limit` bytes.

    With a token (its fingerprint), `Authorization: Bearer <token>` is needed but for the page and the probes. Without one, only
    connections from this machine that name it as the host are let in: a page of another site cannot ask under its own name.
    """

    def __init__(self, app: ASGIApp, token: str | None, body_limit: int):
        self.app, self.token, self.body_limit = app, token, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if problem := self.refusal(scope):
            challenge = {"WWW-Authenticate": "Bearer"} if problem.details.status == 401 else None
            await respond(problem, challenge)(scope, receive, send)
            return
        await self.app(scope, self.limited(receive), send)

    def refusal(self, scope: Scope) -> ProblemError | None:
        """Why a request is not let in; None where it is."""
        headers = Headers(scope=scope)
        return self.unknown(scope, headers) or self.too_large(headers)

    def unknown(self, scope: Scope, headers: Headers) -> ProblemError | None:
        if self.token is None:
            client, host = scope.get("client"), headers.get("host", "").rsplit(":", 1)[0]
            if not client or not is_loopback(client[0]) or host not in NAMES:
                return ProblemError(403, "this server has no token and answers the machine it runs on alone")
            return None
        if scope["path"] in OPEN or bears(headers.get("authorization", ""), self.token):
            return None
        return ProblemError(401, "send the server's token as `Authorization: Bearer <token>`")

    def too_large(self, headers: Headers) -> ProblemError | None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) <= self.body_limit:
            return None
        return ProblemError(413, f"the body has {length} bytes, {self.body_limit:,} are allowed; send fewer products a request")

    def limited(self, receive: Receive) -> Receive:
        """`receive`, which also counts a body that came without a length."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.body_limit:
                raise HTTPException(413, f"the body has more than {self.body_limit:,} bytes; send fewer products a request")
            return message

        return counted
