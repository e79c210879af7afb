"""The outbox: one row for every change, written in the transaction that makes the change.

What happened and what is told can so never differ. An event carries references only – ids, sequence numbers, states –
never a number, a name or words: whoever is told looks up what they may see. ``dispatch.feed`` gives positions after
commit.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base, BigId
from callcenter.storage.bulk import insert_many

_EVENTS: Final = "events"
"""Key of ``session.info`` where a transaction's events wait for its end."""

Reference = UUID | int | bool | str | None
Refs = dict[str, Reference]

_WORD: Final = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
_LARGEST: Final = 10_000_000
"""Integers in refs are counts and sequences; from eight digits on one could be a telephone number."""


class OutboxEvent(Base):
    """One thing that happened.

    ``id`` is counted by the database when the row is written: for events of one case that is the order of their commits
    (its row is locked). Over all cases only ``position``, given after commit, is an order that readers may follow.
    """

    __tablename__ = "outbox_events"
    __table_args__ = (
        UniqueConstraint("event_id"),
        UniqueConstraint("position"),
        Index(
            "ix_outbox_events_unplaced",
            "id",
            postgresql_where=text("position IS NULL"),
            sqlite_where=text("position IS NULL"),
        ),
        Index("ix_outbox_events_feed", "position", postgresql_where=text("feed"), sqlite_where=text("feed")),
        Index(None, "call_id"),
        Index(None, "case_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    event_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(String(48))
    at: Mapped[datetime]
    call_id: Mapped[UUID | None] = mapped_column(ForeignKey("calls.id"))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    refs: Mapped[dict[str, Any]]
    feed: Mapped[bool]
    """True: units may be told. Decided by the writer, who knows whether the case is filed."""
    position: Mapped[int | None] = mapped_column(BigInteger)


def add_event(
    session: AsyncSession,
    kind: str,
    *,
    at: datetime,
    call: UUID | None = None,
    case: UUID | None = None,
    refs: Mapping[str, Reference] | None = None,
    feed: bool = False,
) -> UUID:
    """Have an event written at the end of ``session``'s transaction (see ``write_events``); gives its public id.

    ``refs`` may hold UUIDs, small integers, booleans and lower-case words such as states; anything else raises
    ValueError, so that no transcript and no telephone number can get into an event by mistake.
    """
    event_id = uuid4()
    event = {
        "event_id": event_id,
        "kind": kind,
        "at": at,
        "call_id": call,
        "case_id": case,
        "refs": {name: reference(kind, name, value) for name, value in (refs or {}).items()},
        "feed": feed,
    }
    session.info.setdefault(_EVENTS, []).append(event)
    return event_id


async def write_events(session: AsyncSession) -> bool:
    """Write what ``add_event`` collected; tells whether there was any. ``Database.begin`` does it last of all, when
    every row that the events tell of is written and locked."""
    events = session.info.pop(_EVENTS, None)
    if not events:
        return False
    await session.flush()
    await insert_many(session, OutboxEvent, events)
    return True


def reference(kind: str, name: str, value: object) -> str | int | bool | None:
    """``value`` as events and jobs keep it: an id, a small integer, a boolean or a lower-case word.

    Raises ValueError for anything else, which it does not show: it may be the very thing that must not get out.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    raise ValueError(f"event {kind}: ref {name!r} is a {type(value).__name__} that is no id, small count or state name")
