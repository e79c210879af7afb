"""Datums, distances: what Chinese maps shift and by how much, and that it is turned back to the millimetre."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callcenter.city.coordinates import (
    CGCS2000,
    DATUMS,
    GCJ02,
    WGS84,
    BadPoint,
    Point,
    from_gcj02,
    metres,
    moved,
    point,
    to_gcj02,
)

pytestmark = pytest.mark.unit

IN_CHINA = st.builds(Point, st.floats(73.6, 134.8), st.floats(18.1, 53.6))
"""The box of the mainland: Pamir to Heixiazi, Sanya to Mohe."""
A_CITY = st.builds(Point, st.floats(-179, 179), st.floats(-60, 60))
JINGMEN = Point(112.2, 31.03)


@given(st.builds(Point, st.floats(108, 118), st.floats(22, 40)))
def test_where_most_people_live_a_map_is_some_hundred_metres_off(place: Point) -> None:
    assert 100 < metres(place, to_gcj02(*place)) < 700


@given(IN_CHINA)
@example(Point(96.63, 37.14))
@example(Point(131.42, 53.59))
def test_a_map_is_off_everywhere_in_china(place: Point) -> None:
    # Least in the Qaidam desert, most in the north-east.
    assert 15 < metres(place, to_gcj02(*place)) < 720


@pytest.mark.parametrize(
    ("place", "east", "north"),
    [  # which way the maps are off, known to everyone who ever laid one on the other
        (Point(116.397, 39.909), 540, 155),  # Beijing
        (Point(121.474, 31.231), 430, -215),  # Shanghai
    ],
)
def test_the_way_it_is_off(place: Point, east: float, north: float) -> None:
    drawn = to_gcj02(*place)
    assert metres(place, Point(drawn.lon, place.lat)) * math.copysign(1, drawn.lon - place.lon) == pytest.approx(
        east, abs=25
    )
    assert metres(place, Point(place.lon, drawn.lat)) * math.copysign(1, drawn.lat - place.lat) == pytest.approx(
        north, abs=25
    )


@pytest.mark.parametrize(
    ("place", "drawn"),
    [  # of the tests of eviltransform, which many programs were written after
        (Point(113.912316, 22.543847), Point(113.9171764808363, 22.540796131694766)),
        (Point(121.5272106, 31.1774276), Point(121.531541859215, 31.17530398364597)),
        (Point(116.377817, 39.911954), Point(116.38404722455657, 39.91334545536069)),
    ],
)
def test_published_pairs(place: Point, drawn: Point) -> None:
    assert metres(to_gcj02(*place), drawn) < 0.001
    assert metres(from_gcj02(*drawn), place) < 0.001


@given(
    st.one_of(
        st.builds(Point, st.floats(-180, 72), st.floats(-90, 90)),
        st.builds(Point, st.floats(137.84, 180), st.floats(-90, 90)),
        st.builds(Point, st.floats(-180, 180), st.floats(55.83, 90)),
    )
)
@example(Point(139.77, 35.68))
@example(Point(-0.13, 51.51))
def test_nothing_is_shifted_outside(place: Point) -> None:
    assert to_gcj02(*place) == place
    assert metres(point(*place, GCJ02), place) == 0


@given(IN_CHINA)
def test_it_is_turned_back_to_less_than_a_millimetre(place: Point) -> None:
    assert metres(from_gcj02(*to_gcj02(*place)), place) < 0.001
    assert metres(to_gcj02(*from_gcj02(*place)), place) < 0.001
    assert point(*to_gcj02(*place), GCJ02) == from_gcj02(*to_gcj02(*place))


@given(A_CITY, st.floats(0, 20_000), st.floats(0, 2 * math.pi))
def test_metres_and_moved_agree(start: Point, far: float, way: float) -> None:
    there = moved(start, far * math.sin(way), far * math.cos(way))
    assert metres(start, there) == pytest.approx(far, rel=0.006, abs=1e-6)
    assert metres(start, there) == metres(there, start)


def test_distances_that_are_known() -> None:
    assert metres(JINGMEN, JINGMEN) == 0
    assert metres(Point(0, 0), Point(0, 1)) == pytest.approx(111_195, abs=1)
    assert metres(Point(0, 0), Point(180, 0)) == pytest.approx(math.pi * 6_371_008.8)
    assert metres(Point(179.9999, 31), Point(-179.9999, 31)) == pytest.approx(19.06, abs=0.01)
    assert metres(JINGMEN, Point(JINGMEN.lon + 1e-7, JINGMEN.lat)) == pytest.approx(0.0095, abs=0.0001)


@pytest.mark.parametrize("datum", [WGS84, CGCS2000])
def test_what_needs_no_turning_is_taken_as_it_is(datum: str) -> None:
    assert point(112.2, 31.03, datum) == (112.2, 31.03)
    assert set(DATUMS) == {WGS84, CGCS2000, GCJ02}


@pytest.mark.parametrize("datum", [*DATUMS, "bd09", ""])
@pytest.mark.parametrize(
    ("lon", "lat"),
    [(math.nan, 31), (112, math.nan), (math.inf, 0), (0, -math.inf), (31.03, 112.2), (180.1, 0), (0, 90.1)],
)
def test_what_is_no_place(lon: float, lat: float, datum: str) -> None:
    with pytest.raises(BadPoint, match="swapped, perhaps"):
        point(lon, lat, datum)


@pytest.mark.parametrize("datum", ["", "bd09", "WGS84", "x" * 1_000])
def test_a_datum_nobody_knows(datum: str) -> None:
    with pytest.raises(BadPoint, match="is none of wgs84, cgcs2000, gcj02") as caught:
        point(112.2, 31.03, datum)
    assert len(str(caught.value)) < 100
