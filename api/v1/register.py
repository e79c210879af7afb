"""Taking in a case that did not come by a call, and who acts for which unit."""

import asyncio
from typing import Annotated, Final, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import address_of, require, services_of
from api.v1.acts import city_of
from api.v1.cases import CategoryChoice, category_of
from api.v1.shapes import CaseOut, View, case_out
from api.v1.values import Body, Moment, Place, Words, not_ahead
from callcenter import clock
from callcenter.access.audit import add_entry
from callcenter.access.model import User
from callcenter.access.permissions import Permission, Role, permissions_of
from callcenter.access.principal import Principal
from callcenter.cases import intake
from callcenter.cases.model import CaseParticulars
from callcenter.city.model import Unit

router = APIRouter(prefix="/api/v1", tags=["cases"])

Registrar = Annotated[Principal, require(Permission.CASES_REGISTER)]
UserManager = Annotated[Principal, require(Permission.USERS_MANAGE)]

KEYS: Final = UUID("2f2b3f5c-94a3-5a0e-8f0e-0f4c1c1f8a11")
"""Namespace of the ids that follow from idempotency keys (RFC 9562, version 5)."""

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=80,
        description="a new one for each case; the same one when the request is sent again",
        examples=["6c1f1a0e-form-17"],
    ),
]

Source = Literal[intake.SOURCES]  # type: ignore[valid-type]

SOURCE_OF: Final = {Role.COLLECTOR: "collector", Role.VOLUNTEER: "volunteer"}
"""Who may report from one source only: the source decides whether a matter is verified first."""


class Registration(Place):
    """A work order (工单, GB/T 33358) as a person fills it in."""

    source: Source = Field(examples=["web"])
    text: Annotated[str, Words] = Field(min_length=1, max_length=4000, examples=["解放路路灯不亮了"])
    disposition: Literal["case", "question"] = "case"
    intent: Literal[intake.INTENTS] | None = Field(None, examples=["complaint"])  # type: ignore[valid-type]
    category: CategoryChoice | None = Field(None, description="a proposal: an agent confirms it")
    address: str | None = Field(None, max_length=400, examples=["解放路"])
    area: UUID | None = None
    happened_at: Moment | None = Field(None, description="not ahead")
    reporter_name: str | None = Field(None, max_length=40, examples=["王丽"])
    reporter_number: str | None = Field(None, max_length=32, pattern=r"^[0-9+*# -]*$", examples=["13800138000"])
    callback_number: str | None = Field(None, max_length=32, pattern=r"^[0-9+*# -]*$")
    wish: str | None = Field(None, max_length=400, description="what the citizen hopes for")
    wants_reply: bool = True
    secrecy: bool = Field(False, description="the citizen asks not to be named to the unit")
    anonymous: bool = False
    urgency: Literal[intake.URGENCIES] = "ordinary"  # type: ignore[valid-type]
    emergency: list[Literal["110", "119", "120", "122"]] = Field(default=[], max_length=4)
    accused: str | None = Field(None, max_length=120, description="who or what is complained about")
    accused_unit: UUID | None = Field(None, description="if it is a unit: it never gets the order")
    asset_owner: UUID | None = Field(None, description="the unit that owns the thing")
    asset: str | None = Field(
        None, pattern=r"^[0-9]{16,17}$", description="the 标识码 of the part it is about: it lies where that stands"
    )
    police_number: str | None = Field(None, min_length=1, max_length=40, description="of a matter that 110 hands over")


class UnitOf(Body):
    """Which unit a person acts for."""

    unit: UUID | None = Field(description="null: none, the hotline's own people")


class UnitSet(BaseModel):
    """A person and the unit they act for."""

    user: UUID
    unit: UUID | None


@router.post(
    "/cases", status_code=201, summary="Register a case", responses={**responses(409), 200: {"model": CaseOut}}
)
async def register_case(
    new: Registration, key: Key, principal: Registrar, request: Request, response: Response
) -> CaseOut:
    """Numbered and `reported`; it is filed by a step of its own. Sent again under the same key it is the same case,
    answered with 200."""
    _check_source(new.source, principal)
    not_ahead(new.happened_at, "body.happened_at")
    category = await asyncio.to_thread(category_of, new.category) if new.category is not None else None
    order = intake.NewCase(
        source=new.source,
        text=new.text,
        disposition=new.disposition,
        intent=new.intent,
        domain=category.domain if category else None,
        standard=category.standard if category else None,
        code=category.code if category else None,
        kind=category.kind if category else None,
        major=category.major if category else None,
        minor=category.minor if category else None,
        address=new.address,
        area_id=new.area,
        lat=new.lat,
        lon=new.lon,
        happened_at=new.happened_at,
        reporter_name=new.reporter_name,
        reporter_number=new.reporter_number,
        callback_number=new.callback_number,
        wish=new.wish,
        wants_reply=new.wants_reply,
        secrecy=new.secrecy,
        anonymous=new.anonymous,
        urgency=new.urgency,
        emergency=tuple(new.emergency),
        accused=new.accused,
        accused_unit_id=new.accused_unit,
        asset_owner_id=new.asset_owner,
        asset_code=new.asset,
        police_number=new.police_number,
    )
    case_id = uuid5(KEYS, f"{principal.id}:{key}")
    try:
        async with services_of(request).db.begin() as session:
            case, fresh = await intake.register(
                session, case_id, order, by=str(principal.id), at=clock.now(), city=city_of(request)
            )
            particulars = await session.get_one(CaseParticulars, case.id)
    except intake.Unknown as fault:
        raise Problem(
            422,
            "value_refused",
            f"body.{fault}",
            errors=[FieldProblem(where=f"body.{fault.field}", problem="there is none with that id")],
        ) from None
    except intake.AlreadyRegistered as fault:
        raise Problem(409, "conflict", str(fault)) from None
    if not fresh:
        response.status_code = 200
    return case_out(case, particulars, View.masked(principal))


def _check_source(source: str, principal: Principal) -> None:
    others = permissions_of(role for role in principal.roles if role not in SOURCE_OF)
    if Permission.CASES_REGISTER in others:
        return
    own = [SOURCE_OF[role] for role in SOURCE_OF if role in principal.roles]
    if source not in own:
        raise Problem(
            403, "permission_missing", f"source {source} is not yours to report from: send {' or '.join(own)}"
        )


@router.put("/users/{user_id}/unit", summary="Set a person's unit", responses=responses(404), tags=["people and keys"])
async def set_unit(user_id: UUID, change: UnitOf, principal: UserManager, request: Request) -> UnitSet:
    """From the next step on they act for that unit, and see its cases."""
    async with services_of(request).db.begin() as session:
        user = await session.scalar(select(User).where(User.id == user_id).with_for_update())
        if user is None:
            raise not_found("a user with that id")
        if change.unit is not None and await session.get(Unit, change.unit) is None:
            raise Problem(
                422,
                "value_refused",
                "body.unit: there is no unit with that id, see the list of units",
                errors=[FieldProblem(where="body.unit", problem="there is none with that id")],
            )
        user.unit_id = change.unit
        add_entry(
            session,
            principal.actor(address_of(request)),
            "user changed",
            at=clock.now(),
            subject=f"user:{user_id}",
            detail={"changed": ["unit"], "unit": str(change.unit or "")},
        )
    return UnitSet(user=user_id, unit=change.unit)
