"""Who sees and does what over HTTP: units their own, inspectors everything and nothing, and two at once."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update

from callcenter import clock
from callcenter.access.permissions import TABLE, Role
from callcenter.cases.life import CaseEvidence
from callcenter.cases.model import Case
from tests.api import Api, api
from tests.contract import NEEDS
from tests.house import COVER, QUARREL, House
from tests.pictures import PLACE, exif, jpeg, png, segment, webp

__all__ = ["api"]

pytestmark = pytest.mark.integration

V1 = "/api/v1"


def codes(*answers: httpx.Response) -> list[int]:
    """Their statuses, sorted: who of two is first does not matter."""
    return sorted(one.status_code for one in answers)


async def test_a_units_people_see_and_act_on_their_own_units_cases_only(api: Api) -> None:
    house = House(api)
    roads, parks = await api.unit("roads"), await api.unit("parks")
    own, stranger = await house.one("unit", roads), await house.one("unit", parks)
    case = await house.ordered(roads)
    inspector = await house.one("inspector")
    sheet = (await inspector.post(f"{V1}/supervision/cases/{case['id']}/sheets", json={"text": "请办结"})).json()
    unknown = str(uuid4())
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/cases/{}", {}),
        ("GET", "/cases/{}/legal", {}),
        ("GET", "/cases/{}/responsibility", {}),
        ("GET", "/cases/{}/links", {}),
        ("GET", "/cases/{}/evidence", {}),
        ("GET", "/cases/{}/joint-orders", {}),
        ("GET", "/supervision/cases/{}", {}),
        ("GET", "/supervision/cases/{}/sheets", {}),
        ("POST", "/cases/{}/acts", {"json": {"action": "sign", "expected_version": case["version"]}}),
        ("POST", "/cases/{}/evidence", {"params": {"kind": "after"}, "content": jpeg()}),
    ]
    for method, path, more in asked:
        theirs = await stranger.request(method, V1 + path.format(case["id"]), **more)
        nobodys = await stranger.request(method, V1 + path.format(unknown), **more)
        by_number = await stranger.request(method, V1 + path.format(case["number"]), **more)
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found"), path
        assert theirs.json() == nobodys.json(), "another's and nobody's look the same"
        assert by_number.status_code in (404, 422), path
        assert (await own.request(method, V1 + path.format(case["id"]), **more)).status_code in (200, 201), path
    for path in ("receipt", "reply"):
        theirs = await stranger.post(f"{V1}/supervision/sheets/{sheet['id']}/{path}", json={"text": "x"})
        nobodys = await stranger.post(f"{V1}/supervision/sheets/{unknown}/{path}", json={"text": "x"})
        assert codes(theirs, nobodys) == [404, 404], path
        assert sheet["number"] not in theirs.text
    listed = await stranger.get(f"{V1}/supervision/sheets", params={"unit": str(roads)})
    assert listed.json()["items"] == [], "whatever it asks for"
    assert (await stranger.get(f"{V1}/cases", params={"unit": str(roads)})).json()["items"] == []
    assert (await stranger.post(f"{V1}/cases/search", json={"number": case["number"]})).json()["items"] == []
    assert (await stranger.get(f"{V1}/supervision/boxes")).json()["monitored"] == 0
    assert (await stranger.get(f"{V1}/supervision/boxes/monitored")).json()["items"] == []


async def test_a_units_lists_hold_what_it_leads_and_what_it_assists_in(api: Api) -> None:
    house = House(api)
    roads, parks, water = [await api.unit(name) for name in ("roads", "parks", "water")]
    led = await house.ordered(parks)
    filed = await house.filed()
    helped = await house.stepped(
        await house.one("command"), filed, "dispatch", unit=str(roads), assisting=[str(parks), str(water)]
    )

    async def found(whose: UUID, **what: Any) -> list[str]:
        client = await house.one("unit", whose)
        listed = (await client.get(f"{V1}/cases", params=what)).json()
        asked = {"states": [what["state"]]} if "state" in what else what
        searched = await client.post(f"{V1}/cases/search", json=asked)
        assert searched.json() == listed, "a search without words is a list"
        return [one["id"] for one in listed["items"]]

    assert await found(parks) == [helped["id"], led["id"]], "the newest first, whoever leads"
    assert await found(parks, state="pending_handle") == [helped["id"], led["id"]]
    assert await found(parks, state="closed") == []
    assert await found(roads) == await found(water) == [helped["id"]]
    assert await found(water, unit=str(parks)) == [helped["id"]], "its own, whatever it asks for"
    assert await found(parks, number=helped["number"]) == [helped["id"]]
    parks_people = await house.one("unit", parks)
    words = (await parks_people.post(f"{V1}/cases/search", json={"words": "井盖"})).json()["items"]
    assert [one["id"] for one in words] == [helped["id"], led["id"]]
    first = (await parks_people.get(f"{V1}/cases", params={"limit": 1})).json()
    second = (await parks_people.get(f"{V1}/cases", params={"limit": 1, "cursor": first["next"]})).json()
    assert [one["id"] for page in (first, second) for one in page["items"]] == [helped["id"], led["id"]]
    command = await house.one("command")
    by_lead = (await command.get(f"{V1}/cases", params={"unit": str(parks)})).json()["items"]
    assert [one["id"] for one in by_lead] == [led["id"]], "whoever else asks for a unit asks for the lead"
    # Ordered to assist once more, in the next round: still one line of the list.
    asked = await house.stepped(await house.one("unit", roads), helped, "ask_return", reason="不归我们")
    given_back = await house.stepped(command, asked, "grant_return")
    assert await found(parks) == [helped["id"], led["id"]], "it had an order: it may know of it"
    assert await found(roads) == []
    again = await house.stepped(command, given_back, "dispatch", unit=str(water), assisting=[str(parks)])
    assert await found(parks) == [again["id"], led["id"]]
    assert await found(water) == [again["id"]], "led and assisted in before: one line"


async def test_who_belongs_to_no_unit_hears_so_whatever_they_ask_for(api: Api) -> None:
    house = House(api)
    lost, case = await api.signed_in("unit"), await house.ordered(await api.unit("roads"))
    for path in (f"cases/{case['id']}", f"cases/{uuid4()}", "cases", "supervision/boxes", "supervision/sheets"):
        answer = await lost.get(f"{V1}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), path
        assert "belongs to no unit" in answer.json()["detail"]
    receipt = await lost.post(f"{V1}/supervision/sheets/{uuid4()}/receipt")
    assert receipt.status_code == 403


async def test_an_inspector_reads_all_and_edits_nothing(api: Api) -> None:
    house = House(api)
    inspector, roads = await house.one("inspector"), await api.unit("roads")
    case = await house.ordered(roads)
    reported = await house.reported()
    for one in (case, reported):
        for path in ("", "/legal", "/responsibility", "/links", "/evidence", "/joint-orders"):
            assert (await inspector.get(f"{V1}/cases/{one['id']}{path}")).status_code == 200, path
    reads = {"POST /api/v1/cases/search", "POST /api/v1/city/places"}  # by a body: what is asked for names people
    reads |= {"POST /api/v1/residents/looks", "POST /api/v1/residents/dossiers"}
    allowed = {"POST /api/v1/supervision/cases/{case_id}/sheets", *reads}
    for name, permission in NEEDS.items():
        method, path = name.split(" ")
        if method == "GET" or permission is None or name in allowed:
            continue
        path = path.replace("{case}", case["id"]).replace("{case_id}", case["id"]).replace("{day}", "2099-01-02")
        answer = await inspector.request(method, path.replace("{code}", "x"), json={})
        assert answer.status_code in (403, 404, 422), name
        assert permission not in TABLE[Role.INSPECTOR], name
        assert answer.json()["code"] == "permission_missing", name
    admin = await api.signed_in("admin")
    for others in (["agent"], ["command"], ["unit"], ["maintainer"], ["collector", "analyst"]):
        new = {"username": f"x{uuid4().hex[:8]}", "password": "a long enough one 7", "roles": ["inspector", *others]}
        answer = await admin.post(f"{V1}/users", json=new)
        assert (answer.status_code, answer.json()["code"]) == (422, "value_refused"), others
        assert "inspector" in answer.json()["detail"]
    new["roles"] = ["inspector", "leader"]
    user = await admin.post(f"{V1}/users", json=new)
    assert user.status_code == 201
    change = await admin.patch(f"{V1}/users/{user.json()['id']}", json={"roles": ["unit", "leader"]})
    assert change.status_code == 422, "who is of a unit would see everybody's cases"


async def test_nobody_is_on_two_sides_of_one_case(api: Api) -> None:
    both = await api.signed_in("agent", "supervisor", "command")
    house = House(api)
    roads = await api.unit("roads")
    case = await house.stepped(both, await house.filed(), "dispatch", unit=str(roads))
    refused = await house.take(both, case, "force_close", reason="不要了")
    assert (refused.status_code, refused.json()["code"]) == (409, "step_refused")
    assert "you have acted on this case for command" in refused.json()["reason"]
    other = await house.stepped(both, await house.filed(), "return_to_filing", reason="类别不对")
    word = {"expected_version": other["version"], "category": COVER}
    confirmed = await both.post(f"{V1}/cases/{other['id']}/confirm", json=word)
    assert (confirmed.status_code, confirmed.json()["code"]) == (403, "permission_missing")
    assert (await (await house.one("agent")).post(f"{V1}/cases/{other['id']}/confirm", json=word)).status_code == 200
    mine = await house.reported()
    adjudicated = await both.post(
        f"{V1}/cases/{mine['id']}/adjudicate",
        json={"expected_version": 1, "domain": "urban", "reason": "看过了"},
    )
    mine = await house.stepped(await house.one("agent"), adjudicated.json(), "file")
    refused = await house.take(both, mine, "dispatch", unit=str(roads))
    assert "you have acted on this case for supervision" in refused.json()["reason"]


async def test_the_item_of_a_case_is_chosen_by_who_has_it_to_decide(api: Api) -> None:
    house = House(api)
    agent, command, collector = await house.one("agent"), await house.one("command"), await house.one("collector")

    async def choose(client: httpx.AsyncClient, case: dict[str, Any], item: str) -> httpx.Response:
        body = {"expected_version": case["version"], "item": item}
        return await client.put(f"{V1}/cases/{case['id']}/item", json=body)

    bare = await house.filed()
    assert bare["item"] is None, "the city has no list yet"
    await house.imported("a1,缺失,4,city,", "a2,松动,40,city,")
    case = await house.reported()
    rules = (await agent.get(f"{V1}/cases/{case['id']}/responsibility")).json()["rules"]
    strict, mild = (one["id"] for one in rules)
    assert (await choose(command, case, mild)).status_code == 404, "not filed: not the dispatcher's to see"
    assert (await choose(collector, case, mild)).json()["code"] == "permission_missing"
    refused = await choose(agent, case, str(uuid4()))
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (409, "body.item")
    answers = await asyncio.gather(choose(agent, case, mild), choose(await house.one("supervisor"), case, strict))
    assert codes(*answers) == [200, 409]
    [lost] = [one.json() for one in answers if one.status_code == 409]
    assert lost["changes"][0].startswith("item_chosen by ")
    case = (await choose(agent, await _now(agent, case), mild)).json()
    case = await house.stepped(agent, case, "file")
    assert case["item"] == mild, "the chosen one, not the strictest"
    kept = await choose(command, case, strict)
    assert (kept.status_code, kept.json()["code"]) == (409, "conflict"), "a filed case keeps its rule"
    # A list that was in force when the case was filed, but became known afterwards.
    async with api.services.db.begin() as session:
        later = clock.now() + timedelta(seconds=1)
        await session.execute(update(Case).where(Case.number == bare["number"]).values(filed_at=later))
    assert (await choose(agent, bare, mild)).status_code == 403, "it waits for the dispatcher"
    chosen = await choose(command, bare, mild)
    assert (chosen.status_code, chosen.json()["item"]) == (200, mild)
    ordered = await house.stepped(command, chosen.json(), "dispatch", unit=str(await api.unit("roads")))
    assert (await choose(command, ordered, strict)).status_code == 409
    log = (await agent.get(f"{V1}/cases/{bare['id']}")).json()["log"]
    assert [one["action"] for one in log][-2:] == ["item_commanded", "dispatch"]


async def _now(client: httpx.AsyncClient, case: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{V1}/cases/{case['id']}")).json()
    return found


# -- two at once -------------------------------------------------------------------------------------------------------
async def test_of_two_at_once_one_wins_or_both_are_the_same(api: Api) -> None:
    house = House(api)
    agent, chief, keeper = await house.one("agent"), await house.one("supervisor"), await house.one("maintainer")
    command, roads, parks = await house.one("command"), await api.unit("roads"), await api.unit("parks")
    worker, inspector = await house.one("unit", roads), await house.one("inspector")

    async def twice(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> list[httpx.Response]:
        return list(await asyncio.gather(*(client.request(method, V1 + path, **more) for _ in range(2))))

    key = {"Idempotency-Key": "one-form-1"}
    made = await twice(agent, "POST", "/cases", json=house.order(), headers=key)
    assert codes(*made) == [200, 201]
    assert len({one.json()["id"] for one in made}) == 1
    handed = {"police_number": "JM-1", "handed_at": clock.now().isoformat(), "text": "井盖缺失"}
    made = await twice(agent, "POST", "/police/handovers", json=handed)
    assert codes(*made) == [200, 201]
    assert len({one.json()["id"] for one in made}) == 1
    police = house.order(police_number="JM-2")
    same = await asyncio.gather(
        *(agent.post(f"{V1}/cases", json=police, headers={"Idempotency-Key": f"form-000{n}"}) for n in range(2))
    )
    assert codes(*same) == [201, 409], "two cases of one police number"
    two = [await house.reported() for _ in range(2)]
    given = await asyncio.gather(
        *(house.take(agent, one, "hand_over", police_number="JM-3", reason="打架") for one in two)
    )
    assert codes(*given) == [200, 409]
    rule = {"source": "web", "domain": "urban", "mode": "exempt"}
    assert codes(*await twice(keeper, "PUT", "/lists/verification", json=rule)) == [200, 200]
    day = (clock.local(clock.now()) + timedelta(days=3)).date()
    assert codes(*await twice(keeper, "PUT", f"/calendar/{day}", json={"works": False})) == [200, 200]
    assert codes(*await twice(keeper, "DELETE", f"/calendar/{day}")) == [204, 404]
    unit = {"code": "sz01", "name": "市政管理处", "kind": "department"}
    assert codes(*await twice(keeper, "POST", "/units", json=unit)) == [201, 409]
    assert codes(*await twice(keeper, "POST", "/areas", json={"code": "42", "name": "省", "level": 1})) == [201, 409]
    article = {
        "expected_version": 0,
        "title": "公积金",
        "answer": "到大厅",
        "source": "中心",
        "review_by": "2099-12-31",
    }
    assert codes(*await twice(keeper, "PUT", "/knowledge/gjj-01", json=article)) == [200, 409]
    assert codes(*await twice(keeper, "POST", "/knowledge/gjj-01/withdraw", json={"expected_version": 1}))[0] == 200

    case = await house.ordered(roads)
    sign = {"action": "sign", "expected_version": case["version"]}
    assert codes(*await twice(worker, "POST", f"/cases/{case['id']}/acts", json=sign)) == [200, 409]
    picture = jpeg()
    added = await twice(worker, "POST", f"/cases/{case['id']}/evidence", params={"kind": "after"}, content=picture)
    assert codes(*added) == [200, 201]
    sheet = (await inspector.post(f"{V1}/supervision/cases/{case['id']}/sheets", json={"text": "请办结"})).json()
    assert codes(*await twice(worker, "POST", f"/supervision/sheets/{sheet['id']}/receipt")) == [200, 200]
    replied = await twice(worker, "POST", f"/supervision/sheets/{sheet['id']}/reply", json={"text": "在修"})
    assert codes(*replied) == [200, 409]
    order = {
        "cases": [case["id"]],
        "duties": [{"unit": str(roads), "duty": "清理"}, {"unit": str(parks), "duty": "维持秩序"}],
        "place": "菜市场北门",
        "meet_at": (clock.now() + timedelta(days=1)).isoformat(),
    }
    issued = await twice(command, "POST", "/joint-orders", json=order, headers=key)
    assert codes(*issued) == [200, 201]
    ended = await twice(command, "POST", f"/joint-orders/{issued[0].json()['id']}/end", json={"result": "已清理"})
    assert codes(*ended) == [200, 422]

    first, second = await house.reported(), await house.reported()
    split = {"expected_version": 1, "domain": "social", "category": QUARREL, "text": "争吵", "reason": "两件事"}
    assert codes(*await twice(agent, "POST", f"/cases/{first['id']}/split", json=split)) == [201, 409]
    first = await _now(agent, first)
    crossed = await asyncio.gather(
        chief.post(
            f"{V1}/cases/{second['id']}/merge",
            json={"expected_version": 1, "into": first["id"], "reason": "同一件"},
        ),
        chief.post(
            f"{V1}/cases/{first['id']}/merge",
            json={"expected_version": first["version"], "into": second["id"], "reason": "同一件"},
        ),
    )
    assert codes(*crossed) == [200, 409]


# -- pictures, and what cannot be true ---------------------------------------------------------------------------------
async def test_a_picture_is_kept_without_its_place_and_counts_by_its_own_time(api: Api) -> None:
    house = House(api)
    agent, case = await house.one("agent"), await house.reported()
    path = f"{V1}/cases/{case['id']}/evidence"
    before = segment(0xE1, b"Exif\0\0" + exif(taken="2026:01:02 03:04:05"))
    made = await agent.post(path, params={"kind": "before"}, content=jpeg("one", beside=before, behind=b"<script>"))
    assert made.status_code == 201, made.text
    assert made.json()["taken_at"].startswith("2026-01-01T19:04:05"), "the picture's own time, in the city"
    file = api.services.settings.data_dir / "evidence" / made.json()["sha256"]
    assert PLACE not in file.read_bytes()
    assert b"<script>" not in file.read_bytes()
    shown = await agent.get(f"{path}/{made.json()['id']}")
    assert (shown.content, len(shown.content)) == (file.read_bytes(), made.json()["size"])
    again = await agent.post(path, params={"kind": "before"}, content=jpeg("one"))
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"]), "the same picture, whatever is beside"
    claimed = {"kind": "before", "taken_at": clock.now().isoformat()}
    for picture in (jpeg(beside=before), webp(), png()):
        answer = await agent.post(path, params=claimed, content=picture)
        assert answer.status_code == 201
        assert answer.json()["taken_at"].startswith("2026-01-01" if picture[:2] == b"\xff\xd8" else "20")
    huge = await agent.post(path, params={"kind": "before"}, content=png(width=60_000, height=60_000))
    assert (huge.status_code, huge.json()["errors"][0]["where"]) == (422, "body")
    folder = api.services.settings.data_dir / "evidence"
    kept = {one.name for one in folder.iterdir()}
    async with api.services.db.begin() as session:
        row = await session.scalar(select(CaseEvidence).where(CaseEvidence.sha256 == file.name))
        assert row is not None
        row.erased_at = clock.now()
    file.unlink()
    back = await agent.post(path, params={"kind": "before"}, content=jpeg("one"))
    assert back.status_code == 409, "what was erased does not come back"
    assert {one.name for one in folder.iterdir()} == kept - {file.name}


async def test_an_ended_case_takes_no_picture_and_none_is_left_behind(api: Api) -> None:
    house = House(api)
    volunteer, chief = await house.one("volunteer"), await house.one("supervisor")
    case = await house.reported("volunteer", source="volunteer")
    await house.stepped(chief, case, "cancel", reason="重复")
    answer = await volunteer.post(f"{V1}/cases/{case['id']}/evidence", params={"kind": "before"}, content=jpeg())
    assert answer.status_code == 409
    folder = api.services.settings.data_dir / "evidence"
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"text": "  \n "}, "body.text"),
        ({"text": "\u200b\u200e"}, "body.text"),
        ({"text": "x" * 4001}, "body.text"),
        ({"happened_at": "2199-01-01T00:00:00Z"}, "body.happened_at"),
        ({"happened_at": "0001-01-01T00:00:00+14:00"}, "body.happened_at"),
        ({"happened_at": "2026-11-20T10:00:00"}, "body.happened_at"),
        ({"lat": 31.0}, "body"),
        ({"lat": 91, "lon": 0}, "body.lat"),
        ({"area": str(uuid4())}, "body.area"),
        ({"accused_unit": str(uuid4())}, "body.accused_unit"),
        ({"reporter_number": "138 or 1=1"}, "body.reporter_number"),
        ({"category": {**COVER, "code": "9999"}}, "body.category"),
        ({"unknown": 1}, "body.unknown"),
    ],
)
async def test_a_work_order_that_cannot_be_is_refused_by_its_field(api: Api, changes: Any, where: str) -> None:
    agent = await api.signed_in("agent")
    answer = await agent.post(
        f"{V1}/cases", json={**House.order(), **changes}, headers={"Idempotency-Key": uuid4().hex}
    )
    assert answer.status_code == 422, answer.text
    assert where in [one["where"] for one in answer.json()["errors"]]
    assert "1=1" not in answer.text
