"""One form for everything that is refused or fails: ``application/problem+json`` (RFC 9457) with a stable ``code``.

``message`` says what the code means, ``detail`` names the thing, the value and the mend. Neither repeats what was sent:
a body may hold a password or a citizen's words.
"""

import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callcenter.access import refusals
from callcenter.access.passwords import PasswordsBusy
from callcenter.storage.engine import StoreError, store_is_at_fault

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

MESSAGES: Final[Mapping[str, str]] = {
    "not_signed_in": "Sign in, or send an API key.",
    "key_invalid": "The API key is not known, expired or revoked.",
    "session_over": "The sign-in is over.",
    "sign_in_refused": "The sign-in was refused.",
    "permission_missing": "You may not do that.",
    "cross_site": "The request did not come from this site's own pages.",
    "not_found": "There is no such thing, or you may not see it.",
    "method_not_allowed": "This address does not know that method.",
    "value_refused": "A value cannot be accepted.",
    "cursor_invalid": "The cursor is not one of ours.",
    "body_too_large": "The body is too large.",
    "too_many": "Too many requests.",
    "busy": "Too much is waiting already.",
    "conflict": "The thing has changed meanwhile.",
    "step_refused": "The step cannot be taken.",
    "username_taken": "The username exists already.",
    "last_administrator": "Somebody has to be able to manage users.",
    "setup_link_invalid": "The setup link is not valid.",
    "store_unavailable": "The database cannot be reached.",
    "internal": "A fault of this server.",
}
"""Every ``code`` and what it means."""


class FieldProblem(BaseModel):
    """One value that was refused."""

    where: str = Field(description="where it is, such as `body.password`", examples=["query.limit"])
    problem: str = Field(description="what is wrong with it", examples=["Input should be less than or equal to 500"])


class ProblemBody(BaseModel):
    """What every refusal and fault looks like (RFC 9457)."""

    status: int = Field(description="the HTTP status", examples=[403])
    code: str = Field(description="stable, for programs", examples=["permission_missing"])
    message: str = Field(description="what the code means", examples=["You may not do that."])
    detail: str = Field(description="the thing, the value and the mend", examples=["cases:confirm is not among yours"])
    errors: list[FieldProblem] = Field(default_factory=list, description="each value refused, with `value_refused`")
    changes: list[str] = Field(
        default_factory=list,
        description="with `conflict`, of a case: what was done since `expected_version`, and by whom",
        examples=[["file by 0b6f1c1e-6f0f-4a53-9b1e-5d3f8c1a2b3c"]],
    )


class Problem(Exception):
    """Raised by a route to answer with a problem. ``code`` is a key of MESSAGES."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        changes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.body = ProblemBody(
            status=status,
            code=code,
            message=MESSAGES[code],
            detail=detail,
            errors=list(errors),
            changes=list(changes),
        )
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer to send."""
        return JSONResponse(
            self.body.model_dump(), status_code=self.body.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents of its refusals: ``statuses`` beside 401, 403, 422 and 503, which all share."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in sorted({401, 403, 422, 503, *statuses})
    }


def not_found(thing: str) -> Problem:
    """404: ``thing`` is not there, or not for the one who asks. The two must look the same."""
    return Problem(404, "not_found", f"{thing}: not there, or not visible with your permissions")


def moved(seen: int, actual: int, changes: Sequence[str]) -> Problem:
    """409: a case is no longer at the version that was decided on."""
    what = f"version {seen} was decided on, it is {actual}: read it again"
    return Problem(409, "conflict", what, changes=changes)


_REFUSAL_STATUS: Final[Mapping[type[refusals.AccessRefusal], int]] = {
    refusals.SignInRefused: 401,
    refusals.SetupRefused: 403,
    refusals.NameTaken: 409,
    refusals.LastAdministrator: 409,
    refusals.NotThere: 404,
    refusals.BadValue: 422,
}

_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 429: "too_many"}


def _of_http(fault: HTTPException) -> Problem:
    if fault.status_code == 400:
        # FastAPI's word for a body that is no JSON in some ways; in others it says 422.
        return Problem(
            422, "value_refused", "the body cannot be read: send JSON in UTF-8, not too deep", headers=fault.headers
        )
    code = _HTTP_CODES.get(fault.status_code, "value_refused" if fault.status_code < 500 else "internal")
    detail = {
        404: "no such address: see /docs",
        405: "see /docs for the methods of this address",
        413: "the body is longer than this server reads: send less",
    }.get(fault.status_code, HTTPStatus(fault.status_code).phrase)
    return Problem(fault.status_code, code, detail, headers=fault.headers)


def _of_validation(fault: RequestValidationError) -> Problem:
    # Only the place and pydantic's words: its `input` and `ctx` hold what was sent.
    found = [
        FieldProblem(where=".".join(str(part) for part in error["loc"])[:120], problem=error["msg"][:200])
        for error in fault.errors()[:20]
    ]
    where = ", ".join(problem.where for problem in found)
    return Problem(422, "value_refused", f"refused: {where}; see errors", errors=found)


def install(app: FastAPI) -> None:
    """Gives ``app`` the handlers that turn every refusal and fault into a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, fault: Problem) -> JSONResponse:
        return fault.response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, fault: HTTPException) -> JSONResponse:
        return _of_http(fault).response()

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, fault: RequestValidationError) -> JSONResponse:
        return _of_validation(fault).response()

    @app.exception_handler(refusals.AccessRefusal)
    async def refused(_: Request, fault: refusals.AccessRefusal) -> JSONResponse:
        return Problem(_REFUSAL_STATUS[type(fault)], fault.code, str(fault)).response()

    @app.exception_handler(PasswordsBusy)
    async def busy(_: Request, fault: PasswordsBusy) -> JSONResponse:
        return Problem(503, "busy", str(fault), headers={"Retry-After": "3"}).response()

    async def no_store(request: Request, fault: Exception) -> JSONResponse:
        log.error("store unavailable", path=_template(request.scope), fault=type(fault).__name__)
        return Problem(
            503,
            "store_unavailable",
            "the database did not answer: calls go on and are journalled; try again, see /readyz",
            headers={"Retry-After": "5"},
        ).response()

    # OSError: asyncpg raises FileNotFoundError or ConnectionRefusedError for a server that is away.
    for kind in (PoolTimeout, OSError, StoreError):
        app.add_exception_handler(kind, no_store)

    @app.exception_handler(DBAPIError)
    async def database(request: Request, fault: DBAPIError) -> JSONResponse:
        if not store_is_at_fault(fault):
            raise fault
        return await no_store(request, fault)


class FaultBoundary:
    """The outermost wall: an unforeseen exception becomes a 500 and a log entry without its text.

    An exception's text may quote a value, the value may be a citizen's; so the log gets its type and where it was.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as fault:  # noqa: BLE001  # this is the wall: whatever it is, it must not take its text out
            log.error(
                "request failed",
                path=_template(scope),
                fault=type(fault).__name__,
                at=[f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(fault.__traceback__)[-6:]],
            )
            if started:
                # Half an answer is out: the connection is broken off, so that nobody takes it for a whole one.
                raise ConnectionAbortedError("response broken off after a fault") from None
            answer = Problem(500, "internal", "a fault of the server, which its log names; nothing was changed")
            await answer.response()(scope, receive, send)


def _template(scope: Scope) -> str:
    """The route's pattern: the path itself may hold a case number."""
    return str(getattr(scope.get("route"), "path", "") or "unrouted")
