"""Calls in the store: applying commands, and reading calls back. The one place for SQL about calls.

``apply`` is where everything that happens to a call becomes rows, inside the caller's transaction. It may be given a
command twice, or days late: what is already there is left as it is, and only a change writes an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.calls import timeline
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegClosed,
    LegOpened,
    RecordingLinked,
    RoutingMade,
    ShadowMade,
    TimelineMarked,
    UtteranceHeard,
)
from callcenter.calls.model import (
    ENDED,
    LIVE,
    OPEN_ANSWER,
    RINGING,
    Call,
    CallParticulars,
    Leg,
    Routing,
    RoutingText,
    Utterance,
    UtteranceText,
    case_id,
    routing_id,
    utterance_id,
)
from callcenter.cases import drafts
from callcenter.cases.model import Case
from callcenter.cases.repository import CaseRow, cases_of_call, erase_particulars
from callcenter.insight.model import ShadowRouting
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import before, encode_cursor, insert_new

PAGE_LIMIT = 200


class UnknownCall(LookupError):
    """The command is about a call or leg that the store does not have (yet): keep it and try again later."""


class CallNotFound(LookupError):
    """There is no such call."""


@dataclass(frozen=True, slots=True)
class _Known:
    number: str | None
    erased_at: datetime | None
    completed: bool


async def apply(session: AsyncSession, command: Command) -> dict[str, Any]:
    """Make ``command`` true in the store, once: idempotent, and in whatever order the ledger replays.

    The result of RoutingMade and CaseCompleted carries ``{"case": id or None, "number", "state", "decision"}``, the ids
    as text, and for CaseCompleted ``"fresh"``: whether this very command completed it, and ``"marked"``: whether the
    call's timeline says when it was stored. Raises UnknownCall when the call
    (or leg) is not there yet, ValueError for a command that can never be applied.
    """
    match command:
        case CallStarted():
            return await _call_started(session, command)
        case LegOpened():
            return await _leg_opened(session, command)
        case UtteranceHeard():
            return await _utterance_heard(session, command)
        case RoutingMade():
            return await _routing_made(session, command)
        case ShadowMade():
            return await _shadow_made(session, command)
        case TimelineMarked():
            return await _timeline_marked(session, command)
        case CaseCompleted():
            return await _case_completed(session, command)
        case LegClosed():
            return await _leg_closed(session, command)
        case CallEnded():
            return await _call_ended(session, command)
        case RecordingLinked():
            return await _recording_linked(session, command)


async def _call_started(session: AsyncSession, command: CallStarted) -> dict[str, Any]:
    marks = {timeline.RUNG: command.rung_at}
    if command.answered_at is not None:
        marks[timeline.ANSWERED] = command.answered_at
    new = await insert_new(
        session,
        Call,
        {
            "id": command.call,
            "line": command.line,
            "state": RINGING if command.answered_at is None else LIVE,
            "rung_at": command.rung_at,
            "answered_at": command.answered_at,
            "channel": command.channel,
            "recovered": command.recovered,
            "recording": command.recording,
            "timeline": _written(marks),
        },
    )
    if new:
        await insert_new(session, CallParticulars, {"call_id": command.call, "number": command.number or None})
        add_event(session, "call.started", at=command.rung_at, call=command.call)
        return {"call": str(command.call), "new": True}
    call = await _locked(session, command.call)
    if call.answered_at is None and command.answered_at is not None:
        call.answered_at = command.answered_at
        call.timeline = _written(timeline.merged(read_marks(call.timeline), marks))
        if call.state == RINGING:
            call.state = LIVE
        add_event(session, "call.answered", at=command.answered_at, call=command.call)
    call.recording = call.recording or command.recording
    return {"call": str(command.call), "new": False}


async def _leg_opened(session: AsyncSession, command: LegOpened) -> dict[str, Any]:
    await _known(session, command.call)
    new = await insert_new(
        session,
        Leg,
        {
            "id": command.leg,
            "call_id": command.call,
            "kind": command.kind,
            "extension": command.extension,
            "opened_at": command.opened_at,
            "gaps": [],
        },
    )
    if new:
        refs: Refs = {"leg": command.leg, "kind": command.kind}
        add_event(session, "call.leg_opened", at=command.opened_at, call=command.call, refs=refs)
    return {"leg": str(command.leg), "new": new}


async def _utterance_heard(session: AsyncSession, command: UtteranceHeard) -> dict[str, Any]:
    known = await _known(session, command.call, command.leg)
    key = utterance_id(command.leg, command.sequence)
    new = await insert_new(
        session,
        Utterance,
        {
            "id": key,
            "leg_id": command.leg,
            "call_id": command.call,
            "sequence": command.sequence,
            "start": command.start,
            "end": command.end,
            "confidence": command.confidence,
            "source": command.source,
            "heard_at": command.heard_at,
        },
    )
    if new:
        kept = known.erased_at is None
        text, words = (_clean(command.text), command.words) if kept else (None, None)
        await insert_new(session, UtteranceText, {"utterance_id": key, "text": text, "words": words})
        refs: Refs = {"leg": command.leg, "sequence": command.sequence, "utterance": key}
        add_event(session, "call.heard", at=command.heard_at, call=command.call, refs=refs)
    return {"utterance": str(key), "new": new}


async def _routing_made(session: AsyncSession, command: RoutingMade) -> dict[str, Any]:
    known = await _known(session, command.call)
    key, of_case = routing_id(command.call, command.sequence), case_id(command.call)
    suggestion = drafts.Suggestion.from_routing(command.routing)
    if await session.get(Routing, key) is not None:
        return _case_result(await session.get(Case, of_case))
    text = _clean(command.text)
    case: Case | None = None
    if text.strip():
        case = await drafts.follow_words(
            session,
            of_case,
            call_id=command.call,
            text=text if known.erased_at is None else None,
            suggestion=suggestion,
            routing_id=key,
            sequence=command.sequence,
            number=known.number,
            erased_at=known.erased_at,
            call_completed=known.completed,
            at=command.made_at,
        )
    open_part = {name: command.routing[name] for name in OPEN_ANSWER if name in command.routing}
    open_part["emergency"] = {"services": list(suggestion.emergency)} if suggestion.emergency else None
    await insert_new(
        session,
        Routing,
        {
            "id": key,
            "call_id": command.call,
            "case_id": case.id if case is not None else None,
            "sequence": command.sequence,
            "disposition": suggestion.disposition,
            "domain": suggestion.domain,
            "category_standard": suggestion.standard,
            "category_code": suggestion.code,
            "category_kind": suggestion.kind,
            "probability": suggestion.probability,
            "decision": suggestion.decision,
            "model": str(command.routing.get("model", "")),
            "answer": open_part,
            "made_at": command.made_at,
        },
    )
    kept = known.erased_at is None
    rest = {name: value for name, value in command.routing.items() if name not in open_part or name == "emergency"}
    particulars = {"routing_id": key, "text": text if kept else None, "answer": rest if kept else None}
    await insert_new(session, RoutingText, particulars)
    refs: Refs = {"routing": key, "sequence": command.sequence}
    of = case.id if case is not None else None
    add_event(session, "call.routed", at=command.made_at, call=command.call, case=of, refs=refs)
    return _case_result(case)


async def _shadow_made(session: AsyncSession, command: ShadowMade) -> dict[str, Any]:
    key = routing_id(command.call, command.sequence)
    if await session.get(Routing, key) is None:
        # It is recorded after its routing; without one (refused, of a call that is gone) there is nothing to judge.
        return {"routing": str(key), "new": False}
    suggestion = drafts.Suggestion.from_routing(command.answer)
    new = await insert_new(
        session,
        ShadowRouting,
        {
            "routing_id": key,
            "model": suggestion.model or "",
            "disposition": suggestion.disposition,
            "domain": suggestion.domain,
            "category_standard": suggestion.standard,
            "category_kind": suggestion.kind,
            "category_code": suggestion.code,
            "probability": suggestion.probability,
            "domain_probability": suggestion.domain_probability,
            "decision": suggestion.decision,
            "made_at": command.made_at,
        },
    )
    return {"routing": str(key), "new": new}


async def _timeline_marked(session: AsyncSession, command: TimelineMarked) -> dict[str, Any]:
    call = await _locked(session, command.call)
    have = read_marks(call.timeline)
    marks = timeline.merged(have, command.marks)
    if marks != have:
        call.timeline = _written(marks)
        refs: Refs = {name: True for name in command.marks}
        add_event(session, "call.marked", at=max(command.marks.values()), call=command.call, refs=refs)
    return {"call": str(command.call)}


async def _case_completed(session: AsyncSession, command: CaseCompleted) -> dict[str, Any]:
    call = await _locked(session, command.call)
    case = await drafts.locked(session, case_id(command.call))
    fresh = case is not None and await drafts.complete(session, case, command.completed_at)
    if call.completed_at is None:
        call.completed_at = command.completed_at
        of = case.id if case is not None else None
        add_event(session, "call.completed", at=command.completed_at, call=command.call, case=of)
    return {**_case_result(case), "fresh": fresh, "marked": timeline.STORED in call.timeline}


async def _leg_closed(session: AsyncSession, command: LegClosed) -> dict[str, Any]:
    await _known(session, command.call, command.leg)
    leg = await session.get_one(Leg, command.leg, with_for_update=True)
    gaps: list[Any] = [list(gap) for gap in command.gaps]
    if leg.closed_at is not None and not leg.gaps:
        # Gaps only ever get filled. An older command that is replayed late must not open again what the recording has
        # filled since: its words would be heard twice.
        gaps = []
    changed = (leg.closed_at, leg.seconds, leg.gaps) != (command.closed_at, command.seconds, gaps)
    if changed:
        leg.closed_at, leg.seconds, leg.gaps = command.closed_at, command.seconds, gaps
        refs: Refs = {"leg": command.leg, "gaps": len(gaps)}
        add_event(session, "call.leg_closed", at=command.closed_at, call=command.call, refs=refs)
    return {"leg": str(command.leg)}


async def _call_ended(session: AsyncSession, command: CallEnded) -> dict[str, Any]:
    call = await _locked(session, command.call)
    if call.ended_at is None:
        call.state, call.ended_at, call.cause = ENDED, command.ended_at, command.cause
        add_event(session, "call.ended", at=command.ended_at, call=command.call, refs={"cause": command.cause})
    elif call.cause == 0 and command.cause:
        call.cause = command.cause
        add_event(session, "call.ended", at=command.ended_at, call=command.call, refs={"cause": command.cause})
    return {"call": str(command.call)}


async def _recording_linked(session: AsyncSession, command: RecordingLinked) -> dict[str, Any]:
    call = await _locked(session, command.call)
    facts = (command.sha256, command.bytes, command.seconds)
    if (call.recording_sha256, call.recording_bytes, call.recording_seconds) != facts:
        call.recording_sha256, call.recording_bytes, call.recording_seconds = facts
        add_event(session, "call.recorded", at=call.ended_at or call.rung_at, call=command.call)
    return {"call": str(command.call)}


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call and who called."""

    call: Call
    particulars: CallParticulars


