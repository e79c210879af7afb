"""A city that does not exist, from a seed: areas, units, places, addresses, parts and people for demos and tests.

``python -m callcenter.city.invented --seed 7 --size demo --out FOLDER`` writes it as the files a city's base data is
loaded from. The same seed and sizes yield the same bytes. Geometry is made in metres around the centre and written in
degrees (WGS84) of seven decimals, about a centimetre; areas share their vertices, so that each level is a coverage.
Nobody in it can be called: phone numbers begin with 100 or 0724-000, identity numbers with the area 990801.
"""

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import cos, pi, radians
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import shapely
from numpy.random import Generator
from numpy.typing import NDArray
from shapely import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from callcenter.city import invented_names as names
from callcenter.city.model import DEPARTMENT, STREET, UTILITY
from classifier import taxonomy

LON, LAT = 112.20, 31.03
"""The middle of the city, degrees."""
_M_A_LAT: Final = 110_900.0
_M_A_LON: Final = 111_320.0 * cos(radians(LAT))
_CITY_CODE: Final = "990800"
_GRID_M: Final = 0.1
"""Borders are noded on a raster this wide."""
_FIRST_DAY: Final = date(2005, 1, 1)
STATES: Final = ("完好", "破损", "丢失", "废弃")
HOUSE_KINDS: Final = ("住宅", "商铺", "厂房", "办公", "出租屋")
VIEW_RIGHTS: Final = ("open", "asked", "closed")

_T = TypeVar("_T")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Progress = Callable[[str, int], None]
"""Told after each file: its name and how many rows or features it has."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything there is. ``area_km2`` must hold it: ``invent`` raises ValueError where it does not."""

    micro_grids: int
    units: int
    assets: int
    addresses: int
    houses: int
    people: int
    enterprises: int
    cameras: int
    risk_sources: int
    area_km2: float = 31.0
    districts: int = 5
    streets: int = 30
    communities: int = 180
    independent: int = 15
    """Micro-grids that are one school, market or company, counted in ``micro_grids``."""
    police: int = 25
    sanitation: int = 40
    market: int = 20
    avenues: int = 16
    roads: int = 430
    estates: int = 430
    points: int = 1450


DEMO: Final = Sizes(931, 300, 30_000, 40_000, 6_000, 8_000, 1_500, 300, 120)
CHANCHENG: Final = Sizes(
    921, 300, 580_000, 390_000, 450_000, 568_000, 160_000, 5_000, 1_000,
    area_km2=172.0, avenues=36, roads=7_800, estates=4_500, points=7_500,
)  # fmt: skip
"""As much as an inner district of a big city has; the name is all it has of the real one."""
PRESETS: Final = {"demo": DEMO, "chancheng": CHANCHENG}


@dataclass(frozen=True, slots=True)
class Area:
    """``level`` 1 city, 2 district, 3 street, 4 community, 5 micro-grid; ``layer`` unit, police, sanitation, market."""

    code: str
    name: str
    level: int
    parent: str | None
    layer: str
    shape: BaseGeometry


@dataclass(frozen=True, slots=True)
class Unit:
    """A department, street government or utility. ``area`` empty: the whole city."""

    code: str
    name: str
    kind: str
    level: int
    parent: str
    area: str
    leader: str
    duty_phone: str
    round_the_clock: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A named thing. ``kind``: road, estate, poi, stop, bridge, park, river."""

    code: str
    name: str
    kind: str
    aliases: tuple[str, ...]
    shape: BaseGeometry


@dataclass(frozen=True)
class City:
    """``tables`` hold columns of equal length, numbers and never a Python object a row; ``write`` spells them out."""

    seed: int
    sizes: Sizes
    areas: list[Area]
    units: list[Unit]
    places: list[Place]
    tables: dict[str, dict[str, NDArray[Any]]]
    """addresses: place, number, building, door (0: none), lon, lat. assets: district, kind, serial, lon, lat, owner,
    keeper, state, tagged, installed. houses: address, kind, owner. people: name, female, birth, serial, floating,
    house. enterprises: house, name, trade, form, person. cameras: kind, owner, lon, lat, road, view_right.
    risk_sources: the same with grade in the place of view_right. Owners and keepers are indices of ``units``, a house's
    owner and a person's name numbers for ``invented_names.person``; days count from 1940 (birth), 2005 (installed)."""


def invent(seed: int, sizes: Sizes) -> City:
    """The city of this seed. Raises ValueError where ``sizes`` want more than its ground holds, naming what."""
    rng = np.random.default_rng(seed)
    ground = _Ground(rng, sizes)
    units = _units(sizes, ground)
    roads = _name_roads(rng, ground)
    estates = _estates(rng, ground)
    addresses = _addresses(rng, ground, [shape for _, shape in estates])
    places = [*roads, *(place for place, _ in estates), *_points(rng, ground, roads)]
    tables = {"addresses": addresses, "assets": _assets(rng, ground, units)}
    tables |= _people(rng, sizes, addresses["building"] > 0)
    tables |= _watched(rng, ground, units)
    return City(seed, sizes, ground.areas, units, places, tables)


# --- ground: areas and the lines of roads, in metres ---


@dataclass(frozen=True, slots=True)
class _Road:
    line: LineString
    rank: int
    """0 an avenue, 1 a street, 2 a lane."""


