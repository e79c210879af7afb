"""110 both ways (国办发〔2022〕12号; SEED_FEATURES 002-01): what the police hand over to us, and what we do to them.

In: a case with the police's number and their hand-over time; its end is owed to them (``police_results``). Out: the
step ``hand_over`` of ``acts``; what the police make of it is recorded here when it comes.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.city_settings import CitySettings
from callcenter.cases.intake import AlreadyRegistered, NewCase, register
from callcenter.cases.life import CaseText, PoliceHandover
from callcenter.cases.lifecycle import Actor, Post
from callcenter.cases.model import Case
from callcenter.cases.police_results import IN, OUT, POLICE_RESULT
from callcenter.cases.record import CaseError, CaseNotFound, append_log, locked, write_text
from callcenter.storage.outbox import Refs, add_event

SOURCE: Final = "110"
IDS: Final = UUID("5d2b7c64-9b1e-5a57-8c3a-7e0f4b1d2a95")
"""Namespace of the ids of cases that follow from police numbers (RFC 9562, version 5)."""
AHEAD: Final = timedelta(minutes=5)
"""How far their clock may be ahead of ours."""
LONGEST_NUMBER: Final = 40
LONGEST_TEXT: Final = 2_000


class HandoverRefused(CaseError):
    """A hand-over or its result cannot be taken so; the message says why and the mend."""


class HandoverNotFound(CaseError):
    """Nothing was handed over under that police number."""


async def inbound(
    session: AsyncSession,
    police_number: str,
    new: NewCase,
    *,
    handed_at: datetime,
    by: str,
    at: datetime,
    city: CitySettings | None = None,
) -> tuple[Case, bool]:
    """Take in what 110 hands over, as a case of source ``110``; its source and police number in ``new`` are ignored.

    Idempotent by the police number, whatever the words: handed over again, the first case is given back, and False.
    ``handed_at``: when the police handed it over, by their clock. Raises HandoverRefused for a number or time that is
    none, and what ``intake.register`` raises.
    """
    number = police_number_of(police_number)
    if handed_at.tzinfo is None or handed_at > at + AHEAD:
        raise HandoverRefused("the hand-over time has no offset or lies ahead: send when 110 handed it over")
    if (there := await _case_of(session, number)) is not None:
        return there, False
    order = replace(new, source=SOURCE, police_number=number)
    try:
        case, fresh = await register(session, uuid5(IDS, number), order, by=by, at=at, city=city)
    except AlreadyRegistered:
        # Two at once, in other words: the second waited for the first and finds it now.
        if (there := await _case_of(session, number)) is None:
            raise
        return there, False
    if fresh:
        await session.flush()
        handover = await handover_of(session, number, IN)
        handover.handed_at = handed_at
        await session.flush()
    return case, fresh


async def record_result(
    session: AsyncSession, police_number: str, *, text: str, actor: Actor, at: datetime
) -> tuple[PoliceHandover, bool]:
    """What the police made of a case handed over to them; kept with the case, erasable, and logged.

    The same words again change nothing and give False. For agents and duty chiefs. Raises HandoverNotFound,
    HandoverRefused (no words, other words than before, the actor's post).
    """
    if not actor.posts & {Post.AGENT, Post.DUTY_CHIEF}:
        raise HandoverRefused("the police's result is recorded by an agent or a duty chief")
    words = text.strip()
    if not 0 < len(words) <= LONGEST_TEXT:
        raise HandoverRefused(f"the result has {len(words)} characters: 1 to {LONGEST_TEXT}")
    handover = await handover_of(session, police_number_of(police_number), OUT)
    case = await locked(session, handover.case_id)
    if case is None:
        raise CaseNotFound(f"no case {handover.case_id}")
    await session.refresh(handover)
    if handover.result_at is not None:
        known = await session.get(CaseText, handover.result) if handover.result is not None else None
        if known is not None and known.text not in (words, None):
            raise HandoverRefused("another result was recorded for that police number: results are not rewritten")
        return handover, False
    handover.result = await write_text(session, case, "result", actor.id, words, at)
    handover.result_at = at
    detail = {"handover": str(handover.id), "text": str(handover.result)}
    await append_log(session, case, actor=actor.id, action="police_result", from_state=case.state, at=at, detail=detail)
    refs: Refs = {"handover": handover.id, "version": case.version}
    add_event(session, POLICE_RESULT, at=at, call=case.call_id, case=case.id, refs=refs)
    await session.flush()
    return handover, True


async def handover_of(session: AsyncSession, police_number: str, direction: str) -> PoliceHandover:
    """The hand-over of this number, ``in`` or ``out``. Raises HandoverNotFound."""
    query = select(PoliceHandover).where(
        PoliceHandover.direction == direction, PoliceHandover.police_number == police_number
    )
    found = await session.scalar(query)
    if found is None:
        raise HandoverNotFound(f"nothing was handed over ({direction}) under that police number")
    return found


def police_number_of(text: str) -> str:
    """The number without the blanks around it. Raises HandoverRefused."""
    number = text.strip()
    if not 0 < len(number) <= LONGEST_NUMBER or not number.isprintable():
        raise HandoverRefused(f"the police number has {len(number)} characters: 1 to {LONGEST_NUMBER}, printable")
    return number


async def _case_of(session: AsyncSession, number: str) -> Case | None:
    query = select(Case).join(PoliceHandover, PoliceHandover.case_id == Case.id)
    query = query.where(PoliceHandover.direction == IN, PoliceHandover.police_number == number)
    return await session.scalar(query)
