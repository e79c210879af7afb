"""Reading the map of areas: a tree of polygons without crossings, overlaps or holes, or a report of where they are.

What is refused: a polygon that crosses itself, an area without its parent, codes whose length is not that of their
level, two areas of a layer and level on one ground, ground of a parent that none of its children has. Lines drawn by
hand never meet exactly: what vanishes when it is narrowed by TOLERANCE_M is no fault.
"""

import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from callcenter.city.coordinates import DATUMS, GCJ02, WGS84, BadPoint, from_gcj02
from callcenter.city.model import TREE
from callcenter.tables.rows import SHOWN, Row, once, plain

TOLERANCE_M: Final = 1.0
MOST_AREAS: Final = 20_000
COLUMNS: Final = MappingProxyType(
    {
        "code": ("编码", "区域编码", "网格编码"),
        "name": ("名称", "网格名称"),
        "level": ("级别", "层级"),
        "parent": ("上级", "上级编码"),
        "layer": ("图层", "网格类型"),
    }
)
NEEDS: Final = frozenset({"code", "name", "level"})
LENGTHS: Final = MappingProxyType({2: (6,), 3: (9,), 4: (12,), 5: (14, 15)})
"""Digits of a code that is all digits, by level: district, street, community (GB/T 30428.1), grid (15; 14 by
CJ/T 213-2005). A code with letters is a city's own and may be of any length."""
_LAYER: Final = re.compile(r"[a-z][a-z_]{1,15}")
_CODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,23}")


@dataclass(slots=True)
class MapArea:
    """One area of a file."""

    row: Row
    code: str
    name: str
    level: int
    parent: str
    layer: str
    shape: BaseGeometry


def areas_of(rows: Iterator[Row], datum: str) -> list[MapArea]:
    """The areas of a map in ``datum``, faults in its rows. Shapely's checks take seconds: run it off the loop."""
    found: list[MapArea] = []
    seen: dict[Any, int] = {}
    given: list[Row] = []
    for row in rows:
        given.append(row)
        code = row.text("code", 24)
        if code and not _CODE.fullmatch(code):
            row.fault(
                "code", "must be 1 to 24 letters or digits; a number with E in it has lost digits: format as text"
            )
        once(row, "code", code, seen)
        name = row.text("name", 80)
        level = row.whole("level", 1, 5)
        layer = plain(row.cells.get("layer", "")) or TREE
        if not _LAYER.fullmatch(layer):
            row.fault("layer", "must be a word of small letters: unit for the tree, police, sanitation, market …")
        parent = plain(row.cells.get("parent", ""))
        if level is None:
            if not row.bad:
                row.fault("level", "is empty: 1 city, 2 district, 3 street, 4 community, 5 grid")
            continue
        lengths = LENGTHS.get(level)
        if code.isdigit() and layer == TREE and lengths and len(code) not in lengths:
            wanted = " or ".join(map(str, lengths))
            row.fault("code", f"has {len(code)} digits, level {level} has {wanted} (GB/T 30428.1)")
        shape = ground(row, datum, polygon=True)
        if shape is not None and not row.bad:
            found.append(MapArea(row, code, name, level, parent, layer, shape))
    _tree(found, seen)
    if not any(row.bad for row in given):  # what is bad is not in ``found``, and would be a hole
        _coverage(found)
    return found


def ground(row: Row, datum: str, *, polygon: bool) -> BaseGeometry | None:
    """The geometry of a row in WGS84; a fault and None where it is none, or with ``polygon`` no polygon."""
    if not row.geometry:
        row.fault("geometry", "is missing: the file must be a GeoJSON map, each feature with its geometry")
        return None
    try:
        shape = shapely.force_2d(shapely.geometry.shape(row.geometry))
    except (
        shapely.errors.ShapelyError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ):
        row.fault("geometry", "is no geometry of GeoJSON (RFC 7946)")
        return None
    if shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        row.fault("geometry", "is empty or holds something that is no number")
        return None
    if polygon and not isinstance(shape, Polygon | MultiPolygon):
        row.fault("geometry", f"is a {shape.geom_type}: an area is a Polygon or MultiPolygon")
        return None
    west, south, east, north = shape.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        row.fault("geometry", "has numbers that are no degrees: convert it to longitude and latitude (EPSG:4326)")
        return None
    if not shape.is_valid:
        row.fault("geometry", f"is no simple shape: {explain_validity(shape)[:60]}")
        return None
    try:
        return in_wgs84(shape, datum)
    except BadPoint as error:
        row.fault("geometry", str(error))
        return None


