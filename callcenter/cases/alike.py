"""Duplicates and hot spots: which cases may be one matter, and where many call about one.

A new case is held against those near it (NEAR_M, WITHIN) of its category or in like words, and without a place against
those of its category in very like words. What is found is a suggestion: only a person merges (``links``), and only into
an open case. Callers learn nothing of one another.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.life import CaseSuggestion, HotSpot
from callcenter.cases.lifecycle import OPEN
from callcenter.cases.model import DRAFT, Case, CaseParticulars
from callcenter.cases.record import CaseError, CaseNotFound
from callcenter.city.cells import within
from callcenter.city.coordinates import Point, metres
from callcenter.storage.outbox import add_event
from callcenter.storage.rows import insert_new

HOT_SPOT: Final = "hotspot.raised"
MERGED, TWO = "merged", "two"
MOST_COMPARED: Final = 200
"""Cases that one is held against, the newest: more than these near one spot within a day is a hot spot already."""
MOST_SUGGESTED: Final = 5


@dataclass(frozen=True, slots=True)
class LikeSettings:
    """What counts as near, recent, alike and hot. Metres; shares of 0 to 1."""

    near_m: float = 50.0
    within: timedelta = timedelta(hours=24)
    words_near: float = 0.25
    """Likeness of words that is asked beside a place that is near, where the category is another."""
    words_alone: float = 0.6
    """Likeness that is asked where one of the two has no place."""
    hot_callers: int = 5
    hot_m: float = 300.0
    hot_within: timedelta = timedelta(hours=2)


DEFAULTS: Final = LikeSettings()


@dataclass(frozen=True, slots=True)
class Like:
    """A case that may be the same matter. ``distance_m`` None: one of the two has no place."""

    case: UUID
    distance_m: float | None
    likeness: float


def likeness(one: str, other: str) -> float:
    """How alike two texts are, 0 to 1: the cosine of their pairs of characters, punctuation left out."""
    a, b = _pairs(one), _pairs(other)
    if not a or not b:
        return 0.0
    both = sum(count * b[pair] for pair, count in a.items())
    return both / math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))


def _pairs(text: str) -> Counter[str]:
    plain = "".join(character for character in text if character.isalnum())
    return Counter(plain[at : at + 2] for at in range(len(plain) - 1))


async def look(session: AsyncSession, case: Case, at: datetime, given: LikeSettings = DEFAULTS) -> list[Like]:
    """Hold a case that has just got its number against those before it: suggestions are kept, a hot spot is raised.

    In the transaction of that step, and idempotent: a pair is suggested once.
    """
    if case.disposition != "case":
        return []
    found = await _alike(session, case, at, given)
    for one in found:
        values = {
            "id": uuid4(),
            "case_id": case.id,
            "other_id": one.case,
            "distance_m": one.distance_m,
            "likeness": one.likeness,
            "at": at,
        }
        await insert_new(session, CaseSuggestion, values)
    await _heat(session, case, at, given)
    return found


async def _alike(session: AsyncSession, case: Case, at: datetime, given: LikeSettings) -> list[Like]:
    since = at - given.within
    here = Point(case.lon, case.lat) if case.lon is not None and case.lat is not None else None
    base = (
        select(Case, CaseParticulars.text)
        .join(CaseParticulars, CaseParticulars.case_id == Case.id)
        .where(Case.created_at >= since, Case.id != case.id, Case.disposition == "case", Case.state != DRAFT)
        .order_by(Case.created_at.desc())
        .limit(MOST_COMPARED)
    )
    rows: dict[UUID, tuple[Case, str | None]] = {}
    if here is not None:
        for other, text in await session.execute(base.where(within(Case.cell, here, given.near_m))):
            rows[other.id] = (other, text)
    if case.category_code is not None:
        kin = base.where(Case.category_code == case.category_code, Case.category_kind == case.category_kind)
        if here is not None:
            kin = kin.where(Case.cell.is_(None))
        for other, text in await session.execute(kin):
            rows.setdefault(other.id, (other, text))
    words = await session.get(CaseParticulars, case.id)
    own = (words.text if words else None) or ""
    found = []
    for other, text in rows.values():
        like = round(likeness(own, text or ""), 3)
        there = Point(other.lon, other.lat) if other.lon is not None and other.lat is not None else None
        far = round(metres(here, there), 1) if here is not None and there is not None else None
        same = (other.category_kind, other.category_code) == (case.category_kind, case.category_code)
        near = (
            far is not None
            and far <= given.near_m
            and ((same and case.category_code is not None) or like >= given.words_near)
        )
        if near or (far is None and like >= given.words_alone):
            found.append(Like(other.id, far, like))
    return sorted(found, key=_closest)[:MOST_SUGGESTED]


def _closest(one: Like) -> tuple[float, str]:
    return (-(one.likeness + (0.5 if one.distance_m is not None else 0.0)), one.case.hex)


async def _heat(session: AsyncSession, case: Case, at: datetime, given: LikeSettings) -> None:
    """Raise a hot spot, or let one that is there grow."""
    if case.lon is None or case.lat is None or case.cell is None or case.category_code is None:
        return
    here, since = Point(case.lon, case.lat), at - given.hot_within
    same = [Case.category_kind == case.category_kind, Case.category_code == case.category_code]
    around = (
        select(Case.id, Case.lon, Case.lat, CaseParticulars.reporter_number)
        .join(CaseParticulars, CaseParticulars.case_id == Case.id)
        .where(within(Case.cell, here, given.hot_m), Case.created_at >= since, Case.state != DRAFT, *same)
        .limit(MOST_COMPARED)
    )
    rows = [row for row in await session.execute(around) if metres(here, Point(row.lon, row.lat)) <= given.hot_m]
    callers = _callers((row.id, row.reporter_number) for row in rows)
    spot = await _spot(session, case, here, since, given)
    if spot is not None:
        spot.cases, spot.callers, spot.last_at = max(spot.cases + 1, len(rows)), max(spot.callers, callers), at
        return
    if callers < given.hot_callers:
        return
    spot = HotSpot(
        id=uuid4(),
        domain=case.domain,
        category_kind=case.category_kind,
        category_code=case.category_code,
        area_id=case.area_id,
        lat=case.lat,
        lon=case.lon,
        cell=case.cell,
        cases=len(rows),
        callers=callers,
        raised_at=at,
        last_at=at,
    )
    session.add(spot)
    add_event(session, HOT_SPOT, at=at, case=case.id, refs={"hotspot": spot.id, "callers": callers})


def _callers(rows: Iterable[tuple[UUID, str | None]]) -> int:
    return len({number or case for case, number in rows})


async def _spot(session: AsyncSession, case: Case, here: Point, since: datetime, given: LikeSettings) -> HotSpot | None:
    query = select(HotSpot).where(
        HotSpot.last_at >= since,
        within(HotSpot.cell, here, given.hot_m),
        HotSpot.category_kind == case.category_kind,
        HotSpot.category_code == case.category_code,
    )
    for spot in await session.scalars(query.order_by(HotSpot.last_at.desc())):
        if metres(here, Point(spot.lon, spot.lat)) <= given.hot_m:
            return spot
    return None


async def suggestions_of(session: AsyncSession, case_id: UUID) -> list[tuple[CaseSuggestion, Case]]:
    """What a case was held to be like, and what was later held to be like it; with the other case. Newest first."""
    query = (
        select(CaseSuggestion, Case)
        .join(
            Case,
            or_(
                (CaseSuggestion.case_id == case_id) & (Case.id == CaseSuggestion.other_id),
                (CaseSuggestion.other_id == case_id) & (Case.id == CaseSuggestion.case_id),
            ),
        )
        .order_by(CaseSuggestion.at.desc(), CaseSuggestion.id)
        .limit(50)
    )
    return [(suggestion, other) for suggestion, other in await session.execute(query)]


async def decide(
    session: AsyncSession, case_id: UUID, other_id: UUID, decided: str, *, by: str, at: datetime
) -> CaseSuggestion:
    """A person has looked: the two were ``merged`` (``links.merge_duplicate`` did it, in this transaction), or are
    ``two``. Raises CaseNotFound for a pair that was never suggested, CaseError for one that is decided otherwise."""
    query = select(CaseSuggestion).where(
        or_(
            (CaseSuggestion.case_id == case_id) & (CaseSuggestion.other_id == other_id),
            (CaseSuggestion.case_id == other_id) & (CaseSuggestion.other_id == case_id),
        )
    )
    found = await session.scalar(query.with_for_update())
    if found is None:
        raise CaseNotFound(f"cases {case_id} and {other_id} were never suggested to be one: link them yourself")
    if found.decided is not None and found.decided != decided:
        raise CaseError(f"somebody has decided that they are {found.decided}: see the links of the case")
    if found.decided is None:
        found.decided, found.decided_by, found.decided_at = decided, by, at
    return found


async def hot_spots(session: AsyncSession, since: datetime, *, limit: int = 50) -> Sequence[HotSpot]:
    """The hot spots that have had a case since ``since``, the most callers first."""
    query = select(HotSpot).where(HotSpot.last_at >= since)
    found = await session.scalars(query.order_by(HotSpot.callers.desc(), HotSpot.last_at.desc()).limit(limit))
    return list(found)


async def around(
    session: AsyncSession, place: Point, *, within_m: float, since: datetime, most: int = 20
) -> list[tuple[Case, float]]:
    """Cases filed or open within ``within_m`` since ``since``, with metres; open ones first, then the nearest.

    Who may see which is for the caller to decide. Raises ValueError beyond ``cells.FARTHEST_M``.
    """
    query = (
        select(Case)
        .where(within(Case.cell, place, within_m), Case.created_at >= since, Case.state != DRAFT)
        .order_by(Case.created_at.desc())
        .limit(MOST_COMPARED)
    )
    found = []
    for case in await session.scalars(query):
        if case.lon is not None and case.lat is not None:
            far = metres(place, Point(case.lon, case.lat))
            if far <= within_m:
                found.append((case, round(far, 1)))
    return sorted(found, key=lambda one: (one[0].state not in OPEN, one[1], one[0].id.hex))[:most]
