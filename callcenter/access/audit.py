"""The record of what everyone did: written with what it tells of, never changed afterwards.

Kept at least six months (网络安全法 art. 21, GB/T 22239). References only: no name, number or text gets in here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.model import AuditEntry

ActorKind = Literal["user", "key", "system", "nobody"]
Result = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Whom an entry names. ``id`` is empty for the system and for one who was not let in."""

    kind: ActorKind
    id: str = ""
    address: str = ""


SYSTEM = Actor("system")


def add_entry(
    session: AsyncSession,
    actor: Actor,
    action: str,
    *,
    at: datetime,
    subject: str = "",
    result: Result = "done",
    detail: dict[str, str | int | bool | list[str]] | None = None,
) -> None:
    """Adds one entry to the transaction of ``session``, so that the deed and its record stand or fall together.

    ``subject`` is ``<kind>:<id>``; ``detail`` holds codes, counts and references, never personal data.
    """
    session.add(
        AuditEntry(
            at=at,
            actor_kind=actor.kind,
            actor=actor.id,
            action=action,
            result=result,
            subject=subject,
            address=actor.address,
            detail=detail or {},
        )
    )


async def entries(
    session: AsyncSession, *, before: int | None = None, limit: int = 100, subject: str = "", actor: UUID | None = None
) -> list[AuditEntry]:
    """The newest entries first, older than the entry ``before``; of one ``subject`` or ``actor`` where given."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if subject:
        query = query.where(AuditEntry.subject == subject)
    if actor is not None:
        query = query.where(AuditEntry.actor == str(actor))
    return list((await session.scalars(query)).all())
