"""The wall around NiceGUI: hands the pages their parts, and lets nobody to their live connection who is not signed in.

NiceGUI's application is one object for the whole process and its socket accepts any origin; a page's client id is hard
to guess, but what streams transcripts should ask for more than that.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from api.pages.parts import MOUNT, POLICY, SCOPE_KEY, Pages
from api.security import COOKIE

SOCKET: Final = MOUNT + "/_nicegui_ws/"


class Guard:
    """Middleware for everything under the pages' mount."""

    def __init__(self, app: ASGIApp, *, pages: Pages) -> None:
        self.app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or socket."""
        if scope["type"] not in ("http", "websocket") or not str(scope["path"]).startswith(MOUNT + "/"):
            await self.app(scope, receive, send)
            return
        scope[SCOPE_KEY] = self._pages
        if str(scope["path"]).startswith(SOCKET) and not await self._may_connect(scope):
            if scope["type"] == "websocket":
                # Closing before accepting is answered with 403.
                await WebSocketClose(code=1008)(scope, receive, send)
            else:
                await PlainTextResponse("sign in first", status_code=403)(scope, receive, send)
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Content-Security-Policy", POLICY)
            await send(message)

        await self.app(scope, receive, with_policy)

    async def _may_connect(self, scope: Scope) -> bool:
        """Whether this site's own page asks, for someone who is signed in."""
        origin = Headers(scope=scope).get("origin")
        if origin is not None and not self._own(origin, Headers(scope=scope).get("host", "")):
            return False
        token = HTTPConnection(scope).cookies.get(COOKIE, "")
        return await self._pages.services.access.principal_of_session(token) is not None

    def _own(self, origin: str, host: str) -> bool:
        asking = urlsplit(origin)
        public = urlsplit(self._pages.services.settings.public_url)
        return asking.netloc == host or (
            bool(public.netloc) and (asking.scheme, asking.netloc) == (public.scheme, public.netloc)
        )
