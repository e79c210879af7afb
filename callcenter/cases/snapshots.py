"""What of a case decides its next step, read from the store: ``lifecycle.Snapshot`` and who has acted on it before."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.calendar import Calendar
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.deadlines import Limit, LimitUnit, due
from callcenter.cases.life import (
    HANDLE,
    LEAD,
    SIGN,
    CaseAppeal,
    CaseCallback,
    CaseCheck,
    CaseDeadline,
    CaseEvidence,
    CaseOrder,
    CaseRequest,
)
from callcenter.cases.lifecycle import Post, Side, Snapshot, side_of
from callcenter.cases.model import CLOSED, PENDING_CLOSE, PENDING_FILING, PENDING_VERIFY, REPORTED, Case, CaseLog
from callcenter.cases.responsibility import return_by

DESIGNATED: Final = "dispatch.designated"
"""Rule of an order by which the duty chief named the unit: it cannot be given back."""
VERIFYING: Final = "verify"
CHECKING: Final = "check"
"""Kinds of CaseCheck."""

_BEFORE_ORDERS: Final = frozenset({REPORTED, PENDING_VERIFY, PENDING_FILING})


async def snapshot_of(
    session: AsyncSession,
    case: Case,
    *,
    calendar: Calendar,
    city: CitySettings,
    excluded: Sequence[UUID] = (),
) -> Snapshot:
    """``case`` as ``lifecycle.decide`` needs it. ``excluded``: units that may not get the order, besides the accused.
    Reads only what the state can need."""
    orders = [] if case.state in _BEFORE_ORDERS else await open_orders(session, case.id)
    lead = next((order for order in orders if order.part == LEAD), None)
    asked = await open_requests(session, case.id) if orders else []
    checks = await _checks(session, case.id)
    verdicts = [check for check in checks if check.kind == VERIFYING and check.answered_at is not None]
    since = None if case.state in _BEFORE_ORDERS else await _round_ended(session, case.id)
    calls = await _callbacks(session, case.id, since) if case.state == PENDING_CLOSE else []
    appeal = await appeal_of(session, case.id) if case.state == CLOSED else None
    return Snapshot(
        state=case.state,
        disposition=case.disposition,
        has_category=case.category_code is not None,
        mode=case.verification,
        kind=case.category_kind,
        level=case.level,
        source=case.source,
        verified=verdicts[-1].result if verdicts else None,
        verifying=any(check.kind == VERIFYING and check.answered_at is None for check in checks),
        checked=any(
            check.kind == CHECKING
            and check.result == "passed"
            and check.answered_at is not None
            and (since is None or check.answered_at >= since)
            for check in checks
        ),
        lead=lead.unit_id if lead is not None else None,
        orders=frozenset(order.unit_id for order in orders),
        unsigned=frozenset(order.unit_id for order in orders if order.signed_at is None),
        designated=lead is not None and lead.rule == DESIGNATED,
        excluded=frozenset(excluded) | ({case.accused_unit_id} if case.accused_unit_id is not None else frozenset()),
        asked=frozenset(request.kind for request in asked),
        suspension_until=next((request.until for request in asked if request.kind == "suspension"), None),
        extended_until=(
            await _extended(session, lead, calendar)
            if lead is not None and any(request.kind == "extension" for request in asked)
            else None
        ),
        return_by=return_by(lead.issued_at, calendar, city.give_back) if lead is not None else None,
        returns=case.returns,
        extensions=case.extensions,
        suspensions=case.suspensions,
        reworks=case.reworks,
        wants_reply=case.wants_reply,
        called_back=len(calls),
        satisfaction=next((call.satisfaction for call in reversed(calls) if call.satisfaction is not None), None),
        late=await _late(session, case.id) if case.state == CLOSED else frozenset(),
        appeal=_stage(appeal),
        appeal_judge=appeal.first_by if appeal is not None else None,
    )


async def sides_of(session: AsyncSession, case_id: UUID, actor_id: str, posts: frozenset[Post]) -> frozenset[Side]:
    """The sides on which somebody has acted on this case before, by its log. The machine is on none: it follows rules
    of both, and each of its rows names one."""
    if Post.SYSTEM in posts:
        return frozenset()
    done = await session.scalars(
        select(CaseLog.action).where(CaseLog.case_id == case_id, CaseLog.actor == actor_id).distinct()
    )
    return frozenset(side for action in done if (side := side_of(action)) is not None)


async def open_orders(session: AsyncSession, case_id: UUID) -> list[CaseOrder]:
    """Orders that have not ended, the lead's first."""
    query = select(CaseOrder).where(CaseOrder.case_id == case_id, CaseOrder.ended_at.is_(None))
    return sorted(await session.scalars(query), key=lambda order: (order.part != LEAD, order.id.hex))


