"""首派准确率 and 退件率: how often the first unit was the right one, and how often units give orders back.

Counted from the orders, whose rows follow the case's log step by step. Every rate shows what it was counted from;
cancelled and suspended cases stay in the denominator, so that neither can be used to better a figure.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from callcenter.cases.life import LEAD, CaseOrder

RETURNED: Final = "returned"


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with what it was counted from."""

    numerator: int
    denominator: int
    open: int
    """Of the denominator, orders that have not ended: their part of the rate may still change."""

    @property
    def value(self) -> float | None:
        """0 to 1; None when there was nothing to count."""
        return self.numerator / self.denominator if self.denominator else None


async def first_dispatch_accuracy(
    session: AsyncSession, start: datetime, end: datetime, *, unit_id: UUID | None = None
) -> Rate:
    """首派准确率: of the cases first dispatched from ``start`` (inclusive) to ``end`` (exclusive), those whose first
    lead unit did not give the order back and that no other unit has led since (准确派遣, DOMAIN.md §1: never
    re-dispatched to another unit; a rework by the same unit is accurate). ``unit_id``: first dispatched to this one.
    """
    order, other, earlier = CaseOrder, aliased(CaseOrder), aliased(CaseOrder)
    first = ~exists().where(
        earlier.case_id == order.case_id,
        earlier.part == LEAD,
        or_(
            earlier.issued_at < order.issued_at,
            and_(earlier.issued_at == order.issued_at, earlier.round < order.round),
            # Of one moment and round only one counts, or a case would be counted twice.
            and_(earlier.issued_at == order.issued_at, earlier.round == order.round, earlier.id < order.id),
        ),
    )
    elsewhere = exists().where(other.case_id == order.case_id, other.part == LEAD, other.unit_id != order.unit_id)
    right = and_(or_(order.outcome.is_(None), order.outcome != RETURNED), ~elsewhere)
    query = select(func.count().filter(right), func.count(), func.count().filter(order.ended_at.is_(None))).where(
        order.part == LEAD, order.issued_at >= start, order.issued_at < end, first
    )
    if unit_id is not None:
        query = query.where(order.unit_id == unit_id)
    return Rate(*(await session.execute(query)).one())


async def return_rate(session: AsyncSession, start: datetime, end: datetime, *, unit_id: UUID | None = None) -> Rate:
    """退件率: of the lead orders issued from ``start`` (inclusive) to ``end`` (exclusive), those given back as another
    unit's and taken back by the command centre. ``unit_id``: of this unit only.
    """
    order = CaseOrder
    query = select(
        func.count().filter(order.outcome == RETURNED), func.count(), func.count().filter(order.ended_at.is_(None))
    ).where(order.part == LEAD, order.issued_at >= start, order.issued_at < end)
    if unit_id is not None:
        query = query.where(order.unit_id == unit_id)
    return Rate(*(await session.execute(query)).one())
