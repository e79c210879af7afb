"""What can be imported: for each kind the columns with their Chinese names, and how a row becomes one of the store.

A row is checked alone here, against what the import knows of the city (``Known``): units, places, the ground. What can
only be asked of the database (does the door of this house exist?) is asked once, at the end (``POINTS_TO``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from callcenter.city import maps, registries
from callcenter.city.cells import cell_of
from callcenter.city.coordinates import BadPoint, Point, point
from callcenter.city.ground import Address, Asset, House, Organisation, Person, Place, Registered
from callcenter.storage.base import Base
from callcenter.tables.rows import Row, plain

AREAS: Final = "areas"
UNITS: Final = "units"
PLACES: Final = "places"
ADDRESSES: Final = "addresses"
ASSETS: Final = "assets"
HOUSES: Final = "houses"
PEOPLE: Final = "people"
ORGANISATIONS: Final = "organisations"

OUTSIDE_DEG: Final = 0.05
"""How far beyond the city's box something may lie, degrees, some five kilometres: a reservoir, a ring road."""
PLACE_KINDS: Final = MappingProxyType(
    {
        "道路": "road",
        "小区": "estate",
        "兴趣点": "poi",
        "站点": "stop",
        "桥梁": "bridge",
        "公园": "park",
        "河流": "river",
    }
    | {kind: kind for kind in ("road", "estate", "poi", "stop", "bridge", "park", "river")}
)
ASSET_STATES: Final = ("完好", "破损", "丢失", "废弃", "移除")
"""GB/T 47678.5."""
_CODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
_POINT: Final = MappingProxyType({"lon": ("经度",), "lat": ("纬度",)})


@dataclass(slots=True)
class Known:
    """What the rows of a file are checked against."""

    datum: str
    units: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north of the map in force, degrees; None: no map yet."""
    categories: frozenset[str] = frozenset()

    def place(self, row: Row, *, needed: bool = True) -> Point | None:
        """The WGS84 point of a row with ``lon`` and ``lat``; faults where it is none or outside of the city."""
        lon, lat = row.degrees("lon"), row.degrees("lat")
        if lon is None or lat is None:
            if not row.bad and (needed or (lon is None) != (lat is None)):
                row.fault("lon" if lon is None else "lat", "is empty: fill it in")
            return None
        try:
            found = point(lon, lat, self.datum)
        except BadPoint as error:
            row.fault("lat", str(error))
            return None
        if self.bounds is not None and not self._inside(found):
            west, south, east, north = self.bounds
            swapped = self._inside(Point(found.lat, found.lon))
            row.fault(
                "lon",
                f"{lon}, {lat} is not in the city ({west:.3f} to {east:.3f}, {south:.3f} to {north:.3f}): "
                + ("longitude and latitude are swapped" if swapped else "look at the datum and the digits"),
            )
            return None
        return found

    def _inside(self, found: Point) -> bool:
        if self.bounds is None:
            return True
        west, south, east, north = self.bounds
        return (
            west - OUTSIDE_DEG <= found.lon <= east + OUTSIDE_DEG
            and south - OUTSIDE_DEG <= found.lat <= north + OUTSIDE_DEG
        )

    def touches(self, shape: BaseGeometry) -> bool:
        """Whether any of ``shape`` may be in the city."""
        if self.bounds is None:
            return True
        west, south, east, north = self.bounds
        around = shapely.box(west - OUTSIDE_DEG, south - OUTSIDE_DEG, east + OUTSIDE_DEG, north + OUTSIDE_DEG)
        return bool(shapely.intersects(around, shape))

    def unit(self, row: Row, column: str) -> str:
        """The code of a unit, or empty."""
        code = plain(row.cells.get(column, ""))
        if code and code not in self.units:
            row.fault(column, "there is no such unit: make it first, or take its code from the list of units")
        return code


Parsed = dict[str, Any]
Parse = Callable[[Row, Known], Parsed]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rows. ``geographic``: the file's datum must be named."""

    name: str
    columns: Mapping[str, Sequence[str]]
    needs: frozenset[str]
    table: type[Base]
    parse: Parse
    geographic: bool = False
    most: int = 20_000_000


