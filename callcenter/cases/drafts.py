"""What the machine does with a case by itself: opens a draft, follows the citizen's words, completes, numbers, files.

Called inside the transaction of whoever brought the words (``calls.repository``). Each step is a log row by the actor
``system``, under a rule's id where it decides something, and an event in the outbox.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import events
from callcenter.cases.alike import look
from callcenter.cases.intake import accept, file_if_allowed
from callcenter.cases.locating import locate, log_place
from callcenter.cases.model import CANCELLED, DRAFT, REPORTED, SYSTEM, Case, CaseLog, CaseParticulars, lot
from callcenter.cases.record import append_log as append_log
from callcenter.cases.record import locked as locked
from callcenter.cases.record import move, next_number
from callcenter.cases.search_index import index_words
from callcenter.storage.outbox import add_event
from callcenter.storage.rows import insert_into, insert_new

NO_MATTER: Final = "completion.no_matter"
STATEMENT_COMPLETE: Final = "completion.statement"
MATTER_FOUND_LATER: Final = "completion.matter_found_later"
FOLLOWED_WORDS: Final = "classification.words"


LONGEST_ACCUSED: Final = 120
"""Characters of who is complained about, as a person may fill it in."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the router says about a case's words, as far as a case keeps it."""

    disposition: str
    domain: str | None
    standard: str | None
    code: str | None
    kind: str | None
    major: str | None
    minor: str | None
    probability: float | None
    decision: str
    intent: str | None = None
    emergency: tuple[str, ...] = field(default=())
    secrecy: bool = False
    address: str | None = None
    model: str | None = None
    domain_probability: float | None = None
    accused: str | None = None

    @classmethod
    def from_routing(cls, routing: Mapping[str, Any]) -> "Suggestion":
        """From an object as docs/route.schema.json has it; raises ValueError when a part that decides is missing."""
        category = routing.get("category") or {}
        address = routing.get("address")
        if isinstance(address, Mapping):
            address = address.get("text")
        disposition, decision = routing.get("disposition"), routing.get("decision")
        if disposition not in ("case", "question", "none") or decision not in ("auto", "confirm"):
            raise ValueError("routing without a known disposition and decision: see docs/route.schema.json")
        return cls(
            disposition=disposition,
            domain=routing.get("domain"),
            standard=category.get("standard"),
            code=category.get("code"),
            kind=category.get("kind"),
            major=category.get("major"),
            minor=category.get("minor"),
            probability=routing.get("probability"),
            decision=decision,
            intent=routing.get("intent"),
            emergency=tuple((routing.get("emergency") or {}).get("services", ())),
            secrecy=bool(routing.get("secrecy")),
            address=str(address) if address else None,
            model=routing.get("model"),
            domain_probability=routing.get("domain_probability"),
            accused=str(routing["accused"])[:LONGEST_ACCUSED] if routing.get("accused") else None,
        )


async def follow_words(
    session: AsyncSession,
    case_id: UUID,
    *,
    call_id: UUID,
    text: str | None,
    suggestion: Suggestion,
    routing_id: UUID,
    sequence: int,
    number: str | None,
    erased_at: datetime | None,
    call_completed: bool,
    at: datetime,
) -> Case:
    """Bring the case of a call to the words so far: open it as a draft, or move its text and category.

    ``text`` is all that was said so far. A category that a person chose, or that was filed, is not moved by more words;
    text is always added. With ``call_completed`` the case is completed at once.
    """
    opened = await insert_new(
        session,
        Case,
        {
            "id": case_id,
            "call_id": call_id,
            "source": "phone",
            "state": DRAFT,
            "disposition": suggestion.disposition,
            "decision": suggestion.decision,
            "emergency": [],
            "secrecy": False,
            "version": 1,
            "created_at": at,
            "draw": lot(case_id),
        },
    )
    case = await locked(session, case_id)
    if case is None:
        raise LookupError(f"case {case_id} vanished within its own transaction")
    if not opened and case.routing_sequence is not None and case.routing_sequence >= sequence:
        return case  # an older answer, replayed after a newer one

    free = case.confirmed_by is None and case.filed_at is None and (case.number is None or case.state == REPORTED)
    moved = not opened and free and _differs(case, suggestion)
    if free:
        _take(case, suggestion)
    case.routing_id, case.routing_sequence, case.model = routing_id, sequence, suggestion.model
    case.secrecy = case.secrecy or suggestion.secrecy  # once asked for, it stays
    case.emergency = list(suggestion.emergency)
    if opened:
        await append_log(session, case, actor=SYSTEM, action="opened", from_state=None, at=at, rule=FOLLOWED_WORDS)
        add_event(session, events.OPENED, at=at, call=call_id, case=case.id, refs={"version": case.version})
    elif moved:
        case.version += 1
        detail = {"disposition": case.disposition, "code": case.category_code}
        await append_log(
            session,
            case,
            actor=SYSTEM,
            action="classified",
            from_state=case.state,
            at=at,
            rule=FOLLOWED_WORDS,
            detail=detail,
        )
    await _write_particulars(session, case_id, text, suggestion, number, erased_at)
    if free:
        await locate(session, case, at)
    if case.filed_at is not None:
        await append_log(session, case, actor=SYSTEM, action="words_added", from_state=case.state, at=at)
        add_event(session, events.UPDATED, at=at, call=call_id, case=case.id, refs={"version": case.version}, feed=True)
    elif case.number is not None and case.state != REPORTED:  # being verified, or ended without being filed
        await append_log(session, case, actor=SYSTEM, action="words_added", from_state=case.state, at=at)
        add_event(session, events.UPDATED, at=at, call=call_id, case=case.id, refs={"version": case.version})
    elif call_completed:
        await settle(session, case, at)
    return case