def in_wgs84(shape: BaseGeometry, datum: str) -> BaseGeometry:
    """``shape`` with its corners converted from ``datum``. Raises BadPoint for a datum nobody knows."""
    if datum not in DATUMS:
        raise BadPoint(f"datum {datum!r:.20} is none of {', '.join(DATUMS)}")
    if datum != GCJ02:
        return shape

    def turned(corners: Any) -> Any:
        return np.array([from_gcj02(lon, lat) for lon, lat in corners])

    converted: BaseGeometry = shapely.transform(shape, turned)
    return converted


def _tree(areas: Sequence[MapArea], codes: Container[str]) -> None:
    """Every area but a city has a parent, of a higher level, in the file. ``codes``: of rows with faults too."""
    by_code = {area.code: area for area in areas}
    for area in areas:
        if not area.parent:
            if area.level > 1:
                area.row.fault("parent", f"is empty: an area of level {area.level} has one")
            continue
        above = by_code.get(area.parent)
        if above is None and area.parent in codes:
            continue  # its own fault is told
        if above is None:
            area.row.cells = {**area.row.cells, "parent": area.parent[:SHOWN]}
            area.row.fault("parent", "is no area of this file: a map is imported whole")
        elif above.level >= area.level:
            area.row.fault("parent", f"has level {above.level}: must be above level {area.level}")


def _scale(shape: BaseGeometry) -> tuple[float, float]:
    """Metres of a degree of longitude and of latitude there."""
    lat = math.radians((shape.bounds[1] + shape.bounds[3]) / 2)
    return 111_194.9 * math.cos(lat), 111_194.9


def _wider(shape: BaseGeometry) -> tuple[float, BaseGeometry]:
    """What is left of ``shape`` after TOLERANCE_M is taken off all around, and its area, square metres."""
    if shape.is_empty or shape.area == 0:
        return 0.0, shape
    lon, lat = _scale(shape)
    flat = shapely.transform(shape, lambda corners: corners * (lon, lat)).buffer(-TOLERANCE_M)
    left = shapely.transform(flat, lambda corners: corners / (lon, lat))
    return flat.area, left


def _where(shape: BaseGeometry) -> str:
    middle = shape.representative_point()
    return f"{middle.x:.5f}, {middle.y:.5f}"


def _coverage(areas: Sequence[MapArea]) -> None:
    """No two of a layer and level on one ground; children fill their parent, where it has any."""
    for layer, level in sorted({(area.layer, area.level) for area in areas}):
        peers = [area for area in areas if (area.layer, area.level) == (layer, level)]
        shapes = [area.shape for area in peers]
        tree = shapely.STRtree(shapes)
        for one, other in tree.query(shapes, predicate="intersects").T.tolist():
            if one >= other:
                continue
            size, left = _wider(shapes[one].intersection(shapes[other]))
            if size > 0:
                peers[other].row.fault(
                    "geometry", f"lies on {size:.0f} m² of {peers[one].code}, at {_where(left)}: draw one line between"
                )
    children: dict[str, list[BaseGeometry]] = {}
    for area in areas:
        if area.layer == TREE and area.parent:
            children.setdefault(area.parent, []).append(area.shape)
    for area in areas:
        inner = children.get(area.code)
        if not inner or area.layer != TREE:
            continue
        together = shapely.union_all(inner)
        size, left = _wider(area.shape.difference(together))
        if size > 0:
            area.row.fault("geometry", f"has {size:.0f} m² that no area below has, at {_where(left)}: fill the hole")
        size, left = _wider(together.difference(area.shape))
        if size > 0:
            area.row.fault("geometry", f"lacks {size:.0f} m² that areas below have, at {_where(left)}: draw it wider")


__all__ = ["COLUMNS", "MOST_AREAS", "NEEDS", "TOLERANCE_M", "WGS84", "MapArea", "areas_of", "ground", "in_wgs84"]
