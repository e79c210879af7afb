"""The registries: what of them each role sees, what near means, and what a file must not hold."""

from typing import Any

import pytest
from sqlalchemy import func, select

from callcenter.access.model import AuditEntry
from callcenter.city import registry_reading
from callcenter.city.coordinates import moved
from callcenter.city.registries import REGISTRIES
from callcenter.city.registry_reading import Entry, Narrow
from callcenter.city.residents import Asking, NotPermitted, TooManyLooks, Why
from callcenter.storage.engine import Database
from tests.api import Api, api
from tests.city_people import (
    DOOR,
    PERSONAL,
    REGISTERED,
    asking,
    audited,
    load,
    registered,
    registry_table,
    settled,
    shown,
    somebody,
)
from tests.house import House

__all__ = ["api"]

pytestmark = pytest.mark.integration

V1 = "/api/v1"
ALL = Narrow()


async def listed(db: Database, name: str, narrow: Narrow = ALL, **more: Any) -> list[Entry]:
    """Entries as a unit's person sees them."""
    async with db.begin() as session:
        return await registry_reading.entries(session, REGISTRIES[name], asking("unit"), narrow, **more)


async def one(db: Database, name: str, code: str, by: Asking) -> Entry | None:
    """One entry."""
    async with db.begin() as session:
        return await registry_reading.one(session, REGISTRIES[name], by, code)


async def test_every_registry_says_what_it_has(db: Database) -> None:
    await settled(db)
    async with db.read() as session:
        assert {one.entries for one in await registry_reading.catalogue(session)} == {0}
    assert await listed(db, "cameras") == [], "nothing was imported"
    await registered(db)
    async with db.read() as session:
        found = {one.registry.name: (one.entries, one.version) for one in await registry_reading.catalogue(session)}
    assert found == {name: (len(rows), 1) for name, rows in REGISTERED.items()}
    [resource] = await listed(db, "resources")
    assert (resource.owner.name if resource.owner else "", dict(resource.particulars)) == (
        "市场监督管理局",
        {"amount": 460_000, "synced_on": "2026-11-01"},
    )


async def test_entries_come_by_code_and_can_be_narrowed(db: Database) -> None:
    await settled(db)
    await registered(db, "risk_sources")
    assert [one.code for one in await listed(db, "risk_sources")] == ["f-1", "f-2", "f-3"]
    assert [one.code for one in await listed(db, "risk_sources", after="f-1", limit=1)] == ["f-2"]
    assert [one.code for one in await listed(db, "risk_sources", Narrow(grade=1))] == ["f-1", "f-3"]
    assert [one.code for one in await listed(db, "risk_sources", Narrow(kind="特种设备"))] == ["f-2"]
    assert [one.code for one in await listed(db, "risk_sources", Narrow(owner="sz01", grade=1))] == ["f-1"]
    assert await listed(db, "risk_sources", Narrow(kind="' OR 1=1 --")) == []


async def test_near_is_nearest_first_and_no_farther(db: Database) -> None:
    await settled(db)
    await registered(db, "risk_sources")
    sources = REGISTRIES["risk_sources"]

    async def near(
        east: float, within_m: float, narrow: Narrow = ALL, most: int = 10
    ) -> list[tuple[str, float | None]]:
        async with db.read() as session:
            place = moved(DOOR, east, 0)
            found = await registry_reading.near(
                session, sources, asking("unit"), narrow, place, within_m=within_m, most=most
            )
        return [(one.code, one.metres) for one in found]

    assert await near(-10, 100) == [("f-1", 10.0), ("f-2", 11.0), ("f-3", 12.0)]
    assert await near(-10, 11.5) == [("f-1", 10.0), ("f-2", 11.0)]
    assert await near(-10, 100, Narrow(grade=1), 1) == [("f-1", 10.0)]
    assert [code for code, _ in await near(3_000, 5_000)] == ["f-3", "f-2", "f-1"]
    assert await near(3_000, 1_000) == []
    with pytest.raises(ValueError, match="radius 6000 m"):
        await near(0, 6_000)


async def test_a_stream_is_shown_as_its_owner_says(db: Database) -> None:
    await settled(db)
    await registered(db, "cameras")
    streams = {one.code: one.stream for one in await listed(db, "cameras")}
    assert streams == {"c-open": "rtsp://10.1.1.1/1", "c-asked": "", "c-closed": ""}
    assert not [one for one in await listed(db, "cameras") if "stream" in one.particulars]
    rights = {one.code: one.particulars["view_right"] for one in await listed(db, "cameras")}
    assert rights == {"c-open": "open", "c-asked": "asked", "c-closed": "closed"}, "who says nothing wants to be asked"
    for role, asked in (("unit", ""), ("agent", ""), ("command", "rtsp://10.1.1.1/2")):
        for code, expected in (("c-open", "rtsp://10.1.1.1/1"), ("c-asked", asked), ("c-closed", "")):
            entry = await one(db, "cameras", code, asking(role))
            assert entry is not None
            assert entry.stream == expected, (role, code)
    [shown_once] = await audited(db)
    assert (shown_once.action, shown_once.subject) == ("camera stream shown", "cameras:c-asked")


async def test_particulars_in_a_registry_are_masked_for_everybody(db: Database) -> None:
    await settled(db)
    await registered(db)
    found = [entry for name in REGISTERED for entry in await listed(db, name)]
    assert not [one for one in PERSONAL if one in str(found)]
    [holder] = await listed(db, "duty_holders")
    assert dict(holder.particulars) == {"holder": "王**", "phone": "139****9999"}
    entry = await one(db, "duty_holders", "m-1", asking("supervisor"))
    assert entry is not None
    assert entry.particulars["holder"] == "王**", "whole only for a purpose"


