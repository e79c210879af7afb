"""What every answer tells the browser: what it may load, who may frame it, what it must not keep."""

import base64
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OURS: Final = ("/api/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics")
"""Paths that are not pages: nothing of them needs a script, a picture or a frame."""

PAGES_POLICY: Final = "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
"""For the pages, unless they set one of their own: no framing, no plug-ins, no foreign forms."""


def style_source(css: str) -> str:
    """The Content-Security-Policy source that allows exactly this inline style sheet."""
    return f"'sha256-{base64.b64encode(sha256(css.encode()).digest()).decode()}'"


class SecurityHeaders:
    """Adds the headers to every HTTP answer, also to errors; a header that a route set itself stays."""

    def __init__(self, app: ASGIApp, *, styles: Iterable[str] = ()) -> None:
        self.app = app
        sources = " ".join(styles) or "'none'"
        self._strict = (
            f"default-src 'none'; style-src {sources}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ours = str(scope["path"]).startswith(OURS)
        https = scope["scheme"] == "https"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("X-Frame-Options", "DENY")
                headers.setdefault("Referrer-Policy", "no-referrer" if ours else "same-origin")
                headers.setdefault("Content-Security-Policy", self._strict if ours else PAGES_POLICY)
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                if ours:
                    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                    # Answers hold people's particulars: neither a proxy nor the browser keeps them.
                    headers.setdefault("Cache-Control", "no-store")
                if https:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self.app(scope, receive, with_headers)
