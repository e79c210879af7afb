"""Calls: the list, and one call with its legs, words, routings, case and timeline."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.errors import not_found, responses
from api.security import require, services_of
from api.v1.shapes import (
    CaseOut,
    Cursor,
    Limit,
    ParticularsReason,
    View,
    case_out,
    checked_cursor,
    view_for,
    visible,
)
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.calls import repository
from callcenter.calls.model import Call, Routing, RoutingText, case_id
from callcenter.calls.timeline import MARKS, SPANS, spans

router = APIRouter(prefix="/api/v1", tags=["calls"])

Reader = Annotated[Principal, require(Permission.CALLS_READ)]


class RecordingOut(BaseModel):
    """The recording. Hash, size and length are null until the call is over and it is whole."""

    path: str = Field(description="relative to the recordings folder", examples=["20261120/….wav"])
    sha256: str | None
    bytes: int | None
    seconds: float | None


class CallOut(BaseModel):
    """A call in a list."""

    id: UUID
    line: str = Field(description="the number dialled", examples=["12319"])
    state: str = Field(description="ringing, live or ended", examples=["ended"])
    number: str = Field(description="the caller's, masked; empty when withheld", examples=["138****1234"])
    rung_at: datetime
    answered_at: datetime | None
    completed_at: datetime | None = Field(description="when the citizen's matter was taken as complete")
    ended_at: datetime | None
    cause: int | None = Field(description="Q.850 cause of the end, 0 when unknown", examples=[16])
    recovered: bool = Field(description="found from its recording: the bridge had been down")
    recording: RecordingOut


class CallList(BaseModel):
    """A page of calls, the newest first."""

    items: list[CallOut]
    next: str | None = Field(description="send as `cursor` for the page after; null: that was all")


class UtteranceOut(BaseModel):
    """One finished piece of a leg's transcript. Positions are seconds on the leg's clock."""

    id: UUID
    sequence: int
    start: float = Field(examples=[1.24])
    end: float = Field(examples=[3.9])
    confidence: float = Field(examples=[0.97])
    text: str | None = Field(description="null after erasure", examples=["解放路路灯不亮了"])
    source: str = Field(description="live, or filled in from the recording", examples=["live"])
    heard_at: datetime


class LegOut(BaseModel):
    """One voice of a call."""

    id: UUID
    kind: str = Field(description="citizen or agent", examples=["citizen"])
    extension: str = Field(description="the agent's telephone", examples=[""])
    opened_at: datetime
    closed_at: datetime | None
    seconds: float | None
    gaps: list[Any] = Field(description="parts not heard live: [start, end or null, reason]", examples=[[]])
    utterances: list[UtteranceOut]


class RoutingOut(BaseModel):
    """The router's answer for the text so far."""

    id: UUID
    sequence: int
    made_at: datetime
    domain: str | None
    decision: str
    model: str
    text: str | None = Field(description="what was routed; null after erasure")
    answer: dict[str, Any] = Field(description="as docs/route.schema.json; parts that quote are gone after erasure")


class CallDetail(CallOut):
    """A call with all that is known of it."""

    channel: str = Field(description="Asterisk's unique id", examples=["1732100000.1"])
    legs: list[LegOut]
    routings: list[RoutingOut]
    case: CaseOut | None = Field(description="the case that the call's words opened")
    cases: list[CaseOut] = Field(description="that one and what was split from it, oldest first")
    timeline: dict[str, datetime] = Field(
        description=f"moments of the call: {', '.join(MARKS)}", examples=[{"rung": "2026-11-20T08:00:00Z"}]
    )
    spans: dict[str, float] = Field(
        description=f"seconds between them: {', '.join(name for name, _, _ in SPANS)}",
        examples=[{"end_decided_to_stored": 0.21}],
    )


def _call_fields(call: Call, number: str) -> dict[str, Any]:
    return {
        "id": call.id,
        "line": call.line,
        "state": call.state,
        "number": number,
        "rung_at": call.rung_at,
        "answered_at": call.answered_at,
        "completed_at": call.completed_at,
        "ended_at": call.ended_at,
        "cause": call.cause,
        "recovered": call.recovered,
        "recording": RecordingOut(
            path=call.recording,
            sha256=call.recording_sha256,
            bytes=call.recording_bytes,
            seconds=call.recording_seconds,
        ),
    }


def _routing(routing: Routing, text: RoutingText, view: View) -> RoutingOut:
    return RoutingOut(
        id=routing.id,
        sequence=routing.sequence,
        made_at=routing.made_at,
        domain=routing.domain,
        decision=routing.decision,
        model=routing.model,
        text=view.text(text.text),
        answer={**routing.answer, **view.inside(text.answer or {})},
    )


@router.get("/calls", summary="List calls", responses=responses())
async def list_calls(
    principal: Reader,
    request: Request,
    state: Annotated[Literal["live", "ended"] | None, Query(description="live: ringing or speaking")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CallList:
    """The newest first, numbers masked."""
    view = View.masked(principal)
    async with services_of(request).db.read() as session:
        page = await repository.list_calls(
            session,
            live=None if state is None else state == "live",
            limit=limit,
            after=checked_cursor(cursor),
        )
    items = [
        CallOut.model_validate(_call_fields(row.call, view.number(row.particulars.number, secrecy=False)))
        for row in page.rows
    ]
    return CallList(items=items, next=page.next)


@router.get("/calls/{call_id}", summary="One call", responses=responses(404))
async def get_call(
    call_id: UUID, principal: Reader, request: Request, particulars: ParticularsReason = None
) -> CallDetail:
    """Its legs with their words, every routing, its cases, the moments of its way and the seconds between them."""
    services = services_of(request)
    async with services.db.read() as session:
        try:
            found = await repository.get_call(session, call_id)
        except repository.CallNotFound:
            raise not_found(f"call {call_id}") from None
    view = await view_for(request, principal, particulars, lambda: f"call:{call_id}")
    secrecy = any(row.case.secrecy for row in found.cases)
    cases = [case_out(row.case, row.particulars, view) for row in found.cases if visible(row.case, principal)]
    return CallDetail(
        **_call_fields(found.call, view.number(found.particulars.number, secrecy=secrecy)),
        channel=found.call.channel,
        legs=[
            LegOut(
                id=one.leg.id,
                kind=one.leg.kind,
                extension=one.leg.extension,
                opened_at=one.leg.opened_at,
                closed_at=one.leg.closed_at,
                seconds=one.leg.seconds,
                gaps=one.leg.gaps,
                utterances=[
                    UtteranceOut(
                        id=utterance.id,
                        sequence=utterance.sequence,
                        start=utterance.start,
                        end=utterance.end,
                        confidence=utterance.confidence,
                        text=view.text(text.text),
                        source=utterance.source,
                        heard_at=utterance.heard_at,
                    )
                    for utterance, text in one.utterances
                ],
            )
            for one in found.legs
        ],
        routings=[_routing(routing, text, view) for routing, text in found.routings],
        case=next((case for case in cases if case.id == case_id(call_id)), None),
        cases=cases,
        timeline={name: found.marks[name] for name in MARKS if name in found.marks},
        spans=spans(found.marks),
    )
