"""What stands before the pages of a study: headers, limits, and who may ask how often."""

from __future__ import annotations

import logging
from typing import Any

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("skyscale.study")

MOST_BODY_BYTES = 4096
_HEADERS = {
    # Nothing is loaded but from here, nothing is framed, nothing is sent elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    # An image that was seen once must not come faster the next time.
    "Cache-Control": "no-store",
}


class SecureHeaders:
    """The same headers on every answer, whatever it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyLimit:
    """Refuses bodies that no form of ours has, however they are sent."""

    def __init__(self, app: ASGIApp, most: int = MOST_BODY_BYTES) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. The body is read here, so that nobody waits for the rest of a long one."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                LOG.warning("refused: a body of more than %d bytes, %s", self._most, _who(scope))
                answer = PlainTextResponse("Too much was sent.", 413)
                await answer(scope, receive, send)
                return
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


class RateLimit:
    """So many requests from one address, and fewer that let a new rater in.

    Parameters
    ----------
    app : ASGIApp
    requests, joins : str
        For example ``"50/second"``; see the package `limits`.
    """

    def __init__(self, app: ASGIApp, requests: str, joins: str) -> None:
        self._app = app
        self._requests: RateLimitItem = parse(requests)
        self._joins: RateLimitItem = parse(joins)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("unknown",))[0]
        joins = scope["method"] == "POST" and scope["path"].startswith("/join")
        allowed = self._window.hit(self._requests, address) and (
            not joins or self._window.hit(self._joins, "join", address)
        )
        if allowed:
            await self._app(scope, receive, send)
            return
        LOG.warning("refused: too many requests, %s", _who(scope))
        answer = PlainTextResponse(
            "Too many requests. Wait a moment, then load this page again; nothing is lost.",
            429,
            {"Retry-After": "5"},
        )
        await answer(scope, receive, send)


def _who(scope: Any) -> str:
    """Address and path without what lets somebody in."""
    address = (scope.get("client") or ("unknown",))[0]
    return f"{address} {scope['method']} /{scope['path'].split('/')[1][:20]!r}"
