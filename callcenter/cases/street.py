"""A report from the street: a case of a collector, with where they stood, how well that is known and what fixed it
(SEED_FEATURES 002-14). Pictures are added to the case as to every other."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import intake, locating
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.model import Case
from callcenter.city import cells, tracks
from callcenter.city.coordinates import Point
from callcenter.city.field import FieldRefused
from callcenter.city.field_model import CaseFix

SOURCE = "collector"


async def report(
    session: AsyncSession,
    case_id: UUID,
    order: intake.NewCase,
    fix: tracks.Fix,
    *,
    who: UUID,
    area_id: UUID | None,
    at: datetime,
    city: CitySettings | None = None,
) -> tuple[Case, bool]:
    """Register what a collector found at ``fix`` (WGS84), which is also a point of their track; ``area_id``: where that
    lies. Source, place and area in ``order`` are ignored.

    Idempotent by ``case_id`` as ``intake.register`` is, and raises what that raises; FieldRefused for a fix that cannot
    be true when the case is new.
    """
    placed = replace(order, source=SOURCE, lat=fix.lat, lon=fix.lon, area_id=area_id)
    case, fresh = await intake.register(session, case_id, placed, by=str(who), at=at, city=city)
    if not fresh:
        return case, False
    if (why := tracks.why_not(fix, at)) is not None:
        raise FieldRefused("fix", why)
    case.cell, case.located_by = cells.cell_of(Point(fix.lon, fix.lat)), locating.PERSON
    session.add(
        CaseFix(case_id=case_id, user_id=who, accuracy_m=fix.accuracy_m, source=fix.source, taken_at=fix.taken_at)
    )
    await tracks.add_points(session, tracks.Tracker.person(who), [fix], at=at)
    await session.flush()
    return case, True


async def fix_of(session: AsyncSession, case_id: UUID) -> CaseFix | None:
    """How well the place of a case is known; None: it was not reported from the street."""
    return await session.get(CaseFix, case_id)
