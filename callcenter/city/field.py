"""Who is on duty where, and which of them is nearest to a place (SEED_FEATURES 003-06).

A shift is a person, an area of any level, and two moments. Who is asked to go and look is chosen among those whose area
the place lies in: by their newest fix where it is fresh, else by how narrow their area is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.access.model import User
from callcenter.access.permissions import Role
from callcenter.city.areas import Lies
from callcenter.city.coordinates import Point, metres
from callcenter.city.field_model import Position, Shift
from callcenter.city.model import Area
from callcenter.clock import SHANGHAI
from callcenter.storage.outbox import add_event

SHIFT_MADE: Final = "field.shift_made"
SHIFT_ENDED: Final = "field.shift_ended"

LONGEST_SHIFT: Final = timedelta(hours=24)
"""Ours: a duty round the clock; longer is a slip in one of the dates."""
FARTHEST_AHEAD: Final = timedelta(days=366)
FRESH: Final = timedelta(minutes=30)
"""Ours: a person on foot is at most some two kilometres from where they were; an older fix says nothing of today."""
MOST_NEAREST: Final = 50
_DEEPEST: Final = 16
"""Layers of areas that are followed downwards; more is a circle."""


class FieldError(Exception):
    """Something of field work cannot be done as asked; the message names it, the value and the mend."""


class FieldNotFound(FieldError):
    """There is none such, or it is not theirs."""


class FieldRefused(FieldError):
    """A value that cannot be accepted. ``field``: which."""

    def __init__(self, field: str, mend: str) -> None:
        super().__init__(f"{field}: {mend}")
        self.field = field


class FieldConflict(FieldError):
    """It contradicts what is there already."""


@dataclass(frozen=True, slots=True)
class Duty:
    """A shift with who has it, its area, and the person's newest fix (None: none is kept)."""

    shift: Shift
    name: str
    area: Area
    position: Position | None


@dataclass(frozen=True, slots=True)
class Near:
    """A person on duty for a place. ``metres``: from their newest fix, None when it is older than FRESH or there is
    none; ``age_s``: seconds since that fix, None when there is none."""

    duty: Duty
    metres: float | None
    age_s: float | None


async def add_shift(
    session: AsyncSession,
    *,
    user_id: UUID,
    area_id: UUID,
    starts_at: datetime,
    ends_at: datetime,
    actor: Actor,
    at: datetime,
) -> tuple[Shift, bool]:
    """Put a collector on duty. The same shift again gives the first one, and False; audited.

    Raises FieldRefused for a person who is no collector, an area that is not there or times that are none,
    FieldConflict for a shift that overlaps another of the same person.
    """
    if not starts_at < ends_at:
        raise FieldRefused("ends_at", "is not after starts_at: a shift ends after it has begun")
    if ends_at - starts_at > LONGEST_SHIFT:
        hours = (ends_at - starts_at) / timedelta(hours=1)
        raise FieldRefused("ends_at", f"{hours:.1f} h after starts_at: at most 24, make several shifts")
    if starts_at > at + FARTHEST_AHEAD:
        raise FieldRefused("starts_at", f"more than {FARTHEST_AHEAD.days} days ahead: is the year right?")
    await collector(session, user_id, "user", lock=True)
    area = await session.get(Area, area_id)
    if area is None or not area.active:
        raise FieldRefused("area", "there is none with that id on the map in force: see the list of areas")
    overlapping = select(Shift).where(Shift.user_id == user_id, Shift.starts_at < ends_at, Shift.ends_at > starts_at)
    there = await session.scalar(overlapping.order_by(Shift.starts_at).limit(1))
    if there is not None:
        if (there.area_id, there.starts_at, there.ends_at) == (area_id, starts_at, ends_at):
            return there, False
        taken = f"{there.starts_at.isoformat()} to {there.ends_at.isoformat()}"
        raise FieldConflict(f"this person is on duty from {taken} already: end that shift, or choose other times")
    if ends_at <= at:
        raise FieldRefused("ends_at", "is over already: nobody can be put on duty in the past")
    shift = Shift(
        id=uuid4(),
        user_id=user_id,
        area_id=area_id,
        starts_at=starts_at,
        ends_at=ends_at,
        made_by=actor.id,
        made_at=at,
    )
    session.add(shift)
    await session.flush()
    add_entry(session, actor, "shift made", at=at, subject=f"shift:{shift.id}", detail={"user": str(user_id)})
    add_event(session, SHIFT_MADE, at=at, refs={"shift": shift.id, "user": user_id, "area": area_id})
    return shift, True


