"""Signing in and out, who am I, and the first administrator."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from api.errors import Problem, responses
from api.security import (
    COOKIE,
    RateLimit,
    address_of,
    clear_session,
    public,
    require_same_origin,
    services_of,
    set_session,
    signed_in,
)
from api.v1.values import Body
from callcenter.access.principal import Principal

router = APIRouter(prefix="/api/v1", tags=["session"])

Secret = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class Credentials(Body):
    """A username and its password."""

    username: Name = Field(description="as the administrator made it; case does not matter", examples=["wang.li"])
    password: Secret = Field(description="never logged, never repeated")


class FirstAdministrator(Body):
    """The one-time link's token and the account to make."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=128)] = Field(
        description="the `token` of the link that the first start printed"
    )
    username: Name = Field(examples=["admin.zhang"])
    password: Secret = Field(description="10 characters or more")
    display_name: Annotated[str, Field(max_length=64)] = Field("", description="shown on screens", examples=["张工"])


class NewPassword(Body):
    """The present password and the next."""

    old: Secret
    new: Secret = Field(description="10 characters or more")


class Me(BaseModel):
    """Who is asking, and what they may do."""

    kind: str = Field(description="`user` or `key`", examples=["user"])
    id: UUID
    name: str = Field(description="the username, or the key's public id", examples=["wang.li"])
    display_name: str = Field(examples=["王丽"])
    roles: list[str] = Field(examples=[["agent"]])
    permissions: list[str] = Field(examples=[["calls:read", "cases:confirm"]])
    extension: str = Field(description="the agent's telephone; empty without one", examples=["101"])
    unit: str = Field(description="the unit a key belongs to; empty for people", examples=[""])
    expires_at: datetime | None = Field(description="end of the session or the key")


def me_of(principal: Principal) -> Me:
    """``principal`` as the API shows it."""
    return Me(
        kind=principal.kind,
        id=principal.id,
        name=principal.name,
        display_name=principal.display_name,
        roles=list(principal.roles),
        permissions=sorted(principal.permissions),
        extension=principal.extension,
        unit=principal.unit,
        expires_at=principal.expires_at,
    )


def _guessing(request: Request) -> RateLimit:
    limit: RateLimit = request.app.state.guessing
    return limit


def _from_own_page(request: Request) -> None:
    # Without a cookie there is nothing to abuse but signing a person in under a stranger's name: a browser that says
    # where it comes from must come from here, a program that says nothing may sign in.
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        require_same_origin(request)


@router.post("/session", summary="Sign in", responses=responses(429))
@public("whoever signs in is not signed in yet; limited to 10 attempts at once from one address")
async def sign_in(credentials: Credentials, request: Request, response: Response) -> Me:
    """Sets the cookie `hotline_session`. Five failures lock the account for 15 minutes."""
    _from_own_page(request)
    _guessing(request).check(request)
    answer = await services_of(request).access.sign_in(
        credentials.username, credentials.password.get_secret_value(), address=address_of(request)
    )
    set_session(response, request, answer)
    return me_of(answer.principal)


@router.delete("/session", status_code=204, summary="Sign out", responses=responses())
async def sign_out(_: Annotated[Principal, signed_in()], request: Request, response: Response) -> None:
    """Ends the session of the cookie, here and at once. With an API key there is nothing to end."""
    if token := request.cookies.get(COOKIE):
        await services_of(request).access.sign_out(token, address=address_of(request))
    clear_session(response, request)


@router.get("/me", summary="Who am I", responses=responses())
async def me(principal: Annotated[Principal, signed_in()]) -> Me:
    """The account or key that asks, with its permissions."""
    return me_of(principal)


@router.put("/me/password", summary="Change my password", responses=responses(429))
async def change_password(
    change: NewPassword, principal: Annotated[Principal, signed_in()], request: Request, response: Response
) -> Me:
    """Ends every session of this account and opens a new one for this browser."""
    if principal.kind != "user":
        raise Problem(403, "permission_missing", "an API key has no password")
    _guessing(request).check(request)
    answer = await services_of(request).access.change_password(
        principal.id,
        old=change.old.get_secret_value(),
        new=change.new.get_secret_value(),
        address=address_of(request),
    )
    set_session(response, request, answer)
    return me_of(answer.principal)


@router.post("/setup", status_code=201, summary="Make the first administrator", responses=responses(429))
@public("there is nobody yet who could sign in; needs the one-time token printed at the first start")
async def set_up(first: FirstAdministrator, request: Request, response: Response) -> Me:
    """Uses up the one-time link, makes the account with the roles `admin` and `supervisor`, and signs it in."""
    _from_own_page(request)
    _guessing(request).check(request)
    answer = await services_of(request).access.set_up(
        first.token.get_secret_value(),
        username=first.username,
        password=first.password.get_secret_value(),
        display_name=first.display_name,
        address=address_of(request),
    )
    set_session(response, request, answer)
    return me_of(answer.principal)
