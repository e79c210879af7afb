"""Cells: nothing that is near may lie in a cell that is not looked at."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callcenter.city.cells import FARTHEST_M, SMALLEST_RING_M, cell_of, degrees, ranges, widening
from callcenter.city.coordinates import EARTH_M, Point, metres
from callcenter.city.kinds import KINDS, Known
from callcenter.tables.rows import Faults, Row

pytestmark = pytest.mark.unit

CENTRES = st.builds(Point, st.floats(-179, 179), st.floats(-75, 75))
RADII = st.floats(0, FARTHEST_M)


def seen(place: Point, centre: Point, radius: float) -> bool:
    return any(first <= cell_of(place) <= last for first, last in ranges(centre, radius))


def gone(start: Point, far: float, bearing: float) -> Point:
    """The point ``far`` metres from ``start`` on the sphere, whichever way."""
    arc, lat = far / EARTH_M, math.radians(start.lat)
    there = math.asin(math.sin(lat) * math.cos(arc) + math.cos(lat) * math.sin(arc) * math.cos(bearing))
    turn = math.atan2(
        math.sin(bearing) * math.sin(arc) * math.cos(lat), math.cos(arc) - math.sin(lat) * math.sin(there)
    )
    return Point(start.lon + math.degrees(turn), math.degrees(there))


@given(CENTRES, RADII, st.floats(0, 0.999999), st.floats(0, 2 * math.pi))
@example(Point(112.2, 31.03), FARTHEST_M, 0.999999, math.pi / 2)
@example(Point(0.0, 0.0), 0.0, 0.0, 0.0)
@example(Point(112.0, 31.0), 0.0, 0.0, 0.0)
def test_every_point_within_lies_in_a_cell_that_is_looked_at(
    centre: Point, radius: float, share: float, bearing: float
) -> None:
    place = gone(centre, radius * share, bearing)
    assert metres(centre, place) <= radius + 1e-6
    assert seen(place, centre, radius)


@pytest.mark.parametrize("lat", [0.0, 31.03, 53.5, 75.0, -75.0])
def test_the_widest_points_of_a_circle_are_reached(lat: float) -> None:
    # Widest from west to east a circle is a little nearer to the pole than its middle.
    centre = Point(112.2, lat)
    east, north = degrees(centre, FARTHEST_M)
    for step in range(2_000):
        place = gone(centre, FARTHEST_M, step * math.pi / 1_000)
        assert abs(place.lon - centre.lon) <= east
        assert abs(place.lat - centre.lat) <= north + 1e-12


@given(CENTRES, RADII)
def test_rows_are_in_order_and_one_range_each(centre: Point, radius: float) -> None:
    found = ranges(centre, radius)
    assert len(found) <= 91
    assert all(first <= last for first, last in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    assert all(other[0] - one[0] == found[1][0] - found[0][0] for one, other in pairwise(found))
    widths = {last - first for first, last in found}
    assert len(widths) == 1


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90))
def test_a_number_is_one_cell(lon: float, lat: float, other_lon: float, other_lat: float) -> None:
    one, other = Point(lon, lat), Point(other_lon, other_lat)
    assert 0 <= cell_of(one) < 2**63
    same = math.floor((lon + 180) * 1000) == math.floor((other_lon + 180) * 1000) and math.floor(
        (lat + 90) * 1000
    ) == math.floor((other_lat + 90) * 1000)
    assert (cell_of(one) == cell_of(other)) == same


@given(st.floats(-180, 179.99), st.floats(-90, 89.99))
def test_cells_go_on_from_west_to_east_and_from_south_to_north(lon: float, lat: float) -> None:
    here = cell_of(Point(lon, lat))
    assert here <= cell_of(Point(lon + 0.0011, lat)) <= here + 2
    assert here < cell_of(Point(lon, lat + 0.0011))


@pytest.mark.parametrize("radius", [-0.001, FARTHEST_M + 0.001, math.inf, math.nan])
def test_what_is_no_radius(radius: float) -> None:
    with pytest.raises(ValueError, match="radius"):
        ranges(Point(112.2, 31.03), radius)


@pytest.mark.parametrize("centre", [Point(0, 90), Point(0, -90), Point(180, 0), Point(-180, 89.999)])
def test_the_ends_of_the_earth_do_no_harm(centre: Point) -> None:
    found = ranges(centre, FARTHEST_M)
    assert all(0 <= first <= last for first, last in found)
    assert any(first <= cell_of(centre) <= last for first, last in found)


@pytest.mark.parametrize("farthest", [0.0, 1.0, SMALLEST_RING_M, 121.0, 1_000.0, FARTHEST_M])
def test_rings_widen_to_the_farthest(farthest: float) -> None:
    found = list(widening(farthest))
    assert found[-1] == farthest
    assert found == sorted(set(found))
    assert len(found) <= 5


@given(st.floats(112.0, 112.4), st.floats(30.9, 31.2))
@example(112.20499999, 31.0)
@example(112.2049999951, 31.0079999951)
def test_a_stored_row_lies_in_the_cell_of_its_stored_point(lon: float, lat: float) -> None:
    row = Row(2, {"code": "A", "place": "R", "number": "1", "lon": repr(lon), "lat": repr(lat)}, Faults())
    stored = KINDS["addresses"].parse(row, Known("wgs84", places=frozenset({"R"})))
    assert not row.bad
    assert stored["cell"] == cell_of(Point(stored["lon"], stored["lat"]))
