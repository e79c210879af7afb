"""Joint orders (联合执法): issued by command or the duty chief, receipted by each unit, ended with a result."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID, uuid5

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of
from api.v1.cases import CaseRef, find_case
from api.v1.register import Key
from api.v1.shapes import may_see, unit_scope
from api.v1.values import Body, Moment, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import joint
from callcenter.cases.life import JointOrder
from callcenter.cases.model import Case
from callcenter.cases.record import CaseNotFound

router = APIRouter(prefix="/api/v1", tags=["joint orders"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
Doer = Annotated[Principal, require(Permission.CASES_ACT)]
UnitsOwn = Annotated[Principal, require(Permission.CASES_HANDLE)]

KEYS: Final = UUID("a0d3c4f2-5a3e-5f0c-9b1d-2f6b7f1c8e40")
"""Namespace of the ids that follow from idempotency keys (RFC 9562, version 5)."""


class DutyIn(Body):
    """What one unit is to do."""

    unit: UUID
    duty: Annotated[str, Words] = Field(min_length=1, max_length=joint.LONGEST_DUTY, examples=["清理占道摊点"])


class JointIn(Body):
    """A joint order. Neither place nor duties hold a number of a person: they are not erased."""

    cases: list[UUID] = Field(min_length=1, max_length=joint.MOST_CASES, description="filed and open")
    duties: list[DutyIn] = Field(min_length=joint.FEWEST_UNITS, max_length=joint.MOST_UNITS)
    place: Annotated[str, Words] = Field(min_length=1, max_length=joint.LONGEST_PLACE, examples=["解放路菜市场北门"])
    meet_at: Moment = Field(description="when the units meet; with its offset")


class JointEnd(Body):
    """How it ended."""

    result: Annotated[str, Words] = Field(min_length=1, max_length=joint.LONGEST_TEXT, examples=["占道摊点已全部清理"])


class DutyOut(BaseModel):
    """One unit's part."""

    unit: UUID
    duty: str
    receipted_at: datetime | None


class JointCase(BaseModel):
    """A case that it is about."""

    id: UUID
    number: str | None
    state: str = Field(examples=["handling"])


class JointOut(BaseModel):
    """A joint order, with the cases that the one who asks may know of."""

    id: UUID
    number: str = Field(examples=["LH202611230001"])
    place: str
    meet_at: datetime
    by: str
    issued_at: datetime
    ended_at: datetime | None
    duties: list[DutyOut]
    cases: list[JointCase]


class JointList(BaseModel):
    """Joint orders."""

    items: list[JointOut]


@asynccontextmanager
async def _refusals(*, unit: bool = False) -> AsyncIterator[None]:
    """What the store refuses, as problems. ``unit``: it is a unit that asks, to whom an order to others is none."""
    try:
        yield
    except joint.JointNotAllowed as fault:
        if unit:
            raise not_found("a joint order with that id") from None
        raise Problem(403, "permission_missing", str(fault)) from None
    except joint.JointNotFound:
        raise not_found("a joint order with that id") from None
    except CaseNotFound:
        raise not_found("one of the cases") from None
    except joint.JointRefused as fault:
        errors = [FieldProblem(where="body", problem=str(fault)[:200])]
        raise Problem(422, "value_refused", str(fault), errors=errors) from None


@router.post(
    "/joint-orders",
    status_code=201,
    summary="Issue a joint order",
    responses={**responses(404, 409), 200: {"model": JointOut}},
)
async def issue_joint_order(new: JointIn, key: Key, principal: Doer, request: Request, response: Response) -> JointOut:
    """For the command centre and the duty chief. Sent again under the same key it is the same order, answered with
    200."""
    _check_commands(principal)
    for one in new.cases:
        await find_case(request, principal, str(one))
    async with _refusals(), services_of(request).db.begin() as session:
        order, fresh = await joint.issue(
            session,
            uuid5(KEYS, f"{principal.id}:{key}"),
            actor=await actor_of(session, principal),
            cases=new.cases,
            duties=[joint.Duty(one.unit, one.duty) for one in new.duties],
            place=new.place,
            meet_at=new.meet_at,
            at=clock.now(),
        )
        if not fresh:
            await _check_same(session, order, new)
        made = await _out(session, order.id, principal)
    if not fresh:
        response.status_code = 200
    return made


