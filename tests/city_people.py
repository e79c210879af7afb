"""A small city with doors, houses, people who do not exist, enterprises and what departments know of them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.access.model import AuditEntry
from callcenter.access.permissions import permissions_of
from callcenter.access.principal import Principal
from callcenter.city import importing
from callcenter.city.coordinates import Point, moved
from callcenter.city.ground import IN_FORCE
from callcenter.city.model import DEPARTMENT, STREET, Area, Unit
from callcenter.city.residents import Asking
from callcenter.storage.engine import Database
from callcenter.tables.sources import Source

DOOR = Point(112.2, 31.03)
"""解放大道12号."""
SHOP = "91420802MA4TEST01X"


def identity(first: str) -> str:
    """``first`` 17 digits with their check (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(d) * w for d, w in zip(first, weights, strict=True)) % 11]


ZHANG = identity("42080219800101123")
OUYANG = identity("42080219790203456")
PERSONAL = ("张小丽", "欧阳建国", "李房东", "王老板", "13800131234", "13900139999", "07246543210", ZHANG, OUYANG)
"""Everything of a person that the files below hold."""


def table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a CSV; the columns are the first row's."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


async def load(db: Database, kind: str, data: bytes, *, good: bool = True) -> importing.Outcome:
    """Import ``data``; with ``good`` it must come into force."""
    told = await importing.import_file(db, kind, Source(data=data), actor=SYSTEM, at=clock.now(), datum="wgs84")
    assert (told.state == IN_FORCE) == good, told.faults
    return told