def code_of(row: Row, longest: int = 32) -> str:
    """The code of a row: what makes it the same thing in the next version of the file."""
    code = row.word("code", longest)
    if code and not _CODE.fullmatch(code):
        row.fault(
            "code", "must be letters, digits, dots, dashes; a number with E in it has lost digits: format as text"
        )
    return code


def _where(found: Point | None) -> Parsed:
    if found is None:
        return {"lon": None, "lat": None, "cell": None}
    kept = Point(round(found.lon, 7), round(found.lat, 7))
    return {"lon": kept.lon, "lat": kept.lat, "cell": cell_of(kept)}


def _place(row: Row, known: Known) -> Parsed:
    shape = maps.ground(row, known.datum, polygon=False)
    if shape is not None and not known.touches(shape):
        row.fault("geometry", f"is not in the city, it is at {shape.bounds[0]:.3f}, {shape.bounds[1]:.3f}")
    aliases = [alias for alias in (plain(one) for one in row.cells.get("aliases", "").split(";")) if alias]
    if any(len(alias) > 80 or not alias.isprintable() for alias in aliases) or len(aliases) > 20:
        row.fault("aliases", "must be at most 20, each of 80 characters, with semicolons between")
    return {
        "code": code_of(row, 24),
        "name": row.text("name", 80),
        "kind": row.choice("kind", PLACE_KINDS),
        "aliases": aliases,
        "shape": b"" if shape is None else shapely.to_wkb(shape),
    }


def _address(row: Row, known: Known) -> Parsed:
    place = row.word("place", 24)
    if place and place not in known.places:
        row.fault("place", "there is no such place in force: import places first")
    number, building = row.whole("number", 1, 99_999), row.whole("building", 1, 9_999)
    if number is None and building is None and not row.bad:
        row.fault("number", "is empty, and building too: a door has one of them")
    return {
        "code": code_of(row),
        "place": place,
        "number": number,
        "building": building,
        "door": row.whole("door", 1, 999),
        **_where(known.place(row)),
    }


def _asset(row: Row, known: Known) -> Parsed:
    code = row.word("code", 40)
    if code and not (code.isdigit() and len(code) in (16, 17)):
        row.fault("code", f"has {len(code)} characters: 16 digits (GB/T 30428.2) or 17 (GB/T 47678.5), stored as text")
    category = code[6:10] if len(code) == 16 else code[6:11]
    if not row.bad and known.categories and category not in known.categories:
        row.fault("code", f"names category {category}: no part has that code")
    state = plain(row.cells.get("state", "")) or ASSET_STATES[0]
    if state not in ASSET_STATES:
        row.fault("state", f"is none of {'、'.join(ASSET_STATES)} (GB/T 47678.5)")
    return {
        "code": code,
        "category": category,
        "name": row.text("name", 60),
        "owner": known.unit(row, "owner"),
        "keeper": known.unit(row, "keeper"),
        "state": state,
        "tag": row.text("tag", 40, needed=False) or None,
        "installed": row.day("installed"),
        **_where(known.place(row)),
    }


def _house(row: Row, _: Known) -> Parsed:
    return {
        "code": code_of(row),
        "address": row.word("address", 32),
        "kind": row.text("kind", 12),
        "owner_name": row.text("owner_name", 60, needed=False),
    }


def _person(row: Row, _: Known) -> Parsed:
    id_number = plain(row.cells.get("id_number", "")).upper()
    if id_number and not re.fullmatch(r"[0-9]{17}[0-9X]", id_number):
        row.fault("id_number", "must be 17 digits and a digit or X, stored as text")
    return {
        "code": code_of(row),
        "house": row.word("house", 32),
        "name": row.text("name", 60),
        "gender": row.text("gender", 4, needed=False),
        "birth_year": row.whole("birth_year", 1880, 2100),
        "phone": row.word("phone", 32, needed=False),
        "id_number": id_number,
        "kind": row.text("kind", 12, needed=False),
    }


