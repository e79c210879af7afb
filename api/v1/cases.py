"""Cases: the list, one of them, and a person's word on its category."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, moved, not_found, responses
from api.security import require, services_of
from api.v1.shapes import (
    CaseOut,
    Cursor,
    Limit,
    ParticularsReason,
    View,
    case_out,
    checked_cursor,
    may_see,
    unit_scope,
    view_for,
    visible,
)
from api.v1.values import Body, Moment
from callcenter.access.permissions import Permission, posts_of
from callcenter.access.principal import Principal
from callcenter.calls.desk import CaseMoved, Desk, NothingToConfirm
from callcenter.cases import repository
from callcenter.cases.life import LAMPS
from callcenter.cases.lifecycle import Side
from callcenter.cases.model import (
    CANCELLED,
    DRAFT,
    NOT_ACCEPTED,
    PENDING_FILING,
    PENDING_VERIFY,
    REPORTED,
    STATES,
    Case,
    CaseLog,
    Confirmation,
)
from callcenter.cases.record import changes_since
from callcenter.cases.search import find_cases
from callcenter.cases.search_filters import BadSearch, Find
from callcenter.cases.snapshots import sides_of
from classifier.taxonomy import Category, TaxonomyError, load

router = APIRouter(prefix="/api/v1", tags=["cases"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
Confirmer = Annotated[Principal, require(Permission.CASES_CONFIRM)]

UNFILED: Final = frozenset({DRAFT, REPORTED, PENDING_VERIFY, PENDING_FILING, NOT_ACCEPTED, CANCELLED})
"""States of cases that no unit has."""

NOTHING: Final = {
    "no_case": "the case is gone: it was there a moment ago, read the list again",
    "no_category": "the case has no category to confirm: send one",
    "state": "the case is in no state in which its category is decided: a unit has it already",
}
"""Why there is nothing to confirm, by the desk's reason."""

State = Literal[STATES]  # type: ignore[valid-type]
Lamp = Literal[LAMPS]  # type: ignore[valid-type]
AREA: Final = r"^[0-9A-Za-z-]{0,24}$"


class CaseList(BaseModel):
    """A page of cases, the newest first."""

    items: list[CaseOut]
    next: str | None = Field(description="send as `cursor` for the page after; null: that was all")


class LogOut(BaseModel):
    """One step of a case: who, what, under which rule."""

    seq: int
    at: datetime
    actor: str = Field(description="`system` or the id of a user", examples=["system"])
    action: str = Field(examples=["filed"])
    from_state: str | None = Field(examples=["reported"])
    to_state: str = Field(examples=["pending_dispatch"])
    rule: str | None = Field(description="of what the machine did by itself", examples=["filing.auto"])
    version: int
    detail: dict[str, Any] = Field(description="references and codes")


class ConfirmationOut(BaseModel):
    """A person's word on the routing."""

    id: UUID
    at: datetime
    user_id: UUID
    verdict: str = Field(description="confirmed or corrected", examples=["corrected"])
    code_before: str | None
    code_after: str | None
    model: str | None = Field(description="version of the router that gave the answer")
    blind: bool = Field(description="given without seeing the router's answer")


class CaseDetail(CaseOut):
    """A case with all that happened to it."""

    log: list[LogOut]
    confirmations: list[ConfirmationOut]


class CategoryChoice(Body):
    """A category of one standard."""

    standard: str = Field(max_length=40, examples=["GB/T 30428.2-2013"])
    kind: Literal["part", "event", "social"]
    code: str = Field(max_length=16, examples=["0101"])


class Confirm(Body):
    """A word on a case's category."""

    expected_version: int = Field(
        ge=1, le=2**31 - 1, description="the `version` you decided on; 409 when it has changed", examples=[3]
    )
    category: CategoryChoice | None = Field(None, description="the right one; null confirms the present one")
    blind: bool = Field(False, description="true when the router's answer was not shown; needs a `category`")
    seconds_to_decide: float | None = Field(
        None, ge=0, le=86_400, description="since the suggestion was shown; an agreement within 3 s counts as habit"
    )


