"""Cases that belong together: splitting one, merging a duplicate, adjudicating the unsure, and what a case is linked
to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, moved, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of, city_of
from api.v1.cases import CaseRef, CategoryChoice, category_of, find_case
from api.v1.shapes import CaseOut, CategoryOut, View, case_out, may_see
from api.v1.values import Body, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import links, repository
from callcenter.cases.lifecycle import Refused
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.sheets import texts_of

router = APIRouter(prefix="/api/v1", tags=["cases"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
Confirmer = Annotated[Principal, require(Permission.CASES_CONFIRM)]
Decider = Annotated[Principal, require(Permission.CASES_DECIDE)]

Domain = Literal["urban", "social"]
Version = Annotated[int, Field(ge=1, le=2**31 - 1, description="the `version` you decided on", examples=[3])]
Reason = Annotated[str, Words, Field(min_length=1, max_length=2000, description="why; kept where it can be erased")]


class Split(Body):
    """The second part of a case."""

    expected_version: Version
    domain: Domain = Field(description="of the second: the other one than the case's own")
    category: CategoryChoice | None = Field(None, description="of the second; null: an agent confirms one later")
    text: Annotated[str, Words] = Field(
        min_length=1, max_length=4000, description="the second part's words", examples=["邻里为此争吵"]
    )
    reason: Reason


class SplitOut(BaseModel):
    """The two cases after a split, masked."""

    first: CaseOut
    second: CaseOut


class Adjudication(Body):
    """What an unsure case is."""

    expected_version: Version
    domain: Domain
    category: CategoryChoice | None = Field(None, description="null: only the domain is decided")
    reason: Reason


class Merge(Body):
    """A duplicate and the case that was there first."""

    expected_version: Version
    into: str = Field(min_length=1, max_length=40, description="id or number of the older, open case")
    reason: Reason


class LinkOut(BaseModel):
    """One link of a case. Nothing of the other case's reporter is in it."""

    id: UUID
    kind: str = Field(description="split, duplicate, recurrence or related", examples=["split"])
    by: str = Field(description="`system` or the id of a user")
    at: datetime
    first: bool = Field(description="the case asked for was there first; false: the other was")
    reason: str | None = Field(description="masked; null after erasure, and for units")
    other: UUID
    other_number: str | None = Field(examples=["2026112000002"])
    other_state: str = Field(examples=["pending_dispatch"])
    other_domain: str | None = Field(examples=["social"])
    other_category: CategoryOut | None
    other_lead_unit: UUID | None


class LinkList(BaseModel):
    """The links of a case that the one who asks may know of."""

    items: list[LinkOut]


@asynccontextmanager
async def _refusals() -> AsyncIterator[None]:
    """What the store refuses, as problems."""
    try:
        yield
    except repository.CaseNotFound:
        raise not_found("a case with that id or number") from None
    except links.NotYours as fault:
        raise Problem(403, "permission_missing", str(fault)) from None
    except repository.Conflict as fault:
        raise moved(fault.seen, fault.actual, fault.changes) from None
    except (repository.NotConfirmable, links.LinkRefused, Refused) as fault:
        raise Problem(409, "conflict", str(fault)) from None


@router.post("/cases/{case}/split", status_code=201, summary="Split a case in two", responses=responses(404, 409))
async def split_case(case: CaseRef, part: Split, principal: Confirmer, request: Request) -> SplitOut:
    """One report, an urban and a social matter: the second part becomes a case with a number and a life of its own,
    linked to the first. Once a unit has the first, only the duty chief splits it."""
    seen = await find_case(request, principal, case)
    choice = await _choice(part.category, part.domain)
    async with _refusals(), services_of(request).db.begin() as session:
        first, second = await links.split(
            session,
            seen.case.id,
            actor=await actor_of(session, principal),
            domain=part.domain,
            category=choice,
            text=part.text,
            reason=part.reason,
            expected_version=part.expected_version,
            at=clock.now(),
            city=city_of(request),
        )
        view = View.masked(principal)
        words = {one.id: await session.get_one(CaseParticulars, one.id) for one in (first, second)}
        return SplitOut(first=case_out(first, words[first.id], view), second=case_out(second, words[second.id], view))