class _Ground:
    """The areas, and in metres: the city, its districts, micro-grids and roads, and where a campus was cut out."""

    def __init__(self, rng: Generator, sizes: Sizes) -> None:
        ordinary = sizes.micro_grids - sizes.independent
        if not 1 <= sizes.districts <= sizes.streets <= sizes.communities <= ordinary:
            raise ValueError(
                f"{sizes.districts} districts, {sizes.streets} streets, {sizes.communities} communities and {ordinary} "
                "micro-grids beside independent ones: each level needs at least as many as the one above, and one"
            )
        self.rng, self.sizes = rng, sizes
        self.city = _outline(rng, sizes.area_km2)
        self.inside = self.city.buffer(-30)
        shapely.prepare(self.inside)
        avenues = _avenues(rng, self.city, self.inside, sizes.avenues)
        self._near_avenues = shapely.union_all(avenues).buffer(40) if avenues else Polygon()
        shapely.prepare(self._near_avenues)
        self.areas: list[Area] = []
        self.campuses: list[tuple[str, tuple[str, ...], Polygon]] = []
        self.grids: list[Polygon] = []
        self.districts: list[BaseGeometry] = []
        self._partition(avenues)

    def _partition(self, avenues: list[LineString]) -> None:
        rng, sizes = self.rng, self.sizes
        a_community = _parts(rng, sizes.micro_grids - sizes.independent, sizes.communities)
        a_street, a_district = (
            _parts(rng, sizes.communities, sizes.streets),
            _parts(rng, sizes.streets, sizes.districts),
        )
        of_street = [sum(part) for part in _runs(a_community, a_street)]
        of_district = [sum(part) for part in _runs(of_street, a_district)]
        streets: list[LineString] = []
        lanes: list[LineString] = []
        leaves: list[Polygon] = []
        districts = self._split(self.city, of_district, streets)
        shapes = [
            s
            for d, own in zip(districts, _runs(of_street, a_district), strict=True)
            for s in self._split(d, own, streets)
        ]
        for shape, own in zip(shapes, _runs(a_community, a_street), strict=True):
            for community, count in zip(self._split(shape, own, streets), own, strict=True):
                leaves += self._split(community, rng.uniform(0.6, 1.5, count).tolist(), lanes)
        self.grids = _noded(leaves)
        self.roads = self._roads(avenues, streets, lanes)
        self.tree = shapely.STRtree([road.line for road in self.roads])
        self._cut_campuses()
        self._name_areas(_runs(_runs(a_community, a_street), a_district))
        self._layers()

    def _split(self, shape: Polygon, weights: Sequence[float], cuts: list[LineString]) -> list[Polygon]:
        """``shape`` in straight cuts, one part for each weight, its area in proportion."""
        if len(weights) == 1:
            return [shape]
        half = len(weights) // 2
        share = sum(weights[:half]) / sum(weights)
        best: tuple[float, Polygon, Polygon, LineString] | None = None
        for attempt in range(24):
            one, other, cut = _cut(shape, share, self.rng.normal(0, 0.12 * (1 + attempt / 6)))
            if not (isinstance(one, Polygon) and isinstance(other, Polygon) and isinstance(cut, LineString)):
                continue
            # a cut that runs along an avenue would be a second road on the same ground
            beside = shapely.intersection(cut, self._near_avenues).length / cut.length
            if best is None or beside < best[0]:
                best = (beside, one, other, cut)
            if best[0] < 0.3 or attempt >= 5:
                break
        if best is None:
            raise ValueError(f"an area of {shape.area:.0f} m² falls apart however it is cut: try another seed")
        _, one, other, cut = best
        cuts.append(cut)
        return self._split(one, weights[:half], cuts) + self._split(other, weights[half:], cuts)

    def _roads(self, avenues: list[LineString], streets: list[LineString], lanes: list[LineString]) -> list[_Road]:
        """Avenues, the borders of larger areas, and as many lanes as are left: borders of micro-grids, then inside."""
        found = [_Road(line, 0) for line in avenues] + [_Road(line, 1) for line in self._kept(streets)]
        wanted = self.sizes.roads - len(found)
        if wanted < 0:
            raise ValueError(f"{self.sizes.roads} roads: avenues and the borders of areas are {-wanted} more than that")
        inner: list[LineString] = []
        chosen = self._kept(lanes)
        if wanted > len(chosen):
            counts = _parts(self.rng, (wanted - len(chosen)) * 11 // 10, len(self.grids))
            for grid, count in zip(self.grids, counts, strict=True):
                self._split(grid, [1] * (count + 1), inner)
            chosen += self._kept(inner)
        if len(chosen) < wanted:
            raise ValueError(
                f"{self.sizes.roads} roads: the ground holds {len(found) + len(chosen)}, make area_km2 larger"
            )
        picked = sorted(self.rng.choice(len(chosen), wanted, replace=False))
        return found + [_Road(chosen[i], 2) for i in picked]

    def _kept(self, lines: list[LineString]) -> list[LineString]:
        """What of each line is inside the city, unless it is too short for a road."""
        inside = [shapely.intersection(line, self.inside) for line in lines]
        return [line for line in inside if isinstance(line, LineString) and line.length > 40]

    def roads_near(self, shape: BaseGeometry, distance: float) -> BaseGeometry:
        """All road lines nearer than ``distance`` metres, as one geometry."""
        near = self.tree.query(shape, predicate="dwithin", distance=distance)
        return shapely.union_all([self.roads[i].line for i in near])

    def district_of(self, xy: Floats) -> Ints:
        """The index of the district that each point, in metres, lies in; the nearest where a border was rounded off."""
        found = np.full(len(xy), -1)
        lonlat = _degrees_of(xy)
        for d, district in enumerate(self.districts):
            shapely.prepare(district)
            found[shapely.contains_xy(district, lonlat)] = d
        for i in np.flatnonzero(found < 0):
            found[i] = int(np.argmin(shapely.distance(self.districts, Point(lonlat[i]))))
        return found

    def along(self, rng: Generator, count: int, low: float, high: float) -> tuple[Ints, Floats]:
        """Points beside roads, ``low`` to ``high`` metres off the line: the road's index and x, y of each."""
        lengths = np.array([road.line.length for road in self.roads])
        road = rng.choice(len(lengths), count, p=lengths / lengths.sum())
        at, offset = rng.random(count) * lengths[road], rng.uniform(low, high, count) * rng.choice((-1, 1), count)
        xy = np.empty((count, 2))
        order = np.argsort(road, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(road[order])) + 1):
            xy[part] = _beside(self.roads[road[part[0]]].line, at[part], offset[part])
        return road, xy

    def crossings(self) -> list[tuple[int, int, tuple[float, float]]]:
        """Two roads, and where they meet: metres."""
        lines = np.array([road.line for road in self.roads])
        one, other = self.tree.query(lines, predicate="dwithin", distance=1.0)
        one, other = one[one < other], other[one < other]
        ends = shapely.get_coordinates(shapely.shortest_line(lines[one], lines[other]))[::2]
        return [(a, b, (x, y)) for a, b, (x, y) in zip(one.tolist(), other.tolist(), ends.tolist(), strict=True)]

    def _cut_campuses(self) -> None:
        self.campus_of: dict[int, Polygon] = {}
        for i in self.rng.permutation(len(self.grids)):
            if len(self.campus_of) == self.sizes.independent:
                return
            grid = self.grids[i]
            free = shapely.difference(grid.buffer(-8), self.roads_near(grid, 20).buffer(17))
            if free.is_empty:
                continue
            radius = shapely.maximum_inscribed_circle(free, 2.0)
            middle, reach = Point(radius.coords[0]), min(radius.length, 90.0)
            if reach >= 32:
                corners = np.array([[-0.8, -0.55], [0.75, -0.6], [0.82, 0.5], [0.1, 0.68], [-0.72, 0.62]]) * reach
                turn = self.rng.uniform(0, pi)
                spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
                campus = Polygon(np.round(corners @ spin + np.array([middle.x, middle.y]), 1))
                self.campus_of[int(i)] = campus
        if len(self.campus_of) < self.sizes.independent:
            raise ValueError(
                f"{self.sizes.independent} independent micro-grids: there is room for {len(self.campus_of)}"
            )

    def _name_areas(self, counts: list[list[list[int]]]) -> None:
        """The tree with its codes (GB/T 30428.1); parents are the union of their children, so that they fit exactly."""
        rng = self.rng
        streets = [names.STREETS[i] for i in rng.permutation(len(names.STREETS))]
        stems = names.stems(rng)
        campus_names = iter(names.CAMPUSES)
        if self.sizes.streets > len(streets) or self.sizes.districts > len(names.DISTRICTS):
            raise ValueError(f"at most {len(names.DISTRICTS)} districts and {len(streets)} streets have names")
        leaf = 0
        city: list[BaseGeometry] = []
        tree: list[Area] = []
        for d, of_district in enumerate(counts):
            district, shapes_d = f"{int(_CITY_CODE) + d + 1}", []
            for s, of_street in enumerate(of_district):
                street, shapes_s = f"{district}{s + 1:03d}", []
                street_name = streets.pop()
                for c, count in enumerate(of_street):
                    community, shapes_c = f"{street}{c + 1:03d}", []
                    name = f"{next(stems)}社区"
                    campuses: list[tuple[str, tuple[str, ...], Polygon]] = []
                    for g in range(count):
                        shape, campus = self.grids[leaf], self.campus_of.get(leaf)
                        if campus is not None:
                            shape = Polygon(shape.exterior, [campus.exterior])
                            campuses.append((*next(campus_names, (f"第{leaf}厂", ())), campus))
                        shapes_c.append(_degrees(shape))
                        grid_name = f"{name}第{names.chinese(g + 1)}网格"
                        tree.append(Area(f"{community}{g + 1:03d}", grid_name, 5, community, "unit", shapes_c[-1]))
                        leaf += 1
                    for extra, (own, aliases, campus) in enumerate(campuses, count + 1):
                        shapes_c.append(_degrees(campus))
                        code = f"{community}{extra:03d}"
                        tree.append(Area(code, f"{own}独立网格", 5, community, "unit", shapes_c[-1]))
                        self.campuses.append((own, aliases, campus))
                    shapes_s.append(shapely.coverage_union_all(shapes_c))
                    tree.append(Area(community, name, 4, street, "unit", shapes_s[-1]))
                shapes_d.append(shapely.coverage_union_all(shapes_s))
                tree.append(Area(street, f"{street_name}街道", 3, district, "unit", shapes_d[-1]))
            city.append(shapely.coverage_union_all(shapes_d))
            self.districts.append(city[-1])
            tree.append(Area(district, names.DISTRICTS[d], 2, _CITY_CODE, "unit", city[-1]))
        tree.append(Area(_CITY_CODE, names.CITY, 1, None, "unit", shapely.coverage_union_all(city)))
        self.areas += sorted(tree, key=lambda area: (area.level, area.code))

    def _layers(self) -> None:
        """Police districts join communities; those of sanitation and market supervision cut across them."""
        sizes, rng = self.sizes, self.rng
        for layer, letter, total, word in (
            ("police", "P", sizes.police, "派出所辖区"),
            ("sanitation", "S", sizes.sanitation, "环卫片区"),
            ("market", "M", sizes.market, "市场监管所辖区"),
        ):
            if total < len(self.districts):
                raise ValueError(f"{total} areas of layer {layer}: at least one a district, {len(self.districts)}")
            counts = _parts(rng, total, len(self.districts))
            level = 4 if layer == "police" else 5
            for d, count in enumerate(counts):
                code = f"{int(_CITY_CODE) + d + 1}"
                own = [a.shape for a in self.areas if (a.level, a.layer, a.code[:6]) == (level, "unit", code)]
                shapes = [shapely.coverage_union_all(part) for part in _joined(rng, own, count)]
                for i, shape in enumerate(shapes, 1):
                    name = f"{names.DISTRICTS[d][:-1]}{names.chinese(i)}{word}"
                    self.areas.append(Area(f"{code}{letter}{i:02d}", name, 4, code, layer, shape))


