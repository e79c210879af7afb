"""补录: filling in a work order – what the words did not give, or gave wrongly – until a unit has it.

The place decides whose the case is, so a filed case that waits for its unit is looked at again by the lists. Who is
called back, and how, can be mended as long as the case lives. Secrecy can be asked for at any time and is never taken
back. The log names the fields, never what stood in them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import events, locating
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.intake import URGENCIES, Unknown, dispatch_by_rule
from callcenter.cases.lifecycle import OPEN, Actor, Post, Side
from callcenter.cases.model import (
    DRAFT,
    PENDING_DISPATCH,
    PENDING_FILING,
    PENDING_VERIFY,
    REPORTED,
    Case,
    CaseParticulars,
)
from callcenter.cases.record import CaseError, CaseNotFound, Conflict, changes_since, locked, move
from callcenter.cases.search_index import index_words
from callcenter.cases.snapshots import sides_of
from callcenter.city import assets, kinds
from callcenter.city.model import Area, Unit
from callcenter.storage.outbox import Refs, add_event

AMENDED: Final = "amended"
"""The log's word for it."""

OF_THE_PERSON: Final = frozenset({"reporter_name", "reporter_number", "callback_number", "wish", "wants_reply"})
"""What may be mended while the case lives; all else only until a unit has it."""
_PARTICULARS: Final = OF_THE_PERSON - {"wants_reply"} | {"address", "accused"}
FIELDS: Final = _PARTICULARS | {
    "wants_reply",
    "area_id",
    "lat",
    "lon",
    "asset_code",
    "happened_at",
    "anonymous",
    "secrecy",
    "urgency",
    "asset_owner_id",
    "accused_unit_id",
}
UNDECIDED: Final = frozenset({DRAFT, REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH})
_POSTS: Final = frozenset({Post.AGENT, Post.DUTY_CHIEF})


class AmendRefused(CaseError):
    """A field cannot be amended as asked; ``field`` names it, the message why and what could be done."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


async def amend(
    session: AsyncSession,
    case_id: UUID,
    changes: Mapping[str, Any],
    *,
    actor: Actor,
    expected_version: int,
    at: datetime,
    city: CitySettings | None = None,
) -> Case:
    """Set what ``changes`` names of FIELDS (values as ``intake.NewCase`` has them; None empties one).

    One step of the log for all of them; nothing changes, and nothing is logged, when all are as they were. Raises
    CaseNotFound, Conflict, AmendRefused (an ended case; a field that is settled; secrecy taken back; who is on another
    side of the case), Unknown for an area or unit that is not there, ValueError for a field that is none.
    """
    if wrong := set(changes) - FIELDS:
        raise ValueError(f"a case has no {', '.join(sorted(wrong))} to amend: {', '.join(sorted(FIELDS))}")
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    if case.version != expected_version:
        seen = await changes_since(session, case_id, expected_version)
        raise Conflict(case_id, expected_version, case.version, seen)
    await _allowed(session, case, changes, actor)
    words = await session.get_one(CaseParticulars, case_id)
    if words.erased_at is not None and _PARTICULARS & set(changes):
        raise AmendRefused(min(_PARTICULARS & set(changes)), "what this case knew of people was erased, and stays so")
    done = []
    for name in sorted(changes):
        row: Any = words if name in _PARTICULARS else case
        if getattr(row, name) != changes[name]:
            setattr(row, name, changes[name])
            done.append(name)
    if not done:
        return case
    await _replaced(session, case, set(done), at)
    detail: dict[str, Any] = {"fields": done}
    detail |= {name: str(changes[name]) for name in ("area_id", "urgency") if name in done}
    await move(session, case, case.state, actor=actor.id, action=AMENDED, at=at, detail=detail)
    refs: Refs = {"version": case.version}
    feed = case.filed_at is not None
    add_event(session, events.UPDATED, at=at, call=case.call_id, case=case.id, refs=refs, feed=feed)
    await session.flush()
    await index_words(session, case_id)
    if case.state == PENDING_DISPATCH and case.lead_unit_id is None:
        await dispatch_by_rule(session, case, at, city)
    return case


async def _replaced(session: AsyncSession, case: Case, done: set[str], at: datetime) -> None:
    """What follows from a place or a part that a person has named: the areas it lies in, whose the part is."""
    city = locating.in_force()
    if "asset_code" in done and case.asset_code is not None:
        versions = await city.versions(wait=False) if city is not None else {}
        part = await assets.by_code(session, versions.get(kinds.ASSETS), case.asset_code)
        if part is None:
            raise Unknown("asset", "there is no such part in force: see the parts near the place")
        case.lon, case.lat, case.located_by = part.lon, part.lat, locating.ASSET
        if "area_id" not in done:
            case.area_id = None
        if "asset_owner_id" not in done and part.owner:
            case.asset_owner_id = await session.scalar(select(Unit.id).where(Unit.code == part.owner))
    elif {"lat", "lon", "area_id"} & done:
        case.located_by = locating.PERSON if case.lat is not None or case.area_id is not None else None
        if case.lat is None:
            case.cell = None
        if city is not None and case.lat is not None and "area_id" not in done:
            case.area_id = case.asset_code = None
    if {"asset_code", "lat", "lon", "address", "area_id"} & done:
        await session.flush()
        await locating.locate(session, case, at)


async def _allowed(session: AsyncSession, case: Case, changes: Mapping[str, Any], actor: Actor) -> None:
    first = min(changes, default="")
    if not actor.posts & _POSTS:
        raise AmendRefused(first, "a work order is filled in by agents and duty chiefs")
    if others := await sides_of(session, case.id, actor.id, actor.posts) - {Side.SUPERVISION}:
        raise AmendRefused(first, f"you have acted on this case for {min(others)}: have somebody else fill it in")
    if case.state not in OPEN | {DRAFT}:
        raise AmendRefused(first, f"the case is {case.state}: reopen it, or register another")
    settled = set(changes) - OF_THE_PERSON - {"secrecy"}
    if settled and case.state not in UNDECIDED:
        raise AmendRefused(min(settled), f"the case is {case.state}: it is settled once a unit has the case")
    if case.secrecy and changes.get("secrecy") is False:
        raise AmendRefused("secrecy", "was asked for, and is never taken back")
    if changes.get("urgency", URGENCIES[0]) not in URGENCIES:
        raise AmendRefused("urgency", f"is none of {', '.join(URGENCIES)}")
    if (changes.get("lat") is None) != (changes.get("lon") is None):
        raise AmendRefused("lat", "comes together with lon")
    if (area := changes.get("area_id")) is not None and await session.get(Area, area) is None:
        raise Unknown("area", "there is no area with that id: see the list of areas")
    for name in ("accused_unit_id", "asset_owner_id"):
        if (unit := changes.get(name)) is not None and await session.get(Unit, unit) is None:
            raise Unknown(name.removesuffix("_id"), "there is no unit with that id: see the list of units")
