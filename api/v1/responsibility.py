"""Whose a case is: what the lists say of it, and a person's choice among the rules that apply."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, moved, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of, city_of
from api.v1.cases import CaseRef, Reader, find_case
from api.v1.shapes import CaseOut, View, case_out
from api.v1.values import Body
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import items, repository
from callcenter.cases.calendar import load_calendar
from callcenter.cases.model import CaseParticulars
from callcenter.cases.responsibility import Rule, applicable, find

router = APIRouter(prefix="/api/v1", tags=["cases"])

Doer = Annotated[Principal, require(Permission.CASES_ACT)]

CHOOSERS = (Permission.CASES_ACCEPT, Permission.CASES_DECIDE, Permission.CASES_COMMAND)


class RuleOut(BaseModel):
    """A rule that a case may be filed by."""

    id: UUID | None = Field(description="send as `item`; null: a shipped rule, which is not chosen")
    code: str = Field(examples=["SZ-0101"])
    unit: UUID | None = Field(description="null: the asset's owner, else the area's street")
    filing_condition: str = Field(examples=["井盖缺失"])
    closing_condition: str = Field(examples=["井盖补齐并固定"])
    limit_value: float = Field(examples=[4])
    limit_unit: str = Field(description="urgent_hour, urgent_day, work_hour or work_day", examples=["urgent_hour"])
    line: str = Field(description="city, society, security or traffic", examples=["city"])
    level: int = Field(description="1 grid, 2 district part, 3 street, 4 city", examples=[3])
    taken: bool = Field(description="the one by which the case would be handled now")


class ResponsibilityOut(BaseModel):
    """What the lists say of a case now."""

    version: int = Field(description="send as `expected_version`", examples=[3])
    unit: UUID | None = Field(description="to lead; null: a person decides, see `reason`")
    assisting: list[UUID] = Field(description="other units that the lists name: proposed, not ordered")
    excluded: list[UUID] = Field(description="the accused and all under it: none of them gets the order")
    reason: str = Field(description="by what it was found, see docs/responsibility.md", examples=["street+listed"])
    rules: list[RuleOut] = Field(description="all that apply, the narrowest area first")


class ItemChoice(Body):
    """The rule that is right for a case."""

    expected_version: int = Field(ge=1, le=2**31 - 1, description="the `version` you decided on", examples=[3])
    item: UUID = Field(description="the `id` of one of the rules that apply")


@router.get("/cases/{case}/responsibility", summary="Whose a case is by the lists", responses=responses(404))
async def get_responsibility(case: CaseRef, principal: Reader, request: Request) -> ResponsibilityOut:
    """The unit that the lists name, and every rule that applies: what an agent or a dispatcher chooses from."""
    found, at = (await find_case(request, principal, case)).case, clock.now()
    async with services_of(request).db.read() as session:
        calendar = await load_calendar(session, city_of(request))
        finding = await find(session, found, at=at, calendar=calendar)
        rules = await applicable(session, found, at=at)
    return ResponsibilityOut(
        version=found.version,
        unit=finding.unit_id,
        assisting=list(finding.assisting),
        excluded=list(finding.excluded),
        reason=finding.reason,
        rules=[_rule(one, taken=one.id is not None and one.id == finding.item_id) for one in rules],
    )


@router.put("/cases/{case}/item", summary="Choose the rule a case is handled by", responses=responses(404, 409))
async def choose_item(case: CaseRef, choice: ItemChoice, principal: Doer, request: Request) -> CaseOut:
    """Where several rules apply the machine takes the strictest; who has seen the place chooses.

    Before filing by agents and duty chiefs; before dispatch by dispatchers, and only where there is none: a filed case
    keeps its rule.
    """
    if not principal.permissions & set(CHOOSERS):
        needed = " or ".join(CHOOSERS)
        raise Problem(403, "permission_missing", f"an item is chosen with {needed}, not among your permissions")
    seen = await find_case(request, principal, case)
    try:
        async with services_of(request).db.begin() as session:
            chosen = await items.choose_item(
                session,
                seen.case.id,
                choice.item,
                actor=await actor_of(session, principal),
                expected_version=choice.expected_version,
                at=clock.now(),
            )
            return case_out(chosen, await session.get_one(CaseParticulars, chosen.id), View.masked(principal))
    except repository.CaseNotFound:
        raise not_found("a case with that id or number") from None
    except items.NotYours as fault:
        raise Problem(403, "permission_missing", str(fault)) from None
    except repository.Conflict as fault:
        raise moved(fault.seen, fault.actual, fault.changes) from None
    except items.ItemRefused as fault:
        errors = [FieldProblem(where="body.item", problem=str(fault)[:200])]
        raise Problem(409, "conflict", str(fault), errors=errors) from None


def _rule(one: Rule, *, taken: bool) -> RuleOut:
    return RuleOut(
        id=one.id,
        code=one.code,
        unit=one.unit_id,
        filing_condition=one.filing_condition,
        closing_condition=one.closing_condition,
        limit_value=one.limit.value,
        limit_unit=one.limit.unit.value,
        line=one.line,
        level=one.level,
        taken=taken,
    )