@router.post("/cases/{case}/adjudicate", summary="Adjudicate an unsure case", responses=responses(404, 409))
async def adjudicate_case(case: CaseRef, word: Adjudication, principal: Confirmer, request: Request) -> CaseOut:
    """Urban or social, with the reason kept. With a category the case goes on by rule."""
    seen = await find_case(request, principal, case)
    choice = await _choice(word.category, word.domain)
    async with _refusals(), services_of(request).db.begin() as session:
        found = await links.adjudicate(
            session,
            seen.case.id,
            actor=await actor_of(session, principal),
            domain=word.domain,
            category=choice,
            reason=word.reason,
            expected_version=word.expected_version,
            at=clock.now(),
        )
        return case_out(found, await session.get_one(CaseParticulars, found.id), View.masked(principal))


@router.post("/cases/{case}/merge", summary="Merge a duplicate", responses=responses(404, 409))
async def merge_case(case: CaseRef, word: Merge, principal: Decider, request: Request) -> CaseOut:
    """The case is cancelled and linked to the older, open one; its reporter is told of their own case only."""
    newer = await find_case(request, principal, case)
    into = await find_case(request, principal, word.into)
    async with _refusals(), services_of(request).db.begin() as session:
        found = await links.merge_duplicate(
            session,
            newer.case.id,
            into.case.id,
            actor=await actor_of(session, principal),
            reason=word.reason,
            expected_version=word.expected_version,
            at=clock.now(),
            city=city_of(request),
        )
        return case_out(found, await session.get_one(CaseParticulars, found.id), View.masked(principal))


@router.get("/cases/{case}/links", summary="What a case is linked to", responses=responses(404))
async def links_of_case(case: CaseRef, principal: Reader, request: Request) -> LinkList:
    """Oldest first; only cases that you may know of, and nothing of who reported them."""
    seen = await find_case(request, principal, case)
    view, inside = View.masked(principal), principal.may(Permission.CASES_READ_DRAFTS)
    async with services_of(request).db.read() as session:
        found = [
            one for one in await links.links_of(session, seen.case.id) if await may_see(session, one.other, principal)
        ]
        words = await texts_of(session, [one.link.reason for one in found]) if inside else {}
    return LinkList(
        items=[
            LinkOut(
                id=one.link.id,
                kind=one.link.kind,
                by=one.link.by,
                at=one.link.at,
                first=one.first,
                reason=view.text(words.get(one.link.reason)) if one.link.reason is not None else None,
                other=one.other.id,
                other_number=one.other.number,
                other_state=one.other.state,
                other_domain=one.other.domain,
                other_category=_category(one.other),
                other_lead_unit=one.other.lead_unit_id,
            )
            for one in found
        ]
    )


async def _choice(wanted: CategoryChoice | None, domain: str) -> repository.CategoryChoice | None:
    """The category with its names. Raises Problem 422 for none of a known standard, or of the other domain."""
    if wanted is None:
        return None
    found = await asyncio.to_thread(category_of, wanted)
    if found.domain != domain:
        problem = FieldProblem(where="body.category", problem="is of the other domain")
        raise Problem(
            422, "value_refused", f"body.category is {found.domain}: choose one of {domain}", errors=[problem]
        )
    return repository.CategoryChoice(found.domain, found.standard, found.code, found.kind, found.major, found.minor)


def _category(case: Case) -> CategoryOut | None:
    if case.category_code is None:
        return None
    return CategoryOut(
        standard=case.category_standard or "",
        code=case.category_code,
        kind=case.category_kind or "",
        major=case.category_major or "",
        minor=case.category_minor or "",
    )