def area_map() -> bytes:
    """One square, from the city down to its only grid, and a police grid across."""
    ring = [[112.19, 31.02], [112.21, 31.02], [112.21, 31.04], [112.19, 31.04], [112.19, 31.02]]
    rows = [
        ("4208", "荆门市", 1, ""),
        ("420802", "东宝区", 2, "4208"),
        ("420802001", "龙泉街道", 3, "420802"),
        ("420802001001", "白龙社区", 4, "420802001"),
        ("420802001001001", "第一网格", 5, "420802001001"),
        ("JW-01", "龙泉警务区", 4, "420802001"),
    ]
    features = [
        {
            "type": "Feature",
            "properties": {
                "code": code,
                "name": name,
                "level": level,
                "parent": parent,
                "layer": "police" if code == "JW-01" else "unit",
            },
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for code, name, level, parent in rows
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


async def settled(db: Database) -> None:
    """Everything imported."""
    await load(db, "areas", area_map())
    async with db.begin() as session:
        street = await session.scalar(select(Area.id).where(Area.code == "420802001"))
        for code, name, kind, area in (
            ("lq", "龙泉街道办事处", STREET, street),
            ("sz01", "市政设施管理处", DEPARTMENT, None),
            ("gs", "市场监督管理局", DEPARTMENT, None),
            ("rs", "人力资源和社会保障局", DEPARTMENT, None),
        ):
            values = {"level": 2, "leader": "处长", "duty_phone": "", "round_the_clock": False, "active": True}
            session.add(
                Unit(id=uuid4(), code=code, name=name, kind=kind, area_id=area, created_at=clock.now(), **values)
            )
    road = {
        "type": "Feature",
        "properties": {"code": "r1", "name": "解放大道", "kind": "road"},
        "geometry": {"type": "LineString", "coordinates": [[112.191, 31.03], [112.209, 31.03]]},
    }
    await load(db, "places", json.dumps({"type": "FeatureCollection", "features": [road]}).encode())
    doors = [("a-12", 12, DOOR), ("a-14", 14, moved(DOOR, 29, 0)), ("a-16", 16, moved(DOOR, 62, 0))]
    await load(
        db,
        "addresses",
        table([{"code": c, "place": "r1", "number": n, "lon": p.lon, "lat": p.lat} for c, n, p in doors]),
    )
    cover = moved(DOOR, 0, 5)
    await load(
        db,
        "assets",
        table(
            [
                {"code": "4208020102000001", "name": "污水井盖", "owner": "sz01", "lon": cover.lon, "lat": cover.lat},
                {"code": "4208020209000001", "name": "路灯", "owner": "", "lon": cover.lon, "lat": cover.lat},
            ]
        ),
    )
    await load(
        db,
        "houses",
        table(
            [
                {"code": "h-1", "address": "a-12", "kind": "住宅", "owner_name": "李房东"},
                {"code": "h-2", "address": "a-12", "kind": "商铺", "owner_name": ""},
                {"code": "h-3", "address": "a-14", "kind": "住宅", "owner_name": ""},
            ]
        ),
    )
    one = {"gender": "女", "birth_year": 1980, "phone": "13800131234", "id_number": ZHANG, "kind": "户籍"}
    other = {"gender": "男", "birth_year": 1979, "phone": "07246543210", "id_number": OUYANG, "kind": "流动"}
    await load(
        db,
        "people",
        table(
            [
                {"code": "p-1", "house": "h-1", "name": "张小丽", **one},
                {"code": "p-2", "house": "h-1", "name": "欧阳建国", **other},
                {"code": "p-3", "house": "h-3", "name": "赵", **dict.fromkeys(one, "")},
            ]
        ),
    )
    shop = {"code": SHOP, "house": "h-2", "name": "荆门某商贸有限公司", "kind": "有限责任公司"}
    far = {"code": "91420802MA4TEST02X", "house": "", "name": "某联络处", "kind": "", "legal_person": "", "phone": ""}
    await load(db, "organisations", table([{**shop, "legal_person": "王老板", "phone": "13900139999"}, far]))


FORMS = (
    ("gs-01", "企业登记", "gs", "capital", "注册资本（万元）", "number", "否"),
    ("gs-01", "企业登记", "gs", "contact", "联系人", "text", "是"),
    ("gs-01", "企业登记", "gs", "phone", "联系电话", "text", "是"),
    ("gs-01", "企业登记", "gs", "scope", "经营范围", "text", "否"),
    ("rs-01", "用工备案", "rs", "staff", "职工人数", "数字", "否"),
    ("rs-01", "用工备案", "rs", "insured", "是否参保", "是否", "0"),
    ("rs-01", "用工备案", "rs", "signed", "备案日期", "日期", "否"),
    ("rs-01", "用工备案", "rs", "agent_id", "经办人证件号", "文本", ""),
)
RECORDS = (
    ("g-1", "gs-01", SHOP, "2024-03-01", {"注册资本（万元）": "500", "联系人": "王老板", "phone": "13900139999"}),
    ("g-2", "gs-01", SHOP, "2026-03-01", {"capital": 800.5, "scope": "百货零售，电话13800131234，许可证4208021234567"}),
    ("r-1", "rs-01", SHOP, "", {"staff": 12, "insured": "是", "signed": "2026/03/02", "agent_id": ZHANG}),
)


REGISTERED: dict[str, list[dict[str, Any]]] = {
    "cameras": [
        {"code": "c-open", "name": "路口球机", "owner": "sz01", "视频地址": "rtsp://10.1.1.1/1", "调看权限": "公开"},
        {"code": "c-asked", "name": "小区枪机", "owner": "", "视频地址": "rtsp://10.1.1.1/2", "调看权限": ""},
        {"code": "c-closed", "name": "看守所", "owner": "", "视频地址": "34020000001320000001", "调看权限": "不公开"},
    ],
    "risk_sources": [
        {
            "code": "f-1",
            "name": "加油站",
            "owner": "sz01",
            "类型": "危化品",
            "等级": 1,
            "检查结果": "电话13800131234",
        },
        {"code": "f-2", "name": "锅炉房", "owner": "", "类型": "特种设备", "等级": 2, "检查结果": ""},
        {"code": "f-3", "name": "烟花店", "owner": "", "类型": "危化品", "等级": 1, "检查结果": ""},
    ],
    "devices": [{"code": "d-1", "name": "执法车", "owner": "sz01", "类型": "车辆", "使用人": "张小丽"}],
    "duty_holders": [
        {"code": "m-1", "name": "某某小吃", "owner": "lq", "责任人": "王老板", "电话": "13900139999"},
    ],
    "meeting_links": [{"code": "v-1", "name": "街道会议室", "地址": "https://meet.example/1", "联系人": "欧阳建国"}],
    "resources": [{"code": "s-1", "name": "企业征信", "owner": "gs", "数量": 460000, "同步日期": "2026-11-01"}],
    "connectors": [
        {
            "code": "x-gs",
            "name": "工商数据",
            "owner": "gs",
            "方向": "拉取",
            "同步日期": "2026-11-20",
            "错误数": 3,
            "字段映射": '{"code": "TYSHXYDM", "name": "QYMC"}',
        }
    ],
}
"""Some of every registry; each gets a place a metre farther east."""


async def registered(db: Database, *names: str) -> None:
    """The registries named, or all."""
    for name in names or REGISTERED:
        await load(db, name, registry_table(REGISTERED[name]))


def registry_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A file of entries in a row from the door eastwards, a metre between."""
    placed = [moved(DOOR, n, 0) for n in range(len(rows))]
    return table([{**row, "lon": at.lon, "lat": at.lat} for row, at in zip(rows, placed, strict=True)])


def forms_table(rows: Sequence[Sequence[str]] = FORMS) -> bytes:
    """A file of forms."""
    names = ("表单编码", "表单名称", "部门", "字段", "字段名称", "字段类型", "个人信息")
    return table([dict(zip(names, row, strict=True)) for row in rows])


def records_table(rows: Sequence[Sequence[Any]] = RECORDS) -> bytes:
    """A file of forms filled in."""
    names = ("记录编号", "表单编码", "统一社会信用代码", "登记日期", "内容")
    cells = [[one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in row] for row in rows]
    return table([dict(zip(names, row, strict=True)) for row in cells])


def somebody(*roles: str) -> Principal:
    """A person with ``roles``, who is nobody in the store."""
    return Principal("user", uuid4(), "x", "x", roles, permissions_of(roles))


def asking(*roles: str, most: int = 200, at: datetime | None = None, who: Principal | None = None) -> Asking:
    """Somebody who asks now."""
    return Asking(who or somebody(*roles), at or clock.now(), most, "10.0.0.7")


async def audited(db: Database, *, actor: UUID | None = None) -> list[AuditEntry]:
    """What was recorded, but for imports, the oldest first."""
    async with db.read() as session:
        query = select(AuditEntry).where(AuditEntry.actor_kind != "system").order_by(AuditEntry.id)
        if actor is not None:
            query = query.where(AuditEntry.actor == str(actor))
        return list(await session.scalars(query))


def shown(entry: AuditEntry) -> str:
    """All that an entry says."""
    return json.dumps([entry.action, entry.subject, entry.detail, entry.actor, entry.address], ensure_ascii=False)


HOUR = timedelta(hours=1)