async def end_shift(session: AsyncSession, shift_id: UUID, *, actor: Actor, at: datetime) -> None:
    """Take a person off duty: a shift to come is taken away, one that runs ends now. Audited.

    Raises FieldNotFound, FieldConflict for one that is over: who was on duty when is not rewritten.
    """
    shift = await session.get(Shift, shift_id, with_for_update=True, populate_existing=True)
    if shift is None:
        raise FieldNotFound("there is no shift with that id")
    if shift.ends_at <= at:
        raise FieldConflict(f"that shift was over at {shift.ends_at.isoformat()}: nothing to end")
    if shift.starts_at >= at:
        await session.delete(shift)
    else:
        shift.ends_at = at
    await session.flush()
    add_entry(session, actor, "shift ended", at=at, subject=f"shift:{shift_id}", detail={"user": str(shift.user_id)})
    add_event(session, SHIFT_ENDED, at=at, refs={"shift": shift_id, "user": shift.user_id, "area": shift.area_id})


async def duty_of(session: AsyncSession, shift_id: UUID) -> Duty:
    """A shift with its person and area. Raises FieldNotFound."""
    row = (await session.execute(_duties(None).where(Shift.id == shift_id))).first()
    if row is None:
        raise FieldNotFound("there is no shift with that id")
    return Duty(*row)


async def roster(session: AsyncSession, day: date, *, areas: Collection[UUID] | None = None) -> list[Duty]:
    """Every shift of which some part lies in ``day`` (Asia/Shanghai), the earliest first; of ``areas`` where given."""
    begins = datetime.combine(day, time(), SHANGHAI)
    ends = begins + timedelta(days=1)  # no summer time in Shanghai since 1991
    query = _duties(areas).where(Shift.starts_at < ends, Shift.ends_at > begins)
    return [Duty(*row) for row in await session.execute(query.order_by(Shift.starts_at, User.username))]


async def on_duty(session: AsyncSession, at: datetime, *, areas: Collection[UUID] | None = None) -> list[Duty]:
    """Who is on duty at ``at``, by area; for one of ``areas`` where given."""
    query = _duties(areas).where(_running(at), User.disabled.is_(False)).order_by(Area.code, User.username)
    return [Duty(*row) for row in await session.execute(query)]


async def shifts_of(session: AsyncSession, user_id: UUID, at: datetime, *, most: int = 31) -> list[Duty]:
    """The shift that a person has now and those to come, the next first."""
    query = _duties(None).where(Shift.user_id == user_id, Shift.ends_at > at).order_by(Shift.starts_at).limit(most)
    return [Duty(*row) for row in await session.execute(query)]


async def shift_of(session: AsyncSession, user_id: UUID, at: datetime) -> Shift | None:
    """The shift that a person has at ``at``."""
    return await session.scalar(select(Shift).where(Shift.user_id == user_id, _running(at)))


async def nearest(session: AsyncSession, place: Point, lies: Lies, at: datetime, *, most: int = 10) -> Sequence[Near]:
    """Who is on duty for ``place``, which ``lies`` in these areas: those with a fresh fix by distance, then the others,
    of the narrowest area first. Empty outside of the map."""
    covering = {area.id: area.level for area in (*lies.tree, *lies.across)}
    if not covering:
        return []
    found = [_near(place, duty, at) for duty in await on_duty(session, at, areas=covering)]
    found.sort(
        key=lambda one: (
            one.metres is None,
            one.metres or 0.0,
            -covering[one.duty.area.id],
            one.duty.shift.starts_at,
            str(one.duty.shift.user_id),
        )
    )
    return found[: max(1, min(most, MOST_NEAREST))]


async def areas_under(session: AsyncSession, area_id: UUID) -> frozenset[UUID]:
    """The area and every one below it."""
    found: set[UUID] = set()
    layer = {area_id}
    for _ in range(_DEEPEST):
        found |= layer
        below = await session.scalars(select(Area.id).where(Area.parent_id.in_(list(layer))))
        layer = set(below) - found
        if not layer:
            break
    return frozenset(found)


async def collector(session: AsyncSession, user_id: UUID, field: str, *, lock: bool = False) -> User:
    """A person who works in the field, held until the transaction ends with ``lock``, so that what is decided by their
    other shifts stays true. Raises FieldRefused."""
    query = select(User).where(User.id == user_id)
    user = await session.scalar(query.with_for_update() if lock else query)
    if user is None or user.disabled or Role.COLLECTOR not in user.roles:
        raise FieldRefused(field, "there is no collector with that id who can sign in: see the list of users")
    return user


def _near(place: Point, duty: Duty, at: datetime) -> Near:
    position = duty.position
    if position is None:
        return Near(duty, None, None)
    # A clock that is a little ahead gives no negative age.
    age = max(0.0, (at - position.taken_at).total_seconds())
    if age > FRESH.total_seconds():
        return Near(duty, None, age)
    return Near(duty, round(metres(place, Point(position.lon, position.lat)), 1), age)


def _running(at: datetime) -> Any:
    return (Shift.starts_at <= at) & (Shift.ends_at > at)


def _duties(areas: Collection[UUID] | None) -> Any:
    query = (
        select(Shift, User.display_name, Area, Position)
        .join(User, User.id == Shift.user_id)
        .join(Area, Area.id == Shift.area_id)
        .outerjoin(Position, Position.tracker == Shift.user_id)
    )
    return query if areas is None else query.where(Shift.area_id.in_(list(areas)))
