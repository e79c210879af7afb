"""What of a request is read at all: no body that is too long for the memory, no address that no store can keep."""

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request's body: the largest of ours is a few kB."""


class BodyLimit:
    """Refuses by ``Content-Length`` at once, and a body sent in chunks as soon as it has grown too long."""

    def __init__(self, app: ASGIApp, *, limit: int = MAX_BODY) -> None:
        self.app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told[:20]) > self._limit:
            answer = Problem(413, "body_too_large", f"the body is longer than {self._limit} bytes: send less")
            await answer.response()(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > self._limit:
                    # This very class: FastAPI turns any other fault while it reads a body into a 400.
                    raise HTTPException(413)
            return message

        await self.app(scope, counted, send)


class NoNul:
    """Refuses addresses with U+0000: PostgreSQL keeps no such text, and nothing of ours is called so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        answer = None
        if scope["type"] == "http" and "\0" in scope["path"]:
            answer = Problem(404, "not_found", "no such address: it holds U+0000")
        elif scope["type"] == "http" and b"%00" in scope.get("query_string", b""):
            answer = Problem(422, "value_refused", "the query holds U+0000: leave it out")
        await (answer.response() if answer is not None else self.app)(scope, receive, send)
