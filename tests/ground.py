"""A small city of our own, imported through the real importer: sixteen grids in a row, roads whose names sound alike.

It is 0.2 degrees wide and 0.1 high. Grid n (0 to 15) lies from 112 + n * 0.0125 east; two grids make a community, four
a street, eight a district.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.city import importing
from callcenter.city.city import City
from callcenter.city.coordinates import Point
from callcenter.city.ground import IN_FORCE
from callcenter.storage.engine import Database
from callcenter.tables.sources import Source

WEST, SOUTH, WIDTH, HEIGHT = 112.0, 31.0, 0.2, 0.1
STEP = WIDTH / 16
LAMP, COVER = "0137", "0101"
"""路灯 and 上水井盖 of GB/T 30428.2-2013."""


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """A rectangle as GeoJSON."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """A feature of a map."""
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def collection(*features: Mapping[str, Any]) -> bytes:
    """A map as a file."""
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()


def grid(number: int) -> str:
    """The code of grid ``number``."""
    return f"{community(number // 2)}{number % 2 + 1:03d}"


def community(number: int) -> str:
    """The code of community ``number``, 0 to 7."""
    return f"{street(number // 2)}{number % 2 + 1:03d}"


def street(number: int) -> str:
    """The code of street ``number``, 0 to 3."""
    return f"{district(number // 2)}{number % 2 + 1:03d}"


def district(number: int) -> str:
    """The code of district ``number``, 0 or 1."""
    return f"99080{number + 1}"


def column(number: int, of: int) -> dict[str, Any]:
    """The ``number``-th of ``of`` equal parts of the city, from west to east."""
    return box(WEST + number * WIDTH / of, SOUTH, WEST + (number + 1) * WIDTH / of, SOUTH + HEIGHT)


def areas() -> Iterator[dict[str, Any]]:
    """The map, with two police grids across the tree."""
    yield feature(column(0, 1), code="990800", name="云溪市", level=1, parent=None, layer="unit")
    for n, name in enumerate(("东湖区", "西山区")):
        yield feature(column(n, 2), code=district(n), name=name, level=2, parent="990800", layer="unit")
        yield feature(column(n, 2), code=f"P{n}", name=f"{name}警务区", level=3, parent=district(n), layer="police")
    for n, name in enumerate(("临江街道", "石桥街道", "望山街道", "古城街道")):
        yield feature(column(n, 4), code=street(n), name=name, level=3, parent=district(n // 2), layer="unit")
    for n in range(8):
        yield feature(column(n, 8), code=community(n), name=f"第{n}社区", level=4, parent=street(n // 2), layer="unit")
    for n in range(16):
        yield feature(column(n, 16), code=grid(n), name=f"{n}号网格", level=5, parent=community(n // 2), layer="unit")


def line(*corners: tuple[float, float]) -> dict[str, Any]:
    """A road as GeoJSON."""
    return {"type": "LineString", "coordinates": [list(corner) for corner in corners]}


def spot(lon: float, lat: float) -> dict[str, Any]:
    """A point as GeoJSON."""
    return {"type": "Point", "coordinates": [lon, lat]}


def places() -> Iterator[dict[str, Any]]:
    """Roads, an estate, schools of one name."""
    yield feature(line((112.001, 31.05), (112.095, 31.05)), code="R1", name="柳泉路", kind="road", aliases=[])
    yield feature(line((112.105, 31.03), (112.195, 31.03)), code="R2", name="柳全路", kind="road", aliases=["老柳路"])
    yield feature(line((112.055, 31.01), (112.055, 31.09)), code="R3", name="建设大道", kind="road", aliases=[])
    yield feature(line((112.155, 31.01), (112.155, 31.09)), code="R4", name="金桂巷", kind="road", aliases=[])
    yield feature(spot(112.030, 31.052), code="P1", name="实验小学", kind="poi", aliases=[])
    yield feature(spot(112.180, 31.032), code="P2", name="实验小学", kind="poi", aliases=[])
    yield feature(spot(112.120, 31.060), code="E1", name="翠竹花园", kind="estate", aliases=["翠竹园"])


def addresses() -> str:
    """A door every 40 m or so."""
    rows = ["code,place,number,building,door,lon,lat"]
    rows += [f"A1{n:03d},R1,{n},,,{112.001 + n * 0.0004:.6f},31.05" for n in range(1, 200)]
    rows += [f"A2{n:03d},R2,{n},,,{112.105 + n * 0.0004:.6f},31.03" for n in range(1, 100)]
    rows += [
        f"E1{b}{d},E1,,{b},{d},{112.120 + b * 0.0006:.6f},{31.060 + d * 0.0002:.6f}"
        for b in range(1, 9)
        for d in range(1, 4)
    ]
    return "\n".join(rows) + "\n"


def units() -> str:
    """A department, a utility, a government for each street."""
    rows = ["code,name,kind,level,parent,area,leader,duty_phone,round_the_clock"]
    rows += ["lamps,路灯管理所,department,1,,,所长,,0", "water,供水公司,utility,1,,,值班经理,0724-0000000,1"]
    rows += [f"s{n},街道办{n},street,2,,{street(n)},主任,,0" for n in range(4)]
    return "\n".join(rows) + "\n"


def assets() -> str:
    """A lamp every 80 m of 柳泉路; one cover at its number 58."""
    rows = ["code,name,lon,lat,owner,keeper,state,tag,installed"]
    rows += [
        f"990801{LAMP}{n:06d},路灯,{112.001 + n * 0.0008:.6f},31.05005,lamps,,完好,QR{n},2020-01-01"
        for n in range(1, 100)
    ]
    rows.append(f"990801{COVER}000001,上水井盖,{112.001 + 58 * 0.0004:.6f},31.05003,water,,完好,QRC1,")
    return "\n".join(rows) + "\n"


def door(number: int) -> Point:
    """Where number ``number`` of 柳泉路 is."""
    return Point(round(112.001 + number * 0.0004, 6), 31.05)


def files() -> list[tuple[str, bytes]]:
    """All of it, in the order of import."""
    return [
        ("areas", collection(*areas())),
        ("units", units().encode()),
        ("places", collection(*places())),
        ("addresses", addresses().encode()),
        ("assets", assets().encode()),
        ("cameras", "code,name,owner,lon,lat,view_right\nC1,柳泉路58号,lamps,112.0243,31.0502,open\n".encode()),
        ("risk_sources", "code,name,owner,lon,lat,kind,grade\nK1,加油站,water,112.026,31.0501,加油站,2\n".encode()),
    ]


async def ground(db: Database) -> City:
    """The small city, in force in ``db``."""
    for kind, data in files():
        told = await importing.import_file(
            db, kind, Source(data=data), actor=SYSTEM, at=clock.now(), datum="" if kind == "units" else "wgs84"
        )
        assert told.state == IN_FORCE, (kind, told.faults)
    return City(db)
