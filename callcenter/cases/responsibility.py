"""Whose a case is, within what limit, and whether it is looked at first.

先属主、后属地 (SEED_FEATURES 002-05): the asset's owner, then the unit that the responsibility list names for the
category in the area, then the area's street. 就高不就低 (003-05): of several limits the strictest. Who is accused never
gets the complaint: it goes to the level above. What is decided here is told in docs/responsibility.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.cases import deadlines, filing_rules
from callcenter.cases.calendar import Calendar, default_calendar
from callcenter.cases.deadlines import Limit, LimitUnit
from callcenter.cases.dispatch_rates import first_dispatch_accuracy as first_dispatch_accuracy
from callcenter.cases.dispatch_rates import return_rate as return_rate
from callcenter.cases.lifecycle import DISPATCH_FIRST, EXEMPT, MODES, VERIFY_FIRST
from callcenter.cases.list_import import DEFAULT_LEVEL
from callcenter.cases.lists import ResponsibilityItem, ResponsibilityList, VerificationRule
from callcenter.cases.model import Case, CaseParticulars
from callcenter.city import units
from callcenter.city.model import Unit
from callcenter.storage.rows import insert_new

OWNER, ITEM, STREET = "owner", "item", "street"
"""By what a unit was found."""
LEVEL_ABOVE: Final = "level_above"
"""The unit found is accused, or belongs to the accused: the order goes above it."""
NO_AREA, NO_STREET, ALL_ACCUSED = "no_area", "no_street", "all_accused"
"""Why none was: the case has no known area; no government of the area is known; nobody is above the accused."""
LISTED, SHIPPED, ORDINARY = "listed", "shipped_rule", "ordinary_limit"
"""Where the limit comes from: the city's list; our default rules; no rule at all."""

RETURN_LIMIT: Final = Limit(2, LimitUnit.WORK_DAY)
"""Within it an order may be given back as another unit's (Shandong, DOMAIN.md §3); ``CitySettings.give_back``."""

DISPATCHED_FIRST: Final = frozenset({"phone"})
EXEMPT_SOURCES: Final = frozenset({"collector", "110", "iot", "video"})
"""Somebody of the house, the police or a device has seen it already."""

_LOCAL: Final = re.compile(r"村|社区|居委|街道|办事处|乡|镇")
"""In who is accused: somebody of the place's own government or of a committee under it."""

_ORDINARY_CLOSING: Final = "诉求已办结并答复"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whose a case is and by what rule. ``limit`` is never missing."""

    unit_id: UUID | None
    """The unit to lead; None: a person decides, and ``reason`` says why."""
    item_id: UUID | None
    """The rule of the city's list; None: it has none for the matter, the limit is a shipped rule's or the ordinary."""
    limit: Limit
    closing_condition: str
    line: str
    """city, society, security or traffic."""
    level: int
    """1 grid, 2 district part, 3 street, 4 city."""
    reason: str
    """The words above joined by ``+``, such as ``street+level_above+listed``: fit for a log row's ``detail``."""
    excluded: tuple[UUID, ...]
    """The accused unit and all under it: none of them may get the order, now or later."""
    assisting: tuple[UUID, ...] = ()
    """Other units that the list names for the matter: proposed to the dispatcher, not ordered."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that a case may be filed by. ``id`` None: shipped. ``reach``: 0 the case's own area, more the wider."""

    id: UUID | None
    code: str
    unit_id: UUID | None
    filing_condition: str
    closing_condition: str
    limit: Limit
    line: str
    level: int
    reach: int


async def find(
    session: AsyncSession, case: Case, *, at: datetime | None = None, calendar: Calendar | None = None
) -> Finding:
    """Whose ``case`` is. Reads only; never raises for what a city has not filled in: it says so in ``reason``.

    The lists in force at ``case.filed_at`` count, before filing those at ``at`` (else at the case's completion or
    creation). A case that has ``item_id`` keeps that rule as long as it is of the case's category and area; a person
    who has seen the place sets it before filing. ``calendar``: what limits are compared on; default: the country's.
    """
    moment = _moment(case, at)
    rules = await applicable(session, case, at=moment)
    excluded = await excluded_units(session, case)
    chosen, source = None, ORDINARY
    if rules:
        kept = next((rule for rule in rules if rule.id is not None and rule.id == case.item_id), None)
        chosen = kept or _strictest(rules, moment, calendar or default_calendar())
        source = LISTED if chosen.id is not None else SHIPPED
    named = _named(rules, chosen)
    unit_id, how = await _lead(session, case, named, excluded)
    return Finding(
        unit_id=unit_id,
        item_id=chosen.id if chosen else None,
        limit=chosen.limit if chosen else filing_rules.ORDINARY,
        closing_condition=chosen.closing_condition if chosen else _ORDINARY_CLOSING,
        line=chosen.line if chosen else ("society" if case.domain == "social" else "city"),
        level=chosen.level if chosen else DEFAULT_LEVEL,
        reason=f"{how}+{source}",
        excluded=tuple(sorted(excluded)),
        assisting=await _assisting(session, rules, {*excluded, *([unit_id] if unit_id else [])}),
    )


