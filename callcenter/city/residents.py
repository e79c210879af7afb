"""People, houses and organisations, looked at for a purpose that is named: masked, audited, counted (000-07, 000-16).

Every look is one transaction that reads and records: a look that cannot be recorded shows nothing. The record says what
was looked at by its code, for which purpose, and how much there was; never a name or number. What was asked for and is
not there gets no code in the record: it may be anything that somebody typed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import add_entry
from callcenter.access.masking import mask_identifiers, mask_name, mask_personal, names_a_person
from callcenter.access.model import AuditEntry, User
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.city import assets, cells, importing, kinds
from callcenter.city.areas import AreaIndex, AreaRef
from callcenter.city.assets import Near
from callcenter.city.coordinates import Point, metres
from callcenter.city.ground import Address, House, Organisation, Person, Place
from callcenter.city.model import Unit

NEAR_M: Final = 30.0
"""How far from a point its door may be, metres: beyond, it is the neighbours' across the road."""
PARTS_M: Final = 50.0
MOST_ADDRESSES: Final = 5
MOST_HOUSES: Final = 200
"""Of one look: a staircase of 33 floors has some 130."""
MOST_PEOPLE: Final = 500
MOST_PARTS: Final = 10
_DENSEST: Final = 2_000
"""Doors read for one point at most: the cells around it of a dense city hold some hundred."""

CASE: Final = "case"
VERIFICATION: Final = "verification"
EMERGENCY: Final = "emergency"
VISIT: Final = "visit"
SUPERVISION: Final = "supervision"
STATISTICS: Final = "statistics"
PURPOSES: Final = MappingProxyType(
    {
        CASE: "案件处置",
        VERIFICATION: "案件核实",
        EMERGENCY: "应急处突",
        VISIT: "入户走访",
        SUPERVISION: "监察督办",
        STATISTICS: "统计",
    }
)
"""Why somebody may look, as people read it. A look for statistics counts and names nobody."""
OF_A_CASE: Final = frozenset({CASE, VERIFICATION})
"""Purposes that are none without the case they are for."""

LOOKED: Final = "residents looked at"
DOSSIER: Final = "dossier read"
PARTICULARS: Final = "registry particulars read"
IN_FULL: Final = " in full"
LOOKS: Final = tuple(action + how for action in (LOOKED, DOSSIER, PARTICULARS) for how in ("", IN_FULL))
"""Audit actions that count towards the limit."""
WINDOW: Final = timedelta(hours=1)


class LookError(Exception):
    """A look that was not taken. The texts repeat nothing that was sent."""


class LookRefused(LookError, ValueError):
    """Something asked for cannot be. ``where``: which part of the question."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


class NotPermitted(LookError):
    """``permission`` is missing."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(f"{permission} is not among your permissions")
        self.permission = permission


