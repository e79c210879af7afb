"""The city as the rest of the house asks for it: one object, its maps and names in memory, all else in the store.

What lies in memory belongs to a version of an import; it is read again when another is in force, at the latest
LOOK_EVERY_S after. A look never waits for a reload longer than building takes, and building is off the loop.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city import areas, gazetteer, importing, kinds
from callcenter.city.areas import AreaIndex, AreaRef, Lies
from callcenter.city.coordinates import Point
from callcenter.city.gazetteer import Candidate, Gazetteer
from callcenter.storage.engine import Database, store_is_at_fault

log = structlog.get_logger()

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
        self._read: dict[str, int] | None = None
        self._taking: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Look for newer versions at the next call: after an import of this process."""
        self._looked = -LOOK_EVERY_S

    async def versions(self, *, wait: bool = True) -> dict[str, int]:
        """The key of the import in force of every kind that has one, at most LOOK_EVERY_S old."""
        await self._look(wait=wait)
        return self._versions

    async def areas(self, *, wait: bool = True) -> AreaIndex:
        """The map. Without ``wait``, as in a transaction, the one in memory even where another is being read."""
        await self._look(wait=wait)
        return self._areas

    async def names(self) -> Gazetteer:
        """The names."""
        await self._look()
        return self._names

    async def at(self, place: Point, *, wait: bool = True) -> Lies:
        """The areas that ``place`` lies in."""
        return (await self.areas(wait=wait)).at(place)

    def known(self, area: UUID | None) -> tuple[AreaRef, ...]:
        """The area and those above it, by the map that lies in memory now; empty for one that is not on it."""
        return self._areas.up(self._areas.by_id.get(area)) if area is not None else ()

    async def find(self, phrase: str, *, most: int = 5, session: AsyncSession | None = None) -> list[Candidate]:
        """The points that ``phrase`` may mean, the likeliest first; none where it names nothing that is known.

        ``session``: of the transaction that asks; it does not wait for a newer map."""
        await self._look(wait=session is None)
        names, versions = self._names, self._versions
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

    async def _look(self, *, wait: bool = True) -> None:
        """See whether other versions are in force, and read them; without ``wait`` in the background, unless nothing
        was ever read: a citizen's transaction does not wait for a map to be built."""
        if self._looked_lately():
            return
        async with self._lock:
            if self._looked_lately():
                return
            # Said before it is done: who asks while a map is being read is answered from the one before.
            self._looked = self._clock()
            try:
                async with self._db.read() as session:
                    versions = await importing.in_force(session)
                if self._read is None or wait:
                    await self._take(versions)
                elif versions != self._read and (self._taking is None or self._taking.done()):
                    self._taking = asyncio.create_task(self._take_beside(versions), name="city")
            except Exception as fault:
                # What lies in memory still answers; a city never read has nothing to answer with.
                if self._read is None or not store_is_at_fault(fault):
                    raise
                log.warning("the city's versions were not looked at", fault=type(fault).__name__)

    def _looked_lately(self) -> bool:
        return self._read is not None and self._clock() - self._looked < LOOK_EVERY_S

    async def _take_beside(self, versions: dict[str, int]) -> None:
        try:
            await self._take(versions)
        except Exception as fault:  # noqa: BLE001 - what is in memory goes on, and the next look tries again
            log.error("the city was not read", fault=type(fault).__name__)

    async def _take(self, versions: dict[str, int]) -> None:
        """Read what is in force into memory; whoever asks meanwhile is answered from what was."""
        map_of, names_of = versions.get(kinds.AREAS), (versions.get(kinds.PLACES), versions.get(kinds.AREAS))
        index, names = self._areas, self._names
        async with self._db.read() as session:
            if map_of != self._areas_of:
                rows, shapes = await areas.load(session, map_of)
                index = await asyncio.to_thread(areas.build, rows, shapes)
            if names_of != self._names_of:
                places = await gazetteer.load(session, names_of[0])
                names = await asyncio.to_thread(gazetteer.build, places, index)
        self._areas, self._names, self._areas_of, self._names_of = index, names, map_of, names_of
        self._versions = self._read = versions
