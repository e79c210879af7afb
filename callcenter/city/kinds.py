"""What can be imported: for each kind the columns with their Chinese names, and how a row becomes one of the store.

A row is checked alone here, against what the import knows of the city (``Known``): units, places, the ground. What can
only be asked of the database (does the door of this house exist?) is asked once, at the end (``POINTS_TO``).
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from callcenter.access.masking import names_a_person
from callcenter.city import maps, registries
from callcenter.city.cells import cell_of
from callcenter.city.coordinates import BadPoint, Point, point
from callcenter.city.ground import (
    Address,
    Asset,
    FormField,
    FormRecord,
    House,
    Organisation,
    Person,
    Place,
    Registered,
)
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
FORMS: Final = "forms"
FORM_RECORDS: Final = "form_records"

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
FIELD_FORMS: Final = MappingProxyType(
    {"文本": "text", "数字": "number", "日期": "day", "是否": "flag"}
    | {form: form for form in ("text", "number", "day", "flag")}
)
YES_NO: Final = MappingProxyType({"是": "1", "否": "0", "1": "1", "0": "0"})
MOST_FIELDS: Final = 200
"""Of one form: the largest known has some sixty."""
LONGEST_VALUE: Final = 500
"""Characters of a text in a form."""
_CODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
_DAY: Final = re.compile(r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})(?:[ T].*)?")
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
    seen: set[str] = field(default_factory=set)
    """Codes of rows before, of kinds that are few."""
    forms: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The title and department of each form, as the first row of it says."""
    fields: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    """Of each form in force: its fields by code and by label, each as its code and what its values are."""

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
    """One kind of rows. ``geographic``: the file's datum must be named; ``private``: it tells of people, so its faults
    repeat no cell."""

    name: str
    columns: Mapping[str, Sequence[str]]
    needs: frozenset[str]
    table: type[Base]
    parse: Parse
    geographic: bool = False
    most: int = 20_000_000
    private: bool = False


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


def _nobodys_number(row: Row) -> str:
    """The code of a row about people, which is not their own number: codes get into the audit and into addresses."""
    code = code_of(row)
    if names_a_person(code):
        row.fault("code", "is an identity or telephone number: give a code of the city's own")
    return code


def _person(row: Row, _: Known) -> Parsed:
    id_number = plain(row.cells.get("id_number", "")).upper()
    if id_number and not re.fullmatch(r"[0-9]{17}[0-9X]", id_number):
        row.fault("id_number", "must be 17 digits and a digit or X, stored as text")
    return {
        "code": _nobodys_number(row),
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
        "code": _nobodys_number(row),
        "house": row.word("house", 32, needed=False),
        "name": row.text("name", 100),
        "kind": row.text("kind", 24, needed=False),
        "legal_person": row.text("legal_person", 60, needed=False),
        "phone": row.word("phone", 32, needed=False),
    }


def _form(row: Row, known: Known) -> Parsed:
    form, field_code = row.word("form", 24), row.word("field", 32)
    for column, code in (("form", form), ("field", field_code)):
        if code and not _CODE.fullmatch(code):
            row.fault(column, "must be letters, digits, dots, dashes")
    title, unit = row.text("title", 80), known.unit(row, "unit")
    if not unit and not row.bad:
        row.fault("unit", "is empty: every form is a department's")
    label = row.text("label", 60)
    if known.forms.setdefault(form, (title, unit)) != (title, unit):
        row.fault("title", f"of form {form[:24]} was another title or unit in a row before: write the same in each")
    for column, key in (("field", f"{form}:{field_code}"), ("label", f"{form}={label}")):
        if key in known.seen:
            row.fault(column, "is there already in this form, in a row before: take one out")
        known.seen.add(key)
    return {
        "code": f"{form}:{field_code}",
        "form": form,
        "title": title,
        "unit": unit,
        "field": field_code,
        "label": label,
        "form_of": row.choice("form_of", FIELD_FORMS, default="text"),
        # What is not said to be for all to read is not.
        "personal": row.choice("personal", YES_NO, default="1") == "1",
        "place": row.number,
    }


