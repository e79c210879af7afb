"""Areas and units as others ask for them: made, found by code, who governs a place, who is above whom.

Both trees are walked one parent at a time: they are five levels deep at most, and a circle made by mistake ends the
walk rather than the process.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.city.model import STREET, UNIT_KINDS, Area, Unit

CODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,23}")
"""Codes are those of GB/T 30428.1 (areas, digits) or a city's own."""
AREA_LEVELS: Final = (1, 2, 3, 4, 5)
"""City, district, street, community, grid."""
STREET_LEVEL: Final = 3
UNIT_LEVELS: Final = (1, 2)
"""The city's, a district's."""
_LONGEST_NAME: Final = 80
_DEEPEST: Final = 16
"""Parents that are followed; more is a circle."""


class CityError(Exception):
    """An area or a unit cannot be used as asked; the message names it, the value and the mend."""


class NotThere(CityError):
    """No area or unit has this code or id."""


class CodeTaken(CityError):
    """Another one has this code."""


class BadValue(CityError):
    """A value that no area or unit can have."""


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to make. ``kind``: one of UNIT_KINDS; ``level``: 1 the city's, 2 a district's."""

    code: str
    name: str
    kind: str
    level: int = 2
    parent_id: UUID | None = None
    area_id: UUID | None = None
    leader: str = ""
    duty_phone: str = ""
    round_the_clock: bool = False


async def create_area(
    session: AsyncSession, *, code: str, name: str, level: int, parent_id: UUID | None, actor: Actor, at: datetime
) -> Area:
    """A new area, audited. Raises BadValue, CodeTaken, NotThere (its parent)."""
    _check(code, name)
    if level not in AREA_LEVELS:
        raise BadValue(f"area {code}: level {level} is none of 1 city, 2 district, 3 street, 4 community, 5 grid")
    if parent_id is not None:
        above = await session.get(Area, parent_id)
        if above is None:
            raise NotThere(f"area {code}: there is no area with its parent's id, make that one first")
        if above.level >= level:
            raise BadValue(f"area {code}: its parent {above.code} has level {above.level}, must be above level {level}")
    area = Area(id=uuid4(), code=code, name=name, level=level, parent_id=parent_id)
    await _add(session, area, code)
    add_entry(session, actor, "area made", at=at, subject=f"area:{area.id}", detail={"code": code, "level": level})
    return area


async def create_unit(session: AsyncSession, new: NewUnit, *, actor: Actor, at: datetime) -> Unit:
    """A new unit, audited. Raises BadValue, CodeTaken, NotThere (its parent or area)."""
    _check(new.code, new.name)
    if new.kind not in UNIT_KINDS:
        raise BadValue(f"unit {new.code}: kind {new.kind!r:.24} is none of {', '.join(UNIT_KINDS)}")
    if new.level not in UNIT_LEVELS:
        raise BadValue(f"unit {new.code}: level {new.level} is neither 1 (the city's) nor 2 (a district's)")
    if new.kind == STREET and new.area_id is None:
        raise BadValue(f"unit {new.code}: a street government answers for an area, give its area")
    for what, model, key in (("parent", Unit, new.parent_id), ("area", Area, new.area_id)):
        if key is not None and await session.get(model, key) is None:
            raise NotThere(f"unit {new.code}: there is no {what} with that id, make it first")
    unit = Unit(
        id=uuid4(),
        code=new.code,
        name=new.name,
        kind=new.kind,
        level=new.level,
        parent_id=new.parent_id,
        area_id=new.area_id,
        leader=new.leader,
        duty_phone=new.duty_phone,
        round_the_clock=new.round_the_clock,
        active=True,
        created_at=at,
    )
    await _add(session, unit, new.code)
    add_entry(session, actor, "unit made", at=at, subject=f"unit:{unit.id}", detail={"code": new.code})
    return unit


async def set_active(session: AsyncSession, code: str, active: bool, *, actor: Actor, at: datetime) -> Unit:
    """A unit that is dissolved gets no more orders; its row stays, cases point at it. Audited. Raises NotThere."""
    unit = await unit_by_code(session, code)
    if unit.active != active:
        unit.active = active
        done = "unit taken up" if active else "unit dissolved"
        add_entry(session, actor, done, at=at, subject=f"unit:{unit.id}", detail={"code": code})
    return unit


async def area_by_code(session: AsyncSession, code: str) -> Area:
    """The area with this code. Raises NotThere."""
    area = await session.scalar(select(Area).where(Area.code == code))
    if area is None:
        raise NotThere(f"there is no area {code!r:.26}: see the list of areas, or make it first")
    return area


async def unit_by_code(session: AsyncSession, code: str) -> Unit:
    """The unit with this code, active or not. Raises NotThere."""
    unit = await session.scalar(select(Unit).where(Unit.code == code))
    if unit is None:
        raise NotThere(f"there is no unit {code!r:.26}: see the list of units, or make it first")
    return unit


async def areas(session: AsyncSession, *, after: str = "", limit: int = 200) -> list[Area]:
    """Areas by code, those after ``after``."""
    return list(await session.scalars(select(Area).where(Area.code > after).order_by(Area.code).limit(limit)))


async def units(session: AsyncSession, *, after: str = "", limit: int = 200) -> list[Unit]:
    """Units by code, those after ``after``."""
    return list(await session.scalars(select(Unit).where(Unit.code > after).order_by(Unit.code).limit(limit)))


async def area_codes(session: AsyncSession) -> dict[str, UUID]:
    """Every area's id by its code, for imports."""
    return {code: key for code, key in await session.execute(select(Area.code, Area.id))}


