"""Field work over HTTP: who sees and sends what, and what is sent by who means it ill."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from callcenter import clock
from callcenter.access.model import AuditEntry
from callcenter.cases.model import Case
from callcenter.city.coordinates import to_gcj02
from callcenter.city.field_model import DeviceAlarm, FieldTask, Position, TrackPoint
from callcenter.city.model import Unit
from tests import ground
from tests.api import Api, api
from tests.house import House
from tests.walking import DEVICES, import_table

__all__ = ["api"]

pytestmark = pytest.mark.integration

V1 = "/api/v1"
PLACE = ground.door(10)


def soon(hours: float = 24) -> str:
    return (clock.now() + timedelta(hours=hours)).isoformat()


def point(**changes: Any) -> dict[str, Any]:
    at = {"lon": PLACE.lon, "lat": PLACE.lat, "accuracy_m": 8.5, "source": "beidou", "taken_at": soon(0)}
    return {**at, **changes}


async def count(api: Api, model: Any, *where: Any) -> int:
    async with api.services.db.read() as session:
        return await session.scalar(select(func.count()).select_from(model).where(*where)) or 0


async def me(client: httpx.AsyncClient) -> str:
    return str((await client.get(f"{V1}/me")).json()["id"])


async def areas(client: httpx.AsyncClient) -> dict[str, str]:
    return {one["code"]: one["id"] for one in (await client.get(f"{V1}/areas")).json()["items"]}


async def test_a_collector_reads_and_sends_their_own_and_nobody_elses(api: Api) -> None:
    house = House(api)
    await ground.ground(api.services.db)
    one, two = await api.signed_in("collector"), await api.signed_in("collector")
    command = await house.one("command")
    sent = await one.post(f"{V1}/field/tracks", json={"datum": "wgs84", "points": [point()]})
    assert sent.json() == {"stored": 1, "known": 0, "refused": []}
    async with api.services.db.read() as session:
        [kept] = await session.scalars(select(Position))
    assert str(kept.user_id) == await me(one)
    for path in ("shifts", "duty", "tasks", f"nearest?lon={PLACE.lon}&lat={PLACE.lat}", f"tracks/{await me(two)}"):
        answer = await one.get(f"{V1}/field/{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), path
    words = {"kind": "assist", "text": "去帮李明，电话13812345678", "collector": await me(one)}
    task = await command.post(f"{V1}/field/tasks", json=words, headers={"Idempotency-Key": uuid4().hex})
    assert task.json()["text"] == "去帮李明，电话138****5678"
    assert len((await one.get(f"{V1}/field/tasks/mine")).json()["items"]) == 1
    assert (await two.get(f"{V1}/field/tasks/mine")).json()["items"] == []
    step = {"step": "accept", "expected_version": 1}
    theirs = await two.post(f"{V1}/field/tasks/{task.json()['id']}/steps", json=step)
    nobodys = await two.post(f"{V1}/field/tasks/{uuid4()}/steps", json=step)
    assert theirs.status_code == 404
    assert theirs.json() == nobodys.json(), "another's and nobody's look the same"
    assert (await one.post(f"{V1}/field/tasks/{task.json()['id']}/steps", json=step)).json()["state"] == "accepted"


async def test_no_program_reads_where_people_are(api: Api) -> None:
    with pytest.raises(Exception, match="that is for people"):
        await api.with_key("", "field:read")
    platform, dispatcher = await api.with_key("sensor"), await api.with_key("dispatcher")
    for path in ("shifts", "duty", "tasks", f"tracks/{uuid4()}", "nearest?lon=1&lat=1"):
        for client in (platform, dispatcher):
            assert (await client.get(f"{V1}/field/{path}")).status_code == 403, path
    for path in ("cases", "calls", "inboxes", "risk-sources/overdue", f"cases/{uuid4()}/alarms"):
        assert (await platform.get(f"{V1}/{path}")).status_code == 403, path
    for role in ("collector", "agent", "command", "maintainer", "unit"):
        client = await api.signed_in(role)
        assert (await client.post(f"{V1}/alarms", json={})).status_code == 403, role


async def test_reading_somebodys_track_is_audited_before_it_is_shown(api: Api) -> None:
    house = House(api)
    collector, agent = await house.one("collector"), await house.one("agent")
    who = await me(collector)
    await collector.post(f"{V1}/field/tracks", json={"datum": "wgs84", "points": [point()]})
    assert len((await agent.get(f"{V1}/field/tracks/{who}")).json()["items"]) == 1
    async with api.services.db.read() as session:
        [entry] = await session.scalars(select(AuditEntry).where(AuditEntry.action == "track read"))
    assert (entry.actor, entry.subject, entry.result) == (await me(agent), f"user:{who}", "done")
    assert (await agent.get(f"{V1}/field/tracks/{uuid4()}")).status_code == 404
    for since, until in ((soon(-200), soon(0)), (soon(0), soon(-1))):
        answer = await agent.get(f"{V1}/field/tracks/{who}", params={"since": since, "until": until})
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "query.since")


async def test_a_task_serves_only_a_case_that_its_maker_may_see(api: Api) -> None:
    house = House(api)
    command, keeper, collector = await house.one("command"), await house.one("maintainer"), await house.one("collector")
    filed, reported = await house.filed(), await house.reported()
    task = {"kind": "verify", "text": "看看", "collector": await me(collector)}
    for client, case, status in (
        (command, filed["id"], 201),
        (command, reported["id"], 404),
        (command, str(uuid4()), 404),
        (keeper, filed["id"], 404),
    ):
        body, headers = {**task, "case": case}, {"Idempotency-Key": uuid4().hex}
        assert (await client.post(f"{V1}/field/tasks", json=body, headers=headers)).status_code == status
    assert await count(api, FieldTask) == 1
    both = {**task, "area": str(uuid4())}
    answer = await command.post(f"{V1}/field/tasks", json=both, headers={"Idempotency-Key": uuid4().hex})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body.collector")


async def test_a_unit_sees_its_own_inbox_and_risk_sources(api: Api) -> None:
    house = House(api)
    await ground.ground(api.services.db)  # K1 is the risk source of the unit "water"
    async with api.services.db.read() as session:
        units = {unit.code: unit.id for unit in await session.scalars(select(Unit))}
    water, lamps = await house.one("unit", units["water"]), await house.one("unit", units["lamps"])
    await house.ordered(units["water"])
    assert [one["code"] for one in (await lamps.get(f"{V1}/inboxes")).json()["items"]] == ["lamps"]
    theirs, nobodys = await lamps.get(f"{V1}/inboxes/water"), await lamps.get(f"{V1}/inboxes/none")
    assert theirs.status_code == 404
    assert theirs.json() == nobodys.json()
    mark = {"until": soon(-0.001)}
    assert (await lamps.put(f"{V1}/inboxes/water/read", json=mark)).status_code == 404
    assert (await water.get(f"{V1}/inboxes/water")).json()["items"][0]["unread"] == 1
    looked = {"kind": "self", "result": "passed", "finding": "电话13812345678", "inspected_at": soon(-1)}
    path = f"{V1}/risk-sources/K1/inspections"

    async def record(client: httpx.AsyncClient, kind: str) -> httpx.Response:
        return await client.post(path, json={**looked, "kind": kind}, headers={"Idempotency-Key": uuid4().hex})

    assert (await record(lamps, "self")).status_code == 422, "self is the owner's"
    assert (await record(lamps, "collector")).status_code == 403
    assert [one["code"] for one in (await water.get(f"{V1}/risk-sources/overdue")).json()["items"]] == ["K1"]
    assert (await lamps.get(f"{V1}/risk-sources/overdue")).json()["items"] == []
    assert (await record(water, "self")).json()["finding"] == "电话138****5678"
    assert (await record(lamps, "department")).status_code == 201
    assert len((await water.get(path)).json()["items"]) == 2
    assert [one["kind"] for one in (await lamps.get(path)).json()["items"]] == ["department"]
    lost = await api.signed_in("unit")
    for one in ("inboxes", "inboxes/water", "risk-sources/overdue", "risk-sources/K1/inspections"):
        answer = await lost.get(f"{V1}/{one}")
        assert (answer.status_code, "belongs to no unit" in answer.text) == (403, True), one
    assert (await record(lost, "department")).status_code == 422


async def test_an_alarm_lies_where_its_device_stands(api: Api) -> None:
    await ground.ground(api.services.db)
    await import_table(api.services.db, "devices", DEVICES)
    platform, agent = await api.with_key("sensor"), await api.signed_in("agent")
    alarm = {"device": "GAS-1", "value": 26.5, "threshold": 20, "taken_at": soon(0)}
    made = await platform.post(f"{V1}/alarms", json=alarm, headers={"Idempotency-Key": uuid4().hex})
    assert made.status_code == 201
    case = (await agent.get(f"{V1}/cases/{made.json()['case']}")).json()
    codes = {area: code for code, area in (await areas(agent)).items()}
    assert (case["source"], case["state"], codes[case["area"]]) == ("iot", "reported", ground.grid(1))
    assert case["number"] == made.json()["case_number"]
    assert case["text"].startswith("物联网报警：燃气探测器（GAS-1）")
    unit = await api.signed_in("unit", unit=await api.unit("roads"))
    assert (await unit.get(f"{V1}/cases/{case['id']}/alarms")).status_code == 404


async def test_a_report_in_a_maps_degrees_lies_where_the_collector_stood(api: Api) -> None:
    await ground.ground(api.services.db)
    collector = await api.signed_in("collector")
    drawn = to_gcj02(*PLACE)
    report = {"text": "井盖缺失", "datum": "gcj02", "fix": point(lon=drawn.lon, lat=drawn.lat)}
    made = await collector.post(f"{V1}/field/reports", json=report, headers={"Idempotency-Key": uuid4().hex})
    assert made.status_code == 201
    case = made.json()
    assert (case["source"], case["lon"], case["lat"]) == ("collector", *(pytest.approx(one, abs=1e-7) for one in PLACE))
    codes = {area: code for code, area in (await areas(collector)).items()}
    assert codes[case["area"]] == ground.grid(0)
    for bad in (point(taken_at=soon(1)), point(lon=0, lat=0), point(lon=31, lat=112)):
        body, headers = {**report, "fix": bad}, {"Idempotency-Key": uuid4().hex}
        answer = await collector.post(f"{V1}/field/reports", json=body, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body.fix"), bad
    assert await count(api, Case) == 1


async def test_hostile_batches(api: Api) -> None:
    collector = await api.signed_in("collector")
    url, good = f"{V1}/field/tracks", {"datum": "wgs84", "points": [point()]}
    refused: list[Any] = [
        {**good, "points": []},
        {**good, "points": [point()] * 501},
        {**good, "datum": "bd09"},
        {"points": good["points"]},
        {**good, "user": str(uuid4())},
        {**good, "points": [point(source="guess")]},
        {**good, "points": [point(accuracy_m=-1)]},
        {**good, "points": [point(taken_at="2026-11-23T09:00:00")]},
        {**good, "points": [point(taken_at="9999-12-31T23:59:59-12:00")]},
        {**good, "points": [point(lon="x")]},
        {**good, "points": [None]},
    ]
    for body in refused:
        answer = await collector.post(url, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "value_refused"), body
    for lon in ("NaN", "Infinity", "-Infinity", "1e999"):
        raw = json.dumps({**good, "points": [{**point(), "lon": "@"}]}).replace('"@"', lon)
        answer = await collector.post(url, content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, lon
    odd = [point(lon=1e300), point(lat=-1e300), point(accuracy_m=1e300), point(taken_at="1900-01-01T00:00:00Z")]
    answer = await collector.post(url, json={**good, "points": [*odd, point()]})
    assert answer.status_code == 200
    assert (answer.json()["stored"], [one["index"] for one in answer.json()["refused"]]) == (1, [0, 1, 2, 3])
    assert await count(api, TrackPoint) == 1


async def test_hostile_alarms(api: Api) -> None:
    await import_table(api.services.db, "devices", DEVICES)
    platform = await api.with_key("sensor")
    alarm = {"device": "GAS-1", "value": 26.5, "threshold": 20, "taken_at": soon(0)}
    for change, status in (
        ({"device": "' OR 1=1 --"}, 404),
        ({"device": ""}, 422),
        ({"device": "x" * 33}, 422),
        ({"device": "\u202eGAS-1"}, 404),
        ({"value": None}, 422),
        ({"value": "1"}, 201),
        ({"measure": "<script>"}, 422),
        ({"measure": "a\nb"}, 422),
        ({"taken_at": soon(-200)}, 422),
        ({"taken_at": soon(1)}, 422),
        ({"category": {"standard": "x", "kind": "part", "code": "1"}}, 422),
        ({"value": 1e308, "threshold": -1e308}, 201),
    ):
        headers = {"Idempotency-Key": uuid4().hex}
        answer = await platform.post(f"{V1}/alarms", json={**alarm, **change}, headers=headers)
        assert answer.status_code == status, (change, answer.text)
    assert (await platform.post(f"{V1}/alarms", json=alarm)).status_code == 422, "a key is needed"
    assert await count(api, DeviceAlarm) == 2
    assert await count(api, Case) == 1


async def test_days_that_no_calendar_has(api: Api) -> None:
    agent = await api.signed_in("agent")
    for day in ("0001-01-01", "9999-12-31", "2026-02-30", "x", "-1", ""):
        assert (await agent.get(f"{V1}/field/shifts", params={"day": day})).status_code == 422, day
    assert (await agent.get(f"{V1}/field/shifts", params={"day": "2026-11-23"})).json()["items"] == []
    for lon, lat in (("nan", "1"), ("181", "1"), ("1", "91"), ("x", "1")):
        answer = await agent.get(f"{V1}/field/nearest", params={"lon": lon, "lat": lat})
        assert answer.status_code == 422, (lon, lat)
    outside = await agent.get(f"{V1}/field/nearest", params={"lon": 1, "lat": 1})
    assert outside.json()["items"] == []
