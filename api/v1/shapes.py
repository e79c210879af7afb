"""What calls and cases look like from outside, and who sees which part of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem
from api.security import address_of, services_of
from callcenter.access.masking import mask_number, mask_text
from callcenter.access.model import User
from callcenter.access.permissions import Permission, Role, permissions_of
from callcenter.access.principal import Principal
from callcenter.cases import locating
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.repository import had_order
from callcenter.storage.rows import decode_cursor

Reason = Literal["callback", "emergency", "verification", "complaint"]

ParticularsReason = Annotated[
    Reason | None,
    Query(
        description="why numbers are needed in full: needs `cases:read_particulars`, is audited; else they are masked"
    ),
]


@dataclass(frozen=True, slots=True)
class View:
    """How much of a citizen's particulars one answer shows."""

    full: bool
    """Numbers whole, texts as spoken."""
    trusted: bool
    """May see that a number is there at all although the citizen asked for secrecy."""

    @classmethod
    def masked(cls, principal: Principal) -> "View":
        """What ``principal`` sees without giving a reason."""
        return cls(full=False, trusted=principal.may(Permission.CASES_READ_PARTICULARS))

    def number(self, number: str | None, *, secrecy: bool) -> str:
        """A telephone number as this view has it; empty when withheld, erased, or kept secret."""
        if not number or (secrecy and not self.trusted):
            return ""
        return number if self.full else mask_number(number)

    def name(self, name: str | None, *, secrecy: bool) -> str:
        """A person's name as this view has it: 王*; empty when not known, erased, or kept secret."""
        if not name or (secrecy and not self.trusted):
            return ""
        return name if self.full else name[0] + "*" * (len(name) - 1)

    def text(self, text: str | None) -> str | None:
        """Words as this view has them; None after erasure."""
        if text is None or self.full:
            return text
        return mask_text(text)

    def inside(self, value: Any) -> Any:
        """``value`` (JSON) with every text in it as this view has it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.inside(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.inside(one) for one in value]
        return value


async def view_for(request: Request, principal: Principal, reason: Reason | None, subject: Callable[[], str]) -> View:
    """The view for one answer. With a ``reason`` it is whole, and audited before anything is shown.

    Raises Problem 403 for one who may not see particulars.
    """
    if reason is None:
        return View.masked(principal)
    access = services_of(request).access
    actor = principal.actor(address_of(request))
    allowed = principal.may(Permission.CASES_READ_PARTICULARS)
    await access.record(
        actor,
        "particulars read",
        subject=subject(),
        result="done" if allowed else "refused",
        detail={"reason": reason},
    )
    if not allowed:
        needed = Permission.CASES_READ_PARTICULARS
        raise Problem(403, "permission_missing", f"{needed} is not among your permissions: leave `particulars` out")
    return View(full=True, trusted=True)


def visible(case: Case, principal: Principal) -> bool:
    """Whether ``principal`` may know of ``case``: units see what is filed, and nothing before.

    For a person of a unit that is not all, see ``unit_scope``.
    """
    return case.filed_at is not None or principal.may(Permission.CASES_READ_DRAFTS)


def only_own_cases(principal: Principal) -> bool:
    """Whether ``principal`` reads cases as a person of a unit and as nothing else: then only those of that unit."""
    others = permissions_of(role for role in principal.roles if role != Role.UNIT)
    return principal.kind == "user" and Role.UNIT in principal.roles and Permission.CASES_READ not in others


async def unit_scope(session: AsyncSession, principal: Principal) -> UUID | None:
    """The unit whose cases alone ``principal`` may see; None: no such limit. Raises Problem 403 for a person of a unit
    who belongs to none yet."""
    if not only_own_cases(principal):
        return None
    unit = await session.scalar(select(User.unit_id).where(User.id == principal.id))
    if unit is None:
        raise Problem(403, "permission_missing", "your account belongs to no unit: have an administrator set it")
    return unit


async def may_see(session: AsyncSession, case: Case, principal: Principal) -> bool:
    """Whether ``principal`` may know of ``case``, units by the orders they have or had."""
    if not visible(case, principal):
        return False
    unit = await unit_scope(session, principal)
    return unit is None or await had_order(session, case.id, unit)


def checked_cursor(cursor: str | None, where: str = "query.cursor") -> str | None:
    """``cursor``, the value at ``where``, if it is one of ours. Raises Problem 422."""
    if cursor is not None:
        try:
            decode_cursor(cursor)
        except ValueError:
            raise Problem(
                422,
                "cursor_invalid",
                f"{where} is not one that a list gave: send `next` of the page before, unchanged",
                errors=[FieldProblem(where=where, problem="not a cursor of ours")],
            ) from None
    return cursor


Cursor = Annotated[str | None, Query(max_length=80, description="`next` of the page before, unchanged")]
Limit = Annotated[int, Query(ge=1, le=200, description="items of one page")]


class CategoryOut(BaseModel):
    """A category of one standard."""

    standard: str = Field(examples=["GB/T 30428.2-2013"])
    code: str = Field(examples=["0101"])
    kind: str = Field(description="part, event or social", examples=["event"])
    major: str = Field(examples=["市容环境"])
    minor: str = Field(examples=["暴露垃圾"])


class AreaNameOut(BaseModel):
    """An area, by its code and name."""

    code: str = Field(examples=["990801001001001"])
    name: str = Field(examples=["育英社区第一网格"])
    level: int = Field(description="1 city, 2 district, 3 street, 4 community, 5 grid", examples=[5])


class CaseOut(BaseModel):
    """A case. Numbers and numbers within texts are masked unless a reason was given."""

    id: UUID
    number: str | None = Field(description="null while it is a draft", examples=["2026112000001"])
    state: str = Field(description="one of the states of docs/cases.md", examples=["pending_dispatch"])
    source: str = Field(examples=["phone"])
    call: UUID | None = Field(description="the call it came from")
    disposition: str = Field(description="case, question or none", examples=["case"])
    domain: str | None = Field(description="urban 城管 or social 社管", examples=["urban"])
    category: CategoryOut | None
    probability: float | None = Field(description="that the unit is right, as the router judges", examples=[0.991])
    decision: str = Field(description="auto: goes on by itself; confirm: an agent decides", examples=["auto"])
    intent: str | None = Field(examples=["report"])
    emergency: list[str] = Field(description="services to be told at once", examples=[["119"]])
    secrecy: bool = Field(description="the citizen asked not to be named to the unit")
    text: str | None = Field(description="what was said; null after erasure", examples=["解放路路灯不亮了"])
    address: str | None = Field(examples=["解放路"])
    reporter_number: str = Field(description="masked; empty when withheld or kept secret", examples=["138****1234"])
    confirmed: bool = Field(description="a person has decided the category")
    version: int = Field(description="send as `expected_version`", examples=[3])
    created_at: datetime
    completed_at: datetime | None
    filed_at: datetime | None = Field(description="from here on units see it")
    pulled_at: datetime | None = Field(description="when a dispatch system first pulled it")
    reporter_name: str = Field(description="masked; empty when not given or kept secret", examples=["王*"])
    callback_number: str = Field(description="masked; empty when not given or kept secret", examples=["138****1234"])
    wish: str | None = Field(description="what the citizen hopes for")
    accused: str | None = Field(description="who or what is complained about")
    accused_unit: UUID | None = Field(description="the unit complained about: it never gets the order")
    anonymous: bool
    wants_reply: bool
    urgency: str = Field(description="ordinary, urgent or critical", examples=["ordinary"])
    happened_at: datetime | None
    area: UUID | None
    lat: float | None = Field(description="WGS84", examples=[31.03])
    lon: float | None = Field(description="WGS84", examples=[112.2])
    located_by: str | None = Field(
        description="whose place it is: spoken (found from the words), person, asset, device", examples=["spoken"]
    )
    areas: list[AreaNameOut] = Field(description="the area and those above it; empty where none is known")
    asset: str | None = Field(description="the registered part it is about", examples=["9908010101000001"])
    asset_owner: UUID | None = Field(description="the unit that owns the part")
    line: str | None = Field(description="city, society, security or traffic", examples=["city"])
    level: int | None = Field(description="1 grid, 2 district part, 3 street, 4 city", examples=[3])
    verification: str | None = Field(description="verify_first, exempt or dispatch_first", examples=["exempt"])
    item: UUID | None = Field(description="of the responsibility list")
    lead_unit: UUID | None = Field(description="whose order it is")
    due_at: datetime | None = Field(description="of the limit that runs now")
    lamp: str = Field(description="the highest lit: none, warned, yellow or red", examples=["none"])
    monitored: bool = Field(description="in the inspectors' box")
    reworks: int
    returns: int
    extensions: int
    suspensions: int
    self_handled: bool
    closed_at: datetime | None
    outcome: str | None = Field(
        description="answered, solved, forced, not_accepted, cancelled or handed_over", examples=["solved"]
    )


def _areas(area: UUID | None) -> list[AreaNameOut]:
    city = locating.in_force()
    chain = city.known(area) if city is not None else ()
    return [AreaNameOut(code=one.code, name=one.name, level=one.level) for one in chain]


def case_out(case: Case, particulars: CaseParticulars, view: View) -> CaseOut:
    """``case`` as ``view`` has it."""
    category = None
    if case.category_code is not None:
        category = CategoryOut(
            standard=case.category_standard or "",
            code=case.category_code,
            kind=case.category_kind or "",
            major=case.category_major or "",
            minor=case.category_minor or "",
        )
    return CaseOut(
        id=case.id,
        number=case.number,
        state=case.state,
        source=case.source,
        call=case.call_id,
        disposition=case.disposition,
        domain=case.domain,
        category=category,
        probability=case.probability,
        decision=case.decision,
        intent=case.intent,
        emergency=[str(service) for service in case.emergency],
        secrecy=case.secrecy,
        text=view.text(particulars.text),
        address=view.text(particulars.address),
        reporter_number=view.number(particulars.reporter_number, secrecy=case.secrecy),
        confirmed=case.confirmed_by is not None,
        version=case.version,
        created_at=case.created_at,
        completed_at=case.completed_at,
        filed_at=case.filed_at,
        pulled_at=case.pulled_at,
        reporter_name=view.name(particulars.reporter_name, secrecy=case.secrecy),
        callback_number=view.number(particulars.callback_number, secrecy=case.secrecy),
        wish=view.text(particulars.wish),
        accused=view.text(particulars.accused),
        accused_unit=case.accused_unit_id,
        anonymous=case.anonymous,
        wants_reply=case.wants_reply,
        urgency=case.urgency,
        happened_at=case.happened_at,
        area=case.area_id,
        lat=case.lat,
        lon=case.lon,
        located_by=case.located_by,
        areas=_areas(case.area_id),
        asset=case.asset_code,
        asset_owner=case.asset_owner_id,
        line=case.line,
        level=case.level,
        verification=case.verification,
        item=case.item_id,
        lead_unit=case.lead_unit_id,
        due_at=case.due_at,
        lamp=case.lamp,
        monitored=case.monitored,
        reworks=case.reworks,
        returns=case.returns,
        extensions=case.extensions,
        suspensions=case.suspensions,
        self_handled=case.self_handled,
        closed_at=case.closed_at,
        outcome=case.outcome,
    )
