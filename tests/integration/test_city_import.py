"""Imports of a city on both stores: all or nothing, by version, whoever dies in the middle; every fault is named."""

import asyncio
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, func, select, update

from callcenter import cli
from callcenter.access.audit import Actor, entries
from callcenter.city import assets, context, importing
from callcenter.city.city import City
from callcenter.city.coordinates import GCJ02, WGS84, Point, metres, moved, to_gcj02
from callcenter.city.ground import (
    GONE,
    IN_FORCE,
    LOADING,
    REFUSED,
    SUPERSEDED,
    WITHDRAWN,
    AreaShape,
    Asset,
    CityImport,
    Place,
)
from callcenter.city.importing import ABANDONED_AFTER, BATCH, ImportBusy, Outcome, go_back, import_file, sweep
from callcenter.city.kinds import ADDRESSES, AREAS, ASSETS, HOUSES, ORGANISATIONS, PEOPLE, PLACES, UNITS
from callcenter.city.model import Area, Unit
from callcenter.storage.engine import Database
from callcenter.storage.migrate import migrate
from callcenter.tables.rows import MOST_FAULTS
from callcenter.tables.sources import Source
from tests.databases import Cluster

pytestmark = pytest.mark.integration

AT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
ME = Actor("user", str(uuid4()))
REPOSITORY = Path(__file__).resolve().parents[2]
WEST, SOUTH, EAST, NORTH = 112.0, 30.9, 112.4, 31.1
"""The city: two districts side by side, each one street, one community and two grids, one above the other."""
D1, D2 = "420802", "420804"
G1 = f"{D1}001001001"


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def area(code: str, level: int, parent: str, *corners: float, **more: Any) -> dict[str, Any]:
    properties = {"code": code, "name": f"区{code}", "level": level, "parent": parent, **more}
    return feature({"type": "Polygon", "coordinates": [ring(*corners)]}, **properties)


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def drawn() -> dict[str, dict[str, Any]]:
    """The areas of a good map by code."""
    middle_x, middle_y = (WEST + EAST) / 2, (SOUTH + NORTH) / 2
    found = [area("420800", 1, "", WEST, SOUTH, EAST, NORTH)]
    for district, west, east in ((D1, WEST, middle_x), (D2, middle_x, EAST)):
        found.append(area(district, 2, "420800", west, SOUTH, east, NORTH))
        found.append(area(f"{district}001", 3, district, west, SOUTH, east, NORTH))
        found.append(area(f"{district}001001", 4, f"{district}001", west, SOUTH, east, NORTH))
        for number, (south, north) in enumerate(((SOUTH, middle_y), (middle_y, NORTH)), 1):
            found.append(area(f"{district}00100100{number}", 5, f"{district}001001", west, south, east, north))
    found.append(area("police1", 3, D1, WEST, SOUTH, middle_x, NORTH, layer="police"))
    return {one["properties"]["code"]: one for one in found}


def a_map(areas: dict[str, dict[str, Any]] | None = None) -> bytes:
    features = list((areas or drawn()).values())
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def table(*rows: dict[str, Any]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def part(number: int, **more: Any) -> dict[str, Any]:
    """A manhole cover or a lamp; they stand in a row from west to east."""
    category = ("0101", "0137")[number % 2]
    return {
        "code": f"{D1}{category}{number:06d}",
        "name": "部件",
        "lon": f"{112.05 + number % 1000 * 0.0001:.7f}",
        "lat": f"{31.0 + number // 1000 * 0.001:.7f}",
        "owner": "roads",
        "tag": f"QR{number}",
        **more,
    }


def parts(count: int, **more: Any) -> bytes:
    return table(*(part(number, **more) for number in range(count)))


ROADS = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            feature(
                {"type": "LineString", "coordinates": [[112.01, 31.0], [112.39, 31.0]]},
                code="R1",
                name="解放路",
                kind="road",
                aliases=["老街"],
            ),
            feature(
                {"type": "Polygon", "coordinates": [ring(112.1, 30.95, 112.11, 30.96)]},
                code="E1",
                name="柳泉小区",
                kind="小区",
            ),
        ],
    }
).encode()
DOORS = table(
    *(
        {"code": f"A{n}", "place": "R1", "number": n, "building": "", "lon": 112.05 + n * 0.001, "lat": 31.0001}
        for n in range(1, 100)
    ),
    *(
        {"code": f"B{n}", "place": "E1", "number": "", "building": n, "lon": 112.105, "lat": 30.955}
        for n in range(1, 4)
    ),
)
UNIT_ROWS: list[dict[str, Any]] = [
    {"code": "gov", "name": "市政府", "kind": "street", "level": 1, "parent": "", "area": "420800"},
    {"code": "roads", "name": "市政处", "kind": "部门", "level": 1, "parent": "gov", "area": ""},
    {"code": "gov1", "name": "区政府", "kind": "街道", "level": 2, "parent": "gov", "area": D1},
]


async def put(db: Database, kind: str, data: bytes, *, datum: str = WGS84, at: datetime = AT) -> Outcome:
    return await import_file(db, kind, Source(data=data), actor=ME, at=at, datum=datum)


async def good(db: Database, kind: str, data: bytes, **more: Any) -> Outcome:
    told = await put(db, kind, data, **more)
    assert told.state == IN_FORCE, told.faults
    return told


async def bad(db: Database, kind: str, data: bytes, **more: Any) -> list[tuple[int, str]]:
    """Where the faults are. What was in force before is in force still, and no row is left."""
    before = await standing(db)
    told = await put(db, kind, data, **more)
    assert (told.state, told.rows) == (REFUSED, 0)
    assert told.refused >= 1
    assert all(fault.mend for fault in told.faults)
    assert await standing(db) == before
    return [(fault.row, fault.column) for fault in told.faults]


