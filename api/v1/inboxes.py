"""Inboxes of units in figures, and the people of one's own unit."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import not_found, responses
from api.security import address_of, require, services_of
from api.v1.shapes import unit_scope
from api.v1.values import Body, Moment, not_ahead
from callcenter import clock
from callcenter.access.model import User
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import inboxes
from callcenter.city import units
from callcenter.city.model import Unit

router = APIRouter(prefix="/api/v1/inboxes", tags=["areas and units"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
UnitsOwn = Annotated[Principal, require(Permission.CASES_HANDLE)]


class InboxOut(BaseModel):
    """A unit's inbox: its open orders, whether it leads or assists, counted."""

    unit: UUID
    code: str = Field(examples=["sz01"])
    name: str = Field(examples=["市政设施管理处"])
    kind: str = Field(description="department, street or utility", examples=["department"])
    unsigned: int = Field(description="not signed for", examples=[2])
    open: int = Field(examples=[7])
    yellow: int = Field(description="with a yellow lamp", examples=[1])
    red: int = Field(description="with a red lamp", examples=[0])
    unread: int = Field(description="issued after `read_until`", examples=[2])
    read_until: datetime | None = Field(description="null: never marked")


class InboxList(BaseModel):
    """Inboxes by code of the unit."""

    items: list[InboxOut]
    at: datetime = Field(description="when it was counted: send as `until` to mark it read")


class ReadMark(Body):
    """Up to when orders have been read."""

    until: Moment = Field(description="`at` of the figures that were shown")


class MemberOut(BaseModel):
    """A person of a unit."""

    user: UUID = Field(description="send as `handler` to give them a case")
    name: str = Field(examples=["王丽"])
    extension: str = Field(examples=["101"])
    handling: int = Field(description="open orders given to them by name", examples=[3])


class MemberList(BaseModel):
    """People of a unit, by username."""

    items: list[MemberOut]


@router.get("", summary="Inboxes of all units", responses=responses())
async def list_inboxes(principal: Reader, request: Request) -> InboxList:
    """Of every active unit; a person of a unit sees that unit's."""
    at = clock.now()  # before the figures: what is issued meanwhile stays unread
    async with services_of(request).db.read() as session:
        found = await inboxes.inboxes(session, unit=await unit_scope(session, principal))
    return InboxList(items=[_out(one) for one in found], at=at)


@router.get("/{code}", summary="A unit's inbox", responses=responses(404))
async def read_inbox(code: str, principal: Reader, request: Request) -> InboxList:
    """The figures of one unit; another unit's are not there for a person of a unit."""
    at = clock.now()
    async with services_of(request).db.read() as session:
        scope = await unit_scope(session, principal)
        unit = await _unit(session, code)
        if scope not in (None, unit.id):
            raise not_found("a unit with that code")
        found = await inboxes.inboxes(session, unit=unit.id)
    return InboxList(items=[_out(one) for one in found], at=at)


@router.put("/{code}/read", summary="Mark my unit's inbox read", responses=responses(404))
async def mark_read(code: str, mark: ReadMark, principal: UnitsOwn, request: Request) -> InboxList:
    """Not ahead; a mark never goes back. Audited."""
    at = clock.now()
    not_ahead(mark.until, "body.until", at)
    async with services_of(request).db.begin() as session:
        unit = await _own(session, principal, code)
        await inboxes.set_read(session, unit.id, mark.until, actor=principal.actor(address_of(request)), at=at)
        found = await inboxes.inboxes(session, unit=unit.id)
    return InboxList(items=[_out(one) for one in found], at=at)


@router.get("/{code}/people", summary="People of my unit", responses=responses(404))
async def list_people(code: str, principal: UnitsOwn, request: Request) -> MemberList:
    """Who can be given a case, and how many each has."""
    async with services_of(request).db.read() as session:
        found = await inboxes.members(session, (await _own(session, principal, code)).id)
    people = [MemberOut(user=one.user, name=one.name, extension=one.extension, handling=one.handling) for one in found]
    return MemberList(items=people)


async def _unit(session: AsyncSession, code: str) -> Unit:
    try:
        return await units.unit_by_code(session, code[:26])
    except units.NotThere:
        raise not_found("a unit with that code") from None


async def _own(session: AsyncSession, principal: Principal, code: str) -> Unit:
    unit = await _unit(session, code)
    if await session.scalar(select(User.unit_id).where(User.id == principal.id)) != unit.id:
        raise not_found("a unit with that code")
    return unit


def _out(inbox: inboxes.Inbox) -> InboxOut:
    return InboxOut(
        unit=inbox.unit,
        code=inbox.code,
        name=inbox.name,
        kind=inbox.kind,
        unsigned=inbox.unsigned,
        open=inbox.open,
        yellow=inbox.yellow,
        red=inbox.red,
        unread=inbox.unread,
        read_until=inbox.read_until,
    )