class TooManyLooks(LookError):
    """The hour's looks are used up; one more may be taken after ``seconds``."""

    def __init__(self, most: int, seconds: int) -> None:
        super().__init__(f"{most} looks in one hour are used up: wait {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Asking:
    """Who looks, from where, when, and how many looks an hour they have."""

    who: Principal
    at: datetime
    most: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """What a look is for. ``case``: one that the asker may see; ``full``: nothing is masked."""

    purpose: str
    case: UUID | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """What is looked at: ``code`` of an address, house, person or organisation, or ``place``, a point.

    ``category``: of a part that a matter at the point is about; then only parts of it are told.
    """

    by: str
    code: str = ""
    place: Point | None = None
    category: str = ""


ADDRESS: Final = "address"
HOUSE: Final = "house"
PERSON: Final = "person"
ORGANISATION: Final = "organisation"
POINT: Final = "point"
ONE: Final = (PERSON, ORGANISATION)
"""Looks at somebody who is known by code: no statistics are made of one."""


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """A unit: who owns a part, who answers for the ground of an address."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """A door, where it lies, whose ground that is. ``areas``: the narrowest first, professional grids behind those of
    the tree; ``metres``: from the point that was asked about."""

    code: str
    text: str
    place: Point
    metres: float | None
    areas: Sequence[AreaRef]
    units: Sequence[UnitSeen]


@dataclass(frozen=True, slots=True)
class HouseSeen:
    """A house and how many people and organisations are registered in it."""

    code: str
    address: str
    kind: str
    owner_name: str
    people: int
    organisations: int


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """A person as this look may show them."""

    code: str
    house: str
    name: str
    gender: str
    birth_year: int | None
    phone: str
    id_number: str
    kind: str


@dataclass(frozen=True, slots=True)
class OrganisationSeen:
    """An organisation as this look may show it; its own name is public."""

    code: str
    house: str
    name: str
    kind: str
    legal_person: str
    phone: str


@dataclass(frozen=True, slots=True)
class PartSeen:
    """A registered part nearby and who owns and keeps it."""

    near: Near
    owner: UnitSeen | None
    keeper: UnitSeen | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: lists that point to one another by code. ``more``: there is more than one look shows;
    ``left``: looks left in this hour."""

    addresses: Sequence[AddressSeen]
    houses: Sequence[HouseSeen]
    people: Sequence[PersonSeen]
    organisations: Sequence[OrganisationSeen]
    parts: Sequence[PartSeen]
    more: bool
    left: int


class Masks:
    """What is left of particulars for this look."""

    def __init__(self, full: bool) -> None:
        self.full = full

    def name(self, name: str) -> str:
        """张*, 欧阳**; whole in a full look."""
        return name if self.full else mask_name(name)

    def personal(self, value: str) -> str:
        """A number as 138****1234 or 420802********1234, anything else as a name."""
        return value if self.full else mask_personal(value)

    def text(self, text: str) -> str:
        """Words for all to read, without the numbers of people in them."""
        return text if self.full else mask_identifiers(text)


# -- the gate ----------------------------------------------------------------------------------------------------------
async def admit(session: AsyncSession, asking: Asking, why: Why) -> int:
    """Lets one look through; gives how many are left after it. ``session``: the transaction that records the look.

    Raises LookRefused, NotPermitted, TooManyLooks.
    """
    if why.purpose not in PURPOSES:
        raise LookRefused("purpose", f"is none of {', '.join(PURPOSES)}: say what it is for")
    if why.purpose in OF_A_CASE and why.case is None:
        raise LookRefused("case", f"is empty: for the purpose {why.purpose} name the case")
    if why.purpose == STATISTICS and why.full:
        raise LookRefused("full", "statistics count and name nobody: leave it out")
    for needed in (Permission.CITY_READ_PEOPLE, *((Permission.CITY_READ_PEOPLE_FULL,) if why.full else ())):
        if not asking.who.may(needed):
            raise NotPermitted(needed)
    if asking.who.kind == "user":
        # One after the other, or a hundred at once would all find the last place free.
        await session.execute(select(User.id).where(User.id == asking.who.id).with_for_update(key_share=True))
    since = asking.at - WINDOW
    # Keys are counted up as time goes: from the first of this hour the index by actor has few rows to go through.
    first = select(AuditEntry.id).where(AuditEntry.at > since).order_by(AuditEntry.at).limit(1).scalar_subquery()
    query = (
        select(AuditEntry.at)
        .where(
            AuditEntry.actor == str(asking.who.id),
            AuditEntry.id >= first,
            AuditEntry.at > since,
            AuditEntry.action.in_(LOOKS),
            AuditEntry.result == "done",
        )
        .order_by(AuditEntry.id.desc())
        .limit(asking.most)
    )
    taken = list(await session.scalars(query))
    if len(taken) >= asking.most:
        raise TooManyLooks(asking.most, max(1, int((taken[-1] + WINDOW - asking.at).total_seconds()) + 1))
    return asking.most - len(taken) - 1


def record(session: AsyncSession, asking: Asking, why: Why, action: str, subject: str, **counts: int | bool) -> None:
    """Adds the record of one look to its transaction. ``subject``: ``<kind>:<code>`` of a thing that is there."""
    detail: dict[str, str | int | bool | list[str]] = {"purpose": why.purpose, **counts}
    if why.case is not None:
        detail["case"] = str(why.case)
    action += IN_FULL if why.full else ""
    add_entry(session, asking.who.actor(asking.address), action, at=asking.at, subject=subject, detail=detail)


# -- looking -----------------------------------------------------------------------------------------------------------
async def look(session: AsyncSession, index: AreaIndex, where: Where, why: Why, asking: Asking) -> Seen:
    """What is at ``where``; nothing where nothing is. Recorded in the transaction of ``session``, which must write.

    ``index``: the map in force. Raises LookRefused, NotPermitted, TooManyLooks; then nothing was read.
    """
    if where.by == PERSON and names_a_person(where.code):
        raise LookRefused("code", "is an identity or telephone number: look by the code that the city gave")
    if why.purpose == STATISTICS and where.by in ONE:
        raise LookRefused("purpose", f"no statistics are made of one {where.by}: name another purpose")
    left = await admit(session, asking, why)
    reading = _Reading(session, await importing.in_force(session), Masks(why.full))
    doors, houses, people, organisations = await reading.found(where)
    more = len(houses) > MOST_HOUSES
    houses = houses[:MOST_HOUSES]
    codes = [house.code for house in houses]
    residents, tenants = await reading.counts(Person, codes), await reading.counts(Organisation, codes)
    if why.purpose == STATISTICS:
        people = organisations = ()
    elif where.by not in ONE:
        people = await reading.rows(Person, Person.house, codes, MOST_PEOPLE)
        organisations = await reading.rows(Organisation, Organisation.house, codes, MOST_PEOPLE)
        more |= sum(residents.values()) > len(people) or sum(tenants.values()) > len(organisations)
    seen = Seen(
        addresses=await reading.addresses(doors, index),
        houses=[
            HouseSeen(
                house.code,
                house.address,
                house.kind,
                "" if why.purpose == STATISTICS else reading.masks.name(house.owner_name),
                residents.get(house.code, 0),
                tenants.get(house.code, 0),
            )
            for house in houses
        ],
        people=[reading.person(row) for row in people],
        organisations=[organisation_seen(row, reading.masks) for row in organisations],
        parts=await reading.parts(where, doors),
        more=more,
        left=left,
    )
    there = bool(doors or houses or people or organisations)
    if where.place is not None:
        subject = f"point:{where.place.lon:.5f},{where.place.lat:.5f}"
    else:
        subject = f"{where.by}:{where.code if there else '?'}"
    record(
        session,
        asking,
        why,
        LOOKED,
        subject,
        addresses=len(seen.addresses),
        houses=len(seen.houses),
        people=len(seen.people),
        organisations=len(seen.organisations),
    )
    await session.flush()  # before anything is shown: who cannot be recorded must not read
    return seen


def organisation_seen(row: Organisation, masks: Masks) -> OrganisationSeen:
    """``row`` as a look may show it."""
    return OrganisationSeen(
        row.code, row.house, row.name, row.kind, masks.name(row.legal_person), masks.personal(row.phone)
    )


async def unit_names(session: AsyncSession, codes: Collection[str]) -> dict[str, UnitSeen]:
    """The units with these codes, dissolved ones too."""
    wanted = sorted({code for code in codes if code})
    if not wanted:
        return {}
    rows = await session.execute(select(Unit.code, Unit.name).where(Unit.code.in_(wanted)))
    return {row.code: UnitSeen(row.code, row.name) for row in rows}


Door = tuple[Address, float | None]


class _Reading:
    """The versions in force, as one look reads them."""

    def __init__(self, session: AsyncSession, versions: dict[str, int], masks: Masks) -> None:
        self.session = session
        self.versions = versions
        self.masks = masks

    async def found(self, where: Where) -> tuple[list[Door], Sequence[House], Sequence[Person], Sequence[Organisation]]:
        """Doors, houses and whom the question itself names."""
        people: Sequence[Person] = ()
        organisations: Sequence[Organisation] = ()
        if where.place is not None:
            doors = await self._doors_near(where.place)
            return doors, await self._houses_of(doors), people, organisations
        if where.by == ADDRESS:
            doors = [(row, None) for row in await self._coded(Address, [where.code])]
            return doors, await self._houses_of(doors), people, organisations
        houses = [where.code]
        if where.by == PERSON:
            people = await self._coded(Person, houses)
            houses = [row.house for row in people]
        elif where.by == ORGANISATION:
            organisations = await self._coded(Organisation, houses)
            houses = [row.house for row in organisations]
        elif where.by != HOUSE:
            raise LookRefused("by", f"is none of {', '.join((ADDRESS, HOUSE, PERSON, ORGANISATION, POINT))}")
        rows = await self._coded(House, houses)
        behind = await self._coded(Address, [house.address for house in rows])
        return [(door, None) for door in behind], rows, people, organisations

    async def rows(self, table: Any, column: Any, values: Sequence[str], most: int) -> Sequence[Any]:
        """At most ``most`` rows of the version in force with ``column`` one of ``values``, by code."""
        key = self.versions.get(_KIND[table])
        if key is None or not values:
            return ()
        query = select(table).where(table.import_id == key, column.in_(values)).order_by(column, table.code)
        return list(await self.session.scalars(query.limit(most)))

    async def counts(self, table: Any, houses: Sequence[str]) -> dict[str, int]:
        """How many rows each of ``houses`` has."""
        key = self.versions.get(_KIND[table])
        if key is None or not houses:
            return {}
        query = select(table.house, func.count()).where(table.import_id == key, table.house.in_(houses))
        return {house: count for house, count in await self.session.execute(query.group_by(table.house))}

    async def addresses(self, doors: Sequence[Door], index: AreaIndex) -> list[AddressSeen]:
        """``doors`` with the names of their roads, their areas, and the units of those."""
        named = await self.rows(Place, Place.code, sorted({door.place for door, _ in doors}), len(doors))
        names = {row.code: row.name for row in named}
        lies = [index.at(Point(door.lon, door.lat)) for door, _ in doors]
        grounds = {area.id for one in lies for area in one.tree}
        units: dict[UUID, list[UnitSeen]] = {}
        if grounds:
            query = select(Unit.area_id, Unit.code, Unit.name).where(
                Unit.area_id.in_(sorted(grounds)), Unit.active.is_(True)
            )
            for row in await self.session.execute(query.order_by(Unit.code)):
                units.setdefault(row.area_id, []).append(UnitSeen(row.code, row.name))
        return [
            AddressSeen(
                door.code,
                _text(door, names.get(door.place, "")),
                Point(door.lon, door.lat),
                far,
                (*there.tree, *there.across),
                [unit for area in there.tree for unit in units.get(area.id, ())],
            )
            for (door, far), there in zip(doors, lies, strict=True)
        ]

    async def parts(self, where: Where, doors: Sequence[Door]) -> list[PartSeen]:
        """What stands around an address or point: the responsibility for it is its owner's."""
        place = where.place
        if place is None and where.by == ADDRESS and doors:
            place = Point(doors[0][0].lon, doors[0][0].lat)
        if place is None:
            return []
        key = self.versions.get(kinds.ASSETS)
        if where.category:
            near = await assets.candidates(self.session, key, place, where.category, precise=True)
        else:
            near = await assets.nearest(self.session, key, place, within_m=PARTS_M, most=MOST_PARTS)
        units = await unit_names(self.session, {code for one in near for code in (one.asset.owner, one.asset.keeper)})
        return [PartSeen(one, units.get(one.asset.owner), units.get(one.asset.keeper)) for one in near]

    def person(self, row: Person) -> PersonSeen:
        """``row`` as this look may show it."""
        return PersonSeen(
            row.code,
            row.house,
            self.masks.name(row.name),
            row.gender,
            row.birth_year,
            self.masks.personal(row.phone),
            self.masks.personal(row.id_number),
            row.kind,
        )

    async def _coded(self, table: Any, codes: Sequence[str]) -> Sequence[Any]:
        return await self.rows(table, table.code, [code for code in codes if code], MOST_HOUSES)

    async def _houses_of(self, doors: Sequence[Door]) -> Sequence[House]:
        return await self.rows(House, House.address, [door.code for door, _ in doors], MOST_HOUSES + 1)

    async def _doors_near(self, place: Point) -> list[Door]:
        key = self.versions.get(kinds.ADDRESSES)
        if key is None:
            return []
        query = select(Address).where(cells.within(Address.cell, place, NEAR_M, Address.import_id == key))
        rows = await self.session.scalars(query.limit(_DENSEST))
        reached = [(round(metres(place, Point(row.lon, row.lat)), 1), row.code, row) for row in rows]
        nearest = sorted(one for one in reached if one[0] <= NEAR_M)[:MOST_ADDRESSES]
        return [(row, far) for far, _, row in nearest]


_KIND: Final[dict[Any, str]] = {
    Address: kinds.ADDRESSES,
    House: kinds.HOUSES,
    Organisation: kinds.ORGANISATIONS,
    Person: kinds.PEOPLE,
    Place: kinds.PLACES,
}
"""Which import the rows of a table are of."""


def _text(door: Address, place: str) -> str:
    """As people write it: 解放大道12号, 东方花园3栋2单元."""
    parts = ((door.number, "号"), (door.building, "栋"), (door.door, "单元"))
    return place + "".join(f"{number}{word}" for number, word in parts if number is not None)
