"""Finding cases: by words, number and telephone, and what lists are narrowed by.

A POST, although it changes nothing: what is looked for are a citizen's words and numbers, and addresses get into logs,
histories and proxies.
"""

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from api.errors import FieldProblem, Problem, responses
from api.security import address_of, services_of
from api.v1.cases import AREA, CaseList, Lamp, Reader, State, allowed_states, found_page
from api.v1.shapes import Reason
from api.v1.values import Body, Moment
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases.model import STATES
from callcenter.cases.search_filters import LONGEST_WORDS, Find

router = APIRouter(prefix="/api/v1", tags=["cases"])


class Search(Body):
    """What cases must be to be found: all that is given, together."""

    words: str = Field("", max_length=LONGEST_WORDS, description="all of them, in any order", examples=["井盖"])
    number: str = Field(
        "", pattern=r"^([0-9]{4,20})?$", description="a case's number, or how it begins", examples=["20261120"]
    )
    phone: str = Field(
        "",
        max_length=24,
        pattern=r"^[0-9+ -]*$",
        description="the last digits, at least four: needs `cases:read_particulars` and `reason`, and is audited",
        examples=["8000"],
    )
    reason: Reason | None = Field(None, description="why a number is looked for")
    area: str = Field("", pattern=AREA, description="an area's code: it and all below it", examples=["420102"])
    states: list[State] = Field(default=[], max_length=len(STATES), description="any of these")
    unit: UUID | None = Field(None, description="the unit that has the order, as lead")
    lamp: Lamp | None = Field(None, description="the highest lamp lit")
    domain: Literal["urban", "social"] | None = None
    decision: Literal["auto", "confirm"] | None = None
    category: str = Field("", pattern=r"^[0-9A-Za-z.-]{0,16}$", description="a category's code", examples=["0101"])
    source: str = Field("", pattern=r"^[0-9a-z_]{0,16}$", examples=["phone"])
    created_from: Moment | None = Field(None, description="not before this")
    created_before: Moment | None = Field(None, description="before this")
    limit: int = Field(50, ge=1, le=200, description="items of one page")
    cursor: str | None = Field(None, max_length=80, description="`next` of the page before, unchanged")


@router.post("/cases/search", summary="Find cases", responses=responses())
async def search_cases(asked: Search, principal: Reader, request: Request) -> CaseList:
    """The newest first, numbers masked. A page may have fewer items than asked for, or none, and still a `next`: so
    much was looked through; go on from there."""
    if asked.phone:
        await _may_search_by_phone(asked, principal, request)
    find = Find(
        words=asked.words,
        number=asked.number,
        phone=asked.phone,
        area=asked.area,
        states=allowed_states(asked.states, principal),
        unit=asked.unit,
        lamp=asked.lamp or "",
        domain=asked.domain or "",
        decision=asked.decision or "",
        category=asked.category,
        source=asked.source,
        created_from=asked.created_from,
        created_before=asked.created_before,
        filed_only=not principal.may(Permission.CASES_READ_DRAFTS),
    )
    return await found_page(find, principal, request, limit=asked.limit, cursor=asked.cursor)


async def _may_search_by_phone(asked: Search, principal: Principal, request: Request) -> None:
    """Audits the search before anything is shown; the digits are not kept. Raises Problem 403 or 422."""
    if asked.reason is None:
        raise Problem(
            422,
            "value_refused",
            "body.phone is looked for with body.reason only: finding by a number is reading it",
            errors=[FieldProblem(where="body.reason", problem="needed with phone")],
        )
    allowed = principal.may(Permission.CASES_READ_PARTICULARS)
    digits = sum(one.isdigit() for one in asked.phone)
    await services_of(request).access.record(
        principal.actor(address_of(request)),
        "cases searched by phone",
        subject="cases:phone",
        result="done" if allowed else "refused",
        detail={"reason": asked.reason, "digits": digits},
    )
    if not allowed:
        needed = Permission.CASES_READ_PARTICULARS
        raise Problem(403, "permission_missing", f"{needed} is not among your permissions: leave `phone` out")