@dataclass(frozen=True, slots=True)
class CallPage:
    """Newest first. ``next`` is the cursor of the page after; None: that was all."""

    rows: list[CallRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class LegDetail:
    """A leg and its utterances in order, each with its words."""

    leg: Leg
    utterances: list[tuple[Utterance, UtteranceText]]


@dataclass(frozen=True, slots=True)
class CallDetail:
    """A call with all that is known of it. ``marks`` is its timeline, the pull by a dispatch system included."""

    call: Call
    particulars: CallParticulars
    legs: list[LegDetail]
    routings: list[tuple[Routing, RoutingText]]
    cases: list[CaseRow]
    marks: dict[str, datetime]


async def list_calls(
    session: AsyncSession, *, live: bool | None = None, limit: int = 50, after: str | None = None
) -> CallPage:
    """A page of calls, newest first: ``live`` True: under way, False: ended, None: all. Raises ValueError for a cursor
    that is none of ours."""
    limit = max(1, min(limit, PAGE_LIMIT))
    query = select(Call, CallParticulars).join(CallParticulars, CallParticulars.call_id == Call.id)
    if after is not None:
        query = query.where(before(Call.rung_at, Call.id, after))
    query = query.order_by(Call.rung_at.desc(), Call.id.desc()).limit(limit + 1)
    rows: list[CallRow] = []
    states: tuple[str, ...] = () if live is None else (RINGING, LIVE) if live else (ENDED,)
    for part in [query.where(Call.state == state) for state in states] or [query]:
        found = await session.execute(part)
        rows.extend(CallRow(call, particulars) for call, particulars in found)
    rows.sort(key=lambda row: (row.call.rung_at, row.call.id.hex), reverse=True)
    page = rows[:limit]
    return CallPage(page, encode_cursor(page[-1].call.rung_at, page[-1].call.id) if len(rows) > limit else None)


async def get_call(session: AsyncSession, call: UUID) -> CallDetail:
    """A call with its legs, words, routings and cases. Raises CallNotFound."""
    row = await session.get(Call, call)
    if row is None:
        raise CallNotFound(f"no call {call}")
    particulars = await session.get_one(CallParticulars, call)
    legs = list(await session.scalars(select(Leg).where(Leg.call_id == call).order_by(Leg.opened_at, Leg.id)))
    heard = await session.execute(
        select(Utterance, UtteranceText)
        .join(UtteranceText, UtteranceText.utterance_id == Utterance.id)
        .where(Utterance.call_id == call)
        # By place on the leg, not by sequence: what the recording filled in was heard last and said earlier.
        .order_by(Utterance.start, Utterance.sequence)
    )
    words: dict[UUID, list[tuple[Utterance, UtteranceText]]] = {leg.id: [] for leg in legs}
    for utterance, text in heard:
        words[utterance.leg_id].append((utterance, text))
    routed = await session.execute(
        select(Routing, RoutingText)
        .join(RoutingText, RoutingText.routing_id == Routing.id)
        .where(Routing.call_id == call)
        .order_by(Routing.sequence)
    )
    cases = await cases_of_call(session, call)
    marks = read_marks(row.timeline)
    pulled = [found.case.pulled_at for found in cases if found.case.pulled_at is not None]
    if pulled:
        marks[timeline.PULLED] = min(pulled)
    return CallDetail(
        call=row,
        particulars=particulars,
        legs=[LegDetail(leg, words[leg.id]) for leg in legs],
        routings=[(routing, text) for routing, text in routed],
        cases=cases,
        marks=marks,
    )


async def erase_call(session: AsyncSession, call: UUID, *, actor: str, at: datetime) -> None:
    """Blank who called and what was said, in the call and its cases; counts, times, categories and the log stay.

    ``actor``: ``system`` or the id of a user. The recording's files, and commands of the call that the ledger put aside
    as rejected, are the caller's to delete. Raises CallNotFound.
    """
    row = await session.get(Call, call, with_for_update=True)
    if row is None:
        raise CallNotFound(f"no call {call}")
    said = select(Utterance.id).where(Utterance.call_id == call)
    routed = select(Routing.id).where(Routing.call_id == call)
    blank = {"text": None, "words": None}
    await session.execute(update(UtteranceText).where(UtteranceText.utterance_id.in_(said)).values(**blank))
    await session.execute(update(RoutingText).where(RoutingText.routing_id.in_(routed)).values(text=None, answer=None))
    await session.execute(
        update(CallParticulars).where(CallParticulars.call_id == call).values(number=None, erased_at=at)
    )
    for found in await session.scalars(select(Case.id).where(Case.call_id == call)):
        await erase_particulars(session, found, actor=actor, at=at)
    add_event(session, "call.erased", at=at, call=call)


def read_marks(stored: Mapping[str, Any]) -> dict[str, datetime]:
    """A call's timeline as stored, as times."""
    return {name: datetime.fromisoformat(value) for name, value in stored.items()}


def _written(marks: Mapping[str, datetime]) -> dict[str, Any]:
    for name, moment in marks.items():
        if moment.tzinfo is None:
            raise ValueError(f"naive time of mark {name!r}: times carry their zone, use clock.now()")
    return {name: moment.isoformat() for name, moment in marks.items()}


def _clean(text: str) -> str:
    """PostgreSQL cannot hold U+0000 in text; no recogniser means anything by it."""
    return text.replace("\x00", "")


def _case_result(case: Case | None) -> dict[str, Any]:
    if case is None:
        return {"case": None, "number": None, "state": None, "decision": None}
    return {"case": str(case.id), "number": case.number, "state": case.state, "decision": case.decision}


_CALL: Final = (
    select(Call.completed_at, CallParticulars.number, CallParticulars.erased_at)
    .join(CallParticulars, CallParticulars.call_id == Call.id)
    .where(Call.id == bindparam("call"))
)
_CALL_AND_LEG: Final = _CALL.join(Leg, Leg.call_id == Call.id).where(Leg.id == bindparam("leg"))


async def _known(session: AsyncSession, call: UUID, leg: UUID | None = None) -> _Known:
    """That the call – and the leg, and that it is the call's – is there. Raises UnknownCall."""
    if leg is None:
        found = await session.execute(_CALL, {"call": call})
    else:
        found = await session.execute(_CALL_AND_LEG, {"call": call, "leg": leg})
    row = found.one_or_none()
    if row is None:
        raise UnknownCall(f"call {call} is not in the store" if leg is None else f"leg {leg} of call {call} is not")
    return _Known(row.number, row.erased_at, row.completed_at is not None)


async def _locked(session: AsyncSession, call: UUID) -> Call:
    row = await session.get(Call, call, with_for_update=True, populate_existing=True)
    if row is None:
        raise UnknownCall(f"call {call} is not in the store")
    return row
