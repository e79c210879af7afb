"""Ringing a unit for an urgent order that nobody has signed for. How a telephone is rung is a seam: cases know none."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import select

from callcenter import clock
from callcenter.cases.life import CaseOrder
from callcenter.cases.model import ENDED, SYSTEM, CaseLog
from callcenter.cases.record import append_log, locked
from callcenter.city.model import Unit
from callcenter.jobs.model import Job
from callcenter.jobs.runner import GiveUp, Handler
from callcenter.storage.engine import Database

log = structlog.get_logger()

RUNG: Final = "unit_rung"
RULE: Final = "lamp.unsigned"

Ring = Callable[[str, UUID], Awaitable[str]]
"""Rings ``duty phone`` for the ``order``; gives a word on what became of it (``answered``, ``no_answer`` …). Raises
when it could not even be tried: the job comes again."""


async def only_log(phone: str, order: UUID) -> str:
    """The default seam, for a house that has no outgoing line: nobody is rung, and the log says so."""
    log.warning("a unit is to be rung, and there is no line to do it", order=str(order))
    return "no_line"


def ring_handler(ring: Ring = only_log, *, now: Callable[[], datetime] = clock.now) -> Handler:
    """The handler of ``unit.ring``: rings unless somebody has signed meanwhile, and records the attempt in the case's
    log. A process that dies between the two rings again."""

    async def handle(db: Database, job: Job) -> None:
        try:
            order_id = UUID(job.refs["order"])
        except (KeyError, TypeError, ValueError):
            raise GiveUp("the job names no order") from None
        async with db.read() as session:
            order = await session.get(CaseOrder, order_id)
            if order is None:
                raise GiveUp(f"no order {order_id}")
            if order.signed_at is not None or order.ended_at is not None:
                return
            unit = await session.get_one(Unit, order.unit_id)
            logged = await session.scalars(
                select(CaseLog.detail).where(CaseLog.case_id == order.case_id, CaseLog.action == RUNG)
            )
            if any(detail.get("order") == str(order_id) for detail in logged):
                return
        outcome = await ring(unit.duty_phone, order_id) if unit.duty_phone else "no_number"
        async with db.begin() as session:
            case = await locked(session, order.case_id)
            if case is None or case.state in ENDED:
                return
            detail = {"order": str(order_id), "unit": str(unit.id), "outcome": outcome[:24]}
            await append_log(
                session, case, actor=SYSTEM, action=RUNG, from_state=case.state, at=now(), rule=RULE, detail=detail
            )

    return handle