async def standing(db: Database) -> dict[str, Any]:
    """What is in force and what is stored."""
    async with db.read() as session:
        found: dict[str, Any] = dict(await importing.in_force(session))
        for model in (*importing.ROW_TABLES, Unit):
            found[model.__tablename__] = await session.scalar(select(func.count()).select_from(model))
        ordered = select(Area.code, Area.name, Area.level, Area.active, Area.parent_id).order_by(Area.code)
        found["area rows"] = [tuple(row) for row in await session.execute(ordered)]
        return found


async def states(db: Database, kind: str) -> list[str]:
    async with db.read() as session:
        found = select(CityImport.state).where(CityImport.kind == kind).order_by(CityImport.version)
        return list(await session.scalars(found))


async def built(url: str) -> None:
    """A store with map, units, places and doors."""
    await migrate(url)
    database = Database(url)
    await database.connect()
    for kind, data in ((AREAS, a_map()), (UNITS, table(*UNIT_ROWS)), (PLACES, ROADS), (ADDRESSES, DOORS)):
        await good(database, kind, data)
    await database.close()


@pytest.fixture(scope="module")
def cities() -> dict[str, Path | str]:
    """What is built already: a file to copy, a database to clone."""
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
async def city(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    cities: dict[str, Path | str],
) -> AsyncIterator[Database]:
    """A store with map, units, places and doors, of its own."""
    cluster: Cluster | None = None
    name = f"city_{uuid4().hex}"
    if request.param == "sqlite":
        if "sqlite" not in cities:
            cities["sqlite"] = tmp_path_factory.mktemp("city") / "callcenter.db"
            await built(f"sqlite+aiosqlite:///{cities['sqlite']}")
        shutil.copy(cities["sqlite"], tmp_path / "callcenter.db")
        database = Database(f"sqlite+aiosqlite:///{tmp_path / 'callcenter.db'}")
    else:
        cluster = request.getfixturevalue("postgres")
        if "postgresql" not in cities:
            cluster.sql(f"CREATE DATABASE {name}_template")
            cities["postgresql"] = f"{name}_template"
            await built(cluster.url(f"{name}_template"))
        cluster.sql(f"CREATE DATABASE {name} TEMPLATE {cities['postgresql']}")
        database = Database(cluster.url(name))
    await database.connect()
    yield database
    await database.close()
    if cluster is not None:
        cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


# -- maps --------------------------------------------------------------------------------------------------------------
async def test_a_city_stands_and_is_asked(city: Database) -> None:
    asked = City(city)
    lies = await asked.at(Point(112.05, 30.95))
    assert [one.code for one in lies.tree] == [G1, f"{D1}001001", f"{D1}001", D1, "420800"]
    assert [one.code for one in lies.across] == ["police1"]
    assert (await asked.at(Point(113, 31))).tree == ()
    [first, *_] = await asked.find("解放路五十八号")
    assert first.address == "A58"
    assert metres(first.point, Point(112.108, 31.0001)) < 0.1
    assert (await asked.find("老街58号"))[0].address == "A58"
    assert (await asked.find("柳泉小区三栋"))[0].address == "B3"
    assert await asked.find("没有的地方") == []
    async with city.read() as session:
        done = [(entry.action, entry.actor) for entry in await entries(session, limit=20)]
    assert ("city import in force", ME.id) in done
    assert ("areas drawn", ME.id) in done


def changed(which: str, /, *corners: float, **properties: Any) -> bytes:
    """The good map with one area otherwise."""
    areas = drawn()
    if corners:
        areas[which]["geometry"] = {"type": "Polygon", "coordinates": [ring(*corners)]}
    areas[which]["properties"].update(properties)
    return a_map(areas)


def with_geometry(code: str, geometry: Any) -> bytes:
    return a_map({key: one | ({"geometry": geometry} if key == code else {}) for key, one in drawn().items()})