async def complete(session: AsyncSession, case: Case, at: datetime) -> bool:
    """The citizen has said all: complete a draft. Tells whether there was anything to complete."""
    if case.completed_at is not None:
        return False
    await settle(session, case, at)
    return True


async def settle(session: AsyncSession, case: Case, at: datetime) -> None:
    """Give a case that is complete the state that its content calls for: cancelled, reported, or filed."""
    first = case.completed_at is None
    if first:
        case.completed_at = at
    if case.disposition == "none" and case.number is None:
        if first:
            await move(session, case, CANCELLED, actor=SYSTEM, action="cancelled", at=at, rule=NO_MATTER)
            add_event(session, events.CANCELLED, at=at, call=case.call_id, case=case.id)
        return
    if case.number is None:
        case.number = await next_number(session, at)
        rule = STATEMENT_COMPLETE if first else MATTER_FOUND_LATER
        await move(session, case, REPORTED, actor=SYSTEM, action="completed", at=at, rule=rule)
        if case.located_by is not None:
            await log_place(session, case, at)
        add_event(session, events.COMPLETED, at=at, call=case.call_id, case=case.id, refs={"version": case.version})
        await accept(session, case, at)
        await session.flush()
        await look(session, case, at)
    await file_if_allowed(session, case, at)


def _differs(case: Case, suggestion: Suggestion) -> bool:
    return (case.disposition, case.domain, case.category_standard, case.category_code, case.decision) != (
        suggestion.disposition,
        suggestion.domain,
        suggestion.standard,
        suggestion.code,
        suggestion.decision,
    )


def _take(case: Case, suggestion: Suggestion) -> None:
    case.disposition = suggestion.disposition
    case.domain = suggestion.domain
    case.category_standard = suggestion.standard
    case.category_code = suggestion.code
    case.category_kind = suggestion.kind
    case.category_major = suggestion.major
    case.category_minor = suggestion.minor
    case.probability = suggestion.probability
    case.domain_probability = suggestion.domain_probability
    case.decision = suggestion.decision
    case.intent = suggestion.intent


async def _write_particulars(
    session: AsyncSession,
    case_id: UUID,
    text: str | None,
    suggestion: Suggestion,
    number: str | None,
    erased_at: datetime | None,
) -> None:
    values: dict[str, Any] = {"text": text, "reporter_number": number or None, "erased_at": erased_at}
    amended = select(CaseLog.id).where(CaseLog.case_id == case_id, CaseLog.action == "amended").limit(1)
    if erased_at is not None:
        values |= {"address": None, "accused": None}
    elif await session.scalar(amended) is None:  # what a person filled in is not moved by more words
        values |= {"address": suggestion.address, "accused": suggestion.accused}
    else:
        del values["reporter_number"]
    statement = insert_into(session, CaseParticulars).values(case_id=case_id, **values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[CaseParticulars.__table__.c.case_id],
            set_=values,
            where=CaseParticulars.__table__.c.erased_at.is_(None),
        )
    )
    await index_words(session, case_id)
