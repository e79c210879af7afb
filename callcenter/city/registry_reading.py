"""Reading the registries: all of one by code, what is near a point, one entry (000-06, 000-19, 001-09, 004-08, 004-12).

What tells of people is masked here for everybody; whole it is read for a purpose (``particulars``), as residents are.
A camera's stream is shown as its owner says: of open ones to all, of those that want to be asked one at a time, to who
may and with a record, of closed ones to nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import add_entry
from callcenter.access.masking import mask_identifiers, mask_name, mask_personal
from callcenter.access.permissions import Permission
from callcenter.city import cells, importing, residents
from callcenter.city.coordinates import Point, metres
from callcenter.city.ground import IN_FORCE, CityImport, Registered
from callcenter.city.registries import ASKED, CAMERAS, OPEN, REGISTRIES, Registry
from callcenter.city.residents import Asking, NotPermitted, UnitSeen, Why

MOST_NEAR: Final = 50
_DENSEST: Final = 4_000
"""Rows read for one look at most: more stand within five kilometres nowhere that is known."""
SHOWN: Final = "camera stream shown"
READ: Final = "registry read"
NUMBERS: Final = ("phone",)
"""Personal columns that hold a number; the others hold a name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a registry. ``particulars``: what its kind alone has; ``stream``: of a camera, where it may be seen,
    else empty; ``metres``: from the point that was asked about."""

    code: str
    name: str
    owner: UnitSeen | None
    place: Point | None
    particulars: Mapping[str, Any]
    stream: str = ""
    metres: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A registry and what is in force of it: nothing, where nothing was imported."""

    registry: Registry
    entries: int = 0
    version: int | None = None
    imported_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Narrow:
    """What entries must be: all that is given, together. ``grade``: of risk sources, 1 is the gravest."""

    owner: str = ""
    kind: str = ""
    grade: int | None = None


async def catalogue(session: AsyncSession) -> list[Listed]:
    """Every registry, with how many entries it has and since when."""
    rows = await session.scalars(
        select(CityImport).where(CityImport.state == IN_FORCE, CityImport.kind.in_(tuple(REGISTRIES)))
    )
    there = {row.kind: row for row in rows}
    return [
        Listed(one, there[name].rows, there[name].version, there[name].ended_at) if name in there else Listed(one)
        for name, one in REGISTRIES.items()
    ]


async def entries(
    session: AsyncSession, registry: Registry, asking: Asking, narrow: Narrow, *, after: str = "", limit: int = 200
) -> list[Entry]:
    """Entries by code, beyond the code ``after``."""
    query = await _in_force(session, registry)
    if query is None:
        return []
    if after:
        query = query.where(Registered.code > after)
    query = _narrowed(query, narrow).order_by(Registered.code).limit(limit)
    rows = [(row, None) for row in await session.scalars(query)]
    _note(session, registry, asking, entries=len(rows))
    return await _entries(session, registry, rows)


async def near(
    session: AsyncSession,
    registry: Registry,
    asking: Asking,
    narrow: Narrow,
    place: Point,
    *,
    within_m: float,
    most: int = 10,
) -> list[Entry]:
    """The entries nearest to ``place``, the nearest first, at most MOST_NEAR; those without a place are nowhere near.

    Raises ValueError for ``within_m`` beyond ``cells.FARTHEST_M``.
    """
    query = await _in_force(session, registry)
    found: list[tuple[float, str, Registered]] = []
    if query is None:
        return []
    for radius in cells.widening(within_m):
        reach = _narrowed(query, narrow).where(cells.within(Registered.cell, place, radius))
        rows = await session.scalars(reach.limit(_DENSEST))
        reached = [
            (metres(place, Point(row.lon, row.lat)), row.code, row)
            for row in rows
            if row.lon is not None and row.lat is not None
        ]
        found = sorted(one for one in reached if one[0] <= radius)[: min(most, MOST_NEAR)]
        if len(found) >= most:
            break
    _note(session, registry, asking, entries=len(found))
    return await _entries(session, registry, [(row, round(far, 1)) for far, _, row in found])