CaseRef = Annotated[
    str,
    Path(max_length=40, description="a case's id, or its number", examples=["2026112000001"]),
]


async def find_case(request: Request, principal: Principal, ref: str) -> repository.CaseDetail:
    """The case that ``ref`` names, if ``principal`` may know of it. Raises Problem 404; 403 for a person of a unit who
    belongs to none."""
    found: repository.CaseDetail | None = None
    async with services_of(request).db.read() as session:
        await unit_scope(session, principal)  # first: who belongs to no unit hears so, whatever is asked for
        try:
            if ref.isascii() and ref.isdigit() and len(ref) <= 20:
                found = await repository.get_case_by_number(session, ref)
            else:
                found = await repository.get_case(session, UUID(ref))
        except (ValueError, repository.CaseNotFound):
            found = None
        if found is not None and not await may_see(session, found.case, principal):
            found = None
    if found is None:
        # What was asked for is not repeated: it may be anything.
        raise not_found("a case with that id or number")
    return found


def detail_of(found: repository.CaseDetail, view: View) -> CaseDetail:
    """``found`` as ``view`` has it."""
    return CaseDetail(
        **case_out(found.case, found.particulars, view).model_dump(),
        log=[_log(row) for row in found.log],
        confirmations=[_confirmation(row) for row in found.confirmations],
    )


def _log(row: CaseLog) -> LogOut:
    return LogOut.model_validate(row, from_attributes=True)


def _confirmation(row: Confirmation) -> ConfirmationOut:
    return ConfirmationOut.model_validate(row, from_attributes=True)


