"""Which areas a point lies in: the grid of the tree with all above it, and the professional grids across it.

The polygons of a city are few (the largest here has some 1,500), so every process keeps them in memory in a tree of
boxes; a look takes some microseconds. They are read again when another map comes into force (``CityImport``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city.coordinates import Point
from callcenter.city.ground import AreaShape
from callcenter.city.model import TREE, Area


@dataclass(frozen=True, slots=True)
class AreaRef:
    """An area as others speak of it. ``level``: 1 city, 2 district, 3 street, 4 community, 5 grid."""

    id: UUID
    code: str
    name: str
    level: int
    layer: str
    parent_id: UUID | None


@dataclass(frozen=True, slots=True)
class Lies:
    """Where a point lies. ``tree``: the narrowest area of the tree, then those above it; ``across``: professional grids
    by layer and code. Both empty outside of the city."""

    tree: tuple[AreaRef, ...]
    across: tuple[AreaRef, ...]

    @property
    def narrowest(self) -> AreaRef | None:
        """The grid, or the narrowest area that is known there."""
        return self.tree[0] if self.tree else None


class AreaIndex:
    """The polygons of one map."""

    def __init__(self, areas: Iterable[tuple[AreaRef, BaseGeometry]]) -> None:
        pairs = sorted(areas, key=lambda pair: pair[0].code)
        self._areas = [area for area, _ in pairs]
        self._shapes: NDArray[np.object_] = np.array([shape for _, shape in pairs], dtype=object)
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)
        self.by_id: Mapping[UUID, AreaRef] = MappingProxyType({area.id: area for area in self._areas})
        self.by_code: Mapping[str, AreaRef] = MappingProxyType({area.code: area for area in self._areas})
        self._shape_of = {area.code: shape for area, shape in pairs}

    def __len__(self) -> int:
        return len(self._areas)

    @property
    def areas(self) -> tuple[AreaRef, ...]:
        """All of them, by code."""
        return tuple(self._areas)

    def shape(self, code: str) -> BaseGeometry | None:
        """The polygon of an area, degrees; None for one that has none."""
        return self._shape_of.get(code)

    def at(self, place: Point) -> Lies:
        """The areas that ``place`` lies in. On a border between two of one level it lies in that of the smaller code,
        so that an answer does not change from one day to the next."""
        hits = sorted(int(hit) for hit in self._tree.query(shapely.Point(place), predicate="intersects"))
        found = [self._areas[hit] for hit in hits]
        inner = [area for area in found if area.layer == TREE]
        narrowest = max(inner, key=lambda area: area.level, default=None)
        across = sorted((area for area in found if area.layer != TREE), key=lambda area: (area.layer, area.code))
        return Lies(self.up(narrowest), tuple(across))

    def up(self, area: AreaRef | None) -> tuple[AreaRef, ...]:
        """``area`` and those above it."""
        chain: list[AreaRef] = []
        while area is not None and area not in chain:
            chain.append(area)
            area = self.by_id.get(area.parent_id) if area.parent_id else None
        return tuple(chain)

    def centre(self, code: str) -> Point | None:
        """A point within the area, about its middle."""
        shape = self._shape_of.get(code)
        if shape is None or shape.is_empty:
            return None
        middle = shape.representative_point()
        return Point(middle.x, middle.y)


async def load(session: AsyncSession, import_id: int | None) -> tuple[list[AreaRef], list[bytes]]:
    """The areas of a map and their WKB; the index itself is built off the loop (``build``)."""
    if import_id is None:
        return [], []
    query = (
        select(Area.id, Area.code, Area.name, Area.level, Area.layer, Area.parent_id, AreaShape.shape)
        .join(AreaShape, AreaShape.code == Area.code)
        .where(AreaShape.import_id == import_id)
    )
    rows = (await session.execute(query)).all()
    return [AreaRef(*row[:6]) for row in rows], [row[6] for row in rows]


def build(areas: list[AreaRef], shapes: list[bytes]) -> AreaIndex:
    """The index. CPU: a tenth of a second for a city."""
    return AreaIndex(zip(areas, shapely.from_wkb(shapes), strict=True))
