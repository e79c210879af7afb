"""Which calls are not finished, and all that is needed to finish them: what ``calls.recovery`` asks of the store."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.calls.commands import LegKind
from callcenter.calls.model import Call, Leg, Routing, Utterance, UtteranceText
from callcenter.speech.events import Gap

OPEN_FOR = timedelta(days=7)
"""A call that has not ended after this long is not looked for any more."""
LINK_WITHIN = timedelta(days=1)
"""An ended call whose recording is not there after this long has none."""
AT_ONCE = 500
"""Calls of one scan; the next scan takes the rest."""


@dataclass(frozen=True, slots=True)
class UnfinishedLeg:
    """A leg as the store knows it. ``heard_until`` is the end of its last utterance, seconds on its clock."""

    id: UUID
    kind: LegKind
    extension: str
    opened_at: datetime
    closed_at: datetime | None
    gaps: tuple[Gap, ...]
    next_sequence: int
    heard_until: float


@dataclass(frozen=True, slots=True)
class UnfinishedCall:
    """A call that has not ended, or whose recording is not linked. ``said`` is what the citizen said, and when."""

    id: UUID
    channel: str
    recording: str
    answered_at: datetime | None
    ended_at: datetime | None
    legs: tuple[UnfinishedLeg, ...]
    said: list[tuple[datetime, str]]
    next_routing: int


async def unfinished_calls(session: AsyncSession, now: datetime) -> list[UnfinishedCall]:
    """Calls to be finished, oldest first, at most AT_ONCE."""
    calls = (
        await session.scalars(
            select(Call)
            .where(
                Call.rung_at > now - OPEN_FOR,
                or_(
                    Call.ended_at.is_(None),
                    (Call.recording_sha256.is_(None)) & (Call.recording != "") & (Call.rung_at > now - LINK_WITHIN),
                ),
            )
            .order_by(Call.rung_at)
            .limit(AT_ONCE)
        )
    ).all()
    return [await _whole(session, call) for call in calls]


async def _whole(session: AsyncSession, call: Call) -> UnfinishedCall:
    legs: list[UnfinishedLeg] = []
    for leg in (await session.scalars(select(Leg).where(Leg.call_id == call.id).order_by(Leg.opened_at))).all():
        last, until = (
            await session.execute(
                select(func.max(Utterance.sequence), func.max(Utterance.end)).where(Utterance.leg_id == leg.id)
            )
        ).one()
        legs.append(
            UnfinishedLeg(
                id=leg.id,
                kind=cast(LegKind, leg.kind),
                extension=leg.extension,
                opened_at=leg.opened_at,
                closed_at=leg.closed_at,
                gaps=tuple(Gap(start, end, reason) for start, end, reason in leg.gaps),
                next_sequence=0 if last is None else last + 1,
                heard_until=float(until or 0.0),
            )
        )
    said = await session.execute(
        select(Leg.opened_at, Utterance.start, UtteranceText.text)
        .join(Utterance, Utterance.id == UtteranceText.utterance_id)
        .join(Leg, Leg.id == Utterance.leg_id)
        .where(Utterance.call_id == call.id, Leg.kind == "citizen")
        .order_by(Leg.opened_at, Utterance.sequence)
    )
    last_routing = await session.scalar(select(func.max(Routing.sequence)).where(Routing.call_id == call.id))
    return UnfinishedCall(
        id=call.id,
        channel=call.channel,
        recording=call.recording,
        answered_at=call.answered_at,
        ended_at=call.ended_at,
        legs=tuple(legs),
        said=[(opened + timedelta(seconds=start), text) for opened, start, text in said if text],
        next_routing=0 if last_routing is None else last_routing + 1,
    )


async def known_calls(session: AsyncSession, calls: Collection[UUID]) -> set[UUID]:
    """Those of ``calls`` that have a row."""
    return set(await session.scalars(select(Call.id).where(Call.id.in_(calls))))
