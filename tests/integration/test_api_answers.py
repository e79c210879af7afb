"""Every answer of the API is as its document says: a test for each room, which asks all of its operations."""

import shutil
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from callcenter import clock
from callcenter.cases import locating
from callcenter.insight.versions import RouterVersions
from tests import city_people, ground
from tests.api import PASSWORD, Api, Told, api, told, write
from tests.contract import Checked
from tests.house import COVER, QUARREL, House
from tests.pictures import jpeg
from tests.walking import DEVICES, import_table

__all__ = ["api"]

pytestmark = pytest.mark.integration

V1 = "/api/v1"


@pytest.fixture
def checked(api: Api) -> Checked:
    return Checked(api)


def soon(hours: float = 24) -> str:
    """A time to come."""
    return (clock.now() + timedelta(hours=hours)).isoformat()


async def test_access(api: Api, checked: Checked) -> None:
    link = await api.services.access.first_start()
    assert link is not None
    ask, stranger = checked.ask, api.browser()
    first = {"token": link.split("=", 1)[1], "username": "first.admin", "password": PASSWORD}
    await ask(stranger, "POST", f"{V1}/setup", json=first)
    await ask(api.browser(), "POST", f"{V1}/setup", json={**first, "username": "second"})
    agent, program = await api.signed_in("agent"), await api.with_key()
    await ask(agent, "POST", f"{V1}/session", json={"username": "nobody", "password": "x"})
    await ask(agent, "GET", f"{V1}/me")
    await ask(program, "GET", f"{V1}/me")
    await ask(stranger, "GET", f"{V1}/cases", headers={"Cookie": "hotline_session=x"})
    changed = {"old": PASSWORD, "new": "another long one 8"}
    await ask(agent, "PUT", f"{V1}/me/password", json=changed)
    await ask(agent, "PUT", f"{V1}/me/password", json={"old": changed["new"], "new": "short"})
    again = {"username": "first.admin", "password": PASSWORD}
    await ask(stranger, "POST", f"{V1}/session", json=again)
    await ask(stranger, "DELETE", f"{V1}/session")
    for _ in range(12):
        await ask(api.browser(), "POST", f"{V1}/session", json=again)
    assert "POST /api/v1/session 429" in checked.asked
    checked.whole("access")


async def test_people(api: Api, checked: Checked) -> None:
    ask, admin, auditor = checked.ask, await api.signed_in("admin"), await api.signed_in("auditor")
    new = {"username": "li.na", "password": PASSWORD, "roles": ["agent"]}
    user = await ask(admin, "POST", f"{V1}/users", json=new)
    await ask(admin, "POST", f"{V1}/users", json=new)
    await ask(admin, "POST", f"{V1}/users", json={**new, "username": "x"})
    await ask(admin, "POST", f"{V1}/users", json={**new, "username": "xu", "roles": ["inspector", "agent"]})
    change = {"roles": ["agent", "supervisor"], "extension": "102"}
    await ask(admin, "PATCH", f"{V1}/users/{user['id']}", json=change)
    await ask(admin, "PATCH", f"{V1}/users/{uuid4()}", json={})
    unit = str(await api.unit("roads"))
    await ask(admin, "PUT", f"{V1}/users/{user['id']}/unit", json={"unit": unit})
    await ask(admin, "PUT", f"{V1}/users/{user['id']}/unit", json={"unit": str(uuid4())})
    await ask(admin, "PUT", f"{V1}/users/{uuid4()}/unit", json={"unit": None})
    assert unit in {one["unit"] for one in (await ask(admin, "GET", f"{V1}/users"))["items"]}
    key = await ask(admin, "POST", f"{V1}/keys", json={"label": "x", "permissions": ["metrics:read"]})
    await ask(admin, "GET", f"{V1}/keys")
    await ask(admin, "DELETE", f"{V1}/keys/{key['id']}")
    await ask(admin, "DELETE", f"{V1}/keys/{uuid4()}")
    await ask(auditor, "GET", f"{V1}/audit", params={"limit": 2})
    checked.whole("people")