def _outline(rng: Generator, area_km2: float) -> Polygon:
    turn = np.linspace(0, 2 * pi, 56, endpoint=False)
    a, b, c = rng.uniform(0, 2 * pi, 3)
    radius = 1 + 0.13 * np.sin(2 * turn + a) + 0.05 * np.sin(3 * turn + b) + 0.02 * np.sin(7 * turn + c)
    radius += rng.normal(0, 0.008, len(turn))
    shape = Polygon(np.column_stack([radius * np.cos(turn), radius * np.sin(turn)]))
    return Polygon(np.round(np.array(shape.exterior.coords) * (area_km2 * 1e6 / shape.area) ** 0.5, 1))


def _avenues(rng: Generator, city: Polygon, inside: BaseGeometry, count: int) -> list[LineString]:
    """Bent lines right across the city, half of them to the north, half to the east."""
    found = []
    left, low, right, high = city.bounds
    for k in range(count):
        north = k % 2 == 0
        (start, end), (first, last) = ((low, high), (left, right)) if north else ((left, right), (low, high))
        lane = (k // 2 + 0.5 + rng.uniform(-0.15, 0.15)) / ((count + north) // 2)
        along = np.linspace(start, end, int((end - start) // 450) + 2)
        across = first + (last - first) * (0.04 + 0.92 * lane) + rng.normal(0, 35, len(along))
        across += 90 * np.sin(along / rng.uniform(900, 2000) + rng.uniform(0, 6))
        line = LineString(np.column_stack([across, along] if north else [along, across]))
        parts = [p for p in shapely.get_parts(shapely.intersection(line, inside)) if p.length > 200]
        found += [max(parts, key=lambda p: p.length)] if parts else []
    return found


def _cut(shape: Polygon, share: float, tilt: float) -> tuple[BaseGeometry, BaseGeometry, BaseGeometry]:
    """Across its long side, ``tilt`` radians off the right angle, so that the first part has ``share`` of the area."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(shape))
    sides = np.diff(corners[:3], axis=0)
    long = sides[int(np.argmax(np.hypot(*sides.T)))]
    turn = np.arctan2(long[1], long[0]) + tilt
    ahead, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    reach = np.array(shape.exterior.coords) @ ahead
    width = 2 * float(np.hypot(*np.ptp(corners, axis=0)))
    centre = np.array([shape.centroid.x, shape.centroid.y])
    low, high = float(reach.min()), float(reach.max())
    bottom = low - 1

    def half(at: float) -> Polygon:
        base = centre - ahead * (centre @ ahead)
        ends = [
            base + ahead * to + aside * by for to, by in ((bottom, -width), (bottom, width), (at, width), (at, -width))
        ]
        return Polygon(ends)

    for _ in range(9):
        middle = (low + high) / 2
        if shapely.intersection(shape, half(middle)).area < share * shape.area:
            low = middle
        else:
            high = middle
    box = half((low + high) / 2)
    edge = LineString(list(box.exterior.coords)[2:4])
    return shapely.intersection(shape, box), shapely.difference(shape, box), shapely.intersection(edge, shape)


def _noded(shapes: Sequence[Polygon]) -> list[Polygon]:
    """The same tiles with a vertex wherever a neighbour has one, so that they share every edge."""
    lines = shapely.unary_union([s.exterior for s in shapes], grid_size=_GRID_M)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    tree = shapely.STRtree(shapes)
    found: dict[int, Polygon] = {}
    for face in faces:
        holders = tree.query(face.representative_point(), predicate="within")
        if len(holders) != 1 or int(holders[0]) in found:
            raise ValueError("cuts of areas lie too close to each other: try another seed, or fewer areas")
        found[int(holders[0])] = face
    if len(found) != len(shapes):
        raise ValueError(f"{len(shapes) - len(found)} areas are too small to stand: fewer areas, or a larger city")
    return [found[i] for i in range(len(shapes))]


def _joined(rng: Generator, shapes: list[BaseGeometry], count: int) -> list[list[BaseGeometry]]:
    """``shapes`` in ``count`` groups of neighbours."""
    if count == 1 or len(shapes) <= count:
        return [shapes] if count == 1 else [[s] for s in shapes]
    middles = np.array([[s.centroid.x, s.centroid.y] for s in shapes])
    half = count // 2
    for _ in range(64):
        turn = rng.uniform(0, 2 * pi)
        order = np.argsort(middles @ np.array([np.cos(turn), np.sin(turn)]), kind="stable")
        at = max(half, len(shapes) * half // count)
        parts = [[shapes[i] for i in order[:at]], [shapes[i] for i in order[at:]]]
        if all(isinstance(shapely.coverage_union_all(part), Polygon) for part in parts):
            break
    return _joined(rng, parts[0], half) + _joined(rng, parts[1], count - half)


def _parts(rng: Generator, total: int, count: int) -> list[int]:
    """``count`` whole numbers, none below one where ``total`` allows, about equal, that add up to ``total``."""
    edges = np.arange(count + 1) * total / count
    edges[1:-1] += rng.uniform(-0.3, 0.3, max(count - 1, 0)) * min(total / count, total / count - 1 + 1e-9)
    return [int(n) for n in np.diff(np.floor(edges + 1e-9).astype(int))]


def _runs(items: Sequence[_T], lengths: Iterable[int]) -> list[list[_T]]:
    found: list[list[_T]] = []
    at = 0
    for length in lengths:
        found.append(list(items[at : at + length]))
        at += length
    return found


def _degrees_of(xy: Floats) -> Floats:
    return np.asarray(np.round(xy / (_M_A_LON, _M_A_LAT) + (LON, LAT), 7))


def _degrees(shape: BaseGeometry) -> Any:
    return shapely.transform(shape, _degrees_of)


# --- units ---


def _departments() -> list[str]:
    """Every department the taxonomies name, in their order."""
    found: dict[str, None] = {}
    for standard in (taxonomy.DEFAULT_STANDARD, taxonomy.SOCIAL):
        for entry in taxonomy.load(standard).entries:
            found |= dict.fromkeys(re.sub("（[^（）]*）", "", entry.department).split("/"))
    return [name for name in found if name and name not in names.ROLES]


def _units(sizes: Sizes, ground: _Ground) -> list[Unit]:
    """Departments, district and street governments, then branches up to ``sizes.units``. Raises ValueError."""
    found: list[Unit] = []

    def add(
        code: str, name: str, level: int, kind: str, parent: str, area: str, leader: str, day_and_night: bool
    ) -> None:
        found.append(Unit(code, name, kind, level, parent, area, leader, f"0724-000{len(found):04d}", day_and_night))

    departments = {name: f"{_CITY_CODE}-{i:02d}" for i, name in enumerate(_departments(), 1)}
    kinds = {name: UTILITY if name in names.UTILITIES else DEPARTMENT for name in departments}
    for name, code in departments.items():
        leader = names.by_ending(name, names.LEADER, "负责人")
        add(code, name, 1, kinds[name], "", "", leader, name in names.ROUND_THE_CLOCK)
    districts = [a for a in ground.areas if a.level == 2 and a.layer == "unit"]
    for district in districts:
        add(f"{district.code}-00", f"{district.name}人民政府", 1, DEPARTMENT, "", district.code, "区长", False)
    for street in (a for a in ground.areas if a.level == 3):
        name = f"{street.name}办事处"
        add(f"{street.code}-00", name, 2, STREET, f"{street.parent}-00", street.code, "办事处主任", False)
    order = [*names.BRANCH_FIRST, *(name for name in departments if name not in names.BRANCH_FIRST)]
    for name, district in ((name, district) for name in order for district in districts):
        if len(found) == sizes.units:
            break
        ending = names.by_ending(name, names.BRANCH, "工作站")
        own = next((word for word in names.BRANCH if name.endswith(word)), "")
        branch = district.name + name[: len(name) - len(own)] + ending
        leader = "值班站长" if kinds[name] == UTILITY else "负责人"
        code = f"{district.code}-{departments[name][-2:]}"
        always = name in names.ROUND_THE_CLOCK
        add(code, branch, 2, kinds[name], departments[name], district.code, leader, always)
    if len(found) != sizes.units:
        raise ValueError(f"{sizes.units} units: with these districts and streets there are {len(found)} at the nearest")
    return found


def _unit_of(units: list[Unit], ground: _Ground) -> Callable[[str], tuple[int, list[int]]]:
    """For a department: its own index, and for each district its branch's, or its own where it has none."""
    by_code = {unit.code: i for i, unit in enumerate(units)}
    by_name = {unit.name: i for i, unit in enumerate(units) if unit.level == 1}

    def find(name: str) -> tuple[int, list[int]]:
        own = by_name[name]
        tail = units[own].code[-3:]
        return own, [by_code.get(f"{int(_CITY_CODE) + d + 1}{tail}", own) for d in range(len(ground.districts))]

    return find


# --- places ---


def _name_roads(rng: Generator, ground: _Ground) -> list[Place]:
    """Streets that sound alike lie in different districts where they can; lanes are called after streets."""
    roads, stems = ground.roads, names.stems(rng)
    middles = shapely.get_coordinates([road.line.interpolate(0.5, normalized=True) for road in roads])
    district = ground.district_of(middles)
    called: dict[int, str] = {}
    taken: set[str] = set()

    def call(road: int, name: str) -> bool:
        if name in taken or road in called:
            return False
        taken.add(name)
        called[road] = name
        return True

    free = [int(i) for i in rng.permutation([i for i, road in enumerate(roads) if road.rank == 1])]
    spare = len(free) * 3 // 20
    for g in rng.permutation(len(names.SOUND_ALIKE_ROADS)):
        group = names.SOUND_ALIKE_ROADS[g]
        if len(free) - len(group) < spare:
            break
        suffix, used = str(rng.choice(names.SUFFIX_STREET)), set[int]()
        for stem in group:
            at = next((i for i, road in enumerate(free) if int(district[road]) not in used), 0)
            road = free.pop(at)
            used.add(int(district[road]))
            call(road, stem + suffix)
    main = [i for i, road in enumerate(roads) if road.rank < 2]
    for road in main:
        suffixes = names.SUFFIX_STREET if roads[road].rank else names.SUFFIX_AVENUE
        while road not in called:
            call(road, next(stems) + str(rng.choice(suffixes)))
    main_tree, numbered = shapely.STRtree([roads[i].line for i in main]), Counter[str]()
    for road in (i for i, road in enumerate(roads) if road.rank == 2):
        how = rng.random()
        if how < 0.3:
            like = _stem(called[main[int(rng.integers(len(main)))]])
            call(road, like + str(rng.choice(names.SUFFIX_VARIANT)))
        elif how < 0.65:
            of = called[main[int(main_tree.nearest(roads[road].line))]]
            numbered[of] += 1
            if numbered[of] < 100:
                call(road, f"{of}{names.chinese(numbered[of])}巷")
        while road not in called:
            call(road, next(stems) + str(rng.choice(names.SUFFIX_LANE)))
    found = []
    for i, named in enumerate(roads):
        name = called[i]
        aliases: tuple[str, ...] = ()
        short = f"{_stem(name)}路"
        if name.endswith("大道") and short not in taken:
            aliases = (short,)
        elif named.rank == 1 and rng.random() < 0.12:
            aliases = (f"老{_stem(name)}街",)
        found.append(Place(f"R{i + 1:04d}", name, "road", aliases, _degrees(named.line)))
    return found


def _stem(road: str) -> str:
    """柳泉 of 柳泉路, 柳泉西路 and 柳泉路一巷."""
    return re.sub("(大道|[东西北后横支]?[路街]|巷|弄|里)([一二三四五六七八九十]+巷)?$", "", road)


def _estates(rng: Generator, ground: _Ground) -> list[tuple[Place, Polygon]]:
    """Estates between the roads, each with the ground its buildings stand on in metres; a few are shown as a point."""
    sizes = ground.sizes
    free: list[Polygon] = []
    for i, grid in enumerate(ground.grids):
        open_ground = shapely.difference(grid, ground.roads_near(grid, 20).buffer(16))
        if i in ground.campus_of:
            open_ground = shapely.difference(open_ground, ground.campus_of[i].buffer(10))
        for part in shapely.get_parts(open_ground):
            shape = part.buffer(-3, join_style="mitre").simplify(1)
            if isinstance(shape, Polygon) and shape.area > 2600 and shape.buffer(-16).area > 0:
                free.append(shape)
    if len(free) < sizes.estates:
        raise ValueError(f"{sizes.estates} estates: the ground holds {len(free)}, make area_km2 larger")
    chosen = [free[i] for i in rng.choice(len(free), sizes.estates, replace=False)]
    found: list[tuple[Place, Polygon]] = []
    for i, (name, shape) in enumerate(zip(_estate_names(rng, sizes.estates), chosen, strict=True), 1):
        aliases: tuple[str, ...] = ()
        if name.endswith("家属院"):
            aliases = (f"{name[:-3]}宿舍", f"{name[:-3]}家属楼")
        elif not name.endswith("小区") and rng.random() < 0.3:
            aliases = (f"{name[:2]}小区",)
        shown = shape.representative_point() if rng.random() < 0.1 else shape
        found.append((Place(f"E{i:04d}", name, "estate", aliases, _degrees(shown)), shape))
    return found


def _estate_names(rng: Generator, count: int) -> list[str]:
    fixed = [name for group in names.SOUND_ALIKE_ESTATES for name in group] + [f"{w}家属院" for w in names.WORKS]
    stems, found = names.stems(rng), dict.fromkeys(fixed[:count])
    pairs = [first + suffix for first in names.ESTATE_FIRST for suffix in dict.fromkeys(names.ESTATE_SUFFIX)]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    while len(found) < count:
        known = rng.random() < 0.6 and pairs
        found[pairs.pop() if known else next(stems) + str(rng.choice(names.ESTATE_SUFFIX))] = None
    listed = list(found)
    return [listed[i] for i in rng.permutation(count)]


def _points(rng: Generator, ground: _Ground, roads: list[Place]) -> list[Place]:
    """Campuses, what a city has once, then shops, schools and stops along the roads, none twice in a district."""
    count = ground.sizes.points
    made: list[tuple[str, str, tuple[str, ...], tuple[float, float]]] = []
    taken: set[tuple[str, int]] = set()
    stems = names.stems(rng)
    crossings = ground.crossings()
    order = iter(rng.permutation(len(crossings)))
    campuses = shapely.union_all([campus for _, _, campus in ground.campuses]).buffer(5)
    shapely.prepare(campuses)

    def spots() -> Iterator[tuple[int, int, tuple[float, float]]]:
        while True:
            road, xy = ground.along(rng, 4096, 19, 27)
            inside = shapely.contains_xy(ground.inside, xy) & ~shapely.contains_xy(campuses, xy)
            districts = ground.district_of(xy)
            for i in np.flatnonzero(inside):
                yield int(road[i]), int(districts[i]), (float(xy[i, 0]), float(xy[i, 1]))

    def add(kind: str, name: str, aliases: Iterable[str], district: int, xy: tuple[float, float]) -> bool:
        if (name, district) in taken:
            return False
        taken.add((name, district))
        made.append((kind, name, tuple(alias for alias in aliases if alias != name), xy))
        return True

    for name, aliases, campus in ground.campuses:
        middle = campus.representative_point()
        add("poi", name, aliases, -1, (middle.x, middle.y))
    spot = spots()
    for kind, name, aliases in names.SINGULAR:
        add(kind, name, aliases, -1, next(spot)[2])
    weights = np.array([share for _, share, _, _, _ in names.POINTS])
    choices = iter(rng.choice(len(weights), 50 * count, p=weights / weights.sum()))
    while len(made) < count:
        kind, _, suffix, how, patterns = names.POINTS[next(choices)]
        if kind == "stop":
            i = next(order, None)
            if i is None:
                continue
            one, other, xy = crossings[i]
            first, second = roads[one].name, roads[other].name
            name = f"{'' if second.startswith(first) else first}{second}口站"
            add(kind, name, (name[:-1],), int(ground.district_of(np.array([xy]))[0]), xy)
            continue
        road, district, xy = next(spot)
        on = roads[road].name
        stem, more = "", tuple[str, ...]()
        if how == "stem":
            stem = next(stems)
            name = stem + suffix
        elif how == "once":
            name = suffix
        elif how == "road":
            stem = _stem(on)
            name = (stem if kind == "park" or suffix == "菜市场" else on) + suffix
        else:
            stem = str(rng.choice(how.split()))
            name = stem + suffix
            if (name, district) in taken:
                name, more = f"{name}{on}店", (name,)
        add(kind, name, (*more, *(p.format(stem=stem, road=on) for p in patterns)), district, xy)
    return [
        Place(f"P{i:04d}", name, kind, aliases, _degrees(Point(xy)))
        for i, (kind, name, aliases, xy) in enumerate(made[:count], 1)
    ]


def _addresses(rng: Generator, ground: _Ground, estates: list[Polygon]) -> dict[str, NDArray[Any]]:
    """Doors of all estates, and of the houses along roads as many as are still wanted. Raises ValueError."""
    sizes, first = ground.sizes, len(ground.roads)
    columns = [_doors(rng, first + i, shape) for i, shape in enumerate(estates)]
    doors = np.concatenate(columns) if columns else np.empty((0, 6))
    houses = np.concatenate([_houses(rng, i, road.line) for i, road in enumerate(ground.roads)])
    houses = houses[shapely.contains_xy(ground.inside, houses[:, 4:])]
    wanted = sizes.addresses - len(doors)
    if not 0 <= wanted <= len(houses):
        raise ValueError(
            f"{sizes.addresses} addresses: the ground holds {len(doors)} in estates and {len(houses)} along roads; "
            "change area_km2, roads or estates"
        )
    # not every number of a street is a house
    kept = np.sort(rng.permutation(len(houses))[:wanted])
    rows = np.concatenate([houses[kept], doors])
    lonlat = _degrees_of(rows[:, 4:])
    table: dict[str, NDArray[Any]] = {
        key: rows[:, i].astype(np.int32) for i, key in enumerate(("place", "number", "building", "door"))
    }
    return table | {"lon": lonlat[:, 0], "lat": lonlat[:, 1]}


def _houses(rng: Generator, place: int, line: LineString) -> Floats:
    """Place, number, building, door, x, y: odd numbers to the left, even ones to the right, every 12 to 20 m."""
    rows = []
    for side in (1, 2):
        at = 10 + np.cumsum(rng.uniform(12, 20, int(line.length / 12) + 1))
        at = at[at < line.length - 8]
        xy = _beside(line, at, np.full(len(at), 12.0 if side == 1 else -12.0) + rng.uniform(-1, 1, len(at)))
        number = 2 * np.arange(len(at)) + side
        rows.append(np.column_stack([np.full(len(at), place), number, np.zeros((len(at), 2)), xy]))
    return np.concatenate(rows)


def _doors(rng: Generator, place: int, shape: Polygon) -> Floats:
    """Place, number, building, door, x, y: buildings in rows along the estate's long side."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(shape))
    sides = np.diff(corners[:3], axis=0)
    lengths = np.hypot(*sides.T)
    long = int(np.argmax(lengths))
    ahead, aside = sides[long] / lengths[long], sides[1 - long] / lengths[1 - long]
    corner = corners[1] if long else corners[0]
    aside = -aside if long else aside
    across, along = np.meshgrid(np.arange(14, lengths[1 - long], 28), np.arange(18, lengths[long], 37), indexing="ij")
    spots = corner + along.reshape(-1, 1) * ahead + across.reshape(-1, 1) * aside
    spots = spots[shapely.contains_xy(shape.buffer(-11), spots)]
    if not len(spots):
        middle = shape.buffer(-11).representative_point()
        spots = np.array([[middle.x, middle.y]])
    usual = int(rng.integers(1, 5))
    counts = np.where(rng.random(len(spots)) < 0.8, usual, rng.integers(1, 5, len(spots)))
    building = np.repeat(np.arange(1, len(spots) + 1), counts)
    door = np.concatenate([np.arange(1, count + 1) for count in counts])
    xy = spots[building - 1] + ((door - (counts[building - 1] + 1) / 2) * 7).reshape(-1, 1) * ahead
    return np.column_stack([np.full(len(door), place), np.zeros(len(door)), building, door, xy])


def _beside(line: LineString, at: Floats, offset: Floats) -> Floats:
    """The points ``at`` metres along the line, ``offset`` metres to its left."""
    coords = np.array(line.coords)
    steps = np.diff(coords, axis=0)
    lengths = np.hypot(*steps.T)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    i = np.clip(np.searchsorted(starts, at, side="right") - 1, 0, len(steps) - 1)
    ahead = steps[i] / lengths[i].reshape(-1, 1)
    left = np.column_stack([-ahead[:, 1], ahead[:, 0]])
    return np.asarray(coords[i] + (at - starts[i]).reshape(-1, 1) * ahead + offset.reshape(-1, 1) * left)


# --- parts, people, and what is watched ---


def _scattered(rng: Generator, ground: _Ground, count: int, low: float, high: float) -> Floats:
    """``count`` points beside roads inside the city, metres."""
    found = np.empty((0, 2))
    while len(found) < count:
        _, xy = ground.along(rng, count + 64, low, high)
        found = np.concatenate([found, xy[shapely.contains_xy(ground.inside, xy)]])
    return found[:count]


def _assets(rng: Generator, ground: _Ground, units: list[Unit]) -> dict[str, NDArray[Any]]:
    """Parts along the roads: a department owns them, its branch in the district keeps them."""
    count, find = ground.sizes.assets, _unit_of(units, ground)
    leads = {e.category.minor: e.lead for e in taxonomy.load().entries if e.category.kind == "part"}
    found = [find(leads[name]) for name in names.ASSETS]
    owners, keepers = np.array([own for own, _ in found]), np.array([branches for _, branches in found])
    weights = np.array(list(names.ASSETS.values()))
    kind = rng.choice(len(weights), count, p=weights / weights.sum())
    xy = _scattered(rng, ground, count, 4.0, 9.5)
    district = ground.district_of(xy)
    order = np.lexsort((kind, district))
    kind, xy, district = kind[order], xy[order], district[order]
    group = district * len(weights) + kind
    first = np.searchsorted(group, group, side="left")
    lonlat = _degrees_of(xy)
    return {
        "district": district.astype(np.int16),
        "kind": kind.astype(np.int16),
        "serial": (np.arange(count) - first + 1).astype(np.int32),
        "lon": lonlat[:, 0],
        "lat": lonlat[:, 1],
        "owner": owners[kind].astype(np.int16),
        "keeper": keepers[kind, district].astype(np.int16),
        "state": rng.choice(len(STATES), count, p=[0.95, 0.035, 0.01, 0.005]).astype(np.int8),
        "tagged": rng.random(count) < 1 / 3,
        "installed": rng.integers(0, 20 * 365, count).astype(np.int32),
    }


def _people(rng: Generator, sizes: Sizes, in_estate: NDArray[np.bool_]) -> dict[str, dict[str, NDArray[Any]]]:
    """Houses, the people who live in them and the enterprises that work in them."""
    address = np.sort(rng.integers(0, len(in_estate), sizes.houses))
    home = rng.choice(len(HOUSE_KINDS), sizes.houses, p=[0.82, 0.03, 0.0, 0.02, 0.13])
    shop = rng.choice(len(HOUSE_KINDS), sizes.houses, p=[0.3, 0.42, 0.05, 0.13, 0.1])
    kind = np.where(in_estate[address], home, shop)
    dwellings, works = np.flatnonzero((kind == 0) | (kind == 4)), np.flatnonzero((kind > 0) & (kind < 4))
    if not len(dwellings) or not len(works):
        raise ValueError(f"{sizes.houses} houses are too few to have homes and shops among them")
    lives_in = rng.choice(dwellings, sizes.people)
    birth = np.sort(rng.integers(0, 85 * 365, sizes.people))
    female = rng.random(sizes.people) < 0.49
    # the serial of a day tells the sex by being odd or even: the 17th place of an identity number
    of_day = np.arange(sizes.people) - np.searchsorted(birth, birth, side="left")
    serial = (2 * of_day + np.where(female, 2, 1)).astype(np.int16)
    shuffled = rng.permutation(sizes.people)
    return {
        "houses": {
            "address": address.astype(np.int32),
            "kind": kind.astype(np.int8),
            "owner": rng.integers(0, names.PERSONS, sizes.houses).astype(np.int32),
        },
        "people": {
            "name": rng.integers(0, names.PERSONS, sizes.people).astype(np.int32),
            "female": female[shuffled],
            "birth": birth[shuffled].astype(np.int32),
            "serial": serial[shuffled],
            "floating": rng.random(sizes.people) < np.where(kind[lives_in] == 4, 0.85, 0.08),
            "house": lives_in.astype(np.int32),
        },
        "enterprises": {
            "house": rng.choice(works, sizes.enterprises).astype(np.int32),
            "name": rng.integers(0, len(names.FIRST) * len(names.SECOND), sizes.enterprises).astype(np.int32),
            "trade": rng.integers(0, len(names.COMPANY), sizes.enterprises).astype(np.int8),
            "form": rng.integers(0, len(names.COMPANY_FORM), sizes.enterprises).astype(np.int8),
            "person": rng.integers(0, names.PERSONS, sizes.enterprises).astype(np.int32),
        },
    }


def _watched(rng: Generator, ground: _Ground, units: list[Unit]) -> dict[str, dict[str, NDArray[Any]]]:
    """Cameras and risk sources, each with the branch of its department in the district as owner."""
    find = _unit_of(units, ground)

    def table(count: int, owners: Sequence[str], weights: Sequence[float]) -> dict[str, NDArray[Any]]:
        kind = rng.choice(len(owners), count, p=np.array(weights) / sum(weights))
        xy = _scattered(rng, ground, count, 5.0, 12.0)
        branches = np.array([find(name)[1] for name in owners])
        lonlat = _degrees_of(xy)
        found: dict[str, NDArray[Any]] = {
            "kind": kind.astype(np.int8),
            "owner": branches[kind, ground.district_of(xy)].astype(np.int16),
        }
        near = np.asarray(ground.tree.nearest(shapely.points(xy)), np.int32)
        return found | {"lon": lonlat[:, 0], "lat": lonlat[:, 1], "road": near}

    cameras = table(ground.sizes.cameras, ("公安局", "公安交警", "城管执法大队"), (0.6, 0.3, 0.1))
    cameras["view_right"] = rng.choice(3, ground.sizes.cameras, p=[0.5, 0.35, 0.15]).astype(np.int8)
    risks = table(ground.sizes.risk_sources, tuple(names.RISKS.values()), [1] * len(names.RISKS))
    risks["grade"] = rng.choice(4, ground.sizes.risk_sources, p=[0.05, 0.15, 0.35, 0.45]).astype(np.int8) + 1
    return {"cameras": cameras, "risk_sources": risks}


# --- files ---


def write(city: City, folder: Path, progress: Progress | None = None) -> None:
    """Write the city's files (UTF-8) into ``folder``, which is made if need be; files of these names are overwritten.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def done(name: str, count: int) -> None:
        if progress:
            progress(name, count)

    areas = [
        ({"code": a.code, "name": a.name, "level": a.level, "parent": a.parent, "layer": a.layer}, a.shape)
        for a in city.areas
    ]
    places = [({"code": p.code, "name": p.name, "kind": p.kind, "aliases": p.aliases}, p.shape) for p in city.places]
    for name, features in (("areas.geojson", areas), ("places.geojson", places)):
        _write_features(folder / name, features)
        done(name, len(features))
    for name, (header, rows) in _files(city).items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header.split())
            writer.writerows(rows)
        key = name.removesuffix(".csv")
        done(name, len(city.units) if key == "units" else len(next(iter(city.tables[key].values()))))


def _write_features(path: Path, features: Sequence[tuple[dict[str, Any], BaseGeometry]]) -> None:
    """One feature a line, so that two files can be compared."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [\n')
        for i, (properties, shape) in enumerate(features):
            feature = {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(shape)}
            file.write((",\n" if i else "") + json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")


def _files(city: City) -> dict[str, tuple[str, Iterator[Sequence[object]]]]:
    """Each table's header and rows; rows are spelled out as they are written."""
    t, unit = city.tables, [u.code for u in city.units]
    roads = [p.name for p in city.places if p.kind == "road"]
    return {
        "units.csv": (
            "code name kind level parent area leader duty_phone round_the_clock",
            (
                (u.code, u.name, u.kind, u.level, u.parent, u.area, u.leader, u.duty_phone, int(u.round_the_clock))
                for u in city.units
            ),
        ),
        "addresses.csv": ("code place number building door lon lat", _address_rows(city)),
        "assets.csv": ("code name lon lat owner keeper state tag installed", _asset_rows(t["assets"], unit)),
        "houses.csv": (
            "code address kind owner_name",
            (
                (_house(i), _address(address), HOUSE_KINDS[kind], names.person(owner))
                for i, (address, kind, owner) in _rows(t["houses"], "address kind owner")
            ),
        ),
        "people.csv": ("code name gender birth_year phone id_number kind house", _person_rows(t["people"])),
        "enterprises.csv": ("code name kind house legal_person phone", _enterprise_rows(t["enterprises"])),
        "cameras.csv": (
            "code name owner lon lat view_right stream",
            (
                (
                    f"C{i + 1:05d}", f"{roads[road]}{i + 1:05d}号{('治安', '交通', '城管')[kind]}监控", unit[owner],
                    f"{lon:.7f}", f"{lat:.7f}", VIEW_RIGHTS[right], f"rtsp://camera.invalid/C{i + 1:05d}",
                )
                for i, (kind, owner, lon, lat, road, right) in _rows(
                    t["cameras"], "kind owner lon lat road view_right"
                )
            ),
        ),
        "risk_sources.csv": (
            "code name kind grade owner lon lat",
            (
                (
                    f"K{i + 1:05d}", f"{roads[road]}{_RISKS[kind]}{i + 1}号点", _RISKS[kind], grade, unit[owner],
                    f"{lon:.7f}", f"{lat:.7f}",
                )
                for i, (kind, owner, lon, lat, road, grade) in _rows(
                    t["risk_sources"], "kind owner lon lat road grade"
                )
            ),
        ),
    }  # fmt: skip


_RISKS: Final = tuple(names.RISKS)


def _rows(table: dict[str, NDArray[Any]], columns: str, step: int = 65_536) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Row by row, a few thousand of them as Python objects at a time."""
    picked = [table[column] for column in columns.split()]
    for start in range(0, len(picked[0]), step):
        yield from enumerate(zip(*(c[start : start + step].tolist() for c in picked), strict=True), start)


def _address(index: int) -> str:
    return f"A{index + 1:07d}"


def _house(index: int) -> str:
    return f"H{index + 1:07d}"


def _phone(index: int) -> str:
    # times a number without common divisor with 10^8: eight digits that look thrown, none twice
    return f"100{index * 38_196_601 % 100_000_000:08d}"


def _address_rows(city: City) -> Iterator[Sequence[object]]:
    codes = [place.code for place in city.places]
    for i, (place, number, building, door, lon, lat) in _rows(
        city.tables["addresses"], "place number building door lon lat"
    ):
        yield _address(i), codes[place], number or "", building or "", door or "", f"{lon:.7f}", f"{lat:.7f}"


def _asset_rows(table: dict[str, NDArray[Any]], unit: list[str]) -> Iterator[Sequence[object]]:
    by_name = {e.category.minor: e.category.code for e in taxonomy.load().entries if e.category.kind == "part"}
    kinds = [(name, by_name[name]) for name in names.ASSETS]
    columns = "district kind serial lon lat owner keeper state tagged installed"
    for _, (district, kind, serial, lon, lat, owner, keeper, state, tagged, installed) in _rows(table, columns):
        name, minor = kinds[kind]
        code = f"{int(_CITY_CODE) + district + 1}{minor}{serial:06d}"
        tag, day = f"QR{code}" if tagged else "", (_FIRST_DAY + timedelta(days=installed)).isoformat()
        yield code, name, f"{lon:.7f}", f"{lat:.7f}", unit[owner], unit[keeper], STATES[state], tag, day


def _person_rows(table: dict[str, NDArray[Any]]) -> Iterator[Sequence[object]]:
    start = date(1940, 1, 1)
    for i, (name, female, birth, serial, floating, house) in _rows(table, "name female birth serial floating house"):
        born = start + timedelta(days=birth)
        number = f"990801{born:%Y%m%d}{serial:03d}"
        # the check digit of GB 11643, so that only the area tells that the number is nobody's
        number += "10X98765432"[sum((ord(c) - 48) * w for c, w in zip(number, _ID_WEIGHTS, strict=True)) % 11]
        kind = "流动" if floating else "户籍"
        yield (
            f"N{i + 1:07d}", names.person(name), "女" if female else "男", born.year, _phone(i), number, kind,
            _house(house),
        )  # fmt: skip


_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _enterprise_rows(table: dict[str, NDArray[Any]]) -> Iterator[Sequence[object]]:
    for i, (name, trade, form, person, house) in _rows(table, "name trade form person house"):
        second, first = divmod(name, len(names.FIRST))
        kind = names.COMPANY[trade]
        called = f"{names.CITY}{names.FIRST[first]}{names.SECOND[second]}{kind}{names.COMPANY_FORM[form]}"
        # no registering authority is number 0, and no area 990801
        yield f"00990801{i + 1:010d}", called, kind, _house(house), names.person(person), _phone(50_000_000 + i)


def _tell(name: str, count: int) -> None:
    sys.stdout.write(f"{name}: {count}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Invent a city and write its files. Returns the exit code: 2 for what the user must mend, told on stderr."""
    parser = argparse.ArgumentParser(prog="python -m callcenter.city.invented", description="Invent a city.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--size", choices=sorted(PRESETS), default="demo")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    chosen = parser.parse_args(argv)
    try:
        chosen.out.mkdir(parents=True, exist_ok=True)  # before the work, that no minute is lost on a slip of the pen
        city = invent(chosen.seed, PRESETS[chosen.size])
        write(city, chosen.out, _tell)
    except (ValueError, OSError) as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
