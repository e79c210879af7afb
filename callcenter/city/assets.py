"""City parts (部件): the nearest of a category, what a tag opens, which one a case may be about (000-18, 004-10)."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import cells
from callcenter.city.coordinates import Point, metres
from callcenter.city.ground import Asset

CANDIDATE_M: Final = 60.0
"""How far from where a case is said to be its part may stand: a phone's fix is some 10 m wrong, a spoken one more."""
MOST_NEAR: Final = 50
GONE: Final = ("移除", "废弃")
"""States of parts that are there no more."""
_SPARE: Final = 16
"""Rows read beyond those asked for: flat and round may disagree on a millimetre."""


class Part(NamedTuple):
    """A registered part, as ``ground.Asset`` keeps it."""

    code: str
    category: str
    name: str
    owner: str
    keeper: str
    state: str
    tag: str | None
    installed: date | None
    lon: float
    lat: float

    @property
    def place(self) -> Point:
        """Where it stands."""
        return Point(self.lon, self.lat)


_COLUMNS: Final = tuple(getattr(Asset, name) for name in Part._fields)
# Rows, not objects: a look in a dense street reads some hundred, and the ORM's objects cost ten times as much.


@dataclass(frozen=True, slots=True)
class Near:
    """A part and how far it is, metres."""

    asset: Part
    metres: float


async def by_code(session: AsyncSession, import_id: int | None, code: str) -> Part | None:
    """The part with this 标识码."""
    if import_id is None:
        return None
    row = (await session.execute(select(*_COLUMNS).where(Asset.import_id == import_id, Asset.code == code))).first()
    return Part(*row) if row else None


async def by_tag(session: AsyncSession, import_id: int | None, tag: str) -> Part | None:
    """The part that carries this QR code or RFID tag; of several (a tag stuck on twice) the one with the smaller code.

    What is scanned may be a web address that ends in the tag.
    """
    if import_id is None or not tag:
        return None
    wanted = [tag, tag.rstrip("/").rpartition("/")[2].rpartition("=")[2]]
    query = select(*_COLUMNS).where(Asset.import_id == import_id, Asset.tag.in_(wanted)).order_by(Asset.code).limit(1)
    row = (await session.execute(query)).first()
    return Part(*row) if row else None


async def nearest(
    session: AsyncSession,
    import_id: int | None,
    place: Point,
    *,
    categories: Collection[str] = (),
    within_m: float = 1_000.0,
    most: int = 1,
) -> list[Near]:
    """The parts nearest to ``place``, of ``categories`` where given, those that are gone left out; nearest first.

    Looked for in widening circles, each an index scan over a few rows of cells: what stands near is found in the
    first. Nothing is looked for beyond ``cells.FARTHEST_M``. Raises ValueError for ``within_m`` below 0.
    """
    if import_id is None or most < 1:
        return []
    found: list[tuple[float, str, Any]] = []
    # How far it is by a flat earth, which orders as well as the round one does within some kilometres.
    squeeze = math.cos(math.radians(place.lat))
    east, north = (Asset.lon - place.lon) * squeeze, Asset.lat - place.lat
    flat = east * east + north * north
    each = [Asset.import_id == import_id, *([Asset.category.in_(categories)] if categories else [])]
    for radius in cells.widening(min(within_m, cells.FARTHEST_M)):
        query = select(*_COLUMNS).where(cells.within(Asset.cell, place, radius, *each), Asset.state.not_in(GONE))
        rows = (await session.execute(query.order_by(flat, Asset.code).limit(most + _SPARE))).all()
        reached = [(metres(place, Point(row.lon, row.lat)), row.code, row) for row in rows]
        found = sorted(one for one in reached if one[0] <= radius)[:most]
        if len(found) == most:
            break
    return [Near(Part(*row), round(far, 1)) for far, _, row in found]


async def candidates(
    session: AsyncSession, import_id: int | None, place: Point, category: str, *, precise: bool
) -> Sequence[Near]:
    """The parts that a matter of ``category`` at ``place`` may be about, the nearest first, at most five.

    ``precise``: the place is a fix or a door, not a road's middle; only then is one near enough to be meant.
    """
    reach = CANDIDATE_M if precise else CANDIDATE_M * 4
    return await nearest(session, import_id, place, categories=(category,), within_m=reach, most=5)


__all__ = ["CANDIDATE_M", "GONE", "Near", "Part", "by_code", "by_tag", "candidates", "nearest"]
