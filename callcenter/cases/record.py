"""A case's row and its log: lock it, move it, write what happened, give it its number.

What every change of a case goes through, whoever makes it (``drafts`` the machine, ``acts`` people and rules). A change
is one transaction with its log row and its event.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.life import CaseText
from callcenter.cases.model import Case, CaseCounter, CaseLog
from callcenter.clock import local
from callcenter.storage.rows import insert_into


class CaseError(Exception):
    """A case cannot be handled as asked; the message names it and the mend."""


class CaseNotFound(CaseError):
    """There is no such case."""


class Conflict(CaseError):
    """Someone or something changed the case since it was read. ``changes``: what, by whom, oldest first."""

    def __init__(self, case_id: UUID, seen: int, actual: int, changes: Sequence[str]) -> None:
        what = "; ".join(changes) or "no logged step"
        super().__init__(f"case {case_id} is at version {actual}, you saw {seen}; since then: {what}. Read it again.")
        self.case_id = case_id
        self.seen = seen
        self.actual = actual
        self.changes = list(changes)


async def locked(session: AsyncSession, case_id: UUID) -> Case | None:
    """The case, locked until the transaction ends: whoever changes a case holds its row, so its events come in
    order."""
    return await session.get(Case, case_id, with_for_update=True, populate_existing=True)


async def next_number(session: AsyncSession, at: datetime) -> str:
    """The next case number of the day of ``at`` in Asia/Shanghai: ``2026112000001``.

    Counted in the caller's transaction: two that complete at once wait for one another, and one that rolls back gives
    its number back.
    """
    day = local(at).strftime("%Y%m%d")
    counter = insert_into(session, CaseCounter).values(day=day, next=2)
    taken = await session.scalar(
        counter.on_conflict_do_update(
            index_elements=[CaseCounter.__table__.c.day], set_={"next": CaseCounter.__table__.c.next + 1}
        ).returning(CaseCounter.__table__.c.next - 1)
    )
    return f"{day}{taken:05d}"


async def move(
    session: AsyncSession,
    case: Case,
    state: str,
    *,
    actor: str,
    action: str,
    at: datetime,
    rule: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Bring a locked case to ``state`` and log the step."""
    before = case.state
    case.state = state
    case.version += 1
    await append_log(session, case, actor=actor, action=action, from_state=before, at=at, rule=rule, detail=detail)


async def append_log(
    session: AsyncSession,
    case: Case,
    *,
    actor: str,
    action: str,
    from_state: str | None,
    at: datetime,
    rule: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """One more line of a locked case's log. ``detail``: references and codes only."""
    last = await session.scalar(select(func.max(CaseLog.seq)).where(CaseLog.case_id == case.id))
    session.add(
        CaseLog(
            case_id=case.id,
            seq=(last or 0) + 1,
            actor=actor,
            action=action,
            from_state=from_state,
            to_state=case.state,
            rule=rule,
            version=case.version,
            detail=detail or {},
            at=at,
        )
    )


async def changes_since(session: AsyncSession, case_id: UUID, version: int) -> list[str]:
    """What was logged of a case after ``version``, oldest first: steps and who took them."""
    rows = await session.scalars(
        select(CaseLog).where(CaseLog.case_id == case_id, CaseLog.version > version).order_by(CaseLog.seq)
    )
    return [f"{row.action} by {row.actor}" + (f" ({row.rule})" if row.rule else "") for row in rows]


async def write_text(session: AsyncSession, case: Case, kind: str, author: str, text: str, at: datetime) -> UUID:
    """Keep what somebody wrote about a case where it can be erased; gives the id that others refer to it by."""
    row = CaseText(id=uuid4(), case_id=case.id, kind=kind, author=author, text=text, at=at)
    session.add(row)
    return row.id
