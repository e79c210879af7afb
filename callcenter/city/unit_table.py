"""The list of units as a file: made or changed by code, never deleted; who is not in it any more stays as they were."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city.model import DEPARTMENT, STREET, UTILITY, Area, Unit
from callcenter.city.units import CODE
from callcenter.tables.rows import Faults, once, plain, rows_of
from callcenter.tables.sources import Source

MOST_UNITS: Final = 20_000
COLUMNS: Final = MappingProxyType(
    {
        "code": ("编码", "单位编码"),
        "name": ("名称", "单位名称"),
        "kind": ("类型",),
        "level": ("级别",),
        "parent": ("上级", "上级编码"),
        "area": ("区域", "区域编码"),
        "leader": ("负责人", "负责岗位"),
        "duty_phone": ("值班电话",),
        "round_the_clock": ("全天候",),
    }
)
NEEDS: Final = frozenset({"code", "name", "kind", "level"})
_KINDS: Final = MappingProxyType(
    {"部门": DEPARTMENT, "街道": STREET, "公用事业": UTILITY} | {kind: kind for kind in (DEPARTMENT, STREET, UTILITY)}
)
_YES: Final = MappingProxyType({"是": "1", "否": "0", "1": "1", "0": "0"})


@dataclass(frozen=True, slots=True)
class TableUnit:
    """One unit of a file; ``parent`` and ``area`` are codes, or empty."""

    code: str
    name: str
    kind: str
    level: int
    parent: str
    area: str
    leader: str
    duty_phone: str
    round_the_clock: bool


def units_of(source: Source, areas: frozenset[str], faults: Faults) -> list[TableUnit]:
    """The units of a file, ``faults`` in its rows. ``areas``: codes of those that there are."""
    found: list[tuple[TableUnit, int]] = []
    seen: dict[Hashable, int] = {}
    rows = {}
    for row in rows_of(source.records(), COLUMNS, NEEDS, faults, most=MOST_UNITS):
        code = row.word("code", 24)
        if code and not CODE.fullmatch(code):
            row.fault("code", "must be 1 to 24 letters, digits, dots, dashes")
        once(row, "code", code, seen)
        area = plain(row.cells.get("area", ""))
        if area and area not in areas:
            row.fault("area", "there is no such area: import the map first")
        kind = row.choice("kind", _KINDS)
        if kind == STREET and not area:
            row.fault("area", "is empty: a street government answers for an area")
        phone = row.word("duty_phone", 32, needed=False)
        if phone and not all(sign in "0123456789+ -" for sign in phone):
            row.fault("duty_phone", "must be digits, blanks, + and - only")
        unit = TableUnit(
            code=code,
            name=row.text("name", 80),
            kind=kind,
            level=row.whole("level", 1, 2) or 0,
            parent=plain(row.cells.get("parent", "")),
            area=area,
            leader=row.text("leader", 40, needed=False),
            duty_phone=phone,
            round_the_clock=row.choice("round_the_clock", _YES, default="0") == "1",
        )
        if not unit.level and not row.bad:
            row.fault("level", "is empty: 1 the city's, 2 a district's")
        rows[code] = row
        found.append((unit, row.number))
    by_code = {unit.code: unit for unit, _ in found}
    for unit, _ in found:
        if not unit.parent:
            continue
        above = by_code.get(unit.parent)
        if above is None:
            rows[unit.code].fault("parent", "is no unit of this file: the list is imported whole")
        elif above.level > unit.level or above is unit:
            rows[unit.code].fault("parent", f"has level {above.level}: must not be below level {unit.level}")
        elif _goes_round(unit, by_code):
            rows[unit.code].fault("parent", "goes round in a circle: one of the units above it has none")
    return [unit for unit, _ in found]


def _goes_round(unit: TableUnit, by_code: Mapping[str, TableUnit]) -> bool:
    seen: set[str] = set()
    above: TableUnit | None = unit
    while above is not None and above.code not in seen:
        seen.add(above.code)
        above = by_code.get(above.parent)
    return above is unit


async def store(session: AsyncSession, found: Sequence[TableUnit], at: datetime) -> None:
    """Make or change the units, those above first."""
    there = {unit.code: unit for unit in await session.scalars(select(Unit))}
    areas = {code: key for code, key in await session.execute(select(Area.code, Area.id))}
    for given in found:
        if given.code not in there:
            made = Unit(id=uuid4(), code=given.code, created_at=at, active=True, parent_id=None)
            there[given.code] = made
            session.add(made)
        unit = there[given.code]
        unit.name, unit.kind, unit.level = given.name, given.kind, given.level
        unit.area_id = areas[given.area] if given.area else None
        unit.leader, unit.duty_phone = given.leader, given.duty_phone
        unit.round_the_clock, unit.active = given.round_the_clock, True
    await session.flush()
    for given in found:
        there[given.code].parent_id = there[given.parent].id if given.parent else None
    await session.flush()