async def one(session: AsyncSession, registry: Registry, asking: Asking, code: str) -> Entry | None:
    """The entry with ``code``. A stream that has to be asked for is shown to who may, and that is recorded in the
    transaction of ``session``."""
    row = await _row(session, registry, code)
    if row is None:
        return None
    _note(session, registry, asking, entries=1)
    [entry] = await _entries(session, registry, [(row, None)])
    stream = row.particulars.get("stream", "")
    asked = registry.name == CAMERAS and row.particulars.get("view_right") == ASKED
    if stream and asked and asking.who.may(Permission.CITY_VIEW_CAMERAS):
        add_entry(session, asking.who.actor(asking.address), SHOWN, at=asking.at, subject=f"{registry.name}:{row.code}")
        await session.flush()  # before it is shown
        return replace(entry, stream=stream)
    return entry


async def particulars(
    session: AsyncSession, registry: Registry, code: str, why: Why, asking: Asking
) -> dict[str, str] | None:
    """What the entry with ``code`` tells of people, whole; None where there is no such entry, which is recorded too.

    Raises LookRefused, NotPermitted, TooManyLooks; then nothing was read.
    """
    if not asking.who.may(Permission.CITY_READ_PEOPLE_FULL):
        raise NotPermitted(Permission.CITY_READ_PEOPLE_FULL)
    why = replace(why, full=True)
    await residents.admit(session, asking, why)
    row = await _row(session, registry, code)
    subject = f"{registry.name}:{row.code if row else '?'}"
    residents.record(session, asking, why, residents.PARTICULARS, subject, entries=int(row is not None))
    await session.flush()
    if row is None:
        return None
    return {name: str(row.particulars[name]) for name in sorted(registry.personal) if name in row.particulars}


async def _in_force(session: AsyncSession, registry: Registry) -> Select[Registered] | None:
    key = (await importing.in_force(session)).get(registry.name)
    return None if key is None else select(Registered).where(Registered.import_id == key)


async def _row(session: AsyncSession, registry: Registry, code: str) -> Registered | None:
    query = await _in_force(session, registry)
    return None if query is None else await session.scalar(query.where(Registered.code == code))


def _narrowed(query: Select[Registered], narrow: Narrow) -> Select[Registered]:
    # No index goes into particulars: a registry has some thousand entries, found by its import's key.
    if narrow.owner:
        query = query.where(Registered.owner == narrow.owner)
    if narrow.kind:
        query = query.where(Registered.particulars["kind"].as_string() == narrow.kind)
    if narrow.grade is not None:
        query = query.where(Registered.particulars["grade"].as_integer() == narrow.grade)
    return query


def _note(session: AsyncSession, registry: Registry, asking: Asking, **counts: int) -> None:
    """The record of who read a registry whose readers are recorded."""
    if registry.audited:
        actor = asking.who.actor(asking.address)
        add_entry(session, actor, READ, at=asking.at, subject=f"registry:{registry.name}", detail={**counts})


async def _entries(
    session: AsyncSession, registry: Registry, rows: Sequence[tuple[Registered, float | None]]
) -> list[Entry]:
    units = await residents.unit_names(session, {row.owner for row, _ in rows})
    return [
        Entry(
            code=row.code,
            name=row.name,
            owner=units.get(row.owner),
            place=Point(row.lon, row.lat) if row.lon is not None and row.lat is not None else None,
            particulars=_shown(registry, row.particulars),
            stream=_stream(registry, row.particulars),
            metres=far,
        )
        for row, far in rows
    ]


def _shown(registry: Registry, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` without a stream, and with what tells of people masked."""
    shown: dict[str, Any] = {}
    for name, value in given.items():
        if name == "stream":
            continue
        if name not in registry.own or name in registry.personal:
            value = mask_personal(str(value)) if name in NUMBERS else mask_name(str(value))
        elif isinstance(value, str) and registry.own[name].form == "text":
            value = mask_identifiers(value)
        shown[name] = value
    return shown


def _stream(registry: Registry, given: Mapping[str, Any]) -> str:
    if registry.name == CAMERAS and given.get("view_right") == OPEN:
        return str(given.get("stream", ""))
    return ""