BOW = {"type": "Polygon", "coordinates": [[[112.0, 30.9], [112.2, 31.0], [112.2, 30.9], [112.0, 31.0], [112.0, 30.9]]]}
MIDDLE = {"type": "Point", "coordinates": [112.1, 31.0]}
MAPS: dict[str, tuple[Callable[[], bytes], set[str], str]] = {
    "crosses itself": (lambda: with_geometry(G1, BOW), {"geometry"}, "is no simple shape"),
    "overlaps": (lambda: changed(G1, 112.0, 30.9, 112.2, 31.001), {"geometry"}, "draw one line between"),
    "leaves a hole": (lambda: changed(G1, 112.0, 30.9, 112.2, 30.999), {"geometry"}, "fill the hole"),
    "child outside": (lambda: changed(G1, 111.99, 30.9, 112.2, 31.0), {"geometry"}, "draw it wider"),
    "one is missing": (lambda: a_map({k: v for k, v in drawn().items() if k != G1}), {"geometry"}, "fill the hole"),
    "police overlap": (
        lambda: a_map(drawn() | {"p2": area("p2", 3, D1, 112.0, 30.9, 112.1, 31.0, layer="police")}),
        {"geometry"},
        "draw one line between",
    ),
    "district of 5": (lambda: changed(D1, code="42080"), {"code", "parent"}, "level 2 has 6 (GB/T 30428.1)"),
    "grid of 13": (lambda: changed(G1, code=G1[:13]), {"code"}, "level 5 has 14 or 15"),
    "community of 11": (lambda: changed(G1[:12], code=G1[:11]), {"code", "parent"}, "level 4 has 12"),
    "code with E": (lambda: changed(G1, code="4.2E+14"), {"code"}, "lost digits"),
    "no level": (lambda: changed(G1, level=""), {"level"}, "is empty"),
    "level 6": (lambda: changed(G1, level=6), {"level"}, "from 1 to 5"),
    "no name": (lambda: changed(G1, name=" "), {"name"}, "is empty"),
    "no parent": (lambda: changed(G1, parent=""), {"parent"}, "is empty"),
    "parent elsewhere": (lambda: changed(G1, parent="429999"), {"parent"}, "imported whole"),
    "its own parent": (lambda: changed(G1, parent=G1), {"parent"}, "must be above level 5"),
    "parent below": (lambda: changed(D1, parent=G1), {"parent"}, "must be above level 2"),
    "code twice": (
        lambda: a_map(drawn() | {"again": area(G1, 5, G1[:12], 112.0, 30.9, 112.2, 31.0)}),
        {"code"},
        "is there already",
    ),
    "layer": (lambda: changed("police1", layer="Police!"), {"layer"}, "small letters"),
    "no geometry": (lambda: with_geometry(G1, None), {"geometry"}, "is missing"),
    "a point": (lambda: with_geometry(G1, MIDDLE), {"geometry"}, "is a Point"),
    "a line ring": (
        lambda: with_geometry(G1, {"type": "Polygon", "coordinates": [[[112, 31], [112.1, 31]]]}),
        {"geometry"},
        "is no geometry",
    ),
    "empty": (lambda: with_geometry(G1, {"type": "Polygon", "coordinates": []}), {"geometry"}, "is empty"),
    "metres": (lambda: changed(G1, 500_000, 3_400_000, 500_100, 3_400_100), {"geometry"}, "no degrees"),
    "swapped": (lambda: changed(G1, 30.9, 112.0, 31.0, 112.2), {"geometry"}, "no degrees"),
    "endless": (lambda: changed(G1).replace(b"112.0", b"1e999", 40), {"geometry"}, ""),
    "very long number": (lambda: changed(G1).replace(b"30.9", b"3" * 400), {"geometry"}, "is no geometry"),
    "words": (lambda: with_geometry(G1, {"type": "Polygon", "coordinates": "here"}), {"geometry"}, "is no geometry"),
    "no shape": (lambda: with_geometry(G1, {"type": "Circle", "radius": 5}), {"geometry"}, "is no geometry"),
    "type of a list": (lambda: with_geometry(G1, {"type": ["Polygon"]}), {"geometry"}, "is no geometry"),
    "not a number": (lambda: changed(G1).replace(b"112.0,", b"NaN,", 1), {"file"}, "no JSON"),
    "CSV": (lambda: table({"code": D1, "name": "区", "level": 2}), {"geometry"}, "must be a GeoJSON map"),
}