async def applicable(session: AsyncSession, case: Case, *, at: datetime | None = None) -> list[Rule]:
    """Every rule that ``case`` may be filed by, the narrowest area first, then by code: what a person chooses from.

    Of each list by name its newest version in force; the shipped rules when those lists have none for the category.
    """
    if case.category_code is None:
        return []
    standard, kind = case.category_standard or "", case.category_kind or ""
    reach = {area.id: n for n, area in enumerate(await units.areas_up(session, case.area_id))}
    in_force = (
        select(ResponsibilityList.name, func.max(ResponsibilityList.version).label("version"))
        .where(ResponsibilityList.in_force_from <= _moment(case, at))
        .group_by(ResponsibilityList.name)
        .subquery()
    )
    lists = select(ResponsibilityList.id).join(
        in_force,
        (ResponsibilityList.name == in_force.c.name) & (ResponsibilityList.version == in_force.c.version),
    )
    item = ResponsibilityItem
    found = await session.scalars(
        select(item).where(
            item.standard == standard,
            item.kind == kind,
            item.category_code == case.category_code,
            or_(item.list_id.in_(lists), item.id == case.item_id),
            or_(item.area_id.is_(None), item.area_id.in_(list(reach))),
        )
    )
    rules = [
        Rule(
            id=row.id,
            code=row.code,
            unit_id=row.unit_id,
            filing_condition=row.filing_condition,
            closing_condition=row.closing_condition,
            limit=Limit(row.limit_value, LimitUnit(row.limit_unit)),
            line=row.line,
            level=row.level,
            reach=reach[row.area_id] if row.area_id else len(reach),
        )
        for row in found
    ] or [
        Rule(
            id=None,
            code=shipped.code,
            unit_id=None,
            filing_condition=shipped.filing_condition,
            closing_condition=shipped.closing_condition,
            limit=shipped.limit,
            line=shipped.line,
            level=shipped.level,
            reach=len(reach),
        )
        for shipped in filing_rules.rules_for(standard, kind, case.category_code)
    ]
    return sorted(rules, key=lambda rule: (rule.reach, rule.code, str(rule.id)))


async def excluded_units(session: AsyncSession, case: Case) -> frozenset[UUID]:
    """The accused unit of ``case`` and everything under it; empty when no unit is accused."""
    if case.accused_unit_id is None:
        return frozenset()
    return await units.subtree(session, case.accused_unit_id)


async def name_accused(session: AsyncSession, case: Case) -> None:
    """Keep as a unit whom the caller accuses, before anybody looks whose the case is: the words may be erased later.

    The unit whose name they say, the longest of several; else, where they accuse somebody of the village, community,
    street or town, the government of the case's area. Nothing where neither is known; a unit named before stays.
    """
    if case.accused_unit_id is not None:
        return
    accused = await session.scalar(select(CaseParticulars.accused).where(CaseParticulars.case_id == case.id))
    if not accused:
        return
    named = select(Unit.id).where(literal(accused).contains(Unit.name))
    found = await session.scalar(named.order_by(func.length(Unit.name).desc(), Unit.code).limit(1))
    if found is None and _LOCAL.search(accused) and (street := await units.street_of(session, case.area_id)):
        found = street.id
    case.accused_unit_id = found


async def verification(session: AsyncSession, case: Case) -> str:
    """How ``case`` is looked at: lifecycle.VERIFY_FIRST, EXEMPT or DISPATCH_FIRST. Reads only, never raises.

    The city's rule with the most columns filled in wins; of two with as many, that for the category, then the source,
    the kind, the domain. Without one: social matters are exempt (a collector cannot see them) unless anonymous; a call
    is dispatched first and checked afterwards; what house, police or devices saw is exempt; else verify first
    (SEED_FEATURES 000-09).
    """
    has = (case.category_code or "", case.source, case.category_kind or "", case.domain or "")
    rule = VerificationRule
    columns = (rule.category_code, rule.source, rule.kind, rule.domain)
    found = await session.scalars(
        select(rule).where(*(column.in_(["", value]) for column, value in zip(columns, has, strict=True)))
    )

    def weight(row: VerificationRule) -> tuple[int, tuple[bool, ...]]:
        filled = (bool(row.category_code), bool(row.source), bool(row.kind), bool(row.domain))
        return sum(filled), filled

    best = max(found, key=weight, default=None)
    if best is not None:
        return best.mode
    if case.domain == "social" and not case.anonymous:
        return EXEMPT
    if case.source in DISPATCHED_FIRST:
        return DISPATCH_FIRST
    return EXEMPT if case.source in EXEMPT_SOURCES else VERIFY_FIRST


