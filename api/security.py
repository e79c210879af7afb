"""The door of every route: who is asking, may they, and did their own page ask.

Deny by default: ``check_routes`` refuses to build an application in which a route neither names a permission nor says
in so many words that it is public.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from api.errors import Problem
from api.services import Services
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal, SignedIn
from callcenter.settings import Settings

COOKIE: Final = "hotline_session"

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

bearer_scheme = HTTPBearer(
    scheme_name="key", bearerFormat="hl_…", description="An API key as a bearer token.", auto_error=False
)
header_scheme = APIKeyHeader(
    name="X-API-Key", scheme_name="key-header", description="An API key in a header of its own.", auto_error=False
)
cookie_scheme = APIKeyCookie(
    name=COOKIE, scheme_name="session", description="The cookie of `POST /api/v1/session`.", auto_error=False
)

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def services_of(request: Request) -> Services:
    """The parts behind this application."""
    services: Services = request.app.state.services
    return services


def address_of(request: Request) -> str:
    """The network address that asks; behind a proxy what the proxy says, if uvicorn trusts that proxy."""
    return request.client.host if request.client else ""


class Require:
    """A dependency that lets in whoever has ``permission``; with None, whoever is signed in or has a valid key."""

    def __init__(self, permission: Permission | None) -> None:
        self.permission = permission

    async def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
        header: Annotated[str | None, Security(header_scheme)],
        cookie: Annotated[str | None, Security(cookie_scheme)],
    ) -> Principal:
        """The one who asks. Raises Problem 401 or 403."""
        access = services_of(request).access
        if _sends_key(request):
            # A key that is sent decides alone: falling back to a cookie would hide that it is revoked.
            principal = await access.principal_of_key(bearer.credentials if bearer else header or "")
            if principal is None:
                raise _unauthorised("key_invalid", "the API key is unknown, expired or revoked: ask for a new one")
        elif cookie is not None:
            principal = await access.principal_of_session(cookie)
            if principal is None:
                raise _unauthorised("session_over", "the session is unknown, over or ended: sign in again")
            if request.method not in SAFE_METHODS:
                require_same_origin(request)
        else:
            raise _unauthorised("not_signed_in", "neither a session nor an API key came with the request")
        if self.permission is not None and not principal.may(self.permission):
            await access.record(
                principal.actor(address_of(request)),
                "permission missing",
                subject=f"permission:{self.permission}",
                result="refused",
            )
            raise Problem(403, "permission_missing", f"{self.permission} is not among your permissions")
        request.state.principal = principal
        return principal


def require(permission: Permission) -> Any:
    """``Annotated[Principal, require(Permission.X)]`` or ``dependencies=[require(Permission.X)]``."""
    return Security(Require(permission))


def signed_in() -> Any:
    """Whoever is signed in or has a key, whatever they may do."""
    return Security(Require(None))


def _sends_key(request: Request) -> bool:
    """Also an empty one; another scheme (a proxy's own Basic) is not for us."""
    bearer = request.headers.get("authorization", "").casefold().startswith("bearer")
    return bearer or "x-api-key" in request.headers


def _unauthorised(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="hotline"'})


# -- the own site ------------------------------------------------------------------------------------------------------
def require_same_origin(request: Request) -> None:
    """Raises Problem 403 unless this site's own page asks (a cookie comes along whoever asks).

    Browsers send ``Sec-Fetch-Site`` where the connection is trustworthy and ``Origin`` with every unsafe request
    everywhere, so a request with neither is no browser's and should use an API key.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Problem(403, "cross_site", f"Sec-Fetch-Site is {site!r:.40}: only this site's own pages may do that")
    if origin is not None:
        if origin not in _own_origins(request):
            raise Problem(403, "cross_site", "Origin is another site's: only this site's own pages may do that")
    elif site is None:
        raise Problem(
            403,
            "cross_site",
            "neither Origin nor Sec-Fetch-Site was sent: a program uses an API key, not a session",
        )


def _own_origins(request: Request) -> set[str]:
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if public := services_of(request).settings.public_url:
        parts = urlsplit(public)
        own.add(f"{parts.scheme}://{parts.netloc}")
    return own


# -- the cookie --------------------------------------------------------------------------------------------------------
def set_session(response: Response, request: Request, signed_in: SignedIn) -> None:
    """Puts the session into the answer: out of reach of scripts, not sent along from other sites, https where it is."""
    response.set_cookie(
        COOKIE,
        signed_in.token,
        expires=signed_in.expires_at,
        path="/",
        httponly=True,
        samesite="lax",
        secure=secure(request, services_of(request).settings),
    )


def clear_session(response: Response, request: Request) -> None:
    """Takes the session out of the browser."""
    response.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="lax", secure=secure(request, services_of(request).settings)
    )


def secure(request: Request, settings: Settings) -> bool:
    """Whether people reach us over https."""
    return request.url.scheme == "https" or settings.public_url.startswith("https://")


# -- guessing ----------------------------------------------------------------------------------------------------------
class RateLimit:
    """At most ``burst`` attempts at once from one address, and one more every ``every`` seconds. In memory.

    With several API processes each counts for itself; the account's own lock is in the store.
    """

    MAX_ADDRESSES: Final = 10_000
    """The oldest are forgotten beyond this, or an attacker with many addresses would fill the memory."""

    def __init__(self, *, burst: int = 10, every: float = 6.0, now: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._every = every
        self._now = now
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str) -> float:
        """0 when ``address`` may try now, which counts; else the seconds until it may."""
        group, moment = _network(address), self._now()
        # The bucket as the time at which it would be empty again (GCRA): one number an address.
        empty_at = max(self._empty_at.pop(group, moment), moment)
        allowed = empty_at - moment <= (self._burst - 1) * self._every
        self._empty_at[group] = empty_at + self._every if allowed else empty_at
        while len(self._empty_at) > self.MAX_ADDRESSES:
            self._empty_at.popitem(last=False)
        return 0.0 if allowed else empty_at - moment - (self._burst - 1) * self._every

    def check(self, request: Request) -> None:
        """Raises Problem 429 when the address of ``request`` has tried too often."""
        if seconds := self.wait(address_of(request)):
            after = int(seconds) + 1
            raise Problem(
                429,
                "too_many",
                f"too many attempts from this address: wait {after} s",
                headers={"Retry-After": str(after)},
            )


def _network(address: str) -> str:
    """An IPv6 customer has a /64 and may take a new address for each attempt: the /64 counts as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


# -- every route is declared -------------------------------------------------------------------------------------------
_PUBLIC: Final = "_hotline_public"


def public(reason: str) -> Callable[[Endpoint], Endpoint]:
    """Declares a route open to everyone, and why. Put it under the router's own decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _PUBLIC, reason)
        return endpoint

    return declare


def permissions_required(dependant: Dependant) -> Iterator[Permission | None]:
    """The permissions that a route's dependencies ask for; None stands for "signed in"."""
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Require):
            yield dependency.call.permission
        yield from permissions_required(dependency)


def undeclared_routes(app: FastAPI) -> list[str]:
    """The routes that neither ask for a permission nor are declared public. Mounts (the pages) guard themselves."""
    found = []
    for context in iter_route_contexts(app.routes):
        route: BaseRoute = context.original_route
        if isinstance(route, Mount):
            continue
        endpoint = getattr(route, "endpoint", None)
        if getattr(endpoint, _PUBLIC, ""):
            continue
        # The context and not the route: an included router's own dependencies are only in the former.
        dependant = context.dependant if isinstance(route, APIRoute) else None
        if dependant is None or not any(True for _ in permissions_required(dependant)):
            found.append(f"{context.path} ({getattr(endpoint, '__qualname__', endpoint)})")
    return found


def check_routes(app: FastAPI) -> None:
    """Raises RuntimeError when a route of ``app`` says nothing of who may use it."""
    if missing := undeclared_routes(app):
        raise RuntimeError(
            f"routes without a declared permission: {', '.join(missing)}: give each require(Permission.…), "
            "signed_in() or @public(reason)"
        )