def _form_record(row: Row, known: Known) -> Parsed:
    form = row.word("form", 24)
    fields = known.fields.get(form)
    if fields is None and not row.bad:
        row.fault("form", "there is no such form in force: import forms first")
    organisation = row.word("organisation", 32)
    return {
        "code": code_of(row),
        "form": form,
        "organisation": organisation,
        "recorded_on": row.day("recorded_on"),
        "given": _given(row, fields or {}),
    }


def _given(row: Row, fields: Mapping[str, tuple[str, str]]) -> Parsed:
    """The values of a filled-in form, a JSON object by field or label; empty ones left out."""
    text = row.cells.get("given", "")
    pairs: Any = None
    if text:
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            pairs = None
    if not isinstance(pairs, _Pairs) or len(pairs) > MOST_FIELDS:
        row.fault("given", f"must be a JSON object of at most {MOST_FIELDS} values by field")
        return {}
    if row.bad:
        return {}
    found: Parsed = {}
    for number, (name, value) in enumerate(pairs, 1):
        if name not in fields:
            row.fault("given", f"value {number} is of a field that the form does not have: see the list of forms")
            return {}
        code, form_of = fields[name]
        if code in found:
            row.fault("given", f"value {number} is of field {code}, which is there already: take one out")
            return {}
        if value is None or value == "":
            continue
        kept = _value(value, form_of)
        if kept is None:
            row.fault("given", f"value {number}, of field {code}, is no {form_of}: {_IS[form_of]}")
            return {}
        found[code] = kept
    return found


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, one that is there twice too."""


_IS: Final = MappingProxyType(
    {
        "text": f"at most {LONGEST_VALUE} printable characters",
        "number": "digits with a point, no words",
        "day": "write it as 2026-10-01",
        "flag": "true or false, 是 or 否",
    }
)


def _value(value: Any, form_of: str) -> str | int | float | bool | None:
    """``value`` as the store keeps it; None where it is none."""
    if form_of == "flag":
        return value if isinstance(value, bool) else {"是": True, "否": False, "1": True, "0": False}.get(str(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if form_of == "number":
        try:
            number = float(plain(value).replace("_", "x")) if isinstance(value, str) else value
        except ValueError:
            return None
        # What a double holds without loss: an amount in fen of a whole city is far below.
        return number if math.isfinite(number) and abs(number) < 2**53 else None
    text = value.strip() if isinstance(value, str) else str(value)
    if form_of == "day":
        try:
            day = _DAY.fullmatch(plain(text))
            return date(*map(int, day.groups())).isoformat() if day else None
        except ValueError:
            return None
    printable = all(letter.isprintable() or letter == "\n" for letter in text)
    return text if printable and 0 < len(text) <= LONGEST_VALUE else None


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
    private = bool(registry.personal)
    return Kind(registry.name, columns, needs, Registered, parse, geographic=True, private=private)


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
                private=True,
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
                private=True,
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
                private=True,
            ),
            Kind(
                FORMS,
                {
                    "form": ("表单编码",),
                    "title": ("表单名称",),
                    "unit": ("部门", "部门编码"),
                    "field": ("字段", "字段编码"),
                    "label": ("字段名称",),
                    "form_of": ("字段类型",),
                    "personal": ("个人信息",),
                },
                frozenset({"form", "title", "unit", "field", "label"}),
                FormField,
                _form,
                most=50_000,
            ),
            Kind(
                FORM_RECORDS,
                {
                    "code": ("记录编号",),
                    "form": ("表单编码",),
                    "organisation": ("统一社会信用代码",),
                    "recorded_on": ("登记日期",),
                    "given": ("内容",),
                },
                frozenset({"code", "form", "organisation", "given"}),
                FormRecord,
                _form_record,
                private=True,
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
        FORM_RECORDS: (FormRecord.organisation, ORGANISATIONS, Organisation),
    }
)
"""Which column must be the code of a row of which other kind, in the version in force."""