async def test_calls(api: Api, checked: Checked) -> None:
    ask, agent, program = checked.ask, await api.signed_in("agent", "supervisor"), await api.with_key()
    draft = Told()
    await write(api.services.db, draft.speaking())
    filed = await told(api.services.db)
    empty = await told(api.services.db, disposition="none", category=None, domain=None, probability=None, intent=None)
    urgent = await told(api.services.db, emergency={"services": ["119"]}, secrecy=True, decision="confirm")
    await ask(agent, "GET", f"{V1}/calls", params={"limit": 1})
    await ask(agent, "GET", f"{V1}/calls", params={"cursor": "x"})
    for call in (draft, filed, empty, urgent):
        await ask(agent, "GET", f"{V1}/calls/{call.call}")
        await ask(agent, "GET", f"{V1}/cases/{call.case}", params={"particulars": "callback"})
    await ask(agent, "GET", f"{V1}/calls/{uuid4()}")
    page = await ask(agent, "GET", f"{V1}/cases", params={"limit": 1})
    await ask(agent, "GET", f"{V1}/cases", params={"cursor": page["next"]})
    await ask(program, "GET", f"{V1}/cases")
    await ask(program, "GET", f"{V1}/cases/{draft.case}")
    await ask(agent, "POST", f"{V1}/cases/search", json={"words": "路灯"})
    await ask(agent, "POST", f"{V1}/cases/search", json={"phone": "8000"})
    await ask(program, "POST", f"{V1}/cases/search", json={"phone": "8000", "reason": "callback"})
    case = await ask(agent, "GET", f"{V1}/cases/{urgent.case}")
    word = {"expected_version": case["version"]}
    await ask(agent, "POST", f"{V1}/cases/{urgent.case}/confirm", json=word)
    stale = await ask(agent, "POST", f"{V1}/cases/{urgent.case}/confirm", json=word)
    assert [one.split(" by ")[0] for one in stale["changes"]][:1] == ["confirmed"]
    await ask(agent, "POST", f"{V1}/cases/{uuid4()}/confirm", json=word)
    await ask(program, "POST", f"{V1}/cases/{urgent.case}/confirm", json=word)
    checked.whole("calls")


async def test_feed(api: Api, checked: Checked) -> None:
    ask, program = checked.ask, await api.with_key()
    await told(api.services.db)
    page = await ask(program, "GET", f"{V1}/dispatch/feed", params={"wait": 10})
    assert page["items"]
    await ask(program, "GET", f"{V1}/dispatch/feed", params={"after": "x"})
    await ask(program, "POST", f"{V1}/dispatch/ack", json={"position": page["after"]})
    checked.whole("feed")


async def test_insight(api: Api, checked: Checked, tmp_path: Path) -> None:
    # Versions of the router to change, other than the repository's own.
    settings = api.services.settings
    shutil.copytree(settings.models_dir / "router", tmp_path / "models" / "router")
    copied = settings.model_copy(update={"models_dir": tmp_path / "models"})
    api.app.state.versions = RouterVersions(api.services.db, api.services.bus, copied)
    ask, chief, admin = checked.ask, await api.signed_in("agent", "supervisor"), await api.signed_in("admin")
    program = await api.with_key()
    await told(api.services.db)
    for path in ("quality", "confusion", "cases", "models", "drift"):
        await ask(chief, "GET", f"{V1}/insight/{path}")
        await ask(program, "GET", f"{V1}/insight/{path}")
    await ask(chief, "GET", f"{V1}/insight/quality", params={"since": "2026-02-01", "until": "2026-01-01"})
    await ask(admin, "GET", f"{V1}/insight/cases")
    versions = await ask(chief, "GET", f"{V1}/insight/models")
    live, why = versions["versions"][0]["name"], {"reason": "比现用版本更准"}
    shutil.copytree(tmp_path / "models" / "router" / live, tmp_path / "models" / "router" / "other")
    await ask(chief, "POST", f"{V1}/insight/models/other/promote", json=why)
    await ask(chief, "POST", f"{V1}/insight/models/rollback", json=why)
    await ask(chief, "POST", f"{V1}/insight/models/rollback", json={"reason": "    "})
    await ask(chief, "POST", f"{V1}/insight/models/none/promote", json=why)
    await ask(admin, "POST", f"{V1}/insight/models/other/promote", json=why)
    checked.whole("insight")


