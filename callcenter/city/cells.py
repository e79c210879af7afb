"""Finding what is near on both databases alike: every point lies in a cell, and cells are numbers in an index.

A cell is a thousandth of a degree each way: 111 m from south to north, 95 m from west to east at Jingmen's latitude.
The cells of one row (from west to east) have successive numbers, so what lies within some hundred metres is a few
ranges of an ordinary index: no PostGIS, no SpatiaLite, one code path.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from callcenter.city.coordinates import EARTH_M, Point

_A_DEGREE: Final = 1000
_A_ROW: Final = 360 * _A_DEGREE + 2
SMALLEST_RING_M: Final = 120.0
_ROUNDING: Final = 1e-9
"""Degrees, a tenth of a millimetre: what reckoning in floating point loses."""
_MOST_NAMED: Final = 1_000
"""Cells of a circle of some 1,500 m."""
FARTHEST_M: Final = 5_000.0
"""Nothing farther than this is near: at most ninety rows of cells."""


def cell_of(place: Point) -> int:
    """The number of the cell that ``place`` lies in: 0 to 64,980,359,999 and so beyond 32 bits."""
    return math.floor((place.lat + 90) * _A_DEGREE) * _A_ROW + math.floor((place.lon + 180) * _A_DEGREE)


def degrees(centre: Point, radius_m: float) -> tuple[float, float]:
    """How many degrees of longitude and latitude a circle reaches, to either side."""
    arc = radius_m / EARTH_M
    # Where it is widest a circle is nearer to the pole than its middle; around a pole it is all the way round.
    widest = math.sin(arc) / max(1e-9, math.cos(math.radians(centre.lat)))
    east = math.degrees(math.asin(widest)) + _ROUNDING if widest < 1 else 360.0
    return east, math.degrees(arc) + _ROUNDING


def ranges(centre: Point, radius_m: float) -> list[tuple[int, int]]:
    """(first, last) numbers of the cells that a circle touches, one pair a row. Raises ValueError beyond FARTHEST_M."""
    if not 0 <= radius_m <= FARTHEST_M:
        raise ValueError(f"radius {radius_m:.0f} m: must be 0 to {FARTHEST_M:.0f}")
    east, north = degrees(centre, radius_m)
    bottom = math.floor((max(-90.0, centre.lat - north) + 90) * _A_DEGREE)
    top = math.floor((min(90.0, centre.lat + north) + 90) * _A_DEGREE)
    left = math.floor((max(-180.0, centre.lon - east) + 180) * _A_DEGREE)
    right = math.floor((min(180.0, centre.lon + east) + 180) * _A_DEGREE)
    return [(row * _A_ROW + left, row * _A_ROW + right) for row in range(bottom, top + 1)]


def within(
    column: InstrumentedAttribute[Any], centre: Point, radius_m: float, *each: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The rows in the cells that the circle touches: all within it, and some beside it.

    ``each``: what the columns before ``column`` in its index must be.
    """
    rows = ranges(centre, radius_m)
    if sum(last - first + 1 for first, last in rows) <= _MOST_NAMED:
        # Each cell by its number: SQLite takes ranges joined by OR for one condition among others, and reads the whole
        # category instead of the index's few leaves; numbers it looks up one by one.
        return and_(*each, column.in_([cell for first, last in rows for cell in range(first, last + 1)]))
    # For the same reason what stands beside the ranges is said with each of them.
    return or_(*(and_(*each, column.between(first, last)) for first, last in rows))


def widening(farthest_m: float = FARTHEST_M) -> Iterator[float]:
    """Radii to look within, metres, each some three times the one before: what is near is found in the first."""
    radius = SMALLEST_RING_M
    while radius < farthest_m:
        yield radius
        radius *= 3
    yield farthest_m