@router.get("/joint-orders/{joint_id}", summary="One joint order", responses=responses(404))
async def get_joint_order(joint_id: UUID, principal: Reader, request: Request) -> JointOut:
    """Units see those that call them."""
    async with _refusals(), services_of(request).db.read() as session:
        return await _out(session, joint_id, principal)


@router.get("/cases/{case}/joint-orders", summary="The joint orders of a case", responses=responses(404))
async def joint_orders_of_case(case: CaseRef, principal: Reader, request: Request) -> JointList:
    """The oldest first. Units see those that call them."""
    seen = await find_case(request, principal, case)
    async with services_of(request).db.read() as session:
        unit = await unit_scope(session, principal)
        found = await joint.joint_orders_of(session, seen.case.id)
        mine = [one for one in found if unit is None or joint.calls(one, unit)]
        return JointList(items=[await _out(session, one.id, principal) for one in mine])


@router.post("/joint-orders/{joint_id}/receipt", summary="Receipt a joint order", responses=responses(404))
async def receipt_joint_order(joint_id: UUID, principal: UnitsOwn, request: Request) -> JointOut:
    """For the units that it calls; a second receipt changes nothing."""
    async with _refusals(unit=True), services_of(request).db.begin() as session:
        await unit_scope(session, principal)
        await joint.receipt(session, joint_id, actor=await actor_of(session, principal), at=clock.now())
        return await _out(session, joint_id, principal)


@router.post("/joint-orders/{joint_id}/end", summary="End a joint order", responses=responses(404))
async def end_joint_order(joint_id: UUID, word: JointEnd, principal: Doer, request: Request) -> JointOut:
    """For the command centre and the duty chief, once."""
    _check_commands(principal)
    async with _refusals(), services_of(request).db.begin() as session:
        actor = await actor_of(session, principal)
        await joint.end(session, joint_id, actor=actor, at=clock.now(), result=word.result)
        return await _out(session, joint_id, principal)


async def _check_same(session: AsyncSession, order: JointOrder, new: JointIn) -> None:
    """Raises Problem 409 when the key stands for other cases or units than ``new`` has."""
    _, cases = await joint.joint_order(session, order.id)
    units = {one["unit"] for one in order.duties}
    if {one.id for one in cases} != set(new.cases) or units != {str(one.unit) for one in new.duties}:
        raise Problem(409, "conflict", "that idempotency key was used for another joint order: take a new key for each")


def _check_commands(principal: Principal) -> None:
    needed = {Permission.CASES_COMMAND, Permission.CASES_DECIDE}
    if not needed & principal.permissions:
        raise Problem(
            403, "permission_missing", f"a joint order needs {' or '.join(sorted(needed))}, not among your permissions"
        )


async def _out(session: AsyncSession, joint_id: UUID, principal: Principal) -> JointOut:
    order, cases = await joint.joint_order(session, joint_id)
    unit = await unit_scope(session, principal)
    if unit is not None and not joint.calls(order, unit):
        raise not_found("a joint order with that id")
    # A unit that is called knows of the cases by number, whoever has their orders.
    shown = cases if unit is not None else [one for one in cases if await may_see(session, one, principal)]
    return _shown(order, shown)


def _shown(order: JointOrder, cases: Sequence[Case]) -> JointOut:
    return JointOut(
        id=order.id,
        number=order.number,
        place=order.place,
        meet_at=order.meet_at,
        by=order.by,
        issued_at=order.issued_at,
        ended_at=order.ended_at,
        duties=[DutyOut(unit=one["unit"], duty=one["duty"], receipted_at=one["receipted_at"]) for one in order.duties],
        cases=[JointCase(id=one.id, number=one.number, state=one.state) for one in cases],
    )