async def set_verification(
    session: AsyncSession,
    mode: str | None,
    *,
    source: str = "",
    domain: str = "",
    kind: str = "",
    category_code: str = "",
    actor: Actor,
    at: datetime,
) -> None:
    """Make, change or (``mode`` None) drop the rule of these columns; empty ones mean any. Audited.

    Raises ValueError for a mode that is none.
    """
    if mode is not None and mode not in MODES:
        raise ValueError(f"verification mode {mode!r:.24} is none of {', '.join(MODES)}")
    columns = {"source": source, "domain": domain, "kind": kind, "category_code": category_code}
    if mode is not None:  # unless it is there, or somebody makes it at the same time
        await insert_new(session, VerificationRule, {"id": uuid4(), "mode": mode, **columns})
    row = await session.scalar(select(VerificationRule).filter_by(**columns).with_for_update())
    if row is not None and mode is not None:
        row.mode = mode
    elif row is not None:
        await session.delete(row)
    detail: dict[str, str | int | bool | list[str]] = {**columns, "mode": mode or "dropped"}
    add_entry(session, actor, "verification rule set", at=at, subject="list:verification", detail=detail)


async def verification_rules(session: AsyncSession) -> list[VerificationRule]:
    """The city's rules, in a steady order."""
    rule = VerificationRule
    return list(await session.scalars(select(rule).order_by(rule.category_code, rule.source, rule.kind, rule.domain)))


def return_by(issued_at: datetime, calendar: Calendar, limit: Limit = RETURN_LIMIT) -> datetime:
    """Until when an order issued at ``issued_at`` may be given back as another unit's: two working days by default."""
    return deadlines.due(issued_at, limit, calendar).at


# -- how it is found ---------------------------------------------------------------------------------------------------
def _moment(case: Case, at: datetime | None) -> datetime:
    return case.filed_at or at or case.completed_at or case.created_at


def _strictest(rules: Sequence[Rule], start: datetime, calendar: Calendar) -> Rule:
    """The rule with the strictest limit; of equals the narrowest area's, then by code."""
    limit = deadlines.strictest([rule.limit for rule in rules], start, calendar)
    return next(rule for rule in rules if rule.limit == limit)


def _named(rules: Sequence[Rule], chosen: Rule | None) -> UUID | None:
    """The unit that the list names: for the chosen condition that of the narrowest area, else any other rule's.

    A narrow rule without a unit takes the matter from the unit that a wider rule names for the same condition: it says
    "the street, here".
    """
    if chosen is None:
        return None
    same = [rule for rule in rules if rule.filing_condition == chosen.filing_condition]
    narrow = [rule for rule in same if rule.reach == same[0].reach]
    first = sorted(narrow, key=lambda rule: rule is not chosen)
    named = next((rule.unit_id for rule in first if rule.unit_id), None)
    if named is None and not any(rule.unit_id for rule in same):
        named = next((rule.unit_id for rule in _in_effect(rules) if rule.unit_id), None)
    return named


def _in_effect(rules: Sequence[Rule]) -> list[Rule]:
    """Of the rules for one condition those of the narrowest area: they stand in place of the wider ones' units."""
    narrowest: dict[str, int] = {}
    for rule in rules:
        narrowest.setdefault(rule.filing_condition, rule.reach)
    return [rule for rule in rules if rule.reach == narrowest[rule.filing_condition]]


async def _lead(
    session: AsyncSession, case: Case, named: UUID | None, excluded: frozenset[UUID]
) -> tuple[UUID | None, str]:
    for how, unit_id in ((OWNER, case.asset_owner_id), (ITEM, named)):
        if unit_id is not None:
            found, climbed = await _allowed(session, unit_id, excluded)
            if found is not None:
                return found, f"{how}+{LEVEL_ABOVE}" if climbed else how
    streets = await units.streets_of(session, case.area_id)
    for distance, street in enumerate(streets):
        # With nobody above the accused street in its own tree, the government of the wider area is above it.
        found, climbed = await _allowed(session, street.id, excluded)
        if found is not None:
            return found, f"{STREET}+{LEVEL_ABOVE}" if climbed or distance else STREET
    if streets:
        return None, ALL_ACCUSED
    return None, NO_STREET if await units.areas_up(session, case.area_id) else NO_AREA


async def _allowed(session: AsyncSession, unit_id: UUID, excluded: frozenset[UUID]) -> tuple[UUID | None, bool]:
    """The unit, or the nearest one above it when it is accused; None for one that is dissolved or has nobody above."""
    if unit_id not in excluded:
        unit = await session.get(Unit, unit_id)
        return (unit_id if unit is not None and unit.active else None), False
    async for higher in units.above(session, unit_id):
        if higher.active and higher.id not in excluded:
            return higher.id, True
    return None, False


async def _assisting(session: AsyncSession, rules: Sequence[Rule], without: Iterable[UUID]) -> tuple[UUID, ...]:
    named = dict.fromkeys(rule.unit_id for rule in _in_effect(rules) if rule.unit_id is not None)
    left = [unit_id for unit_id in named if unit_id not in set(without)]
    if not left:
        return ()
    active = set(await session.scalars(select(Unit.id).where(Unit.id.in_(left), Unit.active.is_(True))))
    return tuple(unit_id for unit_id in left if unit_id in active)
