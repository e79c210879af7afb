"""Where people and devices are and were: points in batches, the newest of each kept apart (001-10, 002-14, 003-06).

A telephone that was out of reach sends what it kept, and sends it again when the answer was lost: a point is known by
whose it is and when it was taken, so nothing is kept twice. What cannot be true is refused point by point; the rest of
the batch is kept. No row of the audit is written for points – they are their own record, and a shift's would be a
thousand – but reading somebody's track is audited (``api.v1.field``).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID, uuid5

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import cells
from callcenter.city.coordinates import WGS84, BadPoint, Point, point
from callcenter.city.field_model import Position, TrackPoint
from callcenter.storage.engine import Database
from callcenter.storage.rows import insert_into

SOURCES: Final = ("gps", "network", "beidou")
"""What fixed a point: GPS, a mobile network's masts or WLAN, 北斗."""
MOST_POINTS: Final = 500
"""Of one batch: 8 minutes of a fix a second."""
OLDEST: Final = timedelta(days=7)
AHEAD: Final = timedelta(minutes=1)
"""How far a telephone's clock may be ahead of ours."""
LEAST_ACCURATE_M: Final = 100_000.0
"""Farther off than a mast reaches (35 km in GSM) by far: no fix at all."""
KEPT_DAYS: Final = 90
"""Ours: a quarter, so that what is said of one can be looked up; then a track is nobody's business."""
MOST_READ: Final = 5_000
_SWEPT: Final = 500
"""Rows of one transaction, during which a call's own row waits: SQLite overwrites what it deletes."""
_DEVICES: Final = UUID("8d0b1d0e-5c7c-5d8f-9d53-0a8e6f0c7b42")
"""Namespace of the ids that follow from codes of devices (RFC 9562, version 5)."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """Whose points they are: a person's or a device's."""

    id: UUID
    user_id: UUID | None = None
    device: str | None = None

    @classmethod
    def person(cls, user_id: UUID) -> "Tracker":
        """A person."""
        return cls(user_id, user_id=user_id)

    @classmethod
    def of_device(cls, code: str) -> "Tracker":
        """A device, by its code in the registry."""
        return cls(uuid5(_DEVICES, code), device=code)


@dataclass(frozen=True, slots=True)
class Fix:
    """One point as it was sent: degrees of the batch's datum, metres, an aware time."""

    lon: float
    lat: float
    accuracy_m: float
    source: str
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedFix:
    """Which point of a batch (counted from 0) was refused, and why."""

    index: int
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch."""

    stored: int
    known: int
    """Were there already, or twice in the batch."""
    refused: tuple[RefusedFix, ...]


async def add_points(
    session: AsyncSession, tracker: Tracker, fixes: Sequence[Fix], *, datum: str = WGS84, at: datetime
) -> Taken:
    """Keep the points of a batch, in ``datum`` as sent; the newest becomes the position, unless a newer one is known.

    Raises ValueError for a batch of none or more than MOST_POINTS and for a datum nobody knows.
    """
    if not 0 < len(fixes) <= MOST_POINTS:
        raise ValueError(f"{len(fixes)} points: a batch has 1 to {MOST_POINTS}, send the rest in another")
    point(0.0, 1.0, datum)  # raises BadPoint, a ValueError, for the whole batch rather than for each of its points
    good: dict[datetime, dict[str, Any]] = {}
    refused: list[RefusedFix] = []
    for index, fix in enumerate(fixes):
        if (why := why_not(fix, at)) is None:
            try:
                place = point(fix.lon, fix.lat, datum)
            except BadPoint as fault:
                why = str(fault)
            else:
                good.setdefault(fix.taken_at, _values(tracker, fix, place, at))
        if why is not None:
            refused.append(RefusedFix(index, why))
    stored = 0
    if good:
        statement = insert_into(session, TrackPoint).values(list(good.values()))
        added = await session.execute(statement.on_conflict_do_nothing().returning(TrackPoint.__table__.c.taken_at))
        stored = len(added.all())
        await _move(session, tracker, good[max(good)])
    return Taken(stored, len(fixes) - len(refused) - stored, tuple(refused))


def why_not(fix: Fix, at: datetime) -> str | None:
    """Why a point cannot be kept; None: it can. Its place is looked at apart."""
    if fix.source not in SOURCES:
        return f"source {fix.source!r:.16} is none of {', '.join(SOURCES)}"
    if not 0 <= fix.accuracy_m <= LEAST_ACCURATE_M:  # also what is no number
        return f"accuracy {fix.accuracy_m:.0f} m: must be 0 to {LEAST_ACCURATE_M:.0f}"
    if fix.taken_at > at + AHEAD:
        return "taken_at lies ahead: set the telephone's clock"
    if fix.taken_at < at - OLDEST:
        return f"taken_at is more than {OLDEST.days} days ago: too old to be of use"
    if fix.lon == 0 and fix.lat == 0:
        return "longitude 0, latitude 0: what a receiver sends that has no fix"
    return None


async def track(
    session: AsyncSession, tracker: Tracker, since: datetime, until: datetime, *, most: int = MOST_READ
) -> list[TrackPoint]:
    """The points from ``since`` until before ``until``, in order, the first ``most`` of them."""
    query = select(TrackPoint).where(
        TrackPoint.tracker == tracker.id, TrackPoint.taken_at >= since, TrackPoint.taken_at < until
    )
    return list(await session.scalars(query.order_by(TrackPoint.taken_at).limit(min(most, MOST_READ))))


async def position(session: AsyncSession, tracker: Tracker) -> Position | None:
    """The newest fix; None: none is kept."""
    return await session.get(Position, tracker.id)


async def sweep_tracks(db: Database, at: datetime, *, days: int = KEPT_DAYS) -> int:
    """Take away points and positions taken more than ``days`` days ago, in small transactions. How many points."""
    if days < 1:
        raise ValueError(f"{days} days: at least 1, or nobody could be found")
    oldest = at - timedelta(days=days)
    gone = 0
    key = tuple_(TrackPoint.tracker, TrackPoint.taken_at)
    some = select(TrackPoint.tracker, TrackPoint.taken_at).where(TrackPoint.taken_at < oldest).limit(_SWEPT)
    while True:
        async with db.begin() as session:
            done = await session.execute(delete(TrackPoint).where(key.in_(some)))
        count = int(cast(Any, done).rowcount)
        gone += count
        if count < _SWEPT:
            break
        await asyncio.sleep(0)
    async with db.begin() as session:
        await session.execute(delete(Position).where(Position.taken_at < oldest))
    return gone


def _values(tracker: Tracker, fix: Fix, place: Point, at: datetime) -> dict[str, Any]:
    return {
        "tracker": tracker.id,
        "taken_at": fix.taken_at,
        "lon": place.lon,
        "lat": place.lat,
        "accuracy_m": fix.accuracy_m,
        "source": fix.source,
        "received_at": at,
    }


async def _move(session: AsyncSession, tracker: Tracker, newest: dict[str, Any]) -> None:
    values = {
        **newest,
        "user_id": tracker.user_id,
        "device": tracker.device,
        "cell": cells.cell_of(Point(newest["lon"], newest["lat"])),
    }
    statement = insert_into(session, Position).values(values)
    columns = Position.__table__.c
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[columns.tracker],
            set_={name: statement.excluded[name] for name in values if name != "tracker"},
            where=columns.taken_at < statement.excluded.taken_at,  # an older batch that comes late moves nobody back
        )
    )
