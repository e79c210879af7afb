"""The city as the rest of the house asks for it: one object, its maps and names in memory, all else in the store.

What lies in memory belongs to a version of an import; it is read again when another is in force, at the latest
LOOK_EVERY_S after. A look never waits for a reload longer than building takes, and building is off the loop.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import areas, gazetteer, importing, kinds
from callcenter.city.areas import AreaIndex, AreaRef, Lies
from callcenter.city.coordinates import Point
from callcenter.city.gazetteer import Candidate, Gazetteer
from callcenter.storage.engine import Database

LOOK_EVERY_S: Final = 5.0
LONGEST_PHRASE: Final = 200
"""Characters of what was said that are read; a longer text is a story, and its place is in the first of them."""


class City:
    """Areas, names and doors of the city in ``db``."""

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._looked = -LOOK_EVERY_S
        self._versions: dict[str, int] = {}
        self._areas = AreaIndex(())
        self._areas_of: int | None = None
        self._names = Gazetteer((), self._areas)
        self._names_of: tuple[int | None, int | None] = (None, None)
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """Look for newer versions at the next call: after an import of this process."""
        self._looked = -LOOK_EVERY_S

    async def versions(self) -> dict[str, int]:
        """The key of the import in force of every kind that has one, at most LOOK_EVERY_S old."""
        await self._look()
        return self._versions

    async def areas(self) -> AreaIndex:
        """The map."""
        await self._look()
        return self._areas

    async def names(self) -> Gazetteer:
        """The names."""
        await self._look()
        return self._names

    async def at(self, place: Point) -> Lies:
        """The areas that ``place`` lies in."""
        return (await self.areas()).at(place)

    def known(self, area: UUID | None) -> tuple[AreaRef, ...]:
        """The area and those above it, by the map that lies in memory now; empty for one that is not on it."""
        return self._areas.up(self._areas.by_id.get(area)) if area is not None else ()

    async def find(self, phrase: str, *, most: int = 5, session: AsyncSession | None = None) -> list[Candidate]:
        """The points that ``phrase`` may mean, the likeliest first; none where it names nothing that is known."""
        names, versions = await self.names(), self._versions
        if not len(names):
            return []
        heard = await asyncio.to_thread(names.read, phrase[:LONGEST_PHRASE])
        if not heard.mentions:
            return []
        doors = []
        if any(mention.said for mention in heard.mentions):
            key = versions.get(kinds.ADDRESSES)
            if session is not None:
                doors = await gazetteer.doors_of(session, names, heard, key)
            else:
                async with self._db.read() as own:
                    doors = await gazetteer.doors_of(own, names, heard, key)
        return await asyncio.to_thread(names.rank, heard, doors, most=most)

    async def _look(self) -> None:
        if self._clock() - self._looked < LOOK_EVERY_S:
            return
        async with self._lock:
            if self._clock() - self._looked < LOOK_EVERY_S:
                return
            async with self._db.read() as session:
                versions = await importing.in_force(session)
                wanted = versions.get(kinds.AREAS)
                if wanted != self._areas_of:
                    rows, shapes = await areas.load(session, wanted)
                    self._areas = await asyncio.to_thread(areas.build, rows, shapes)
                    self._areas_of = wanted
                named = (versions.get(kinds.PLACES), wanted)
                if named != self._names_of:
                    places = await gazetteer.load(session, named[0])
                    self._names = await asyncio.to_thread(gazetteer.build, places, self._areas)
                    self._names_of = named
            self._versions, self._looked = versions, self._clock()