def _organisation(row: Row, _: Known) -> Parsed:
    return {
        "code": code_of(row),
        "house": row.word("house", 32, needed=False),
        "name": row.text("name", 100),
        "kind": row.text("kind", 24, needed=False),
        "legal_person": row.text("legal_person", 60, needed=False),
        "phone": row.word("phone", 32, needed=False),
    }


def _registered(registry: registries.Registry) -> Kind:
    def parse(row: Row, known: Known) -> Parsed:
        return {
            "code": code_of(row),
            "name": row.text("name", 80),
            "owner": known.unit(row, "owner"),
            "particulars": registry.read(row),
            **_where(known.place(row, needed=registry.located)),
        }

    columns = {"code": ("编号", "编码"), "name": ("名称",), "owner": ("单位", "归属单位"), **_POINT, **registry.columns}
    needs = frozenset({"code", "name"} | ({"lon", "lat"} if registry.located else set()) | registry.needs)
    return Kind(registry.name, columns, needs, Registered, parse, geographic=True)


_NAMED: Final = {"code": ("编码", "编号"), "name": ("名称",)}
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                PLACES,
                {**_NAMED, "kind": ("类型",), "aliases": ("别名",)},
                frozenset({"code", "name", "kind"}),
                Place,
                _place,
                geographic=True,
                most=200_000,
            ),
            Kind(
                ADDRESSES,
                {
                    "code": ("编码", "地址编码"),
                    "place": ("地名编码", "道路编码", "小区编码"),
                    "number": ("门牌号",),
                    "building": ("楼栋", "楼号"),
                    "door": ("单元",),
                    **_POINT,
                },
                frozenset({"code", "place", "lon", "lat"}),
                Address,
                _address,
                geographic=True,
            ),
            Kind(
                ASSETS,
                {
                    "code": ("标识码", "部件标识码"),
                    "name": ("名称",),
                    "owner": ("权属单位", "权属单位代码"),
                    "keeper": ("养护单位", "养护单位代码"),
                    "state": ("状态",),
                    "tag": ("标签", "二维码"),
                    "installed": ("初始日期",),
                    **_POINT,
                },
                frozenset({"code", "name", "lon", "lat"}),
                Asset,
                _asset,
                geographic=True,
            ),
            Kind(
                HOUSES,
                {
                    "code": ("房屋编码",),
                    "address": ("地址编码",),
                    "kind": ("类型",),
                    "owner_name": ("产权人", "房主"),
                },
                frozenset({"code", "address", "kind"}),
                House,
                _house,
            ),
            Kind(
                PEOPLE,
                {
                    "code": ("人员编码",),
                    "house": ("房屋编码",),
                    "name": ("姓名",),
                    "gender": ("性别",),
                    "birth_year": ("出生年",),
                    "phone": ("电话",),
                    "id_number": ("证件号", "身份证号"),
                    "kind": ("类型",),
                },
                frozenset({"code", "house", "name"}),
                Person,
                _person,
            ),
            Kind(
                ORGANISATIONS,
                {
                    "code": ("统一社会信用代码",),
                    "house": ("房屋编码",),
                    "name": ("名称",),
                    "kind": ("类型",),
                    "legal_person": ("法定代表人",),
                    "phone": ("电话",),
                },
                frozenset({"code", "name"}),
                Organisation,
                _organisation,
            ),
            *(_registered(registry) for registry in registries.REGISTRIES.values()),
        )
    }
)
"""Every kind that is rows of its own; areas and units, which cases point into, are changed in place (``importing``)."""
ALL: Final = (AREAS, UNITS, *KINDS)
POINTS_TO: Final = MappingProxyType(
    {
        HOUSES: (House.address, ADDRESSES, Address),
        PEOPLE: (Person.house, HOUSES, House),
        ORGANISATIONS: (Organisation.house, HOUSES, House),
    }
)
"""Which column must be the code of a row of which other kind, in the version in force."""
