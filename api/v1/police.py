"""110 both ways: taking in what the police hand over, and what they made of what was handed over to them.

By people of the hotline: the permission table gives no program a step of a case.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of, city_of
from api.v1.shapes import CaseOut, View, case_out, may_see
from api.v1.values import Body, Moment, Place, Words, not_ahead
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import intake, police
from callcenter.cases.life import PoliceHandover
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.sheets import texts_of

router = APIRouter(prefix="/api/v1/police", tags=["police"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]
Confirmer = Annotated[Principal, require(Permission.CASES_CONFIRM)]
"""Agents and duty chiefs; collectors and volunteers also register, but not for the police."""

PoliceNumber = Annotated[str, Path(min_length=1, max_length=40, description="under which the police have it")]


class HandoverIn(Place):
    """What 110 hands over. The police number makes it unique: sent again it is the same case."""

    police_number: str = Field(min_length=1, max_length=40, examples=["JM20261123000123"])
    handed_at: Moment = Field(description="when 110 handed it over, with its offset")
    text: Annotated[str, Words] = Field(min_length=1, max_length=4000, examples=["解放路井盖缺失，非警务"])
    address: str | None = Field(None, max_length=400)
    happened_at: Moment | None = Field(None, description="not ahead")
    reporter_name: str | None = Field(None, max_length=40)
    reporter_number: str | None = Field(None, max_length=32, pattern=r"^[0-9+*# -]*$")
    wants_reply: bool = True
    secrecy: bool = False
    urgency: Literal[intake.URGENCIES] = "ordinary"  # type: ignore[valid-type]


class PoliceWord(Body):
    """What the police made of it."""

    text: Annotated[str, Words] = Field(min_length=1, max_length=police.LONGEST_TEXT, examples=["已出警处置，双方调解"])


class HandoverOut(BaseModel):
    """A hand-over."""

    police_number: str
    direction: str = Field(description="in: from 110; out: to 110", examples=["in"])
    case: UUID
    handed_at: datetime
    result_at: datetime | None = Field(description="in: when the result was returned to 110; out: when theirs came")
    result: str | None = Field(description="masked; null after erasure, or when none was written")


@asynccontextmanager
async def _refusals() -> AsyncIterator[None]:
    """What the store refuses, as problems."""
    try:
        yield
    except police.HandoverNotFound:
        raise not_found("a hand-over with that police number") from None
    except (police.HandoverRefused, intake.AlreadyRegistered) as fault:
        errors = [FieldProblem(where="body", problem=str(fault)[:200])]
        raise Problem(422, "value_refused", str(fault), errors=errors) from None


@router.post(
    "/handovers", status_code=201, summary="Take in a case from 110", responses={**responses(), 200: {"model": CaseOut}}
)
async def take_from_police(new: HandoverIn, principal: Confirmer, request: Request, response: Response) -> CaseOut:
    """A case of source `110`, exempt from verification. Its result is returned to 110 when it ends."""
    not_ahead(new.happened_at, "body.happened_at")
    order = intake.NewCase(
        source=police.SOURCE,
        text=new.text,
        address=new.address,
        lat=new.lat,
        lon=new.lon,
        happened_at=new.happened_at,
        reporter_name=new.reporter_name,
        reporter_number=new.reporter_number,
        wants_reply=new.wants_reply,
        secrecy=new.secrecy,
        urgency=new.urgency,
    )
    async with _refusals(), services_of(request).db.begin() as session:
        case, fresh = await police.inbound(
            session,
            new.police_number,
            order,
            handed_at=new.handed_at,
            by=str(principal.id),
            at=clock.now(),
            city=city_of(request),
        )
        made = case_out(case, await session.get_one(CaseParticulars, case.id), View.masked(principal))
    if not fresh:
        response.status_code = 200
    return made


@router.post("/handovers/out/{police_number}/result", summary="Record the police's result", responses=responses(404))
async def record_police_result(
    police_number: PoliceNumber, word: PoliceWord, principal: Confirmer, request: Request
) -> HandoverOut:
    """Of a case handed over to 110 by the step `hand_over`. The same words again change nothing, others are refused."""
    async with _refusals(), services_of(request).db.begin() as session:
        actor = await actor_of(session, principal)
        found, _ = await police.record_result(session, police_number, text=word.text, actor=actor, at=clock.now())
        return await _shown(session, found, View.masked(principal))


@router.get("/handovers/{direction}/{police_number}", summary="One hand-over", responses=responses(404))
async def get_handover(
    direction: Literal["in", "out"], police_number: PoliceNumber, principal: Reader, request: Request
) -> HandoverOut:
    """With when its result went, or came, and what it says."""
    async with _refusals(), services_of(request).db.read() as session:
        found = await police.handover_of(session, police.police_number_of(police_number), direction)
        if not await may_see(session, await session.get_one(Case, found.case_id), principal):
            raise not_found("a hand-over with that police number")
        return await _shown(session, found, View.masked(principal))


async def _shown(session: AsyncSession, found: PoliceHandover, view: View) -> HandoverOut:
    words = await texts_of(session, [found.result])
    return HandoverOut(
        police_number=found.police_number,
        direction=found.direction,
        case=found.case_id,
        handed_at=found.handed_at,
        result_at=found.result_at,
        result=view.text(words.get(found.result)) if found.result is not None else None,
    )
