"""Telling a citizen or a unit of a milestone: the message and its job, in the transaction of what is told.

A case that was asked to be kept secret, or that called for an emergency service, sends its citizen nothing: whoever
else sees the telephone must not learn of it. What is not sent is kept too, with the reason.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.model import Case, CaseParticulars
from callcenter.city.model import Unit
from callcenter.clock import local
from callcenter.jobs.store import add_job
from callcenter.messages.model import Message, MessageParticulars
from callcenter.messages.policy import Policy, in_force
from callcenter.messages.templates import Template, TemplateError
from callcenter.messages.templates import template as find
from callcenter.storage.rows import insert_new

SEND: Final = "message.send"
"""Kind of the job that hands a message to the gateway."""
SMS: Final = "sms"
WAITING, SENT, REFUSED, FAILED, WITHHELD = "waiting", "sent", "refused", "failed", "withheld"

CONFIDENTIAL: Final = "confidential"
EMERGENCY: Final = "emergency"
ANONYMOUS: Final = "anonymous"
NOT_WANTED: Final = "not_wanted"
NO_NUMBER: Final = "no_number"
NO_MOBILE: Final = "no_mobile"
NO_GATEWAY: Final = "no_gateway"
TOO_MANY: Final = "too_many"
ERASED: Final = "erased"
INCOMPLETE: Final = "incomplete"
"""Something that the template needs is not there."""

IDS: Final = UUID("0c7b7b3e-6a55-5c0e-8f0b-5d5f3f0c2a11")
_MOBILE: Final = re.compile(r"1[3-9]\d{9}")
_MILESTONE: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,79}")


async def tell(
    session: AsyncSession,
    case: Case,
    template: str,
    *,
    at: datetime,
    milestone: str,
    unit: UUID | None = None,
    values: Mapping[str, str | datetime | None] | None = None,
    policy: Policy | None = None,
) -> UUID:
    """Tell the citizen of ``case``, or ``unit`` if one is named, of ``milestone``; gives the message's id.

    Writes, in ``session``'s transaction, the message, what can be erased of it, and the job that sends it. Once for
    each case, milestone and recipient, however often it is called; a milestone that comes again (a second dispatch)
    needs another name (``dispatched:2``). ``values``: what the placeholders need beyond the case (``due``, ``phase``,
    ``sheet`` …). The message is ``waiting``, or ``withheld`` or ``refused`` with a reason, and then no number and no
    words are kept. Raises TemplateError for a template that is not there or is for the other audience, ValueError for
    a milestone that is no lower-case word of up to 80 characters, LookupError for a unit that is not there.
    """
    wanted = find(template)
    if (wanted.audience == "unit") != (unit is not None):
        raise TemplateError(f"template {template} is for a {wanted.audience}: choose one for the recipient")
    if not _MILESTONE.fullmatch(milestone):
        raise ValueError(f"milestone {milestone!r:.70} is no lower-case word of up to 80 characters")
    key = f"{case.id}:{milestone}:{unit or 'citizen'}"
    message = uuid5(IDS, key)
    if await session.get(Message, message) is not None:
        return message
    policy = policy or in_force()
    if unit is None:
        wanted, number, people, reason = await _citizen(session, case, wanted, policy)
        limit = policy.daily_limit
    else:
        number, people, reason = await _unit(session, unit, policy)
        limit = policy.unit_daily_limit
    hashed, state, words = "", WITHHELD, None
    if reason is None:
        hashed = policy.hash(number)
        try:
            words = wanted.fill(
                {**await _of_case(session, case), "hotline": policy.hotline, **people, **(values or {})}
            )
        except TemplateError:
            reason = INCOMPLETE
        else:
            state = WAITING
            if await _sent_today(session, hashed, at, locked=unit is None) >= limit:
                state, reason = REFUSED, TOO_MANY
    row = {
        "id": message,
        "key": key,
        "case_id": case.id,
        "unit_id": unit,
        "template": wanted.name,
        "channel": SMS,
        "recipient_hash": hashed,
        "state": state,
        "reason": reason,
        "created_at": at,
    }
    await session.flush()  # the case may be as new as the message, which points at it
    if await insert_new(session, Message, row) and state == WAITING:
        await insert_new(session, MessageParticulars, {"message_id": message, "number": number, "words": words})
        await add_job(session, SEND, f"{SEND}:{message}", {"message": message, "case": case.id}, at=at)
    return message


def hidden(case: Case) -> str | None:
    """Why the citizen of a case must not be written to: confidential, emergency; None: they may."""
    if case.secrecy:
        return CONFIDENTIAL
    if case.emergency:
        return EMERGENCY
    return None


def plain_number(number: str) -> str:
    """A number as it is hashed and sent: digits only, without the country's prefix."""
    digits = re.sub(r"[\s\-—()（）]", "", number)
    for country in ("+86", "0086"):
        digits = digits.removeprefix(country)
    return digits


async def _citizen(
    session: AsyncSession, case: Case, wanted: Template, policy: Policy
) -> tuple[Template, str, Mapping[str, str | None], str | None]:
    """What to send to the citizen, where, with what of theirs, and why not."""
    if reason := hidden(case):
        if policy.neutral is None:
            return wanted, "", {}, reason
        wanted = find(policy.neutral)
    if case.anonymous:
        return wanted, "", {}, ANONYMOUS
    if not case.wants_reply:
        return wanted, "", {}, NOT_WANTED
    known = await session.get(CaseParticulars, case.id)
    if known is not None and known.erased_at is not None:
        return wanted, "", {}, ERASED
    given = (known.callback_number or known.reporter_number or "") if known is not None else ""
    number = plain_number(given)
    if not number:
        return wanted, "", {}, NO_NUMBER
    if not _MOBILE.fullmatch(number):
        return wanted, "", {}, NO_MOBILE
    if not policy.open:
        return wanted, "", {}, NO_GATEWAY
    return wanted, number, {"name": known.reporter_name if known else None, "phone": number}, None


async def _unit(session: AsyncSession, id: UUID, policy: Policy) -> tuple[str, Mapping[str, str | None], str | None]:
    unit = await session.get(Unit, id)
    if unit is None:
        raise LookupError(f"no unit {id}: it cannot be told anything")
    number = plain_number(unit.duty_phone)
    reason = NO_NUMBER if not number else None if policy.open else NO_GATEWAY
    return number, {"unit": unit.name, "addressee": unit.leader}, reason


async def _of_case(session: AsyncSession, case: Case) -> dict[str, str | datetime | None]:
    lead = await session.get(Unit, case.lead_unit_id) if case.lead_unit_id is not None else None
    return {
        "number": case.number,
        "minor": case.category_minor or "事项",
        "unit": lead.name if lead is not None else None,
        "due": case.due_at,
    }


async def _sent_today(session: AsyncSession, hashed: str, at: datetime, *, locked: bool) -> int:
    """Messages that went to this recipient, or are about to, since midnight in the city."""
    if locked and session.get_bind().dialect.name == "postgresql":
        # Two cases of one citizen may be told of at once, and each would count without the other. Only for citizens:
        # a transaction tells one, so nobody waits in a circle.
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock(hashed)})
    start = local(at).replace(hour=0, minute=0, second=0, microsecond=0)
    mine: Any = (
        Message.recipient_hash == hashed,
        Message.created_at >= start,
        Message.created_at < start + timedelta(days=1),
        Message.state.in_((WAITING, SENT)),
    )
    return await session.scalar(select(func.count()).where(*mine)) or 0


def _lock(hashed: str) -> int:
    return int.from_bytes(bytes.fromhex(hashed[:16]), signed=True)