async def test_a_map_with_a_fault_is_refused_and_told(sqlite: Database) -> None:
    for what, (make, columns, mend) in MAPS.items():
        told = await put(sqlite, AREAS, make())
        assert (told.state, told.rows) == (REFUSED, 0), what
        assert {fault.column for fault in told.faults} == columns, (what, told.faults)
        assert any(mend in fault.mend for fault in told.faults), (what, told.faults)
        assert len(told.faults) <= 12, f"{what}: one fault is not told of every area"
        found = await standing(sqlite)
        assert (found["area rows"], found["area_shapes"], AREAS in found) == ([], 0, False)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """What is found before the store is asked need not be tried on two."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'own.db'}"
    await migrate(url)
    database = Database(url)
    await database.connect()
    yield database
    await database.close()


async def test_lines_drawn_by_hand_may_miss_by_a_metre(sqlite: Database) -> None:
    for off in (0.000008, -0.000008):  # 90 cm
        await good(sqlite, AREAS, changed(G1, 112.0, 30.9, 112.2, 31.0 + off))
    assert (await bad(sqlite, AREAS, changed(G1, 112.0, 30.9, 112.2, 31.00004)))[0][1] == "geometry"


async def test_a_new_map_leaves_areas_that_cases_point_to(city: Database) -> None:
    async with city.read() as session:
        keys = {one.code: one.id for one in await session.scalars(select(Area))}
    newer = drawn()
    del newer[G1], newer[f"{G1[:-1]}2"]
    newer[D1]["properties"]["name"] = "新区"
    told = await good(city, AREAS, a_map(newer))
    assert told.version == 2
    async with city.read() as session:
        now = {one.code: one for one in await session.scalars(select(Area))}
        shapes = await session.scalar(select(func.count()).select_from(AreaShape).where(AreaShape.import_id == told.id))
    assert {code: one.id for code, one in now.items()} == keys, "no area changes its id, none is deleted"
    assert {code for code, one in now.items() if not one.active} == {G1, f"{G1[:-1]}2"}
    assert (now[D1].name, shapes) == ("新区", len(newer))
    asked = City(city)
    found = (await asked.at(Point(112.05, 30.95))).narrowest
    assert found is not None
    assert found.code == G1[:12]
    await good(city, AREAS, a_map())
    async with city.read() as session:
        assert all(await session.scalars(select(Area.active)))


async def test_a_unit_of_an_area_that_is_gone_must_move(city: Database) -> None:
    newer = {code: one for code, one in drawn().items() if not code.startswith("police")}
    await good(city, AREAS, a_map(newer))
    rows = [*UNIT_ROWS, {**UNIT_ROWS[2], "code": "police", "area": "police1"}]
    assert await bad(city, UNITS, table(*rows)) == [(5, "area")]


# -- units -------------------------------------------------------------------------------------------------------------
WRONG_UNITS: list[tuple[dict[str, str], str]] = [
    ({"code": ""}, "code"),
    ({"code": "a b"}, "code"),
    ({"code": "⑩" * 24}, "code"),
    ({"code": "gov"}, "code"),
    ({"area": "nowhere"}, "area"),
    ({"kind": "街道", "area": ""}, "area"),
    ({"kind": "club"}, "kind"),
    ({"level": "3"}, "level"),
    ({"level": ""}, "level"),
    ({"parent": "nobody"}, "parent"),
    ({"parent": "low", "level": "1"}, "parent"),
    ({"parent": "new"}, "parent"),
    ({"name": "长" * 81}, "name"),
]


async def test_a_wrong_unit_is_named(city: Database) -> None:
    for row, column in WRONG_UNITS:
        rows = [{**UNIT_ROWS[1], **more} for more in ({"code": "low", "level": 2}, {"code": "new", **row})]
        assert (5, column) in await bad(city, UNITS, table(*UNIT_ROWS[:2], *rows)), row


async def test_units_above_each_other_are_no_tree(city: Database) -> None:
    loop = [{**UNIT_ROWS[1], "code": f"u{n}", "parent": f"u{(n + 1) % 3}"} for n in range(3)]
    found = await bad(city, UNITS, table(UNIT_ROWS[0], *loop))
    assert found == [(3, "parent"), (4, "parent"), (5, "parent")]


async def test_units_are_changed_in_place(city: Database) -> None:
    async with city.read() as session:
        keys = {unit.code: unit.id for unit in await session.scalars(select(Unit))}
    rows = [UNIT_ROWS[0], {**UNIT_ROWS[1], "name": "道路处", "parent": ""}]
    await good(city, UNITS, table(*rows))
    async with city.read() as session:
        now = {unit.code: unit for unit in await session.scalars(select(Unit))}
    assert {code: unit.id for code, unit in now.items()} == keys
    assert (now["roads"].name, now["roads"].parent_id, now["gov1"].active) == ("道路处", None, True)


# -- rows: all or nothing ----------------------------------------------------------------------------------------------
async def test_one_bad_row_of_ten_thousand_keeps_all_out(city: Database) -> None:
    await good(city, ASSETS, parts(3))
    rows = [part(number) for number in range(10_000)]
    rows[9_500]["lon"] = "x"
    assert await bad(city, ASSETS, table(*rows)) == [(9_502, "lon")]
    assert await sweep(city, AT) == 0, "an import that is refused sweeps behind itself"
    rows[9_500] = part(9_500)
    told = await good(city, ASSETS, table(*rows))
    assert told.rows == 10_000


async def test_a_code_that_is_there_twice_is_named(city: Database) -> None:
    for second in (1, BATCH - 1, BATCH, BATCH + 7):
        rows = [part(number) for number in range(BATCH + 20)]
        rows[second]["code"] = rows[0]["code"]
        assert await bad(city, ASSETS, table(*rows)) == [(second + 2, "code")]


async def test_faults_are_told_up_to_a_bound_and_all_are_counted(city: Database) -> None:
    told = await put(city, ASSETS, parts(5_000, owner="nobody"))
    assert (told.refused, len(told.faults), told.state) == (5_000, MOST_FAULTS, REFUSED)
    async with city.read() as session:
        [row] = await importing.history(session, kind=ASSETS)
    assert (row.refused, len(row.faults), row.ended_at) == (5_000, MOST_FAULTS, AT)


WRONG_PARTS: list[tuple[dict[str, str], str]] = [
    ({"code": "123"}, "code"),
    ({"code": f"{D1}9999000001"}, "code"),
    ({"code": "⑩" * 9}, "code"),
    ({"owner": "nobody"}, "owner"),
    ({"lon": ""}, "lon"),
    ({"lat": ""}, "lat"),
    ({"lat": "nan"}, "lat"),
    ({"lon": "113.5"}, "lon"),
    ({"lon": "31.0", "lat": "112.05"}, "lat"),
    ({"lon": "31.0", "lat": "89"}, "lon"),
    ({"name": ""}, "name"),
    ({"name": "x" * 61}, "name"),
    ({"name": "a\u0007"}, "name"),
    ({"tag": "x" * 41}, "tag"),
]


async def test_a_wrong_part_is_named(city: Database) -> None:
    for more, column in WRONG_PARTS:
        assert await bad(city, ASSETS, table(part(1), part(2, **more))) == [(3, column)], more


async def test_points_outside_and_swapped_are_told_apart(city: Database) -> None:
    # A city at the equator could be swapped into itself; here the numbers tell.
    outside = await put(city, ASSETS, table(part(1, lon="112.6")))
    assert "look at the datum and the digits" in outside.faults[0].mend
    beside = await put(city, ASSETS, table(part(1, lon="112.44")))
    assert beside.state == IN_FORCE, "a reservoir five kilometres out is the city's"
    swapped = await put(city, ADDRESSES, table({"code": "A", "place": "R1", "number": 1, "lon": 31.0, "lat": 112.05}))
    assert "swapped" in swapped.faults[0].mend
    far = json.loads(ROADS)
    far["features"][0]["geometry"]["coordinates"] = [[113.0, 31.0], [113.1, 31.0]]
    assert await bad(city, PLACES, json.dumps(far).encode()) == [(1, "geometry")]


LOST: list[tuple[str, list[dict[str, Any]], str]] = [
    (ADDRESSES, [{"code": "A", "place": "R9", "number": 1, "lon": 112.1, "lat": 31}], "place"),
    (ADDRESSES, [{"code": "A", "place": "R1", "number": "", "lon": 112.1, "lat": 31}], "number"),
    (ADDRESSES, [{"code": "⑩" * 32, "place": "R1", "number": "1", "lon": 112.1, "lat": 31}], "code"),
    (HOUSES, [{"code": "H1", "address": "A999", "kind": "住宅"}], "address of H1"),
    (HOUSES, [{"code": "H1", "address": "⑩" * 32, "kind": "住宅"}], "address"),
    (PEOPLE, [{"code": "N1", "house": "H9", "name": "某某"}], "house of N1"),
    (PEOPLE, [{"code": "N1", "house": "H9", "name": "某某", "id_number": "123"}], "id_number"),
    (ORGANISATIONS, [{"code": "O1", "house": "H9", "name": "某厂"}], "house of O1"),
    (ORGANISATIONS, [{"code": "O1", "house": "x" * 1_000, "name": "某厂"}], "house"),
    (ORGANISATIONS, [{"code": "O1", "name": "某厂", "phone": "⑩" * 32}], "phone"),
    ("cameras", [{"code": "C1", "name": "路口", "lon": "", "lat": ""}], "lon"),
    ("cameras", [{"code": "C1", "name": "路口", "lon": 112.1, "lat": 31, "view_right": "maybe"}], "view_right"),
    ("risk_sources", [{"code": "K", "name": "站", "kind": "燃气", "grade": 5, "lon": 112.1, "lat": 31}], "grade"),
]


async def test_what_a_row_points_to_must_be_there(city: Database) -> None:
    for kind, rows, column in LOST:
        assert [name for _, name in await bad(city, kind, table(*rows))] == [column], rows


async def test_names_that_a_store_cannot_hold_are_named(city: Database) -> None:
    for alias in ("a\u0000b", "\ud800", "x" * 81, ";".join("abcdefghijklmnopqrstuvw")):
        wrong = json.loads(ROADS)
        wrong["features"][0]["properties"]["aliases"] = [alias] if ";" not in alias else alias.split(";")
        assert await bad(city, PLACES, json.dumps(wrong).encode()) == [(1, "aliases")]


async def test_a_chain_of_things_stands(city: Database) -> None:
    await good(city, HOUSES, table({"code": "H1", "address": "A1", "kind": "住宅"}))
    await good(city, PEOPLE, table({"code": "N1", "house": "H1", "name": "某某", "id_number": "99080119900101001x"}))
    await good(city, ORGANISATIONS, table({"code": "O1", "house": "", "name": "某厂"}))
    cameras = table({"code": "C1", "name": "路口", "lon": 112.1, "lat": 31, "调看权限": "申请"})
    assert (await good(city, "cameras", cameras)).rows == 1
    assert (
        await good(
            city, "meeting_links", table({"code": "M", "name": "会", "link": "https://meet.example/1"}), datum=WGS84
        )
    ).rows == 1


async def test_what_is_no_kind_or_datum(city: Database) -> None:
    for kind, datum in (("doors", WGS84), (ASSETS, ""), (ASSETS, "bd09"), (AREAS, "")):
        with pytest.raises(ValueError, match=r"must be one of|is none of"):
            await put(city, kind, b"x", datum=datum)
    for kind in (AREAS, UNITS, "doors", "cameras"):
        with pytest.raises(ValueError, match="kind"):
            await go_back(city, kind, actor=ME, at=AT)


# -- versions ----------------------------------------------------------------------------------------------------------
async def test_the_same_file_again_changes_nothing(city: Database) -> None:
    first = await good(city, ASSETS, parts(10))
    before = await standing(city)
    again = await put(city, ASSETS, parts(10))
    assert (again.new, again.id, again.rows, first.new) == (False, first.id, 10, True)
    assert await standing(city) == before
    other = await put(city, ASSETS, parts(10), datum="cgcs2000")
    assert (other.new, other.version) == (True, 2), "the same numbers in another datum are other places"


async def count(db: Database) -> int:
    """The parts that a reader sees."""
    async with db.read() as session:
        key = (await importing.in_force(session)).get(ASSETS)
        return await session.scalar(select(func.count()).select_from(Asset).where(Asset.import_id == key)) or 0


async def test_a_new_version_replaces_and_one_can_go_back(city: Database) -> None:
    for size in (10, 20, 30):
        await good(city, ASSETS, parts(size))
        assert await count(city) == size
    assert await states(city, ASSETS) == [GONE, SUPERSEDED, IN_FORCE]
    assert (await standing(city))["assets"] == 50, "the version before is kept, no more"
    told = await go_back(city, ASSETS, actor=ME, at=AT)
    assert (told.version, told.rows, await count(city)) == (2, 20, 20)
    assert await states(city, ASSETS) == [GONE, IN_FORCE, WITHDRAWN]
    with pytest.raises(ValueError, match="no version before is kept"):
        await go_back(city, ASSETS, actor=ME, at=AT)
    assert await count(city) == 20
    # The file that was withdrawn can be imported again, and going back from there is to what was in force, not to it.
    await good(city, ASSETS, parts(30))
    assert (await go_back(city, ASSETS, actor=ME, at=AT)).rows == 20
    await good(city, ASSETS, parts(40))
    assert await states(city, ASSETS) == [GONE, SUPERSEDED, WITHDRAWN, WITHDRAWN, IN_FORCE]
    assert (await standing(city))["assets"] == 60
    assert (await go_back(city, ASSETS, actor=ME, at=AT)).rows == 20


async def test_readers_see_one_version_throughout(city: Database) -> None:
    await good(city, ASSETS, parts(BATCH + 500, name="旧"))
    seen: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            async with city.read() as session:
                key = (await importing.in_force(session))[ASSETS]
                await asyncio.sleep(0)
                found = await session.execute(
                    select(func.count(), func.min(Asset.name), func.max(Asset.name)).where(Asset.import_id == key)
                )
                [(size, least, most)] = found.all()
                assert least == most
                seen.append((size, least))

    readers = [asyncio.create_task(read()) for _ in range(3)]
    try:
        await good(city, ASSETS, parts(3 * BATCH, name="新"))
        await asyncio.sleep(0.1)
    finally:
        done.set()
        await asyncio.gather(*readers)
    assert set(seen) == {(BATCH + 500, "旧"), (3 * BATCH, "新")}


async def test_a_city_in_memory_follows_within_seconds(city: Database) -> None:
    clock = [0.0]
    asked = City(city, clock=lambda: clock[0])
    assert (await asked.find("解放路五号"))[0].address == "A5"
    renamed = json.loads(ROADS)
    renamed["features"][0]["properties"]["name"] = "建设路"
    await good(city, PLACES, json.dumps(renamed).encode())
    assert (await asked.find("解放路五号"))[0].address == "A5"
    clock[0] = 5.0
    assert await asked.find("解放路五号") == []
    assert (await asked.find("建设路五号"))[0].address == "A5"
    await go_back(city, PLACES, actor=ME, at=AT)
    asked.forget()
    assert (await asked.find("解放路五号"))[0].address == "A5"


async def test_two_at_once_are_one_too_many(city: Database) -> None:
    found = await asyncio.gather(*(put(city, ASSETS, parts(1_000 + n)) for n in range(4)), return_exceptions=True)
    assert {type(one) for one in found} == {Outcome, ImportBusy}
    assert (await states(city, ASSETS)).count(IN_FORCE) == 1
    await good(city, ASSETS, parts(5))
    assert await count(city) == 5


async def loading(db: Database, kind: str, *, at: datetime = AT, rows: int = 0) -> int:
    """An import that a killed process left behind."""
    async with db.begin() as session:
        version = await session.scalar(select(func.max(CityImport.version)).where(CityImport.kind == kind))
        left = CityImport(
            kind=kind, version=(version or 0) + 1, state=LOADING, source="dead.csv", sha256="", datum=WGS84, rows=0,
            refused=0, faults=[], by="system", at=at, ended_at=None,
        )  # fmt: skip
        session.add(left)
        await session.flush()
        for number in range(rows):
            session.add(
                Asset(
                    import_id=left.id, code=f"{number:016d}", category="0101", name="x", owner="", keeper="",
                    state="完好", tag=None, installed=None, lon=112.1, lat=31.0, cell=1,
                )
            )  # fmt: skip
        return left.id


async def test_what_was_killed_blocks_for_a_while_and_is_swept(city: Database) -> None:
    await good(city, ASSETS, parts(7))
    await loading(city, ASSETS, rows=5)
    with pytest.raises(ImportBusy, match="version 2 is being imported"):
        await put(city, ASSETS, parts(8))
    with pytest.raises(ImportBusy):
        await put(city, ASSETS, parts(8), at=AT + ABANDONED_AFTER)
    assert await sweep(city, AT + ABANDONED_AFTER) == 0, "it may be alive still"
    assert await count(city) == 7
    await good(city, ASSETS, parts(8), at=AT + ABANDONED_AFTER + timedelta(seconds=1))
    assert await states(city, ASSETS) == [SUPERSEDED, REFUSED, IN_FORCE]
    assert (await standing(city))["assets"] == 15


async def test_what_was_given_up_does_not_come_into_force_after_all(city: Database) -> None:
    await good(city, ASSETS, parts(7))
    late = AT + ABANDONED_AFTER + timedelta(hours=1)
    source = Source(data=parts(2 * BATCH))
    began = asyncio.Event()
    go_on = asyncio.Event()
    store = importing._store

    async def slow(*given: Any) -> None:
        await store(*given)
        began.set()
        await go_on.wait()

    importing._store = slow  # type: ignore[assignment]
    try:
        sleeper = asyncio.create_task(import_file(city, ASSETS, source, actor=ME, at=AT, datum=WGS84))
        await began.wait()
        assert await sweep(city, late) == BATCH
        go_on.set()
        told = await sleeper
    finally:
        importing._store = store
    assert told.state == REFUSED
    assert "given up" in told.faults[0].mend
    assert await count(city) == 7
    assert await sweep(city, late) == 0


async def test_an_import_that_is_cancelled_leaves_nothing(city: Database) -> None:
    await good(city, ASSETS, parts(7))
    task = asyncio.create_task(put(city, ASSETS, parts(5 * BATCH)))
    while (await standing(city))["assets"] == 7:  # noqa: ASYNC110 - what is waited for happens in the store
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(city) == 7
    assert await states(city, ASSETS) == [IN_FORCE, REFUSED]
    await sweep(city, AT)
    assert (await standing(city))["assets"] == 7


async def test_a_map_that_fails_while_it_comes_into_force_changes_no_area(
    city: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await standing(city)

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(importing, "add_entry", fails)
    for kind, data in ((AREAS, changed(D1, name="新区")), (UNITS, table({**UNIT_ROWS[0], "name": "新"}))):
        with pytest.raises(RuntimeError, match="disk is full"):
            await put(city, kind, data)
    monkeypatch.undo()
    assert await standing(city) == before
    async with city.read() as session:
        assert await session.scalar(select(Unit.name).where(Unit.code == "gov")) == "市政府"


async def test_on_postgresql_going_back_waits_for_an_import_that_ends(pg_db: Database) -> None:
    await good(pg_db, AREAS, a_map())
    await good(pg_db, UNITS, table(*UNIT_ROWS))
    for size in (1, 2):
        await good(pg_db, ASSETS, parts(size))
    key = await loading(pg_db, ASSETS)
    async with pg_db.begin() as session:
        await importing._locked(session, ASSETS)
        ending = select(CityImport).where(CityImport.kind == ASSETS, CityImport.state == IN_FORCE)
        now = await session.scalar(ending)
        assert now is not None
        now.state = SUPERSEDED
        await session.execute(update(CityImport).where(CityImport.id == key).values(state=IN_FORCE))
        back = asyncio.create_task(go_back(pg_db, ASSETS, actor=ME, at=AT))
        await asyncio.sleep(0.3)
        assert not back.done()
    told = await back
    assert (told.version, told.rows) == (2, 2)
    assert (await states(pg_db, ASSETS)).count(IN_FORCE) == 1


# -- where things are --------------------------------------------------------------------------------------------------
def shifted(data: bytes) -> bytes:
    """A GeoJSON file as a Chinese map draws it."""

    def turned(coordinates: Any) -> Any:
        return (
            list(to_gcj02(*coordinates)) if isinstance(coordinates[0], float) else [turned(one) for one in coordinates]
        )

    whole = json.loads(data)
    for one in whole["features"]:
        one["geometry"]["coordinates"] = turned(one["geometry"]["coordinates"])
    return json.dumps(whole).encode()


async def test_a_chinese_map_lands_where_the_other_does(city: Database) -> None:
    await good(city, ASSETS, parts(200))
    plain = await everything(city)
    rows = [part(number) for number in range(200)]
    for row in rows:
        row["lon"], row["lat"] = to_gcj02(float(row["lon"]), float(row["lat"]))
    await good(city, AREAS, shifted(a_map()), datum=GCJ02)
    await good(city, PLACES, shifted(ROADS), datum=GCJ02)
    await good(city, ASSETS, table(*rows), datum=GCJ02)
    turned = await everything(city)
    assert plain.keys() == turned.keys()
    for code, points in plain.items():
        assert max(metres(*pair) for pair in zip(points, turned[code], strict=True)) < 1
    wrong = await good(city, ASSETS, table(*rows), datum=WGS84)
    async with city.read() as session:
        found = await session.get_one(Asset, (wrong.id, rows[0]["code"]))
    assert metres(plain[rows[0]["code"]][0], Point(found.lon, found.lat)) > 300, "why the datum must be named"


async def everything(db: Database) -> dict[str, list[Point]]:
    """All points of the version in force, by code."""
    import shapely

    async with db.read() as session:
        versions = await importing.in_force(session)
        found = {}
        for kind, model in ((AREAS, AreaShape), (PLACES, Place)):
            rows = select(model.code, model.shape).where(model.import_id == versions[kind])
            for code, shape in await session.execute(rows):
                found[code] = [Point(*pair) for pair in shapely.get_coordinates(shapely.from_wkb(shape))]
        rows = select(Asset.code, Asset.lon, Asset.lat).where(Asset.import_id == versions[ASSETS])
        found |= {code: [Point(lon, lat)] for code, lon, lat in await session.execute(rows)}
        return found


async def test_the_nearest_part_is_the_nearest_however_many_stand_around(city: Database) -> None:
    here = Point(112.2, 31.0)

    def crowd(number: int, east: float, north: float, **more: Any) -> dict[str, Any]:
        lon, lat = moved(here, east, north)
        return part(number, lon=lon, lat=lat, **more)

    # Five thousand far in the south, which an index gives first, and one nearer in the north.
    rows = [crowd(2 * n, n % 50, -850 - n // 50 * 0.5) for n in range(5_000)]
    rows += [crowd(20_000, 0, 600), crowd(20_001, 30, 650), crowd(20_002, 5, 20, state="移除")]
    told = await good(city, ASSETS, table(*({"state": "完好", **row} for row in rows)))
    async with city.read() as session:
        found = await assets.nearest(session, told.id, here, most=3)
        assert [one.asset.code[-6:] for one in found] == ["020000", "020001", "000000"]
        assert [one.metres for one in found] == pytest.approx([600, 650.7, 850], abs=0.5)
        [lamp] = await assets.nearest(session, told.id, here, categories=("0137",))
        assert lamp.asset.code[-6:] == "020001"
        assert await assets.nearest(session, told.id, here, within_m=500) == []
        assert await assets.nearest(session, told.id, here, categories=("0102",), within_m=9_999) == []
        assert await assets.nearest(session, None, here) == []
        for code, tag in (("020000", "QR20000"), ("020001", "https://h.example/t/QR20001"), ("000004", "h?x=1&t=QR4")):
            by_tag = await assets.by_tag(session, told.id, tag)
            assert by_tag is not None
            assert by_tag.code[-6:] == code
        assert await assets.by_tag(session, told.id, "") is None


@pytest.mark.parametrize("city", ["sqlite"], indirect=True)
async def test_a_look_reads_the_rows_of_its_cells_and_no_others(city: Database) -> None:
    # Half a million rows of one import, twenty thousand lamps among them: an index by import alone, or by import and
    # category, takes a hundred times as long.
    told = await good(city, ASSETS, parts(50))
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    async with city.read() as session:
        engine = (await session.connection()).sync_engine
        event.listen(engine, "before_cursor_execute", note)
        here = Point(112.0504, 31.0004)
        await assets.nearest(session, told.id, here, categories=("0101", "0137"), most=3)
        await assets.nearest(session, told.id, here, most=3)
        await context.registered_near(session, {"cameras": told.id}, "cameras", here, 300)
        await context.registered_near(session, {"cameras": told.id}, "cameras", here, 4_000)
        event.remove(engine, "before_cursor_execute", note)
        connection = await session.connection()
        assert len(asked) == 4
        for statement, parameters in asked:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
            searches = [row[3] for row in plan if row[3].startswith(("SEARCH", "SCAN"))]
            assert searches
            assert all("cell>? AND cell<?" in one or "cell=?" in one for one in searches), searches


# -- processes ---------------------------------------------------------------------------------------------------------
def environment(db: Database, folder: Path) -> dict[str, str]:
    url = db.url.render_as_string(hide_password=False)
    given = {"CALLCENTER_DATABASE_URL": url, "CALLCENTER_DATA_DIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
    return {**os.environ, **given}


def run(db: Database, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "callcenter", "city", *arguments],
        env=environment(db, folder),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write(path: Path, rows: Sequence[bytes]) -> Path:
    with path.open("wb") as file:
        file.writelines(rows)
    return path


async def test_a_process_that_is_killed_leaves_the_version_before(city: Database, tmp_path: Path) -> None:
    await good(city, ASSETS, parts(7))
    path = write(tmp_path / "assets.csv", [parts(30_000)])
    process = run(city, tmp_path, "import", "assets", str(path), "--datum", "wgs84")
    try:
        while (await standing(city))["assets"] <= 7 + BATCH:
            assert process.poll() is None, process.communicate()
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert await count(city) == 7
    assert await states(city, ASSETS) == [IN_FORCE, LOADING]
    again = run(city, tmp_path, "import", "assets", str(path), "--datum", "wgs84")
    _, said = await asyncio.to_thread(again.communicate, timeout=60)
    assert again.returncode == 2
    assert "version 2 is being imported: wait" in said
    assert "Traceback" not in said
    async with city.read() as session:
        began = await session.scalar(select(CityImport.at).where(CityImport.state == LOADING))
    assert began is not None
    assert await sweep(city, began + ABANDONED_AFTER + timedelta(seconds=1)) > BATCH
    assert (await standing(city))["assets"] == 7
    assert await count(city) == 7


async def test_the_commands(city: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, value in environment(city, tmp_path).items():
        if name.startswith("CALLCENTER_"):
            monkeypatch.setenv(name, value)
    good_file, bad_file = write(tmp_path / "a.csv", [parts(3)]), write(tmp_path / "b.csv", [parts(3, lon="x")])
    no_table, old = write(tmp_path / "c.csv", [b"\xff\xff"]), write(tmp_path / "d.xls", [b"\xd0\xcf\x11\xe0"])

    async def told(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(cli.main, ["city", *arguments])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out + out.err

    assert await told("import", "assets", str(good_file), "--datum", "wgs84") == (
        0,
        "assets: version 1 in force, 3 rows\n",
    )
    code, said = await told("import", "assets", str(good_file), "--datum", "wgs84")
    assert (code, "nothing to import" in said) == (0, True)
    code, said = await told("import", "assets", str(bad_file), "--datum", "wgs84")
    assert (code, "3 rows are wrong" in said, "row 2, lon: 'x'" in said) == (1, True, True)
    for file in (no_table, old):
        code, said = await told("import", "assets", str(file), "--datum", "wgs84")
        assert (code, "nothing was imported" in said) == (1, True)
    for wrong in (["assets", str(good_file)], ["assets", str(tmp_path / "none.csv"), "--datum", "wgs84"], ["x", "y"]):
        code, said = await told("import", *wrong)
        assert (code, said.startswith("callcenter: ")) == (2, True)
    code, said = await told("history")
    assert (code, said.count("assets version")) == (0, 3)
    code, said = await told("go-back", "assets")
    assert (code, "no version before is kept" in said) == (2, True)
    code, said = await told("import-folder", str(tmp_path / "nothing"))
    assert code == 2


MEASURE = """
import sys
from pathlib import Path
from callcenter.cli import main
code = main(["city", "import", "addresses", sys.argv[1], "--datum", "wgs84"])
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print("PEAK", int(peak.split()[1]) // 1024)
sys.exit(code)
"""
# Not resource.getrusage: its peak is that of the process it was started from, where that had more.


async def test_memory_does_not_grow_with_the_file(city: Database, tmp_path: Path) -> None:
    """Doors under 250 MB, the program itself included.

    What is held are the rows of one transaction, the names of places, two hundred faults and the program, nothing that
    grows with the file: 100,000 rows peak as 300,000 do, within some MB, and ten million by the same reading, in some
    ten minutes. scripts/bench/city measures more of them.
    """
    rows = 300_000 if city.is_sqlite else 100_000

    def lines() -> Any:
        yield b"code,place,number,lon,lat\n"
        for n in range(rows):
            yield b"D%07d,R1,%d,112.%06d,31.000100\n" % (n, n % 9_999 + 1, n % 390_000)

    path = tmp_path / "addresses.csv"
    with path.open("wb") as file:
        file.writelines(lines())
    measured = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MEASURE,
        str(path),
        env=environment(city, tmp_path),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await measured.communicate()
    said = out.decode()
    assert measured.returncode == 0, said
    assert f"{rows} rows" in said
    peak = int(said.split("PEAK")[1])
    print(f"{city.name.partition(':')[0]}: peak {peak} MB")
    assert peak < 250
