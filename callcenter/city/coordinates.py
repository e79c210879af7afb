"""Where on the earth: WGS84 degrees inside, whatever datum they came in.

Maps published in China are shifted by law: GCJ-02, some hundred metres off WGS84 and by another amount at each place.
A fix taken for the wrong datum puts a case into the next street, so every intake names its datum. CGCS2000, the datum
of the national standards, differs from WGS84 by centimetres and is taken as it is.
"""

import math
from typing import Final, NamedTuple

WGS84: Final = "wgs84"
CGCS2000: Final = "cgcs2000"
GCJ02: Final = "gcj02"
DATUMS: Final = (WGS84, CGCS2000, GCJ02)

EARTH_M: Final = 6_371_008.8
"""Mean radius of the earth, metres (IUGG)."""
_GCJ_AXIS_M: Final = 6_378_245.0
"""Semi-major axis of the ellipsoid that the shift is reckoned on (Krasovsky 1940), metres."""
_GCJ_ECCENTRICITY2: Final = 0.00669342162296594323
_WEST, _EAST, _SOUTH, _NORTH = 72.004, 137.8347, 0.8293, 55.8271
"""Outside of this box nothing is shifted."""
_ROUNDS: Final = 8
"""Of turning the shift back; each is some thousand times nearer than the one before."""


class BadPoint(ValueError):
    """Two numbers that are no place on the earth, or a datum nobody knows; the message says what to mend."""


class Point(NamedTuple):
    """A place: longitude and latitude, degrees, WGS84."""

    lon: float
    lat: float


def point(lon: float, lat: float, datum: str = WGS84) -> Point:
    """The WGS84 point of a pair in ``datum``. Raises BadPoint."""
    if not (math.isfinite(lon) and math.isfinite(lat)) or not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise BadPoint(f"longitude {lon:.6f}, latitude {lat:.6f}: degrees must be within 180 and 90; swapped, perhaps?")
    if datum == GCJ02:
        return from_gcj02(lon, lat)
    if datum not in DATUMS:
        raise BadPoint(f"datum {datum!r:.20} is none of {', '.join(DATUMS)}")
    return Point(lon, lat)


def to_gcj02(lon: float, lat: float) -> Point:
    """A WGS84 pair as Chinese maps draw it. The formula is public since 2010 and agrees with the maps to a metre."""
    if not (_WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH):
        return Point(lon, lat)
    x, y = lon - 105.0, lat - 35.0
    root = math.sqrt(abs(x))
    ripple = (20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + ripple
    north += (20.0 * math.sin(y * math.pi) + 40.0 * math.sin(y / 3.0 * math.pi)) * 2.0 / 3.0
    north += (160.0 * math.sin(y / 12.0 * math.pi) + 320.0 * math.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + ripple
    east += (20.0 * math.sin(x * math.pi) + 40.0 * math.sin(x / 3.0 * math.pi)) * 2.0 / 3.0
    east += (150.0 * math.sin(x / 12.0 * math.pi) + 300.0 * math.sin(x / 30.0 * math.pi)) * 2.0 / 3.0
    radians = math.radians(lat)
    bulge = 1.0 - _GCJ_ECCENTRICITY2 * math.sin(radians) ** 2
    meridian = _GCJ_AXIS_M * (1.0 - _GCJ_ECCENTRICITY2) / (bulge * math.sqrt(bulge))
    parallel = _GCJ_AXIS_M / math.sqrt(bulge) * math.cos(radians)
    return Point(lon + math.degrees(east / parallel), lat + math.degrees(north / meridian))


def from_gcj02(lon: float, lat: float) -> Point:
    """The WGS84 pair that a Chinese map draws at ``lon``, ``lat``; to a millimetre (by turning ``to_gcj02`` back)."""
    found = Point(lon, lat)
    for _ in range(_ROUNDS):
        drawn = to_gcj02(*found)
        found = Point(found.lon + lon - drawn.lon, found.lat + lat - drawn.lat)
    return found


def metres(one: Point, other: Point) -> float:
    """The distance between two points, metres (great circle)."""
    half_lat = math.radians(other.lat - one.lat) / 2
    half_lon = math.radians(other.lon - one.lon) / 2
    spread = math.cos(math.radians(one.lat)) * math.cos(math.radians(other.lat)) * math.sin(half_lon) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(math.sin(half_lat) ** 2 + spread)))


def moved(start: Point, east_m: float, north_m: float) -> Point:
    """The point so many metres east and north of ``start``; for distances within a city."""
    lat = start.lat + math.degrees(north_m / EARTH_M)
    return Point(start.lon + math.degrees(east_m / (EARTH_M * math.cos(math.radians(start.lat)))), lat)
