"""Imports of what a city fills in: its responsibility list (事项清单) and its patrol lists, from CSV.

All or nothing: every fault of a file is named with row, column, value and mend (``callcenter.tables``), and while there
is one nothing is stored.
"""

import asyncio
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.cases.deadlines import Limit, LimitUnit
from callcenter.cases.lists import PatrolItem, ResponsibilityItem, ResponsibilityList
from callcenter.city import units
from callcenter.tables.rows import Fault, Row, TableRefused, once, plain, rows_of
from callcenter.tables.sources import records_of_list
from classifier import taxonomy

LONGEST_LIMIT: Final = 1_000.0
"""Of any unit; the longest limit of the sample is 15 working days."""
DEFAULT_LEVEL: Final = 3
"""The street: without a level nothing is settled on the spot by a grid worker."""

LINES: Final = MappingProxyType(
    {"城市管理": "city", "社会管理": "society", "治安管理": "security", "交通管理": "traffic"}
)
KINDS: Final = MappingProxyType({"部件": "part", "事件": "event", "社管": "social", "社会": "social"})
LEVELS: Final = MappingProxyType({"网格": "1", "片区": "2", "街道": "3", "市": "4", "市级": "4"})
UNITS: Final = MappingProxyType(
    {
        "紧急工作时": LimitUnit.URGENT_HOUR,
        "紧急工作日": LimitUnit.URGENT_DAY,
        "工作时": LimitUnit.WORK_HOUR,
        "小时": LimitUnit.WORK_HOUR,
        "工作日": LimitUnit.WORK_DAY,
        "天": LimitUnit.WORK_DAY,
    }
)
"""Units of GB/T 30428.8 and CJ/T 315 as people write them; a bare 小时 or 天 is working time, as in the sample."""

_CATEGORY: Final = {
    "standard": ("标准",),
    "kind": ("类型", "类别类型"),
    "category_code": ("类别编码", "小类编码"),
    "category": ("类别", "小类", "小类名称"),
    "remark": ("备注",),
}
ITEM_COLUMNS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "code": ("事项编号", "编号"),
        **_CATEGORY,
        "area": ("区域", "区域编码"),
        "unit": ("单位", "责任单位", "单位编码"),
        "filing_condition": ("立案条件",),
        "closing_condition": ("结案条件",),
        "limit_value": ("处置时限", "时限"),
        "limit_unit": ("时限单位",),
        "line": ("管理线",),
        "level": ("层级", "级别"),
    }
)
"""Columns of a responsibility list and their Chinese names."""
ITEM_NEEDS: Final = frozenset(
    {"code", "kind", "category_code", "area", "unit", "filing_condition", "closing_condition"}
    | {"limit_value", "limit_unit"}
)
PATROL_COLUMNS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {"code": ("编号",), "name": ("名称", "事项名称"), **_CATEGORY, "every_days": ("周期", "周期天数")}
)
PATROL_NEEDS: Final = frozenset({"code", "name", "kind", "category_code"})


class ListBusy(Exception):
    """Somebody else imported a version of this list at the same moment: import again."""


