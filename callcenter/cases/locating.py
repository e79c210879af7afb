"""Where a case is: from the words to a point, its areas, the part it is about and who owns that (以人找房, 先属主).

What the machine finds it puts on the case only when it is sure enough; else the narrowest area that all likely
points share: a case whose grid nobody knows has a street all the same, and with it a government. A place that a person
gave, or a fix, is never moved by words. Nothing here keeps a case from being taken in: a city without a map has cases.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.model import SYSTEM, Case, CaseParticulars
from callcenter.cases.record import append_log
from callcenter.city import assets, gazetteer, kinds
from callcenter.city.cells import cell_of
from callcenter.city.city import City
from callcenter.city.coordinates import Point
from callcenter.city.gazetteer import Candidate
from callcenter.city.model import Unit

log = structlog.get_logger()

SPOKEN, PERSON, ASSET, DEVICE = "spoken", "person", "asset", "device"
LOCATED: Final = "located"
"""The log's word for it."""
BY_WORDS: Final = "location.words"
BY_POINT: Final = "location.point"

SURE: Final = 0.5
"""Share of all candidates' weight that a point must have to stand on the case by itself."""
LIKELY: Final = 0.05
"""Share below which a candidate is not thought of when the area that all share is looked for."""
LEAST_SCORE: Final = 0.5
PRECISE: Final = frozenset({gazetteer.DOOR, gazetteer.BUILDING, gazetteer.STAIRCASE, gazetteer.CROSSING})
_IMPRECISE: Final = frozenset(
    {gazetteer.WHOLE_ROAD, gazetteer.WHOLE_AREA, gazetteer.NO_SUCH_DOOR, gazetteer.NO_SUCH_BUILDING}
)
ONE_PART_M: Final = 15.0
"""A part is the one meant when it stands so near and the next at least twice as far."""

_city: City | None = None


def use(city: City | None) -> None:
    """The city whose ground this process's cases lie on; None: none is known."""
    global _city
    _city = city


def in_force() -> City | None:
    """What ``use`` was given."""
    return _city


async def locate(session: AsyncSession, case: Case, at: datetime) -> bool:
    """Bring the case's place to what is known of it now; tells whether anything changed. Within the transaction of the
    step that gave the words or the point. A draft's place moves with the words, unlogged; its number brings the log."""
    city = _city
    if city is None:
        return False
    if case.located_by is None and (case.lat is not None or case.area_id is not None):
        case.located_by = PERSON
    by_words = case.located_by in (None, SPOKEN)
    before = (case.area_id, case.lat, case.lon, case.cell, case.asset_code, case.asset_owner_id)
    detail = await _by_words(session, city, case) if by_words else await _by_point(session, city, case)
    if detail is None or (
        before == (case.area_id, case.lat, case.lon, case.cell, case.asset_code, case.asset_owner_id)
    ):
        return False
    if case.number is not None:
        await log_place(session, case, at, BY_WORDS if by_words else BY_POINT, detail)
    return True


async def log_place(
    session: AsyncSession, case: Case, at: datetime, rule: str = BY_WORDS, detail: Mapping[str, Any] | None = None
) -> None:
    """One line of the log: where the case lies and what it is about, by reference."""
    case.version += 1
    places = {"area_id": str(case.area_id) if case.area_id else None, "asset": case.asset_code}
    await append_log(
        session,
        case,
        actor=SYSTEM,
        action=LOCATED,
        from_state=case.state,
        at=at,
        rule=rule,
        detail={**(detail or {}), **places},
    )


async def candidates(session: AsyncSession, city: City, case_id: UUID) -> list[Candidate]:
    """The points that the words of a case may mean, the likeliest first; what an agent chooses from."""
    words = await session.get(CaseParticulars, case_id)
    return [] if words is None else await _found(session, city, words)


async def _found(session: AsyncSession, city: City, words: CaseParticulars) -> list[Candidate]:
    found: list[Candidate] = []
    # The stretch that the router took for the place first; in the rest may stand what tells two like names apart.
    for phrase in dict.fromkeys(one for one in (words.address, words.text) if one):
        try:
            seen = await city.find(phrase, session=session)
        except DBAPIError:
            raise
        except Exception as fault:  # noqa: BLE001 - a place that cannot be read keeps no case from being taken in
            log.error("a place was not looked up", fault=type(fault).__name__)
            seen = []
        if seen and (not found or seen[0].score > found[0].score):
            found = seen
    return found


async def _by_words(session: AsyncSession, city: City, case: Case) -> dict[str, Any] | None:
    words = await session.get(CaseParticulars, case.id, populate_existing=True)
    if words is None or words.erased_at is not None:
        return None
    found = [one for one in await _found(session, city, words) if one.score >= LEAST_SCORE]
    if not found:
        return None
    best = found[0]
    sure = best.share >= SURE and not _IMPRECISE & set(best.reasons)
    if sure:
        case.lon, case.lat, case.cell = round(best.point.lon, 7), round(best.point.lat, 7), cell_of(best.point)
        case.area_id = best.area.id if best.area else None
    else:
        case.lon = case.lat = case.cell = None
        case.area_id = await _shared(city, [one for one in found if one.share >= LIKELY])
    case.located_by = SPOKEN
    case.asset_code = None
    if sure:
        await _part(session, city, case, best.point, precise=bool(PRECISE & set(best.reasons)))
    return {"share": best.share, "reasons": list(best.reasons)}


async def _by_point(session: AsyncSession, city: City, case: Case) -> dict[str, Any] | None:
    if case.lat is None or case.lon is None:
        return None
    place = Point(case.lon, case.lat)
    case.cell = cell_of(place)
    lies = await city.at(place, wait=False)
    if case.area_id is None and lies.narrowest is not None:
        case.area_id = lies.narrowest.id
    if case.asset_code is None:
        await _part(session, city, case, place, precise=True)
    return {}


async def _shared(city: City, found: Sequence[Candidate]) -> UUID | None:
    """The narrowest area that all of them lie in; None: they share none, or only the whole city."""
    areas = await city.areas(wait=False)
    chains = [areas.up(one.area) for one in found]
    if not chains:
        return None
    for area in chains[0]:
        if area.level > 1 and all(area in chain for chain in chains):
            return area.id
    return None


async def _part(session: AsyncSession, city: City, case: Case, place: Point, *, precise: bool) -> None:
    """The part that a matter about parts is about, where one is clearly meant, and the owner where all agree."""
    if case.category_kind != "part" or case.category_code is None:
        return
    versions = await city.versions(wait=False)
    near = await assets.candidates(session, versions.get(kinds.ASSETS), place, case.category_code, precise=precise)
    if not near:
        return
    alone = len(near) == 1 or near[1].metres >= 2 * near[0].metres
    if precise and alone and near[0].metres <= ONE_PART_M:
        case.asset_code = near[0].asset.code
        owners = {near[0].asset.owner}
    else:
        owners = {one.asset.owner for one in near}
    if len(owners) == 1 and (owner := owners.pop()):
        found = await session.scalar(select(Unit.id).where(Unit.code == owner, Unit.active.is_(True)))
        if found is not None:
            case.asset_owner_id = found