async def test_whole_particulars_are_a_look(db: Database) -> None:
    await settled(db)
    await registered(db, "duty_holders")
    registry, who = REGISTRIES["duty_holders"], somebody("supervisor")

    async def whole(code: str, by: Asking) -> dict[str, str] | None:
        async with db.begin() as session:
            return await registry_reading.particulars(session, registry, code, Why("emergency"), by)

    assert await whole("m-1", asking(who=who, most=2)) == {"holder": "王老板", "phone": "13900139999"}
    assert await whole("王老板", asking(who=who, most=2)) is None
    with pytest.raises(TooManyLooks):
        await whole("m-1", asking(who=who, most=2))
    for role in ("agent", "inspector", "unit"):
        with pytest.raises(NotPermitted):
            await whole("m-1", asking(role))
    entries = await audited(db)
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("registry particulars read in full", "duty_holders:m-1"),
        ("registry particulars read in full", "duty_holders:?"),
    ]
    assert not [one for one in PERSONAL for entry in entries if one in shown(entry)]


async def test_who_reads_the_connectors_is_recorded(db: Database) -> None:
    """000-06."""
    await settled(db)
    await registered(db, "connectors", "resources")
    [connector] = await listed(db, "connectors")
    assert dict(connector.particulars) == {
        "direction": "pull",
        "synced_on": "2026-11-20",
        "errors": 3,
        "mapping": {"code": "TYSHXYDM", "name": "QYMC"},
    }
    await one(db, "connectors", "x-gs", asking("maintainer"))
    await listed(db, "resources")
    entries = await audited(db)
    assert [(one.action, one.subject, one.detail) for one in entries] == [
        ("registry read", "registry:connectors", {"entries": 1})
    ] * 2


async def test_what_a_file_must_not_hold(db: Database) -> None:
    await settled(db)
    camera, meeting, link = REGISTERED["cameras"][0], REGISTERED["meeting_links"][0], REGISTERED["connectors"][0]
    wrong: list[tuple[str, dict[str, Any], str, str]] = [
        ("cameras", {**camera, "视频地址": "rtsp://admin:12345@10.1.1.1/1"}, "stream", "username or password"),
        ("cameras", {**camera, "视频地址": "javascript:alert(1)"}, "stream", "is no address"),
        ("cameras", {**camera, "视频地址": "file:///etc/passwd"}, "stream", "is no address"),
        ("cameras", {**camera, "视频地址": "rtsp://[::1"}, "stream", "is no address"),
        ("cameras", {**camera, "视频地址": "rtsp://10.1.1.1/a b"}, "stream", "is no address"),
        ("cameras", {**camera, "调看权限": "谁都行"}, "view_right", "is none of"),
        ("meeting_links", {**meeting, "地址": "rtsp://10.1.1.1/1"}, "link", "is no address"),
        ("meeting_links", {**meeting, "地址": ""}, "link", "is empty"),
        ("connectors", {**link, "字段映射": "code=TYSHXYDM"}, "mapping", "JSON object"),
        ("connectors", {**link, "字段映射": "[" * 9000}, "mapping", "JSON object"),
        ("connectors", {**link, "字段映射": '{"code": {"x": 1}}'}, "mapping", "must map texts"),
        ("connectors", {**link, "字段映射": '{"code": "a\\u0000b"}'}, "mapping", "must map texts"),
        ("connectors", {**link, "方向": "双向"}, "direction", "is none of"),
        ("connectors", {**link, "owner": "nobody"}, "owner", "no such unit"),
        ("connectors", {**link, "错误数": -1}, "errors", "whole number"),
    ]
    for name, row, column, mend in wrong:
        told = await load(db, name, registry_table([row]), good=False)
        assert (told.faults[0].column, mend in told.faults[0].mend) == (column, True), told.faults
    holder = {**REGISTERED["duty_holders"][0], "责任人": "王老板" * 30, "电话": "13900139999" * 9}
    told = await load(db, "duty_holders", registry_table([holder]), good=False)
    assert len(told.faults) == 2
    assert not [one for one in PERSONAL if one in str(told.faults)]


async def test_over_http_no_stream_and_no_name_gets_out(api: Api) -> None:
    house = House(api)
    await settled(api.services.db)
    await registered(api.services.db)
    for role in ("unit", "agent", "command", "supervisor", "collector", "maintainer", "inspector"):
        client = await house.one(role)
        for name in REGISTERED:
            answer = await client.get(f"{V1}/registries/{name}/entries")
            assert answer.status_code == 200, answer.text
            near = await client.get(f"{V1}/registries/{name}/near", params={"lat": DOOR.lat, "lon": DOOR.lon})
            for text in (answer.text, near.text):
                assert not [one for one in (*PERSONAL, "rtsp://10.1.1.1/2", "34020000001320000001") if one in text]
    for role in ("volunteer", "admin", "auditor"):
        answer = await (await house.one(role)).get(f"{V1}/registries/cameras/entries")
        assert answer.status_code == 403, role
    async with api.services.db.read() as session:
        count = select(func.count()).select_from(AuditEntry).where(AuditEntry.action == "registry read")
        assert await session.scalar(count) == 14


@pytest.mark.parametrize("code", ["%27%20OR%201=1", "x" * 33, "%F0%9F%91%A8", "a%00b", "..%2f..", "-"])
async def test_over_http_a_code_that_cannot_be_is_refused(api: Api, code: str) -> None:
    client = await House(api).one("agent")
    for path in ("cameras/entries", "connectors/entries"):
        answer = await client.get(f"{V1}/registries/{path}/{code}")
        assert answer.status_code in (404, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