async def test_life(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    agent, command = await house.one("agent"), await house.one("command")
    roads = await api.unit("roads")
    worker = await house.one("unit", roads)
    await house.imported("a1,缺失,4,city,roads", "a2,松动,40,city,")
    key = {"Idempotency-Key": "form-00017"}
    case = await ask(agent, "POST", f"{V1}/cases", json=house.order(), headers=key)
    await ask(agent, "POST", f"{V1}/cases", json=house.order(), headers=key)
    await ask(agent, "POST", f"{V1}/cases", json=house.order(text="别的事"), headers=key)
    await ask(agent, "POST", f"{V1}/cases", json=house.order())
    await ask(await house.one("volunteer"), "POST", f"{V1}/cases", json=house.order(), headers=key)
    path = f"{V1}/cases/{case['id']}"
    await ask(agent, "GET", f"{path}/legal")
    await ask(worker, "GET", f"{path}/legal")
    lists = await ask(agent, "GET", f"{path}/responsibility")
    assert [(one["code"], one["taken"]) for one in lists["rules"]] == [("a1", True), ("a2", False)]
    choice = {"expected_version": case["version"], "item": lists["rules"][1]["id"]}
    chosen = await ask(agent, "PUT", f"{path}/item", json=choice)
    filled = {"expected_version": chosen["version"], "wish": "快点修好", "happened_at": "2026-11-01T08:00:00+08:00"}
    chosen = await ask(agent, "PATCH", path, json=filled)
    await ask(agent, "PATCH", path, json=filled)
    await ask(agent, "PATCH", path, json={"expected_version": chosen["version"], "area": str(uuid4())})
    await ask(agent, "PATCH", f"/api/v1/cases/{uuid4()}", json=filled)
    assert chosen["item"] == lists["rules"][1]["id"]
    stale = await ask(agent, "PUT", f"{path}/item", json=choice)
    assert stale["changes"][0].startswith("item_chosen by ")
    await ask(agent, "PUT", f"{path}/item", json={"expected_version": 2, "item": str(uuid4())})
    await ask(worker, "PUT", f"{path}/item", json=choice)
    step = {"action": "file", "expected_version": chosen["version"]}
    filed = await ask(agent, "POST", f"{path}/acts", json=step)
    assert filed["item"] == lists["rules"][1]["id"]
    await ask(agent, "POST", f"{path}/acts", json=step)
    await ask(agent, "POST", f"{path}/acts", json={"action": "dispatch", "expected_version": 3})
    await ask(command, "POST", f"{path}/acts", json={"action": "dispatch", "expected_version": 3})
    await ask(command, "POST", f"{V1}/cases/{uuid4()}/acts", json={"action": "dispatch", "expected_version": 3})
    dispatch = {"action": "dispatch", "expected_version": filed["version"], "unit": str(roads)}
    await ask(command, "POST", f"{path}/acts", json=dispatch)
    picture = jpeg("one")
    made = await ask(worker, "POST", f"{path}/evidence", params={"kind": "after"}, content=picture)
    await ask(worker, "POST", f"{path}/evidence", params={"kind": "after"}, content=picture)
    await ask(worker, "POST", f"{path}/evidence", params={"kind": "after"}, content=b"x")
    await ask(worker, "POST", f"{path}/evidence", params={"kind": "after"}, content=bytes(21 * 1024 * 1024))
    await ask(worker, "GET", f"{path}/evidence")
    assert await ask(worker, "GET", f"{path}/evidence/{made['id']}") == picture
    await ask(worker, "GET", f"{path}/evidence/{uuid4()}")
    checked.whole("life")


async def test_links(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    agent, chief = await house.one("agent"), await house.one("supervisor")
    unsure = await house.reported(category=...)
    word = {"expected_version": unsure["version"], "domain": "urban", "category": COVER, "reason": "市民说是井盖"}
    path = f"{V1}/cases/{unsure['id']}"
    wrong = await ask(agent, "POST", f"{path}/adjudicate", json={**word, "domain": "social"})
    assert wrong["errors"][0]["where"] == "body.category"
    decided = await ask(agent, "POST", f"{path}/adjudicate", json=word)
    stale = await ask(agent, "POST", f"{path}/adjudicate", json=word)
    assert stale["changes"][0].startswith("adjudicated by ")
    part = {"expected_version": decided["version"], "domain": "social", "text": "邻里为此争吵", "reason": "两件事"}
    two = await ask(agent, "POST", f"{path}/split", json={**part, "category": QUARREL})
    assert "second" in two, two
    assert two["second"]["domain"] == "social"
    await ask(agent, "POST", f"{V1}/cases/{uuid4()}/split", json=part)
    first, second = await house.reported(), await house.reported()
    merge = {"expected_version": second["version"], "into": first["number"], "reason": "同一井盖"}
    await ask(agent, "POST", f"{V1}/cases/{second['id']}/merge", json=merge)
    await ask(chief, "POST", f"{V1}/cases/{second['id']}/merge", json={**merge, "into": second["number"]})
    await ask(chief, "POST", f"{V1}/cases/{second['id']}/merge", json={**merge, "into": str(uuid4())})
    await ask(chief, "POST", f"{V1}/cases/{second['id']}/merge", json=merge)
    assert [one["kind"] for one in (await ask(agent, "GET", f"{path}/links"))["items"]] == ["split"]
    await ask(agent, "GET", f"{V1}/cases/{uuid4()}/links")
    checked.whole("links")


async def test_joint(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    roads, parks, other = await api.unit("roads"), await api.unit("parks"), await api.unit("other")
    command, worker = await house.one("command"), await house.one("unit", roads)
    case = await house.filed()
    order = {
        "cases": [case["id"]],
        "duties": [{"unit": str(roads), "duty": "清理占道摊点"}, {"unit": str(parks), "duty": "维持秩序"}],
        "place": "解放路菜市场北门",
        "meet_at": soon(),
    }
    key = {"Idempotency-Key": "joint-00017"}
    made = await ask(command, "POST", f"{V1}/joint-orders", json=order, headers=key)
    await ask(command, "POST", f"{V1}/joint-orders", json=order, headers=key)
    await ask(command, "POST", f"{V1}/joint-orders", json={**order, "meet_at": soon(-1)}, headers=key)
    await ask(command, "POST", f"{V1}/joint-orders", json={**order, "cases": [str(uuid4())]}, headers=key)
    again = {**order, "cases": [(await house.filed())["id"]]}
    assert (await ask(command, "POST", f"{V1}/joint-orders", json=again, headers=key))["code"] == "conflict"
    await ask(await house.one("agent"), "POST", f"{V1}/joint-orders", json=order, headers=key)
    path = f"{V1}/joint-orders/{made['id']}"
    await ask(worker, "GET", path)
    await ask(await house.one("unit", other), "GET", path)
    await ask(command, "GET", f"{V1}/cases/{case['id']}/joint-orders")
    await ask(worker, "POST", f"{path}/receipt")
    await ask(await house.one("unit", other), "POST", f"{path}/receipt")
    await ask(command, "POST", f"{path}/end", json={"result": "已全部清理"})
    await ask(command, "POST", f"{path}/end", json={"result": "已全部清理"})
    checked.whole("joint")


async def test_police(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    agent = await house.one("agent")
    handed = {"police_number": "JM20261123000123", "handed_at": soon(-1), "text": "解放路井盖缺失，非警务"}
    case = await ask(agent, "POST", f"{V1}/police/handovers", json=handed)
    assert (await ask(agent, "POST", f"{V1}/police/handovers", json=handed))["id"] == case["id"]
    await ask(agent, "POST", f"{V1}/police/handovers", json={**handed, "police_number": "  "})
    await ask(agent, "GET", f"{V1}/police/handovers/in/{handed['police_number']}")
    await ask(agent, "GET", f"{V1}/police/handovers/out/{handed['police_number']}")
    given = await house.reported()
    await house.stepped(agent, given, "hand_over", police_number="JM-2", reason="打架")
    words = {"text": "已出警处置，双方调解"}
    await ask(agent, "POST", f"{V1}/police/handovers/out/JM-2/result", json=words)
    await ask(agent, "POST", f"{V1}/police/handovers/out/JM-2/result", json={"text": "另一结果"})
    await ask(agent, "POST", f"{V1}/police/handovers/out/JM-3/result", json=words)
    checked.whole("police")


async def test_supervision(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    roads, parks = await api.unit("roads"), await api.unit("parks")
    inspector, leader = await house.one("inspector"), await house.one("leader")
    worker, stranger = await house.one("unit", roads), await house.one("unit", parks)
    case, waiting = await house.ordered(roads), await house.reported()
    path = f"{V1}/supervision/cases/{case['id']}"
    sheet = await ask(inspector, "POST", f"{path}/sheets", json={"text": "请于明日前办结", "reply_by": soon()})
    await ask(inspector, "POST", f"{path}/sheets", json={"text": "x", "reply_by": soon(-1)})
    await ask(inspector, "POST", f"{V1}/supervision/cases/{uuid4()}/sheets", json={"text": "x"})
    await ask(worker, "POST", f"{path}/sheets", json={"text": "x"})
    await ask(leader, "POST", f"{path}/notes", json={"text": "请盯住"})
    await ask(leader, "POST", f"{V1}/supervision/cases/{waiting['id']}/notes", json={"text": "请盯住"})
    await ask(worker, "POST", f"{V1}/supervision/sheets/{sheet['id']}/receipt")
    await ask(stranger, "POST", f"{V1}/supervision/sheets/{sheet['id']}/receipt")
    await ask(worker, "POST", f"{V1}/supervision/sheets/{sheet['id']}/reply", json={"text": "已在修"})
    await ask(worker, "POST", f"{V1}/supervision/sheets/{sheet['id']}/reply", json={"text": "改口"})
    seen = await ask(inspector, "GET", path)
    assert (len(seen["sheets"]), len(seen["notes"])) == (1, 1)
    assert (await ask(worker, "GET", path))["notes"] == []
    await ask(stranger, "GET", path)
    await ask(inspector, "GET", f"{path}/sheets")
    await ask(inspector, "GET", f"{V1}/supervision/boxes")
    assert (await ask(inspector, "GET", f"{V1}/supervision/boxes/monitored"))["items"]
    await ask(inspector, "GET", f"{V1}/supervision/boxes/green")
    await ask(inspector, "GET", f"{V1}/supervision/sheets")
    await ask(inspector, "GET", f"{V1}/supervision/sheets", params={"unit": str(roads)})
    await ask(worker, "GET", f"{V1}/supervision/sheets", params={"waiting": True})
    checked.whole("supervision")


async def test_city(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    agent, keeper = await house.one("agent"), await house.one("maintainer")
    csv = {"Content-Type": "text/csv"}
    area = {"code": "420802", "name": "东宝区", "level": 2}
    await ask(keeper, "POST", f"{V1}/areas", json=area)
    await ask(keeper, "POST", f"{V1}/areas", json=area)
    await ask(agent, "GET", f"{V1}/areas")
    unit = {
        "code": "sz01",
        "name": "市政设施管理处",
        "kind": "department",
        "area": "420802",
        "duty_phone": "07246543210",
    }
    await ask(keeper, "POST", f"{V1}/units", json=unit)
    await ask(keeper, "POST", f"{V1}/units", json=unit)
    await ask(keeper, "POST", f"{V1}/units", json={**unit, "code": "jd", "kind": "street", "area": None})
    await ask(agent, "GET", f"{V1}/units")
    await ask(keeper, "PATCH", f"{V1}/units/sz01", json={"active": False})
    await ask(keeper, "PATCH", f"{V1}/units/none", json={"active": False})
    rows = "code,standard,kind,category_code,area,unit,filing_condition,closing_condition,limit_value,limit_unit\n"
    good = (rows + "a1,,part,0102,420802,,缺失,补齐,4,work_hour\n").encode()
    await ask(keeper, "POST", f"{V1}/lists/import", content=good, headers=csv)
    bad = await ask(keeper, "POST", f"{V1}/lists/import", content=good + b"a2,,part,9999", headers=csv)
    assert bad["errors"]
    await ask(keeper, "POST", f"{V1}/lists/import", content=bytes(2 * 1024 * 1024), headers=csv)
    await ask(agent, "GET", f"{V1}/lists")
    patrol = "code,name,standard,kind,category_code,every_days\nP001,看井盖,,part,0102,7\n".encode()
    await ask(keeper, "POST", f"{V1}/lists/patrol/import", content=patrol, headers=csv)
    assert len((await ask(agent, "GET", f"{V1}/lists/patrol"))["items"]) == 1
    await ask(keeper, "PUT", f"{V1}/lists/verification", json={"source": "web", "mode": "exempt"})
    await ask(agent, "GET", f"{V1}/lists/verification")
    day = (clock.local(clock.now()) + timedelta(days=3)).date()
    await ask(keeper, "PUT", f"{V1}/calendar/{day}", json={"works": False, "note": "台风停工"})
    assert len((await ask(agent, "GET", f"{V1}/calendar"))["days"]) == 1
    await ask(keeper, "DELETE", f"{V1}/calendar/{day}")
    await ask(keeper, "DELETE", f"{V1}/calendar/{day}")
    checked.whole("city")


async def test_residents(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    await city_people.settled(api.services.db)
    await city_people.load(api.services.db, "forms", city_people.forms_table())
    await city_people.load(api.services.db, "form_records", city_people.records_table())
    few = api.services.settings.model_copy(update={"resident_looks_per_hour": 12})
    object.__setattr__(api.services, "settings", few)
    agent, chief, worker = await house.one("agent"), await house.one("supervisor"), await house.one("unit")
    case = (await house.reported(lat=city_people.DOOR.lat, lon=city_people.DOOR.lon))["number"]
    path = f"{V1}/residents/looks"
    for where in (
        *({"by": "address", "code": "a-12"}, {"by": "house", "code": "h-1"}, {"by": "person", "code": "p-1"}),
        *({"by": "organisation", "code": city_people.SHOP}, {"by": "point", "lat": 31.03, "lon": 112.2}),
        *({"by": "case"}, {"by": "house", "code": "none"}),
    ):
        await ask(agent, "POST", path, json={**where, "purpose": "case", "case": case})
    visit = {"by": "house", "code": "h-1", "purpose": "visit"}
    await ask(chief, "POST", path, json={**visit, "full": True})
    await ask(agent, "POST", path, json={**visit, "full": True})
    await ask(worker, "POST", path, json=visit)
    await ask(agent, "POST", path, json={**visit, "case": str(uuid4())})
    dossier = {"organisation": city_people.SHOP, "purpose": "supervision"}
    found = await ask(agent, "POST", f"{V1}/residents/dossiers", json=dossier)
    assert found["records"] == 3
    await ask(chief, "POST", f"{V1}/residents/dossiers", json={**dossier, "full": True})
    await ask(agent, "POST", f"{V1}/residents/dossiers", json={**dossier, "organisation": "none"})
    await ask(agent, "POST", f"{V1}/residents/dossiers", json={**dossier, "purpose": "statistics"})
    for _ in range(4):
        await ask(agent, "POST", path, json=visit)
    assert f"POST {path} 429" in checked.asked
    await ask(agent, "POST", f"{V1}/residents/dossiers", json=dossier)
    forms = await ask(worker, "GET", f"{V1}/forms")
    assert [(one["code"], one["fields"]) for one in forms["items"]] == [("gs-01", 4), ("rs-01", 4)]
    one = await ask(worker, "GET", f"{V1}/forms/gs-01")
    assert [field["label"] for field in one["fields"]] == ["注册资本（万元）", "联系人", "联系电话", "经营范围"]
    await ask(worker, "GET", f"{V1}/forms/none")
    checked.whole("residents")


async def test_registries(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    await city_people.settled(api.services.db)
    await city_people.registered(api.services.db)
    worker, chief, volunteer = await house.one("unit"), await house.one("supervisor"), await house.one("volunteer")
    names = [one["name"] for one in (await ask(worker, "GET", f"{V1}/registries"))["items"]]
    assert len(names) == 7
    for name in names:
        path = f"{V1}/registries/{name}"
        listed = await ask(worker, "GET", f"{path}/entries")
        assert listed["items"], name
        for entry in listed["items"]:
            await ask(chief, "GET", f"{path}/entries/{entry['code']}")
        await ask(worker, "GET", f"{path}/near", params={"lat": 31.03, "lon": 112.2})
        await ask(worker, "GET", f"{path}/entries/none")
        await ask(volunteer, "GET", f"{path}/entries")
    await ask(worker, "GET", f"{V1}/registries/none/entries")
    await ask(worker, "GET", f"{V1}/registries/cameras/near")
    await ask(worker, "GET", f"{V1}/registries/cameras/near", params={"lat": 31.03, "lon": 112.2, "within_m": 1e9})
    path = f"{V1}/registries/duty_holders/entries"
    told = await ask(chief, "POST", f"{path}/m-1/particulars", json={"purpose": "emergency"})
    assert told["particulars"]["phone"] == "13900139999"
    await ask(chief, "POST", f"{path}/none/particulars", json={"purpose": "emergency"})
    await ask(chief, "POST", f"{path}/m-1/particulars", json={"purpose": "case"})
    await ask(worker, "POST", f"{path}/m-1/particulars", json={"purpose": "emergency"})
    checked.whole("registries")


async def test_field(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    await ground.ground(api.services.db)
    command, collector, agent = await house.one("command"), await house.one("collector"), await house.one("agent")
    me = (await collector.get(f"{V1}/me")).json()["id"]
    areas = {one["code"]: one["id"] for one in (await agent.get(f"{V1}/areas")).json()["items"]}
    shift = {"user": me, "area": areas[ground.grid(0)], "starts_at": soon(-1), "ends_at": soon(7)}
    made = await ask(command, "POST", f"{V1}/field/shifts", json=shift)
    await ask(command, "POST", f"{V1}/field/shifts", json=shift)
    await ask(command, "POST", f"{V1}/field/shifts", json={**shift, "ends_at": soon(8)})
    await ask(command, "POST", f"{V1}/field/shifts", json={**shift, "user": str(uuid4())})
    coming = {**shift, "starts_at": soon(10), "ends_at": soon(12)}
    later = await ask(command, "POST", f"{V1}/field/shifts", json=coming)
    await ask(command, "DELETE", f"{V1}/field/shifts/{later['id']}")
    await ask(command, "DELETE", f"{V1}/field/shifts/{later['id']}")
    at = {"lon": ground.door(10).lon, "lat": ground.door(10).lat}
    batch = {"datum": "wgs84", "points": [{**at, "accuracy_m": 9, "source": "gps", "taken_at": soon(0)}]}
    await ask(collector, "POST", f"{V1}/field/tracks", json=batch)
    await ask(collector, "POST", f"{V1}/field/tracks", json={**batch, "datum": "bd09"})
    await ask(agent, "GET", f"{V1}/field/shifts", params={"area": areas["990800"]})
    [mine] = (await ask(collector, "GET", f"{V1}/field/shifts/mine"))["items"]
    assert mine["id"] == made["id"]
    await ask(agent, "GET", f"{V1}/field/duty")
    [near] = (await ask(agent, "GET", f"{V1}/field/nearest", params=at))["items"]
    assert near["metres"] == 0
    assert (await ask(agent, "GET", f"{V1}/field/tracks/{me}"))["items"]
    await ask(agent, "GET", f"{V1}/field/tracks/{me}", params={"since": soon(-300)})
    report = {"text": "井盖缺失", "category": COVER, "datum": "gcj02", "fix": batch["points"][0]}
    key = {"Idempotency-Key": "street-00017"}
    await ask(collector, "POST", f"{V1}/field/reports", json=report, headers=key)
    await ask(collector, "POST", f"{V1}/field/reports", json=report, headers=key)
    await ask(collector, "POST", f"{V1}/field/reports", json={**report, "text": "别的"}, headers=key)
    await ask(collector, "POST", f"{V1}/field/reports", json={**report, "fix": {**report["fix"], "lat": 112}})
    task = {"kind": "verify", "text": "看看井盖，打13812345678", "collector": me, "due_at": soon()}
    given = await ask(command, "POST", f"{V1}/field/tasks", json=task, headers=key)
    await ask(command, "POST", f"{V1}/field/tasks", json=task, headers=key)
    await ask(command, "POST", f"{V1}/field/tasks", json={**task, "kind": "collect"}, headers=key)
    await ask(command, "POST", f"{V1}/field/tasks", json={**task, "case": str(uuid4())}, headers=key)
    await ask(command, "GET", f"{V1}/field/tasks", params={"overdue": True})
    assert (await ask(collector, "GET", f"{V1}/field/tasks/mine"))["items"] == [given]
    step = {"step": "accept", "expected_version": 1}
    await ask(collector, "POST", f"{V1}/field/tasks/{given['id']}/steps", json=step)
    await ask(collector, "POST", f"{V1}/field/tasks/{given['id']}/steps", json={**step, "step": "done", "text": "x"})
    await ask(collector, "POST", f"{V1}/field/tasks/{uuid4()}/steps", json=step)
    checked.whole("field")


async def test_inboxes(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    roads, parks = await api.unit("roads"), await api.unit("parks")
    worker, stranger = await house.one("unit", roads), await house.one("unit", parks)
    await house.ordered(roads)
    everyone = await ask(await house.one("command"), "GET", f"{V1}/inboxes")
    assert [(one["code"], one["unread"]) for one in everyone["items"]] == [("parks", 0), ("roads", 1)]
    await ask(worker, "GET", f"{V1}/inboxes")
    own = await ask(worker, "GET", f"{V1}/inboxes/roads")
    await ask(stranger, "GET", f"{V1}/inboxes/roads")
    read = await ask(worker, "PUT", f"{V1}/inboxes/roads/read", json={"until": own["at"]})
    assert (read["items"][0]["unread"], read["items"][0]["unsigned"]) == (0, 1)
    await ask(worker, "PUT", f"{V1}/inboxes/roads/read", json={"until": soon()})
    await ask(stranger, "PUT", f"{V1}/inboxes/roads/read", json={"until": own["at"]})
    assert len((await ask(worker, "GET", f"{V1}/inboxes/roads/people"))["items"]) == 1
    await ask(stranger, "GET", f"{V1}/inboxes/roads/people")
    checked.whole("inboxes")


async def test_risks(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    await ground.ground(api.services.db)
    collector = await house.one("collector")
    looked = {"kind": "collector", "result": "danger", "finding": "灭火器过期", "inspected_at": soon(-1)}
    path, key = f"{V1}/risk-sources/K1/inspections", {"Idempotency-Key": "risk-00017"}
    assert [one["last"] for one in (await ask(collector, "GET", f"{V1}/risk-sources/overdue"))["items"]] == [None]
    await ask(collector, "POST", path, json=looked, headers=key)
    await ask(collector, "POST", path, json=looked, headers=key)
    await ask(collector, "POST", path, json={**looked, "result": "passed"}, headers=key)
    await ask(collector, "POST", path, json={**looked, "kind": "self"}, headers=key)
    await ask(collector, "POST", path, json={**looked, "inspected_at": soon()}, headers=key)
    await ask(collector, "POST", f"{V1}/risk-sources/none/inspections", json=looked, headers=key)
    assert len((await ask(collector, "GET", path))["items"]) == 1
    await ask(collector, "GET", f"{V1}/risk-sources/none/inspections")
    checked.whole("risks")


async def test_devices(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    await ground.ground(api.services.db)
    await import_table(api.services.db, "devices", DEVICES)
    platform, agent = await api.with_key("sensor"), await house.one("agent")
    alarm = {"device": "GAS-1", "value": 26.5, "threshold": 20, "measure": "%LEL", "taken_at": soon(0)}
    key = {"Idempotency-Key": "alarm-00017"}
    made = await ask(platform, "POST", f"{V1}/alarms", json={**alarm, "category": COVER}, headers=key)
    await ask(platform, "POST", f"{V1}/alarms", json=alarm, headers=key)
    await ask(platform, "POST", f"{V1}/alarms", json={**alarm, "value": 1}, headers=key)
    await ask(platform, "POST", f"{V1}/alarms", json={**alarm, "device": "none"}, headers=key)
    again = {"Idempotency-Key": "alarm-00018"}
    await ask(platform, "POST", f"{V1}/alarms", json={**alarm, "taken_at": soon()}, headers=again)
    joined = await ask(platform, "POST", f"{V1}/alarms", json=alarm, headers=again)
    assert (joined["joined"], joined["case"]) == (True, made["case"])
    assert len((await ask(agent, "GET", f"{V1}/cases/{made['case']}/alarms"))["items"]) == 2
    await ask(agent, "GET", f"{V1}/cases/{uuid4()}/alarms")
    point = {"lon": 112.1, "lat": 31.05, "accuracy_m": 5, "source": "beidou", "taken_at": soon(0)}
    batch = {"datum": "wgs84", "points": [point, {**point, "taken_at": soon()}]}
    taken = await ask(platform, "POST", f"{V1}/devices/CAR-1/tracks", json=batch)
    assert (taken["stored"], [one["index"] for one in taken["refused"]]) == (1, [1])
    await ask(platform, "POST", f"{V1}/devices/none/tracks", json=batch)
    checked.whole("devices")


async def test_knowledge(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    agent, keeper = await house.one("agent"), await house.one("maintainer")
    article = {
        "expected_version": 0,
        "title": "公积金怎么提取",
        "answer": "带身份证到大厅办理",
        "source": "市公积金中心",
        "review_by": "2099-12-31",
    }
    path = f"{V1}/knowledge/gjj-01"
    made = await ask(keeper, "PUT", path, json=article)
    await ask(keeper, "PUT", path, json=article)
    await ask(keeper, "PUT", path, json={**article, "owner_unit_id": str(uuid4()), "expected_version": 1})
    await ask(agent, "GET", f"{V1}/knowledge")
    assert (await ask(agent, "GET", f"{V1}/knowledge/search", params={"words": "公积金"}))["items"]
    assert (await ask(agent, "GET", path))["id"] == made["id"]
    await ask(agent, "GET", f"{V1}/knowledge/none")
    await ask(keeper, "POST", f"{path}/withdraw", json={"expected_version": 7})
    await ask(keeper, "POST", f"{path}/withdraw", json={"expected_version": 1})
    await ask(keeper, "POST", f"{V1}/knowledge/none/withdraw", json={"expected_version": 1})
    checked.whole("knowledge")


async def test_evaluation(api: Api, checked: Checked) -> None:
    ask, house = checked.ask, House(api)
    analyst = await house.one("analyst")
    await house.reported()
    await ask(await house.one("leader"), "POST", f"{V1}/evaluation/recompute")
    await ask(analyst, "POST", f"{V1}/evaluation/recompute")
    for by in ("area", "unit", "post", "person", "category", "day", "month"):
        await ask(analyst, "GET", f"{V1}/evaluation", params={"by": by})
    await ask(analyst, "GET", f"{V1}/evaluation", params={"by": "unit", "from": "2099-01-01"})
    await ask(analyst, "GET", f"{V1}/evaluation/indicators")
    await ask(analyst, "GET", f"{V1}/evaluation/hot-spots")
    checked.whole("evaluation")


async def test_health(api: Api, checked: Checked) -> None:
    ask, stranger = checked.ask, api.browser()
    await ask(stranger, "GET", "/healthz")
    await ask(stranger, "GET", "/readyz")
    await ask(stranger, "GET", "/metrics")
    checked.whole("health")


async def test_ground(api: Api, checked: Checked) -> None:
    ask, agent, chief = checked.ask, await api.signed_in("agent"), await api.signed_in("supervisor")
    keeper, house = await api.signed_in("maintainer"), House(api)
    city = await ground.ground(api.services.db)
    locating.use(city)
    try:
        spot = {"lon": ground.door(58).lon, "lat": 31.05}
        lies = await ask(agent, "GET", f"{V1}/city/areas-at", params=spot)
        assert [one["level"] for one in lies["tree"]] == [5, 4, 3, 2, 1]
        await ask(agent, "GET", f"{V1}/city/areas-at", params={**spot, "lat": 95})
        await ask(agent, "GET", f"{V1}/city/areas-at", params={**spot, "datum": "bd09"})
        found = await ask(agent, "POST", f"{V1}/city/places", json={"phrase": "刘泉路五十八号"})
        assert found["items"][0]["areas"][0]["code"] == ground.grid(1)
        await ask(agent, "POST", f"{V1}/city/places", json={"phrase": " "})
        near = await ask(agent, "GET", f"{V1}/city/assets/near", params={**spot, "category": ground.LAMP, "limit": 2})
        assert [one["category"] for one in near["items"]] == [ground.LAMP] * 2
        await ask(agent, "GET", f"{V1}/city/assets/near", params={**spot, "within": 10_000})
        code = f"990801{ground.COVER}000001"
        await ask(agent, "GET", f"{V1}/city/assets/{code}")
        await ask(agent, "GET", f"{V1}/city/assets/9")
        assert (await ask(agent, "GET", f"{V1}/city/tags/QRC1"))["code"] == code
        await ask(agent, "GET", f"{V1}/city/tags/none")
        first = await house.reported(asset=code)
        second = await house.reported(asset=code)
        assert second["areas"][0]["code"] == ground.grid(1)
        around = await ask(agent, "GET", f"{V1}/city/context", params=spot)
        assert len(around["cases"]) == 2
        assert [one["code"] for one in (*around["cameras"], *around["risks"])] == ["C1", "K1"]
        await ask(agent, "GET", f"{V1}/cases/{first['id']}/places")
        await ask(agent, "GET", f"{V1}/cases/{uuid4()}/places")
        [like] = (await ask(agent, "GET", f"{V1}/cases/{second['id']}/suggestions"))["items"]
        assert (like["other"]["id"], like["later"], like["decided"]) == (first["id"], False, None)
        await ask(agent, "GET", f"{V1}/cases/{uuid4()}/suggestions")
        word = {"decided": "merged", "reason": "同一个井盖", "expected_version": second["version"]}
        pair = f"{V1}/cases/{first['id']}/suggestions/{second['id']}"
        await ask(chief, "POST", pair, json={**word, "expected_version": 99})
        told = await ask(chief, "POST", pair, json=word)
        assert told["items"][0]["decided"] == "merged"
        await ask(chief, "POST", pair, json={**word, "decided": "two", "expected_version": 99})
        await ask(chief, "POST", f"{V1}/cases/{first['id']}/suggestions/{uuid4()}", json=word)
        await ask(agent, "GET", f"{V1}/hot-spots")
        more = ground.assets().encode().replace(b"2020-01-01", b"2021-01-01")
        made = await ask(keeper, "POST", f"{V1}/city/imports/assets", params={"datum": "wgs84"}, content=more)
        assert (made["version"], made["rows"]) == (2, 100)
        await ask(keeper, "POST", f"{V1}/city/imports/assets", content=more)
        bad = more.replace(b"QRC1", b"Q\0")
        await ask(keeper, "POST", f"{V1}/city/imports/assets", params={"datum": "wgs84"}, content=bad)
        await ask(keeper, "POST", f"{V1}/city/imports/gold", content=more)
        assert (await ask(keeper, "POST", f"{V1}/city/imports/assets/go-back"))["version"] == 1
        await ask(keeper, "POST", f"{V1}/city/imports/areas/go-back")
        await ask(keeper, "GET", f"{V1}/city/imports", params={"kind": "assets"})
        await ask(agent, "GET", f"{V1}/city/imports")
    finally:
        locating.use(None)
    checked.whole("ground")
