"""A unit's inbox in figures: what waits for its signature, what it has, what is late, what is new (SEED_FEATURES
002-08); and its people, so that a case is given to somebody who has time for it (002-17).

Counted over the open orders of a unit, whether it leads or assists, in one query for one unit or for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.access.model import User
from callcenter.cases.life import RED, YELLOW, CaseOrder
from callcenter.cases.model import ENDED, Case
from callcenter.city.field_model import UnitInbox
from callcenter.city.model import Unit
from callcenter.storage.outbox import add_event
from callcenter.storage.rows import insert_into

INBOX_READ: Final = "field.inbox_read"
MOST_PEOPLE: Final = 500


@dataclass(frozen=True, slots=True)
class Inbox:
    """The figures of one unit. ``unread``: orders issued after ``read_until``, all when it is None."""

    unit: UUID
    code: str
    name: str
    kind: str
    unsigned: int
    open: int
    yellow: int
    """Of the open ones: with a yellow lamp; ``red`` likewise. The lamp is the case's, as in the boxes."""
    red: int
    unread: int
    read_until: datetime | None


@dataclass(frozen=True, slots=True)
class Member:
    """A person of a unit and the open orders that were given to them by name."""

    user: UUID
    name: str
    extension: str
    handling: int


async def inboxes(session: AsyncSession, *, unit: UUID | None = None) -> list[Inbox]:
    """The figures of every active unit, those without an order too, by code; ``unit``: of this one only, active or
    not."""
    theirs = CaseOrder.id.is_not(None)
    query = (
        select(
            Unit.id,
            Unit.code,
            Unit.name,
            Unit.kind,
            _sum(and_(theirs, CaseOrder.signed_at.is_(None))),
            _sum(theirs),
            _sum(and_(theirs, Case.lamp == YELLOW)),
            _sum(and_(theirs, Case.lamp == RED)),
            _sum(and_(theirs, or_(UnitInbox.read_until.is_(None), CaseOrder.issued_at > UnitInbox.read_until))),
            UnitInbox.read_until,
        )
        .outerjoin(UnitInbox, UnitInbox.unit_id == Unit.id)
        .outerjoin(CaseOrder, and_(CaseOrder.unit_id == Unit.id, CaseOrder.ended_at.is_(None)))
        .outerjoin(Case, Case.id == CaseOrder.case_id)
        .group_by(Unit.id, Unit.code, Unit.name, Unit.kind, UnitInbox.read_until)
        .order_by(Unit.code)
    )
    query = query.where(Unit.active.is_(True)) if unit is None else query.where(Unit.id == unit)
    return [Inbox(*row) for row in await session.execute(query)]


async def set_read(session: AsyncSession, unit: UUID, until: datetime, *, actor: Actor, at: datetime) -> datetime:
    """The unit has read what was issued up to ``until``, a moment not ahead; gives up to when it has read. A mark never
    goes back. Audited. Raises ValueError for a moment to come, which would hide orders nobody has seen."""
    if until > at:
        raise ValueError("until lies ahead: send the time of the figures that were shown")
    statement = insert_into(session, UnitInbox).values(unit_id=unit, read_until=until, read_by=actor.id, read_at=at)
    columns = UnitInbox.__table__.c
    moved = await session.execute(
        statement.on_conflict_do_update(
            index_elements=[columns.unit_id],
            set_={name: statement.excluded[name] for name in ("read_until", "read_by", "read_at")},
            where=columns.read_until < statement.excluded.read_until,
        ).returning(columns.read_until)
    )
    if moved.first() is None:
        row = await session.get_one(UnitInbox, unit, populate_existing=True)
        return row.read_until
    add_entry(session, actor, "inbox read", at=at, subject=f"unit:{unit}")
    add_event(session, INBOX_READ, at=at, refs={"unit": unit})
    return until


async def members(session: AsyncSession, unit: UUID) -> Sequence[Member]:
    """The people who act for a unit and can sign in, by name, each with the open orders they have by name."""
    theirs = and_(CaseOrder.handler == User.id, CaseOrder.unit_id == unit, CaseOrder.ended_at.is_(None))
    query = (
        select(User.id, User.display_name, User.extension, func.count(Case.id))
        .outerjoin(CaseOrder, theirs)
        .outerjoin(Case, and_(Case.id == CaseOrder.case_id, Case.state.not_in(ENDED)))
        .where(User.unit_id == unit, User.disabled.is_(False))
        .group_by(User.id, User.display_name, User.extension, User.username)
        .order_by(User.username)
        .limit(MOST_PEOPLE)
    )
    return [Member(*row) for row in await session.execute(query)]


def _sum(true: ColumnElement[bool]) -> Any:
    return func.coalesce(func.sum(case((true, 1), else_=0)), 0)
