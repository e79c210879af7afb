"""What lies around a point, in one look (004-14): whose ground it is, what stands there, what sees it, what is risky.

The cases around it are the cases' room to tell (``cases.around``): who may see which is decided there.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import assets, cells, kinds, registries, units
from callcenter.city.areas import Lies
from callcenter.city.assets import Near
from callcenter.city.coordinates import Point, metres
from callcenter.city.ground import Registered
from callcenter.city.model import Unit

ASSETS_M: Final = 50.0
CAMERAS_M: Final = 150.0
RISKS_M: Final = 500.0
"""How far around, metres: what can be meant, what can have seen it, what could come to it."""
MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a registry and how far it is, metres."""

    registry: str
    code: str
    name: str
    owner: str
    place: Point
    particulars: dict[str, Any]
    metres: float


@dataclass(frozen=True, slots=True)
class Context:
    """What is around. ``governments``: 属地, the nearest first. All lists nearest first, at most MOST_SHOWN."""

    place: Point
    lies: Lies
    governments: tuple[Unit, ...]
    assets: tuple[Near, ...]
    cameras: tuple[Entry, ...]
    risks: tuple[Entry, ...]


async def around(session: AsyncSession, place: Point, lies: Lies, versions: dict[str, int]) -> Context:
    """The context of ``place``. ``lies`` and ``versions``: of ``city.City``."""
    narrowest = lies.narrowest
    governments = await units.streets_of(session, narrowest.id) if narrowest else []
    parts = await assets.nearest(session, versions.get(kinds.ASSETS), place, within_m=ASSETS_M, most=MOST_SHOWN)
    cameras = await registered_near(session, versions, registries.CAMERAS, place, CAMERAS_M)
    risks = await registered_near(session, versions, registries.RISK_SOURCES, place, RISKS_M)
    return Context(place, lies, tuple(governments), tuple(parts), tuple(cameras), tuple(risks))


async def registered_near(
    session: AsyncSession,
    versions: dict[str, int],
    registry: str,
    place: Point,
    within_m: float,
    *,
    most: int = MOST_SHOWN,
) -> list[Entry]:
    """The entries of a registry within ``within_m``, nearest first. Raises ValueError beyond ``cells.FARTHEST_M``."""
    key = versions.get(registry)
    if key is None:
        return []
    query = select(
        Registered.code, Registered.name, Registered.owner, Registered.lon, Registered.lat, Registered.particulars
    ).where(cells.within(Registered.cell, place, within_m, Registered.import_id == key))
    found = []
    for code, name, owner, lon, lat, particulars in await session.execute(query):
        there = Point(lon, lat)
        far = metres(place, there)
        if far <= within_m:
            found.append(Entry(registry, code, name, owner, there, particulars, round(far, 1)))
    return sorted(found, key=lambda entry: (entry.metres, entry.code))[:most]
