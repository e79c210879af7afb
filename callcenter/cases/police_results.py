"""What came of a case that 110 handed over, returned to them by a job until their side has taken it.

How their side is reached is a seam: ``PoliceGateway``. ``OverMessages`` puts it on a messages' gateway (HTTP, signed
and idempotent, or a file), so that nothing is written twice.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.access.masking import mask_text
from callcenter.cases.life import CaseText, PoliceHandover
from callcenter.cases.model import ENDED, SYSTEM, Case
from callcenter.cases.record import append_log, locked
from callcenter.jobs.model import Job
from callcenter.jobs.runner import GiveUp, Handler
from callcenter.jobs.store import add_job
from callcenter.messages.gateways import Gateway, GatewayRefused, Outgoing
from callcenter.storage.engine import Database
from callcenter.storage.outbox import Refs, add_event

IN: Final = "in"
OUT: Final = "out"
"""Directions of a hand-over."""

RESULT: Final = "police.result"
"""Kind of the job that returns a result. Refs: case, handover."""
POLICE_RESULT: Final = "case.police_result"
RETURNED: Final = "police_result_returned"
"""The log's action."""
RULE: Final = "police.owed"
CHANNEL: Final = "police"

_WORDS: Final = ("answer", "result", "reason")
"""Kinds of texts that tell what came of a case; the last written counts."""


@dataclass(frozen=True, slots=True)
class PoliceResult:
    """What 110 is told. Numbers within ``result`` are masked; times ISO 8601, UTC."""

    id: str
    """Of the hand-over: the idempotency key."""
    police_number: str
    case_number: str
    outcome: str
    """solved, answered, forced, not_accepted, cancelled or handed_over."""
    ended_at: str
    result: str
    """Empty when nothing was written, or after erasure."""


class PoliceGateway(Protocol):
    """Reaches the police's system."""

    async def send(self, result: PoliceResult) -> None:
        """Hand a result over; may be called again with the same ``id``. Raises GatewayRefused when they will never take
        it, GatewayDown (``callcenter.messages.gateways``) when it is to be tried again."""
        ...


class OverMessages:
    """A messages' gateway as the way to the police: channel ``police``, to the police number, the text is the result as
    JSON. HTTP or file, as that gateway is."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def send(self, result: PoliceResult) -> None:
        """See PoliceGateway."""
        words = json.dumps(asdict(result), ensure_ascii=False, separators=(",", ":"))
        await self._gateway.send(Outgoing(UUID(result.id), result.police_number, words, CHANNEL))


async def owe(session: AsyncSession, case: Case, at: datetime) -> bool:
    """A case has just ended: if 110 handed it over, have the result returned. Tells whether they did.

    For the transaction that ends the case; idempotent by the hand-over.
    """
    query = select(PoliceHandover).where(PoliceHandover.case_id == case.id, PoliceHandover.direction == IN)
    found = list(await session.scalars(query))
    for handover in found:
        refs: Refs = {"case": case.id, "handover": handover.id}
        await add_job(session, RESULT, f"{RESULT}:{handover.id}", refs, at=at)
    return bool(found)


def result_handler(gateway: PoliceGateway, *, now: Callable[[], datetime] = clock.now) -> Handler:
    """The handler of ``police.result``: sends, then notes when. A process that dies between the two sends again, under
    the same id."""

    async def handle(db: Database, job: Job) -> None:
        try:
            key = UUID(job.refs["handover"])
        except (KeyError, TypeError, ValueError):
            raise GiveUp("the job names no hand-over") from None
        async with db.read() as session:
            handover = await session.get(PoliceHandover, key)
            if handover is None:
                raise GiveUp(f"no hand-over {key}")
            if handover.result_at is not None:
                return
            case = await session.get_one(Case, handover.case_id)
            if case.state not in ENDED:
                raise GiveUp(f"case {case.id} is {case.state}: nothing to return yet")
            text = await _last_words(session, case)
            result = _result(handover, case, text)
        try:
            await gateway.send(result)
        except GatewayRefused as refusal:
            raise GiveUp(refusal.code) from None
        await _note(db, key, text.id if text is not None else None, now())

    return handle


def _result(handover: PoliceHandover, case: Case, text: CaseText | None) -> PoliceResult:
    words = text.text if text is not None and text.text is not None else ""
    return PoliceResult(
        id=str(handover.id),
        police_number=handover.police_number,
        case_number=case.number or "",
        outcome=case.outcome or case.state,
        ended_at=case.closed_at.isoformat() if case.closed_at is not None else "",
        result=mask_text(words),
    )


async def _last_words(session: AsyncSession, case: Case) -> CaseText | None:
    """The unit's result or the answer; the reason of a refusal where there is neither."""
    query = select(CaseText).where(CaseText.case_id == case.id, CaseText.kind.in_(_WORDS))
    found = sorted(await session.scalars(query), key=lambda text: (text.kind != "reason", text.at, text.id.hex))
    return found[-1] if found else None


async def _note(db: Database, key: UUID, text: UUID | None, at: datetime) -> None:
    async with db.begin() as session:
        handover = await session.get_one(PoliceHandover, key)
        case = await locked(session, handover.case_id)
        await session.refresh(handover)
        if case is None or handover.result_at is not None:
            return
        handover.result_at, handover.result = at, text
        detail = {"handover": str(key)}
        await append_log(
            session, case, actor=SYSTEM, action=RETURNED, from_state=case.state, at=at, rule=RULE, detail=detail
        )
        refs: Refs = {"handover": key, "version": case.version}
        add_event(session, POLICE_RESULT, at=at, call=case.call_id, case=case.id, refs=refs)
