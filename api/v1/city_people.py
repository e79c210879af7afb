"""People, houses, organisations and what departments know of them: each look for a purpose, audited, counted.

A look is a POST although it changes nothing but the record of it: another site must not be able to have somebody look,
and what is looked at does not belong into addresses that get into logs.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal, Self

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, model_validator

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import address_of, require, services_of
from api.v1.cases import find_case
from api.v1.city import known_city
from api.v1.values import Body, Place
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases.model import Case
from callcenter.city import dossier, residents
from callcenter.city.areas import AreaRef
from callcenter.city.coordinates import Point
from callcenter.city.residents import PURPOSES, Asking, Where, Why

router = APIRouter(prefix="/api/v1", tags=["people and organisations"])

Reader = Annotated[Principal, require(Permission.CITY_READ)]
Looker = Annotated[Principal, require(Permission.CITY_READ_PEOPLE)]

CODE: Final = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,31}$"
FormCode = Annotated[str, Path(pattern=CODE, max_length=24, examples=["gs-01"])]
PURPOSE_NAMES: Final = tuple(PURPOSES)
Purpose = Literal[PURPOSE_NAMES]  # type: ignore[valid-type]
MASKED: Final = "张*, 138****1234, 420802********1234, unless `full`"


class Reasoned(Body):
    """What a look is for."""

    purpose: Purpose = Field(
        description="、".join(f"{name} {title}" for name, title in PURPOSES.items())
        + "; the first two are of a `case`, the last counts and names nobody",
        examples=["case"],
    )
    case: str | None = Field(
        None, min_length=1, max_length=40, description="id or number of the case it is for", examples=["2026112000001"]
    )
    full: bool = Field(
        False, description="nothing masked: needs `city:read_people_full`, and is recorded as a look of its own kind"
    )


class LookIn(Reasoned, Place):
    """What is looked at, and why."""

    by: Literal["address", "house", "person", "organisation", "point", "case"] = Field(
        description="`point`: with `lat` and `lon`, doors within 30 m; `case`: the same where `case` is, with the parts"
        " that it may be about; the others: with `code`"
    )
    code: str | None = Field(None, pattern=CODE, description="that the city gave", examples=["a-0001"])
    category: str = Field(
        "", pattern=r"^([0-9]{4,5})?$", description="with `point`: of the parts that are told", examples=["0101"]
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.by == "point") != (self.lat is not None):
            raise ValueError("lat and lon come with by: point, and with nothing else")
        if (self.by in ("point", "case")) == (self.code is not None):
            raise ValueError("code comes with by: address, house, person or organisation, and with nothing else")
        if self.category and self.by != "point":
            raise ValueError("category comes with by: point")
        if self.by == "case" and self.case is None:
            raise ValueError("by: case needs the case")
        return self


class DossierIn(Reasoned):
    """Whose dossier, and why."""

    organisation: str = Field(pattern=CODE, description="统一社会信用代码", examples=["91420802MA4XXXXX0X"])


class AreaSeenOut(BaseModel):
    """An area that an address lies in."""

    code: str = Field(examples=["420802001"])
    name: str = Field(examples=["龙泉街道"])
    level: int = Field(description="1 city, 2 district, 3 street, 4 community, 5 grid", examples=[3])
    layer: str = Field(description="`unit`: the tree; another: a professional grid across it", examples=["unit"])


class UnitSeenOut(BaseModel):
    """A unit. ``name`` empty: it is gone from the list of units."""

    code: str = Field(examples=["sz01"])
    name: str = Field(examples=["市政设施管理处"])


class AddressOut(BaseModel):
    """A door, where it lies, and whose ground that is."""

    code: str = Field(examples=["a-0001"])
    text: str = Field(examples=["解放大道12号"])
    lat: float = Field(description="WGS84")
    lon: float = Field(description="WGS84")
    metres: float | None = Field(description="from the point that was asked about", examples=[12.4])
    areas: list[AreaSeenOut] = Field(description="the narrowest first, then professional grids; empty outside the map")
    units: list[UnitSeenOut] = Field(description="that answer for these areas, the narrowest first")


class HouseOut(BaseModel):
    """A house, shop or workshop."""

    code: str = Field(examples=["h-0001"])
    address: str = Field(description="code of the address", examples=["a-0001"])
    kind: str = Field(examples=["住宅"])
    owner_name: str = Field(description=MASKED + "; empty for statistics", examples=["张*"])
    people: int = Field(description="registered in it", examples=[3])
    organisations: int = Field(description="registered in it", examples=[0])


class PersonOut(BaseModel):
    """A person who is registered in a house."""

    code: str = Field(examples=["p-0001"])
    house: str = Field(description="code of the house", examples=["h-0001"])
    name: str = Field(description=MASKED, examples=["张*"])
    gender: str = Field(examples=["女"])
    birth_year: int | None = Field(examples=[1980])
    phone: str = Field(description=MASKED, examples=["138****1234"])
    id_number: str = Field(description=MASKED, examples=["420802********1234"])
    kind: str = Field(examples=["户籍"])


class OrganisationOut(BaseModel):
    """An enterprise, shop, school, association."""

    code: str = Field(examples=["91420802MA4XXXXX0X"])
    house: str = Field(description="code of the house; empty: not known", examples=["h-0001"])
    name: str = Field(examples=["荆门某商贸有限公司"])
    kind: str = Field(examples=["有限责任公司"])
    legal_person: str = Field(description=MASKED, examples=["欧阳**"])
    phone: str = Field(description=MASKED, examples=["138****1234"])


class PartOut(BaseModel):
    """A registered part nearby, with who owns and keeps it."""

    code: str = Field(examples=["4208020102000001"])
    category: str = Field(examples=["0102"])
    name: str = Field(examples=["污水井盖"])
    state: str = Field(examples=["完好"])
    metres: float = Field(examples=[3.2])
    owner: UnitSeenOut | None = Field(description="权属单位")
    keeper: UnitSeenOut | None = Field(description="养护单位; null: the owner")


class LookOut(BaseModel):
    """What a look found: lists that point to one another by code."""

    addresses: list[AddressOut]
    houses: list[HouseOut]
    people: list[PersonOut]
    organisations: list[OrganisationOut]
    parts: list[PartOut] = Field(description="around an address or point")
    more: bool = Field(description="true: there is more than one look shows; look at a house of it")
    looks_left: int = Field(description="in this hour", examples=[199])


class ValueOut(BaseModel):
    """A filled-in field."""

    field: str = Field(examples=["capital"])
    label: str = Field(description="empty: the form does not have it any more", examples=["注册资本（万元）"])
    personal: bool
    value: str | int | float | bool = Field(description="stars where it is personal, unless `full`", examples=[500])


class RecordOut(BaseModel):
    """A form as it was filled in."""

    code: str = Field(examples=["r-000001"])
    recorded_on: date | None
    values: list[ValueOut]


class FilledFormOut(BaseModel):
    """A form of a department with what it says of the organisation, the newest first."""

    code: str = Field(examples=["gs-01"])
    title: str = Field(description="empty: no list in force has it any more", examples=["企业登记"])
    records: list[RecordOut]


class DepartmentOut(BaseModel):
    """What one department knows."""

    unit: UnitSeenOut
    forms: list[FilledFormOut]


class DossierOut(BaseModel):
    """All that departments know of one organisation."""

    organisation: OrganisationOut
    departments: list[DepartmentOut]
    records: int = Field(description="shown here", examples=[42])
    more: bool = Field(description="true: there are more, older ones")
    looks_left: int = Field(description="in this hour", examples=[199])


class FormOut(BaseModel):
    """A form of a department."""

    code: str = Field(examples=["gs-01"])
    title: str = Field(examples=["企业登记"])
    unit: UnitSeenOut
    fields: int = Field(examples=[15])


class FormList(BaseModel):
    """The forms of all departments, by department and code."""

    items: list[FormOut]


class FieldOut(BaseModel):
    """A field of a form."""

    field: str = Field(examples=["capital"])
    label: str = Field(examples=["注册资本（万元）"])
    type: str = Field(description="text, number, day or flag", examples=["number"])
    personal: bool = Field(description="tells of a person: masked")


class FormDetail(BaseModel):
    """A form with its fields in their order."""

    code: str = Field(examples=["gs-01"])
    title: str = Field(examples=["企业登记"])
    unit: str = Field(description="code of the department", examples=["gs"])
    fields: list[FieldOut]


# -- the gate, for every route that shows somebody ---------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Admission:
    """Who looks and why, with the case that it is for."""

    asking: Asking
    why: Why
    case: Case | None


async def admission(reasoned: Reasoned, principal: Principal, request: Request) -> Admission:
    """Who looks and why. Raises Problem 404 for a case that the one who asks may not see."""
    case = (await find_case(request, principal, reasoned.case)).case if reasoned.case is not None else None
    asking = asking_of(principal, request)
    return Admission(asking, Why(reasoned.purpose, case.id if case else None, reasoned.full), case)


def asking_of(principal: Principal, request: Request) -> Asking:
    """Who looks, from where, now."""
    most = services_of(request).settings.resident_looks_per_hour
    return Asking(principal, clock.now(), most, address_of(request))


@asynccontextmanager
async def look_problems(action: str, principal: Principal, request: Request) -> AsyncIterator[None]:
    """What a look is refused for, as problems. What one may not do, or not so often, is recorded."""
    try:
        yield
    except residents.LookRefused as fault:
        where = f"body.{fault.where}"
        raise Problem(
            422, "value_refused", f"{where} {fault}", errors=[FieldProblem(where=where, problem=str(fault)[:200])]
        ) from None
    except residents.NotPermitted as fault:
        await _refused(action, f"permission:{fault.permission}", principal, request)
        raise Problem(403, "permission_missing", f"{fault}: leave `full` out") from None
    except residents.TooManyLooks as fault:
        await _refused(action, "limit:resident_looks_per_hour", principal, request)
        raise Problem(429, "too_many", str(fault), headers={"Retry-After": str(fault.seconds)}) from None


async def _refused(action: str, subject: str, principal: Principal, request: Request) -> None:
    actor = principal.actor(address_of(request))
    await services_of(request).access.record(actor, action, subject=subject, result="refused")


# -- looks -------------------------------------------------------------------------------------------------------------
@router.post("/residents/looks", summary="Look at who lives or works where", responses=responses(404, 429))
async def take_look(asked: LookIn, principal: Looker, request: Request) -> LookOut:
    """From an address, a house, a person, an organisation or a point to the others, the areas and the parts around.
    Masked unless `full`; recorded before anything is shown; so many an hour (`CALLCENTER_RESIDENT_LOOKS_PER_HOUR`)."""
    admitted = await admission(asked, principal, request)
    where = _where(asked, admitted.case)
    index = await known_city(request).areas()
    async with look_problems(residents.LOOKED, principal, request), services_of(request).db.begin() as session:
        seen = await residents.look(session, index, where, admitted.why, admitted.asking)
    if where.place is None and not (seen.addresses or seen.houses or seen.people or seen.organisations):
        raise not_found(f"an entry with that code, by {where.by}")
    return _look_out(seen)


@router.post("/residents/dossiers", summary="Read an organisation's dossier", responses=responses(404, 429))
async def read_dossier(asked: DossierIn, principal: Looker, request: Request) -> DossierOut:
    """All that departments' forms say of it. A look: masked unless `full`, recorded, counted."""
    admitted = await admission(asked, principal, request)
    async with look_problems(residents.DOSSIER, principal, request), services_of(request).db.begin() as session:
        found = await dossier.read(session, asked.organisation, admitted.why, admitted.asking)
    if found is None:
        raise not_found("an organisation with that code")
    return DossierOut(
        organisation=OrganisationOut.model_validate(found.organisation, from_attributes=True),
        departments=[DepartmentOut.model_validate(one, from_attributes=True) for one in found.departments],
        records=found.records,
        more=found.more,
        looks_left=found.left,
    )