async def last_lead(session: AsyncSession, case_id: UUID) -> CaseOrder | None:
    """The lead order of the highest round, open or not."""
    query = select(CaseOrder).where(CaseOrder.case_id == case_id, CaseOrder.part == LEAD)
    return (await session.scalars(query.order_by(CaseOrder.round.desc()).limit(1))).first()


async def rounds(session: AsyncSession, case_id: UUID) -> int:
    """The highest round so far; 0: no order was ever given."""
    return await session.scalar(select(func.max(CaseOrder.round)).where(CaseOrder.case_id == case_id)) or 0


async def open_requests(session: AsyncSession, case_id: UUID) -> list[CaseRequest]:
    """Requests that nobody has decided."""
    query = select(CaseRequest).where(CaseRequest.case_id == case_id, CaseRequest.decided_at.is_(None))
    return list(await session.scalars(query.order_by(CaseRequest.asked_at, CaseRequest.id)))


async def open_check(session: AsyncSession, case_id: UUID, kind: str) -> CaseCheck | None:
    """The check of ``kind`` that waits for an answer, the newest of several."""
    query = select(CaseCheck).where(
        CaseCheck.case_id == case_id, CaseCheck.kind == kind, CaseCheck.answered_at.is_(None)
    )
    return (await session.scalars(query.order_by(CaseCheck.asked_at.desc(), CaseCheck.id).limit(1))).first()


async def appeal_of(session: AsyncSession, case_id: UUID) -> CaseAppeal | None:
    """The appeal of a case; there is one at most."""
    return await session.scalar(select(CaseAppeal).where(CaseAppeal.case_id == case_id))


async def new_pictures(session: AsyncSession, case: Case, since: datetime) -> list[UUID]:
    """Pictures of this case said to show it ``after``, that nobody ever stored before (by hash, in the whole store)
    and that were neither taken nor added before ``since``. An old picture proves nothing."""
    query = select(CaseEvidence).where(
        CaseEvidence.case_id == case.id,
        CaseEvidence.kind == "after",
        CaseEvidence.added_at >= since,
        CaseEvidence.erased_at.is_(None),
    )
    found = [one for one in await session.scalars(query) if one.taken_at is None or one.taken_at >= since]
    if not found:
        return []
    others = await session.execute(
        select(CaseEvidence.sha256, func.min(CaseEvidence.added_at))
        .where(CaseEvidence.sha256.in_([one.sha256 for one in found]), CaseEvidence.case_id != case.id)
        .group_by(CaseEvidence.sha256)
    )
    first = {sha256: added for sha256, added in others}
    return [one.id for one in found if one.sha256 not in first or one.added_at < first[one.sha256]]


async def _checks(session: AsyncSession, case_id: UUID) -> list[CaseCheck]:
    query = select(CaseCheck).where(CaseCheck.case_id == case_id)
    found = list(await session.scalars(query))
    return sorted(found, key=lambda check: (check.answered_at or check.asked_at, check.asked_at, check.id.hex))


async def _callbacks(session: AsyncSession, case_id: UUID, since: datetime | None) -> list[CaseCallback]:
    query = select(CaseCallback).where(CaseCallback.case_id == case_id)
    if since is not None:
        query = query.where(CaseCallback.at >= since)
    return list(await session.scalars(query.order_by(CaseCallback.at, CaseCallback.id)))


async def _round_ended(session: AsyncSession, case_id: UUID) -> datetime | None:
    """When the lead unit last ended its part: what was checked or asked before is of an earlier round."""
    return await session.scalar(
        select(func.max(CaseOrder.ended_at)).where(CaseOrder.case_id == case_id, CaseOrder.part == LEAD)
    )


async def _extended(session: AsyncSession, lead: CaseOrder, calendar: Calendar) -> datetime | None:
    query = select(CaseDeadline).where(
        CaseDeadline.case_id == lead.case_id,
        CaseDeadline.order_id == lead.id,
        CaseDeadline.phase == HANDLE,
        CaseDeadline.ended_at.is_(None),
    )
    running = (await session.scalars(query)).first()
    if running is None:
        return None
    return due(running.due_at, Limit(running.limit_value, LimitUnit(running.limit_unit)), calendar).at


async def _late(session: AsyncSession, case_id: UUID) -> frozenset[UUID]:
    found = await session.scalars(
        select(CaseOrder.unit_id)
        .join(CaseDeadline, CaseDeadline.order_id == CaseOrder.id)
        .where(CaseOrder.case_id == case_id, CaseDeadline.phase.in_((SIGN, HANDLE)), CaseDeadline.met.is_(False))
    )
    return frozenset(found)


def _stage(appeal: CaseAppeal | None) -> str | None:
    if appeal is None:
        return None
    if appeal.second_at is not None:
        return "ended"
    return "asked" if appeal.first_at is None else "judged"
