"""Areas and units: the two trees that cases point into."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import Problem, not_found, responses
from api.security import address_of, require, services_of, signed_in
from api.v1.values import Body, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.city import units
from callcenter.city.model import Area, Unit

router = APIRouter(prefix="/api/v1", tags=["areas and units"])

Reader = Annotated[Principal, signed_in()]
Manager = Annotated[Principal, require(Permission.LISTS_MANAGE)]

Code = Annotated[str, Field(max_length=24, pattern=units.CODE.pattern)]
After = Annotated[str, Query(max_length=24, description="the last `code` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500, description="items of one page")]


class NewArea(Body):
    """An area to make."""

    code: Code = Field(description="of GB/T 30428.1, or the city's own", examples=["420802"])
    name: Annotated[str, Words, Field(min_length=1, max_length=80)] = Field(examples=["东宝区"])
    level: Literal[1, 2, 3, 4, 5] = Field(description="1 city, 2 district, 3 street, 4 community, 5 grid", examples=[2])
    parent: Code | None = Field(None, description="code of the area above", examples=["4208"])


class AreaOut(BaseModel):
    """An area."""

    id: UUID
    code: str = Field(examples=["420802"])
    name: str = Field(examples=["东宝区"])
    level: int = Field(examples=[2])
    parent_id: UUID | None


class AreaList(BaseModel):
    """Areas by code."""

    items: list[AreaOut]


class NewUnitIn(Body):
    """A unit to make."""

    code: Code = Field(examples=["sz01"])
    name: Annotated[str, Words, Field(min_length=1, max_length=80)] = Field(examples=["市政设施管理处"])
    kind: Literal["department", "street", "utility"] = Field(description="属主, 属地, or a utility")
    level: Literal[1, 2] = Field(2, description="1 the city's, 2 a district's")
    parent: Code | None = Field(None, description="the level above: who gets complaints about this unit")
    area: Code | None = Field(None, description="the ground it answers for; a street needs one")
    leader: Annotated[str, Field(max_length=40)] = Field("", description="the post that a 督办单 is addressed to")
    duty_phone: Annotated[str, Field(max_length=32, pattern=r"^[0-9+ -]*$")] = Field(
        "", description="rung for an urgent order that nobody signs for"
    )
    round_the_clock: bool = False


class UnitOut(BaseModel):
    """A unit."""

    id: UUID
    code: str = Field(examples=["sz01"])
    name: str = Field(examples=["市政设施管理处"])
    kind: str = Field(examples=["department"])
    level: int = Field(examples=[2])
    parent_id: UUID | None
    area_id: UUID | None
    leader: str
    duty_phone: str = Field(description="empty without `lists:manage` or `cases:command`")
    round_the_clock: bool
    active: bool = Field(description="false: dissolved, gets no more orders")


class UnitList(BaseModel):
    """Units by code."""

    items: list[UnitOut]


class UnitState(Body):
    """Whether a unit gets orders."""

    active: bool


def area_out(area: Area) -> AreaOut:
    """``area`` as the API shows it."""
    return AreaOut(id=area.id, code=area.code, name=area.name, level=area.level, parent_id=area.parent_id)


def unit_out(unit: Unit, principal: Principal) -> UnitOut:
    """``unit`` as ``principal`` sees it: its duty telephone is for those who keep the list, and those who command."""
    rings = principal.may(Permission.LISTS_MANAGE) or principal.may(Permission.CASES_COMMAND)
    return UnitOut(
        id=unit.id,
        code=unit.code,
        name=unit.name,
        kind=unit.kind,
        level=unit.level,
        parent_id=unit.parent_id,
        area_id=unit.area_id,
        leader=unit.leader,
        duty_phone=unit.duty_phone if rings else "",
        round_the_clock=unit.round_the_clock,
        active=unit.active,
    )


def refused(fault: units.CityError) -> Problem:
    """The problem that a fault of the city's trees is."""
    if isinstance(fault, units.CodeTaken):
        return Problem(409, "conflict", str(fault))
    return Problem(422, "value_refused", str(fault))


@router.get("/areas", summary="List areas", responses=responses())
async def list_areas(_: Reader, request: Request, after: After = "", limit: Limit = 200) -> AreaList:
    """By code."""
    async with services_of(request).db.read() as session:
        return AreaList(items=[area_out(area) for area in await units.areas(session, after=after, limit=limit)])


@router.post("/areas", status_code=201, summary="Make an area", responses=responses(409))
async def make_area(new: NewArea, principal: Manager, request: Request) -> AreaOut:
    """Below its parent; audited."""
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            parent = (await units.area_by_code(session, new.parent)).id if new.parent else None
            area = await units.create_area(
                session, code=new.code, name=new.name, level=new.level, parent_id=parent, actor=actor, at=clock.now()
            )
    except units.CityError as fault:
        raise refused(fault) from None
    return area_out(area)


@router.get("/units", summary="List units", responses=responses())
async def list_units(principal: Reader, request: Request, after: After = "", limit: Limit = 200) -> UnitList:
    """By code, dissolved ones too: cases point at them."""
    async with services_of(request).db.read() as session:
        return UnitList(
            items=[unit_out(unit, principal) for unit in await units.units(session, after=after, limit=limit)]
        )


@router.post("/units", status_code=201, summary="Make a unit", responses=responses(409))
async def make_unit(new: NewUnitIn, principal: Manager, request: Request) -> UnitOut:
    """Below its parent, for its area; audited."""
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            made = units.NewUnit(
                code=new.code,
                name=new.name,
                kind=new.kind,
                level=new.level,
                parent_id=(await units.unit_by_code(session, new.parent)).id if new.parent else None,
                area_id=(await units.area_by_code(session, new.area)).id if new.area else None,
                leader=new.leader,
                duty_phone=new.duty_phone,
                round_the_clock=new.round_the_clock,
            )
            unit = await units.create_unit(session, made, actor=actor, at=clock.now())
    except units.CityError as fault:
        raise refused(fault) from None
    return unit_out(unit, principal)


@router.patch("/units/{code}", summary="Dissolve a unit, or take it up again", responses=responses(404))
async def change_unit(code: str, state: UnitState, principal: Manager, request: Request) -> UnitOut:
    """A dissolved unit gets no more orders; its row stays. Audited."""
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            return unit_out(
                await units.set_active(session, code[:26], state.active, actor=actor, at=clock.now()), principal
            )
    except units.NotThere:
        raise not_found("a unit with that code") from None