async def unit_codes(session: AsyncSession) -> dict[str, UUID]:
    """Every active unit's id by its code, for imports."""
    found = await session.execute(select(Unit.code, Unit.id).where(Unit.active.is_(True)))
    return {code: key for code, key in found}


async def areas_up(session: AsyncSession, area_id: UUID | None) -> list[Area]:
    """The area and all above it, the narrowest first; empty for None or an area that is not there."""
    found: list[Area] = []
    key = area_id
    while key is not None and len(found) < _DEEPEST:
        area = await session.get(Area, key)
        if area is None:
            break
        found.append(area)
        key = area.parent_id
    return found


async def streets_of(session: AsyncSession, area_id: UUID | None) -> list[Unit]:
    """The active governments (kind ``street``) of the area and of those above it, the nearest first.

    属地: the first is the territorial unit. Of two for one area the one with the smaller code counts first, so that an
    answer does not change from one day to the next.
    """
    place = {area.id: nearness for nearness, area in enumerate(await areas_up(session, area_id))}
    if not place:
        return []
    query = select(Unit).where(Unit.kind == STREET, Unit.active.is_(True), Unit.area_id.in_(list(place)))
    found = await session.scalars(query)
    return sorted(found, key=lambda unit: (place[unit.area_id] if unit.area_id else _DEEPEST, unit.code))


async def street_of(session: AsyncSession, area_id: UUID | None) -> Unit | None:
    """The territorial unit of an area; None: no government is known for it or any area above it."""
    return next(iter(await streets_of(session, area_id)), None)


async def above(session: AsyncSession, unit_id: UUID) -> AsyncIterator[Unit]:
    """The levels above a unit, its parent first, whether active or not."""
    seen = {unit_id}
    unit = await session.get(Unit, unit_id)
    while unit is not None and unit.parent_id is not None and unit.parent_id not in seen:
        seen.add(unit.parent_id)
        unit = await session.get(Unit, unit.parent_id)
        if unit is not None:
            yield unit


async def level_above(session: AsyncSession, unit_id: UUID) -> Unit | None:
    """The nearest active unit above this one: who gets a complaint about it. None: it is the topmost."""
    async for unit in above(session, unit_id):
        if unit.active:
            return unit
    return None


async def subtree(session: AsyncSession, unit_id: UUID) -> frozenset[UUID]:
    """The unit and every unit under it, active or not."""
    found: set[UUID] = set()
    layer = {unit_id}
    while layer:
        found |= layer
        below = await session.scalars(select(Unit.id).where(Unit.parent_id.in_(list(layer))))
        layer = set(below) - found
    return frozenset(found)


def _check(code: str, name: str) -> None:
    if not CODE.fullmatch(code):
        raise BadValue(f"code {code!r:.26} is none: 1 to 24 digits, letters, dots, dashes, beginning with no mark")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise BadValue(f"{code}: its name has {len(name)} characters, must have 1 to {_LONGEST_NAME} printable ones")


async def _add(session: AsyncSession, row: Area | Unit, code: str) -> None:
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise CodeTaken(f"code {code} is taken: choose another, or change the one that has it") from None