@router.get("/cases", summary="List cases", responses=responses())
async def list_cases(
    principal: Reader,
    request: Request,
    state: Annotated[list[State] | None, Query(max_length=len(STATES), description="several may be given")] = None,
    domain: Literal["urban", "social"] | None = None,
    decision: Literal["auto", "confirm"] | None = None,
    category: Annotated[str | None, Query(pattern=r"^[0-9A-Za-z.-]{1,16}$", description="a category's code")] = None,
    number: Annotated[str | None, Query(pattern=r"^[0-9]{4,20}$", description="a number, or how it begins")] = None,
    area: Annotated[str | None, Query(pattern=AREA, description="an area's code: it and all below it")] = None,
    unit: Annotated[UUID | None, Query(description="the unit that has the order, as lead")] = None,
    lamp: Annotated[Lamp | None, Query(description="the highest lamp lit")] = None,
    source: Annotated[str | None, Query(pattern=r"^[0-9a-z_]{1,16}$", examples=["phone"])] = None,
    created_from: Annotated[Moment | None, Query(description="not before this")] = None,
    created_before: Annotated[Moment | None, Query(description="before this")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CaseList:
    """The newest first, numbers masked. Without `cases:read_drafts` only filed cases. A page may have fewer items than
    asked for, or none, and still a `next`. By words and telephone: `POST /cases/search`."""
    find = Find(
        number=number or "",
        area=area or "",
        states=allowed_states(state or (), principal),
        unit=unit,
        lamp=lamp or "",
        domain=domain or "",
        decision=decision or "",
        category=category or "",
        source=source or "",
        created_from=created_from,
        created_before=created_before,
        filed_only=not principal.may(Permission.CASES_READ_DRAFTS),
    )
    return await found_page(find, principal, request, limit=limit, cursor=cursor)


async def found_page(find: Find, principal: Principal, request: Request, *, limit: int, cursor: str | None) -> CaseList:
    """A page of what ``find`` says, as ``principal`` may see it. Raises Problem 422."""
    after = checked_cursor(cursor, "body.cursor" if request.method == "POST" else "query.cursor")
    async with services_of(request).db.read() as session:
        if (scope := await unit_scope(session, principal)) is not None:
            find = replace(find, unit=scope, assisting=True)
        try:
            page = await find_cases(session, find, limit=limit, after=after)
        except BadSearch as fault:
            problem = FieldProblem(where=str(fault).partition(":")[0], problem="cannot be looked for")
            raise Problem(422, "value_refused", str(fault), errors=[problem]) from None
    view = View.masked(principal)
    items = [case_out(row.case, row.particulars, view) for row in page.rows if visible(row.case, principal)]
    return CaseList(items=items, next=page.next)


def allowed_states(states: Sequence[str], principal: Principal) -> list[str]:
    """``states`` as they were asked for. Raises Problem 403 for one of cases that no unit has, where the permission is
    missing."""
    if not principal.may(Permission.CASES_READ_DRAFTS) and (refused := [one for one in states if one in UNFILED]):
        needed = Permission.CASES_READ_DRAFTS
        raise Problem(403, "permission_missing", f"state {refused[0]} needs {needed}, not among your permissions")
    return list(states)


@router.get("/cases/{case}", summary="One case", responses=responses(404))
async def get_case(
    case: CaseRef, principal: Reader, request: Request, particulars: ParticularsReason = None
) -> CaseDetail:
    """By id or number, with its log and what people said of its category."""
    found = await find_case(request, principal, case)
    view = await view_for(request, principal, particulars, lambda: f"case:{found.case.id}")
    return detail_of(found, view)


@router.post("/cases/{case}/confirm", summary="Confirm or correct the category", responses=responses(404, 409))
async def confirm_case(case: CaseRef, word: Confirm, principal: Confirmer, request: Request) -> CaseDetail:
    """Kept as a label with the model's version, the person and the time. A complete case is filed by it.

    409 when the case has changed since `expected_version`: read it again and decide on what it is now.
    """
    services = services_of(request)
    if word.blind and word.category is None:
        raise Problem(
            422,
            "value_refused",
            "body.blind is true without body.category: who has not seen the router's answer cannot confirm it",
            errors=[FieldProblem(where="body.category", problem="needed when blind is true")],
        )
    found = await find_case(request, principal, case)
    await _check_side(request, principal, found.case)
    choice = await asyncio.to_thread(category_of, word.category) if word.category is not None else None
    seen = case_out(found.case, found.particulars, View.masked(principal)).category
    desk = services.desk or Desk(services.db, services.bus)
    try:
        await desk.confirm(
            found.case.id,
            principal.id,
            choice,
            word.expected_version,
            seen=seen.model_dump() if seen is not None else None,
            blind=word.blind,
            seconds_to_decide=word.seconds_to_decide,
        )
    except CaseMoved as fault:
        async with services.db.read() as session:
            changes = await changes_since(session, found.case.id, word.expected_version)
        raise moved(word.expected_version, fault.card.version, changes) from None
    except NothingToConfirm as fault:
        raise Problem(409, "conflict", NOTHING[fault.reason]) from None
    return detail_of(await find_case(request, principal, str(found.case.id)), View.masked(principal))


async def _check_side(request: Request, principal: Principal, case: Case) -> None:
    """Supervision decides the category: who has commanded or handled the case does not. Raises Problem 403."""
    async with services_of(request).db.read() as session:
        sides = await sides_of(session, case.id, str(principal.id), posts_of(principal.roles))
    if others := sides - {Side.SUPERVISION}:
        acted = f"you have acted on this case for {min(others)}"
        raise Problem(403, "permission_missing", f"{acted}: its category is decided by somebody of supervision")


def category_of(wanted: CategoryChoice) -> Category:
    """The category with its names; reads files the first time. Raises Problem 422 when the standard has none such."""
    try:
        return load(wanted.standard).by_code(wanted.kind, wanted.code)
    except TaxonomyError:
        raise Problem(
            422,
            "value_refused",
            "body.category is no category of a standard known here: take one from a routing's alternatives",
            errors=[FieldProblem(where="body.category", problem="not a category of a known standard")],
        ) from None