@router.get("/forms", summary="List the forms of departments", responses=responses())
async def list_forms(_: Reader, request: Request) -> FormList:
    """The version in force; names of fields, nobody's data."""
    async with services_of(request).db.read() as session:
        departments = await dossier.forms(session)
    return FormList(
        items=[
            FormOut(code=form.code, title=form.title, unit=unit_seen(one.unit), fields=form.fields)
            for one in departments
            for form in one.forms
        ]
    )


@router.get("/forms/{form}", summary="One form", responses=responses(404))
async def get_form(form: FormCode, _: Reader, request: Request) -> FormDetail:
    """With its fields."""
    async with services_of(request).db.read() as session:
        fields = await dossier.form(session, form)
    if not fields:
        raise not_found("a form with that code")
    found = [FieldOut(field=one.field, label=one.label, type=one.form_of, personal=one.personal) for one in fields]
    return FormDetail(code=fields[0].form, title=fields[0].title, unit=fields[0].unit, fields=found)


def unit_seen(unit: residents.UnitSeen) -> UnitSeenOut:
    """``unit`` as the API shows it."""
    return UnitSeenOut(code=unit.code, name=unit.name)


def _where(asked: LookIn, case: Case | None) -> Where:
    if asked.by == "case":
        if case is None or case.lat is None or case.lon is None:
            problem = FieldProblem(where="body.case", problem="has no place")
            raise Problem(
                422, "value_refused", "body.case has no place: give it one, or look by point", errors=[problem]
            )
        part = case.category_code if case.category_kind == "part" else None
        return Where(residents.POINT, place=Point(case.lon, case.lat), category=part or "")
    if asked.lat is not None and asked.lon is not None:
        return Where(residents.POINT, place=Point(asked.lon, asked.lat), category=asked.category)
    return Where(asked.by, code=asked.code or "")


def _look_out(seen: residents.Seen) -> LookOut:
    return LookOut(
        addresses=[
            AddressOut(
                code=one.code,
                text=one.text,
                lat=one.place.lat,
                lon=one.place.lon,
                metres=one.metres,
                areas=_areas(one.areas),
                units=[unit_seen(unit) for unit in one.units],
            )
            for one in seen.addresses
        ],
        houses=[HouseOut.model_validate(one, from_attributes=True) for one in seen.houses],
        people=[PersonOut.model_validate(one, from_attributes=True) for one in seen.people],
        organisations=[OrganisationOut.model_validate(one, from_attributes=True) for one in seen.organisations],
        parts=[
            PartOut(
                code=one.near.asset.code,
                category=one.near.asset.category,
                name=one.near.asset.name,
                state=one.near.asset.state,
                metres=one.near.metres,
                owner=unit_seen(one.owner) if one.owner else None,
                keeper=unit_seen(one.keeper) if one.keeper else None,
            )
            for one in seen.parts
        ],
        more=seen.more,
        looks_left=seen.left,
    )


def _areas(areas: Sequence[AreaRef]) -> list[AreaSeenOut]:
    return [AreaSeenOut(code=one.code, name=one.name, level=one.level, layer=one.layer) for one in areas]
