"""Risk sources: what was found at each, and which nobody has looked at in time."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import Problem, responses
from api.security import address_of, require, services_of
from api.v1.field import Day, field_problems
from api.v1.register import KEYS, Key
from api.v1.shapes import unit_scope
from api.v1.values import Body, Moment
from callcenter import clock
from callcenter.access.masking import mask_text
from callcenter.access.model import User
from callcenter.access.permissions import Permission, Role
from callcenter.access.principal import Principal
from callcenter.city import importing, inspections
from callcenter.city.field_model import Inspection
from callcenter.city.model import Unit
from callcenter.city.registries import RISK_SOURCES

router = APIRouter(prefix="/api/v1/risk-sources", tags=["field work"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
Inspector = Annotated[Principal, require(Permission.FIELD_INSPECT)]

Limit = Annotated[int, Query(ge=1, le=inspections.PAGE)]


class NewInspectionIn(Body):
    """What was found at a risk source."""

    kind: Literal[inspections.KINDS] = Field(  # type: ignore[valid-type]
        description="self 自查自报 (by the unit that owns it), department 部门检查, collector 监督员补强",
        examples=["department"],
    )
    result: Literal[inspections.RESULTS] = Field(examples=["passed"])  # type: ignore[valid-type]
    finding: str = Field("", max_length=inspections.LONGEST_FINDING, description="a danger is described; kept erasable")
    inspected_at: Moment = Field(description="within the last year")
    next_due: Day | None = Field(None, description="the day of the next look, in Asia/Shanghai")


class InspectionOut(BaseModel):
    """A look at a risk source. Numbers within texts are masked."""

    id: UUID
    source: str = Field(description="code of the registry of risk sources", examples=["FX0001"])
    kind: str = Field(examples=["department"])
    result: str = Field(description="passed, danger or rectified", examples=["passed"])
    finding: str | None = Field(description="null after erasure")
    inspected_at: datetime
    next_due: date | None
    by: UUID
    unit: UUID | None = Field(description="for whom they looked; null: the hotline's own people")


class InspectionList(BaseModel):
    """Looks at one risk source, the newest first."""

    items: list[InspectionOut]


class DueOut(BaseModel):
    """A risk source that nobody has looked at in time."""

    code: str = Field(examples=["FX0001"])
    name: str = Field(examples=["东宝加油站"])
    owner: str = Field(description="code of a unit; empty: none", examples=["sz01"])
    grade: int | None = Field(description="1 the gravest to 4", examples=[1])
    last: InspectionOut | None = Field(description="null: never looked at")


class DueList(BaseModel):
    """Risk sources overdue: those never looked at, then the longest overdue."""

    items: list[DueOut]


@router.get("/overdue", summary="Risk sources to be looked at", responses=responses())
async def list_overdue(principal: Reader, request: Request, limit: Limit = 200) -> DueList:
    """Whose next look was due before today, or that nobody has looked at; a person of a unit sees those it owns."""
    async with services_of(request).db.read() as session:
        scope = await unit_scope(session, principal)
        owner = (await session.get_one(Unit, scope)).code if scope is not None else None
        in_force = (await importing.in_force(session)).get(RISK_SOURCES)
        found = await inspections.overdue(session, in_force, clock.now(), owner=owner, limit=limit)
    items = [
        DueOut(
            code=one.source.code,
            name=one.source.name,
            owner=one.source.owner,
            grade=one.source.particulars.get("grade"),
            last=_out(one.last) if one.last is not None else None,
        )
        for one in found
    ]
    return DueList(items=items)


@router.get("/{code}/inspections", summary="What was found at a risk source", responses=responses(404))
async def list_inspections(code: str, principal: Reader, request: Request, limit: Limit = 50) -> InspectionList:
    """The newest first. A person of a unit sees all of a source that the unit owns, else what their unit found."""
    with field_problems("a risk source with that code"):
        async with services_of(request).db.read() as session:
            scope = await unit_scope(session, principal)
            source = await inspections.source_of(session, await _in_force(session), code[:40])
            if scope is not None and (await session.get_one(Unit, scope)).code == source.owner:
                scope = None
            found = await inspections.of_source(session, source.code, unit_id=scope, limit=limit)
    return InspectionList(items=[_out(one) for one in found])


@router.post(
    "/{code}/inspections",
    status_code=201,
    summary="Record a look at a risk source",
    responses={**responses(404, 409), 200: {"model": InspectionOut}},
)
async def record_inspection(
    code: str, new: NewInspectionIn, key: Key, principal: Inspector, request: Request, response: Response
) -> InspectionOut:
    """Collectors record `collector`, people of units the other two. Sent again under the same key it is the same,
    answered with 200. Audited."""
    role = Role.COLLECTOR if new.kind == inspections.COLLECTOR else Role.UNIT
    if role not in principal.roles:
        raise Problem(403, "permission_missing", f"kind {new.kind} is recorded by a {role}: send another kind")
    wanted = inspections.NewInspection(
        source=code[:40],
        kind=new.kind,
        result=new.result,
        finding=new.finding,
        inspected_at=new.inspected_at,
        next_due=new.next_due,
    )
    with field_problems("a risk source with that code"):
        async with services_of(request).db.begin() as session:
            unit: Any = await session.scalar(select(User.unit_id).where(User.id == principal.id))
            row, fresh = await inspections.record(
                session,
                uuid5(KEYS, f"{principal.id}:inspection:{key}"),
                wanted,
                import_id=await _in_force(session),
                by=principal.id,
                unit_id=unit,
                actor=principal.actor(address_of(request)),
                at=clock.now(),
            )
    if not fresh:
        response.status_code = 200
    return _out(row)


async def _in_force(session: AsyncSession) -> int | None:
    return (await importing.in_force(session)).get(RISK_SOURCES)


def _out(row: Inspection) -> InspectionOut:
    return InspectionOut(
        id=row.id,
        source=row.source,
        kind=row.kind,
        result=row.result,
        finding=mask_text(row.finding) if row.finding is not None else None,
        inspected_at=row.inspected_at,
        next_due=row.next_due,
        by=row.by,
        unit=row.unit_id,
    )