@dataclass(frozen=True, slots=True)
class Item:
    """One rule as a file has it, its codes resolved."""

    code: str
    standard: str
    kind: str
    category_code: str
    area_id: UUID | None
    unit_id: UUID | None
    filing_condition: str
    closing_condition: str
    limit: Limit
    line: str
    level: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. ``new`` False: the newest version has the same content, nothing was stored."""

    name: str
    version: int
    rows: int
    new: bool
    list_id: UUID | None = None
    """Of a responsibility list."""


def parse_items(data: bytes, areas: Mapping[str, UUID], orgs: Mapping[str, UUID]) -> list[Item]:
    """The rules of a responsibility list. ``areas`` and ``orgs``: ids of areas and active units by code.

    Raises TableRefused with every fault.
    """
    faults: list[Fault] = []
    found: list[Item] = []
    codes: dict[Hashable, int] = {}
    rules: dict[Hashable, int] = {}
    for row in rows_of(records_of_list(data), ITEM_COLUMNS, ITEM_NEEDS, faults):
        code = row.text("code", 40)
        standard, kind, category = _category(row)
        item = Item(
            code,
            standard,
            kind,
            category,
            row.reference("area", areas, "area"),
            row.reference("unit", orgs, "unit"),
            row.text("filing_condition", 400),
            row.text("closing_condition", 400),
            _limit(row),
            row.choice("line", LINES, "society" if kind == "social" else "city"),
            _level(row),
        )
        once(row, "code", code, codes)
        if not row.bad:
            rule = (standard, kind, category, item.area_id, item.unit_id, item.filing_condition)
            once(row, "filing_condition", rule, rules)
        found.append(item)
    if faults:
        raise TableRefused(faults)
    return found


def parse_patrol(data: bytes) -> list[dict[str, Any]]:
    """The items of a patrol list, as rows without list, version and id. Raises TableRefused with every fault."""
    faults: list[Fault] = []
    found: list[dict[str, Any]] = []
    codes: dict[Hashable, int] = {}
    for row in rows_of(records_of_list(data), PATROL_COLUMNS, PATROL_NEEDS, faults):
        code, name = row.text("code", 40), row.text("name", 120)
        standard, kind, category = _category(row)
        every = plain(row.cells.get("every_days", ""))
        if every and not (every.isdecimal() and 1 <= int(every[:6]) <= 366):
            row.fault("every_days", "is no number of days from 1 to 366: leave it empty for no fixed round")
            every = ""
        once(row, "code", code, codes)
        found.append(
            {
                "code": code,
                "name": name,
                "standard": standard,
                "kind": kind,
                "category_code": category,
                "every_days": int(every) if every else None,
            }
        )
    if faults:
        raise TableRefused(faults)
    return found


async def import_items(
    session: AsyncSession, data: bytes, *, name: str, actor: Actor, at: datetime, in_force_from: datetime | None = None
) -> Imported:
    """A new version of the responsibility list ``name``, in force from ``in_force_from`` (default: ``at``); audited.

    The same file as the newest version's (by SHA-256) makes none. Raises TableRefused, ListBusy, ValueError for a name
    that is none.
    """
    _check_name(name)
    digest = sha256(data).hexdigest()
    newest = await session.scalar(
        select(ResponsibilityList)
        .where(ResponsibilityList.name == name)
        .order_by(ResponsibilityList.version.desc())
        .limit(1)
    )
    if newest is not None and newest.sha256 == digest:
        return Imported(name, newest.version, newest.items, False, newest.id)
    areas, orgs = await units.area_codes(session), await units.unit_codes(session)
    items = await asyncio.to_thread(parse_items, data, areas, orgs)
    made = ResponsibilityList(
        id=uuid4(),
        name=name,
        version=newest.version + 1 if newest is not None else 1,
        in_force_from=in_force_from or at,
        imported_at=at,
        imported_by=actor.id or actor.kind,
        sha256=digest,
        items=len(items),
    )
    try:
        async with session.begin_nested():
            session.add(made)
    except IntegrityError:
        raise ListBusy(f"list {name}: another version was imported at this moment, import again") from None
    await session.execute(insert(ResponsibilityItem), [_as_row(made.id, item) for item in items])
    detail: dict[str, str | int | bool | list[str]] = {"name": name, "version": made.version, "rows": len(items)}
    add_entry(session, actor, "list imported", at=at, subject=f"list:{made.id}", detail={**detail, "sha256": digest})
    return Imported(name, made.version, len(items), True, made.id)


async def import_patrol(session: AsyncSession, data: bytes, *, name: str, actor: Actor, at: datetime) -> Imported:
    """A new version of the patrol list ``name``; audited. The same rows as the newest version's make none.

    Raises TableRefused, ListBusy, ValueError for a name that is none.
    """
    _check_name(name)
    rows = await asyncio.to_thread(parse_patrol, data)
    version = await session.scalar(select(func.max(PatrolItem.version)).where(PatrolItem.list_name == name)) or 0
    kept = {tuple(row.values()) for row in rows}
    if version and {_patrol_key(item) for item in await patrol_items(session, name)} == kept:
        return Imported(name, version, len(rows), False)
    fresh = [{"id": uuid4(), "list_name": name, "version": version + 1, **row} for row in rows]
    try:
        async with session.begin_nested():
            await session.execute(insert(PatrolItem), fresh)
    except IntegrityError:
        raise ListBusy(f"patrol list {name}: another version was imported at this moment, import again") from None
    detail: dict[str, str | int | bool | list[str]] = {"name": name, "version": version + 1, "rows": len(rows)}
    detail["sha256"] = sha256(data).hexdigest()
    add_entry(session, actor, "patrol list imported", at=at, subject="list:patrol", detail=detail)
    return Imported(name, version + 1, len(rows), True)


async def patrol_items(session: AsyncSession, name: str) -> list[PatrolItem]:
    """The items of the newest version of a patrol list, by code."""
    newest = select(func.max(PatrolItem.version)).where(PatrolItem.list_name == name).scalar_subquery()
    query = select(PatrolItem).where(PatrolItem.list_name == name, PatrolItem.version == newest)
    return list(await session.scalars(query.order_by(PatrolItem.code)))


async def lists(session: AsyncSession, limit: int = 200) -> list[ResponsibilityList]:
    """The versions of all responsibility lists, the newest import first."""
    query = select(ResponsibilityList).order_by(ResponsibilityList.imported_at.desc(), ResponsibilityList.id)
    return list(await session.scalars(query.limit(limit)))


def _as_row(list_id: UUID, item: Item) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "list_id": list_id,
        "code": item.code,
        "standard": item.standard,
        "kind": item.kind,
        "category_code": item.category_code,
        "area_id": item.area_id,
        "unit_id": item.unit_id,
        "filing_condition": item.filing_condition,
        "closing_condition": item.closing_condition,
        "limit_value": item.limit.value,
        "limit_unit": item.limit.unit.value,
        "line": item.line,
        "level": item.level,
    }


def _patrol_key(item: PatrolItem) -> tuple[Any, ...]:
    return item.code, item.name, item.standard, item.kind, item.category_code, item.every_days


def _category(row: Row) -> tuple[str, str, str]:
    """Standard, kind and code of a category that there is."""
    kind = row.choice("kind", KINDS)
    code = plain(row.text("category_code", 16))
    standard = row.cells.get("standard", "").strip() or (
        taxonomy.SOCIAL if kind == "social" else taxonomy.DEFAULT_STANDARD
    )
    if standard not in taxonomy.standards():
        row.fault("standard", f"is not known here: one of {', '.join(taxonomy.standards())}")
    elif not row.bad and (kind, code) not in _categories(standard):
        dropped = (kind, f"0{code}") in _categories(standard)
        mend = f"did a table program drop a zero? 0{code}" if dropped else "take one from its table"
        row.fault("category_code", f"{standard} has no {kind} with this code: {mend}")
    return standard, kind, code


@cache
def _categories(standard: str) -> frozenset[tuple[str, str]]:
    return frozenset((entry.category.kind, entry.category.code) for entry in taxonomy.load(standard).entries)


def _limit(row: Row) -> Limit:
    text = plain(row.cells.get("limit_value", ""))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= LONGEST_LIMIT:  # also what is no number
        row.fault("limit_value", f"is no number above 0 and up to {LONGEST_LIMIT:g}")
        value = 1.0
    names = {**{name: unit.value for name, unit in UNITS.items()}}
    unit = row.choice("limit_unit", names)
    return Limit(value, LimitUnit(unit) if unit in names.values() else LimitUnit.WORK_DAY)


def _level(row: Row) -> int:
    level = row.choice("level", LEVELS, str(DEFAULT_LEVEL))
    return int(level) if level in LEVELS.values() else DEFAULT_LEVEL


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 80 or not name.isprintable():
        raise ValueError(f"a list's name has 1 to 80 printable characters, this one has {len(name)}")
