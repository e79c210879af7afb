"""People, houses and organisations: who sees what of them, what is recorded, and what cannot be had at all."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.access.model import AuditEntry
from callcenter.cases.model import Case
from callcenter.city import dossier, importing, residents
from callcenter.city.areas import AreaIndex
from callcenter.city.city import City
from callcenter.city.coordinates import moved
from callcenter.city.ground import CityImport
from callcenter.city.residents import Asking, LookRefused, NotPermitted, Seen, TooManyLooks, Where, Why
from callcenter.storage.engine import Database
from tests.api import Api, api
from tests.city_people import (
    DOOR,
    FORMS,
    HOUR,
    OUYANG,
    PERSONAL,
    RECORDS,
    SHOP,
    ZHANG,
    asking,
    audited,
    forms_table,
    load,
    records_table,
    settled,
    shown,
    somebody,
    table,
)
from tests.house import House

__all__ = ["api"]

pytestmark = pytest.mark.integration

V1 = "/api/v1"
VISIT = Why("visit")
NOWHERE = AreaIndex(())


async def look(db: Database, where: Where, why: Why = VISIT, by: Asking | None = None) -> Seen:
    """A look with its own transaction."""
    async with db.begin() as session:
        return await residents.look(session, NOWHERE, where, why, by or asking("agent"))


# -- what is there -----------------------------------------------------------------------------------------------------
async def test_from_an_address_to_all_that_is_behind_it(db: Database) -> None:
    await settled(db)
    by, case = asking("agent"), uuid4()
    index = await City(db).areas()
    async with db.begin() as session:
        seen = await residents.look(session, index, Where("address", "a-12"), Why("case", case), by)
    [door] = seen.addresses
    assert (door.code, door.text, door.place, door.metres) == ("a-12", "解放大道12号", DOOR, None)
    assert [one.name for one in door.areas] == ["第一网格", "白龙社区", "龙泉街道", "东宝区", "荆门市", "龙泉警务区"]
    assert [one.name for one in door.units] == ["龙泉街道办事处"]
    assert [(one.code, one.people, one.organisations, one.owner_name) for one in seen.houses] == [
        ("h-1", 2, 0, "李**"),
        ("h-2", 0, 1, ""),
    ]
    assert [(one.code, one.house, one.name, one.phone, one.id_number) for one in seen.people] == [
        ("p-1", "h-1", "张**", "138****1234", f"420802********{ZHANG[-4:]}"),
        ("p-2", "h-1", "欧阳**", "0724***3210", f"420802********{OUYANG[-4:]}"),
    ]
    [shop] = seen.organisations
    assert (shop.name, shop.legal_person, shop.phone) == ("荆门某商贸有限公司", "王**", "139****9999")
    assert {(one.near.asset.name, one.owner.name if one.owner else None) for one in seen.parts} == {
        ("污水井盖", "市政设施管理处"),
        ("路灯", None),
    }
    assert (seen.more, seen.left) == (False, 199)
    [entry] = await audited(db)
    assert (entry.action, entry.subject, entry.result) == ("residents looked at", "address:a-12", "done")
    assert (entry.actor, entry.address) == (str(by.who.id), "10.0.0.7")
    assert entry.detail == {
        "purpose": "case",
        "case": str(case),
        "addresses": 1,
        "houses": 2,
        "people": 2,
        "organisations": 1,
    }


async def test_a_person_and_an_organisation_are_seen_alone(db: Database) -> None:
    await settled(db)
    seen = await look(db, Where("person", "p-2"))
    assert [one.code for one in seen.people] == ["p-2"]
    assert ([one.code for one in seen.houses], seen.houses[0].people) == (["h-1"], 2)
    assert [one.text for one in seen.addresses] == ["解放大道12号"]
    assert not seen.organisations
    seen = await look(db, Where("organisation", SHOP))
    assert ([one.code for one in seen.organisations], list(seen.people)) == ([SHOP], [])
    seen = await look(db, Where("organisation", "91420802MA4TEST02X"))
    assert ([one.name for one in seen.organisations], list(seen.houses)) == (["某联络处"], [])
    seen = await look(db, Where("house", "h-3"))
    assert [one.name for one in seen.people] == ["*"], "a name of one character is a whole name"
    assert [one.code for one in seen.addresses] == ["a-14"]


async def test_a_point_is_that_of_the_nearest_doors_within_thirty_metres(db: Database) -> None:
    await settled(db)
    seen = await look(db, Where("point", place=moved(DOOR, 1, 0)))
    assert [(one.code, one.metres) for one in seen.addresses] == [("a-12", 1.0), ("a-14", 28.0)]
    assert {one.code for one in seen.people} == {"p-1", "p-2", "p-3"}
    # 29 m stand between the first two doors, so from two metres west the second is 31 m away.
    seen = await look(db, Where("point", place=moved(DOOR, -2, 0)))
    assert [one.code for one in seen.addresses] == ["a-12"]
    seen = await look(db, Where("point", place=moved(DOOR, 0, 500)))
    assert not any((seen.addresses, seen.houses, seen.people, seen.parts))
    part = await look(db, Where("point", place=DOOR, category="0102"))
    assert [one.near.asset.name for one in part.parts] == ["污水井盖"]
    subjects = [entry.subject for entry in await audited(db)]
    assert subjects[-1] == "point:112.20000,31.03000"


async def test_statistics_count_and_name_nobody(db: Database) -> None:
    await settled(db)
    seen = await look(db, Where("address", "a-12"), Why("statistics"))
    assert [(one.people, one.organisations, one.owner_name) for one in seen.houses] == [(2, 0, ""), (0, 1, "")]
    assert not any((seen.people, seen.organisations))
    for by, code in (("person", "p-1"), ("organisation", SHOP)):
        with pytest.raises(LookRefused, match="no statistics are made of one"):
            await look(db, Where(by, code), Why("statistics"))
    with pytest.raises(LookRefused, match="count and name nobody"):
        await look(db, Where("address", "a-12"), Why("statistics", full=True), asking("supervisor"))


async def test_one_look_shows_no_whole_quarter(db: Database) -> None:
    await settled(db)
    rows = [{"code": f"h-{n:04}", "address": "a-12", "kind": "住宅"} for n in range(residents.MOST_HOUSES + 5)]
    await load(db, "houses", table(rows))
    people = [{"code": f"p-{n:04}", "house": "h-0000", "name": "某人"} for n in range(residents.MOST_PEOPLE + 5)]
    await load(db, "people", table(people))
    seen = await look(db, Where("address", "a-12"))
    assert (len(seen.houses), len(seen.people), seen.more) == (residents.MOST_HOUSES, residents.MOST_PEOPLE, True)
    assert seen.houses[0].people == residents.MOST_PEOPLE + 5


# -- who sees it whole -------------------------------------------------------------------------------------------------
async def test_whole_only_for_the_permission_and_as_an_action_of_its_own(db: Database) -> None:
    await settled(db)
    full = Why("emergency", full=True)
    for role in ("agent", "command", "collector", "inspector"):
        with pytest.raises(NotPermitted, match="city:read_people_full"):
            await look(db, Where("house", "h-1"), full, asking(role))
    for role in ("unit", "maintainer", "admin", "auditor", "leader", "analyst", "volunteer", "dispatcher"):
        with pytest.raises(NotPermitted, match="city:read_people "):
            await look(db, Where("house", "h-1"), VISIT, asking(role))
    assert await audited(db) == []
    seen = await look(db, Where("house", "h-1"), full, asking("supervisor"))
    assert [(one.name, one.phone, one.id_number) for one in seen.people] == [
        ("张小丽", "13800131234", ZHANG),
        ("欧阳建国", "07246543210", OUYANG),
    ]
    assert seen.houses[0].owner_name == "李房东"
    seen = await look(db, Where("house", "h-1"), VISIT, asking("supervisor"))
    assert seen.people[0].name == "张**", "whoever may see them whole has to say that they want to"
    assert [one.action for one in await audited(db)] == ["residents looked at in full", "residents looked at"]


async def test_a_telephones_cell_with_a_name_in_it_shows_neither(db: Database) -> None:
    await settled(db)
    person = {"code": "p-1", "house": "h-1", "name": "司马相如", "phone": "13800131234张小丽", "id_number": ""}
    await load(db, "people", table([person]))
    [seen] = (await look(db, Where("person", "p-1"))).people
    assert (seen.name, seen.phone) == ("司马**", "1" + "*" * 13)


# -- the purpose -------------------------------------------------------------------------------------------------------
async def test_no_look_without_a_purpose(db: Database) -> None:
    for why, where in (
        (Why(""), "purpose"),
        (Why("curiosity"), "purpose"),
        (Why("case"), "case"),
        (Why("verification"), "case"),
    ):
        with pytest.raises(LookRefused) as refused:
            await look(db, Where("house", "h-1"), why)
        assert refused.value.where == where
    assert await audited(db) == []


# -- the record --------------------------------------------------------------------------------------------------------
async def test_the_look_and_its_record_stand_or_fall_together(db: Database) -> None:
    await settled(db)

    class Broken(Exception):
        pass

    async def broken() -> None:
        async with db.begin() as session:
            assert (await residents.look(session, NOWHERE, Where("house", "h-1"), VISIT, asking("agent"))).people
            assert await session.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.actor != ""))
            raise Broken

    with pytest.raises(Broken):
        await broken()
    assert await audited(db) == []
    if db.is_sqlite:
        # A store that takes no record shows nothing.
        with pytest.raises(DBAPIError):
            async with db.read() as session:
                await residents.look(session, NOWHERE, Where("house", "h-1"), VISIT, asking("agent"))


async def test_nothing_of_a_person_is_in_the_record(db: Database) -> None:
    await settled(db)
    await load(db, "forms", forms_table())
    await load(db, "form_records", records_table())
    by = asking("supervisor")
    asked = [
        *(Where("address", "a-12"), Where("house", "h-1"), Where("person", "p-1"), Where("organisation", SHOP)),
        *(Where("point", place=DOOR), Where("house", "张小丽"), Where("organisation", ZHANG)),
        *(Where("address", "13800131234"), Where("person", "none")),
    ]
    for where in asked:
        for full in (False, True):
            await look(db, where, Why("visit", full=full), by)
    for code in (SHOP, "王老板", OUYANG):
        async with db.begin() as session:
            await dossier.read(session, code, Why("supervision", full=True), by)
    with pytest.raises(LookRefused) as refused:
        await look(db, Where("person", ZHANG), VISIT, by)
    assert ZHANG not in str(refused.value)
    entries = await audited(db)
    assert len(entries) == len(asked) * 2 + 3
    everything = "\n".join(shown(entry) for entry in entries)
    assert not [one for one in PERSONAL if one in everything]
    assert {entry.subject for entry in entries} == {
        *("address:a-12", "house:h-1", "person:p-1", f"organisation:{SHOP}", "point:112.20000,31.03000"),
        *("house:?", "organisation:?", "address:?", "person:?"),
    }


# -- the limit ---------------------------------------------------------------------------------------------------------
async def test_so_many_looks_an_hour_and_no_more(db: Database) -> None:
    await settled(db)
    who, start = somebody("agent"), clock.now()

    def later(minutes: float) -> Asking:
        return asking(who=who, most=3, at=start + timedelta(minutes=minutes))

    assert (await look(db, Where("house", "h-1"), by=later(0))).left == 2
    assert (await look(db, Where("house", "none"), by=later(10))).left == 1, "one that found nothing counts"
    async with db.begin() as session:
        assert await dossier.read(session, "none", VISIT, later(20)) is None
    with pytest.raises(TooManyLooks, match="3 looks in one hour are used up") as refused:
        await look(db, Where("house", "h-1"), by=later(30))
    assert refused.value.seconds == pytest.approx(30 * 60, abs=2)
    assert (await look(db, Where("house", "h-1"), by=asking("agent", most=3))).left == 2, "another person's are theirs"
    assert (await look(db, Where("house", "h-1"), by=later(60.1))).left == 0
    with pytest.raises(TooManyLooks):
        await look(db, Where("house", "h-1"), by=later(60.2))
    assert len(await audited(db, actor=who.id)) == 4


async def test_many_looks_at_once_find_the_last_place_taken(api: Api) -> None:
    """Of one person; each would find it free if they did not wait for one another."""
    await settled(api.services.db)
    user = await api.services.access.users.create("zhou.min", password="a long enough one 7", roles=["agent"])
    who = somebody("agent")
    ours = asking(who=type(who)("user", user.id, "", "", who.roles, who.permissions), most=3)
    looks = (look(api.services.db, Where("house", "h-1"), by=ours) for _ in range(12))
    done = await asyncio.gather(*looks, return_exceptions=True)
    assert sum(isinstance(one, Seen) for one in done) == 3
    assert sum(isinstance(one, TooManyLooks) for one in done) == 9
    assert len(await audited(api.services.db, actor=user.id)) == 3


# -- dossiers ----------------------------------------------------------------------------------------------------------
async def test_a_dossier_is_all_that_departments_know(db: Database) -> None:
    await settled(db)
    await load(db, "forms", forms_table())
    await load(db, "form_records", records_table())
    async with db.begin() as session:
        found = await dossier.read(session, SHOP, Why("supervision"), asking("inspector"))
    assert found is not None
    assert (found.organisation.name, found.organisation.legal_person) == ("荆门某商贸有限公司", "王**")
    assert [(one.unit.name, [form.title for form in one.forms]) for one in found.departments] == [
        ("市场监督管理局", ["企业登记"]),
        ("人力资源和社会保障局", ["用工备案"]),
    ]
    [register], [staff] = (one.forms for one in found.departments)
    assert [one.code for one in register.records] == ["g-2", "g-1"], "the newest first"
    values = {one.code: {v.field: v.value for v in one.values} for one in (*register.records, *staff.records)}
    assert values == {
        "g-2": {"capital": 800.5, "scope": "百货零售，电话138****1234，许可证4208021234567"},
        "g-1": {"capital": 500, "contact": "王**", "phone": "139****9999"},
        "r-1": {"staff": 12, "insured": True, "signed": "2026-03-02", "agent_id": f"420802********{ZHANG[-4:]}"},
    }
    async with db.begin() as session:
        whole = await dossier.read(session, SHOP, Why("supervision", full=True), asking("supervisor"))
    assert whole is not None
    assert {v.field: v.value for v in whole.departments[0].forms[0].records[1].values}["contact"] == "王老板"
    first, second = await audited(db)
    assert (first.action, first.subject) == ("dossier read", f"organisation:{SHOP}")
    assert first.detail == {"purpose": "supervision", "records": 3, "more": False}
    assert second.action == "dossier read in full"
    with pytest.raises(LookRefused, match="no statistics"):
        async with db.begin() as session:
            await dossier.read(session, SHOP, Why("statistics"), asking("inspector"))


async def test_what_a_newer_list_of_forms_does_not_have_is_taken_for_personal(db: Database) -> None:
    await settled(db)
    await load(db, "forms", forms_table())
    await load(db, "form_records", records_table())
    await load(db, "forms", forms_table([row for row in FORMS if row[0] == "gs-01" and row[3] != "scope"]))
    async with db.begin() as session:
        found = await dossier.read(session, SHOP, VISIT, asking("agent"))
    assert found is not None
    gone, kept = found.departments
    assert (gone.unit.code, gone.forms[0].title, kept.unit.code) == ("", "", "gs")
    assert {v.field: v.value for v in gone.forms[0].records[0].values}["staff"] == "***"
    scope = next(v for v in kept.forms[0].records[0].values if v.field == "scope")
    assert (scope.label, scope.personal, str(scope.value)[:2]) == ("", True, "百*")
    told = await importing.go_back(db, "forms", actor=SYSTEM, at=clock.now())
    assert told.rows == len(FORMS)
    async with db.begin() as session:
        again = await dossier.read(session, SHOP, VISIT, asking("agent"))
    assert again is not None
    assert [one.unit.code for one in again.departments] == ["gs", "rs"]


async def test_thirteen_departments_a_hundred_and_five_forms_and_sixteen_hundred_fields(db: Database) -> None:
    await settled(db)
    kinds = ("text", "number", "day", "flag")
    rows = [
        (f"f-{form:03}", f"表单{form}", ("gs", "rs")[form % 2], f"x{n:02}", f"字段{n}", kinds[n % 4], "否")
        for form in range(105)
        for n in range(16 if form < 25 else 15)
    ]
    assert len(rows) == 1600
    await load(db, "forms", forms_table(rows))
    given = {"x00": "内容", "x01": 5, "字段2": "2026-01-02", "x03": True}
    await load(db, "form_records", records_table([(f"c-{n}", f"f-{n:03}", SHOP, "", given) for n in range(105)]))
    async with db.begin() as session:
        found = await dossier.read(session, SHOP, VISIT, asking("agent"))
    assert found is not None
    assert (found.records, found.more) == (105, False)
    assert [len(one.forms) for one in found.departments] == [53, 52]
    async with db.read() as session:
        listed = await dossier.forms(session)
    assert sum(form.fields for one in listed for form in one.forms) == 1600


WRONG_FORMS: list[tuple[Any, str, str]] = [
    ([*FORMS, ("gs-01", "另一名称", "gs", "x", "甲", "text", "否")], "title", "write the same in each"),
    ([*FORMS, FORMS[0]], "field", "there already"),
    ([*FORMS, ("gs-01", "企业登记", "gs", "x", "联系人", "text", "否")], "label", "there already"),
    ([("f", "名称", "nobody", "x", "甲", "text", "否")], "unit", "no such unit"),
    ([("f", "名称", "", "x", "甲", "text", "否")], "unit", "every form is a department's"),
    ([("f", "名称", "gs", "x:y", "甲", "text", "否")], "field", "must be letters"),
    ([("f", "名称", "gs", "x", "甲", "blob", "否")], "form_of", "is none of"),
    ([("f", "名称", "gs", "x", "甲", "text", "maybe")], "personal", "is none of"),
]


async def test_forms_that_cannot_be_are_refused(db: Database) -> None:
    await settled(db)
    for rows, column, mend in WRONG_FORMS:
        told = await load(db, "forms", forms_table(rows), good=False)
        assert (told.faults[0].column, mend in told.faults[0].mend) == (column, True), told.faults


WRONG_RECORDS: list[tuple[Any, str, str]] = [
    (("c", "none", SHOP, "", {"x": 1}), "form", "no such form"),
    (("c", "gs-01", SHOP, "", "张小丽"), "given", "JSON object"),
    (("c", "gs-01", SHOP, "", '["张小丽"]'), "given", "JSON object"),
    (("c", "gs-01", SHOP, "", "[" * 5000), "given", "JSON object"),
    (("c", "gs-01", SHOP, "", '{"capital": 1' + "0" * 5000 + "}"), "given", "JSON object"),
    (("c", "gs-01", SHOP, "", {"张小丽": 1}), "given", "value 1 is of a field that the form does not have"),
    (("c", "gs-01", SHOP, "", '{"capital": 1, "capital": 2}'), "given", "is there already"),
    (("c", "gs-01", SHOP, "", {"capital": 1, "注册资本（万元）": 2}), "given", "is there already"),
    (("c", "gs-01", SHOP, "", {"capital": "五百万"}), "given", "is no number"),
    (("c", "gs-01", SHOP, "", '{"capital": NaN}'), "given", "is no number"),
    (("c", "gs-01", SHOP, "", '{"capital": 1e400}'), "given", "is no number"),
    (("c", "gs-01", SHOP, "", {"capital": True}), "given", "is no number"),
    (("c", "gs-01", SHOP, "", {"contact": {"name": "张小丽"}}), "given", "is no text"),
    (("c", "gs-01", SHOP, "", '{"contact": "a\\u0000b"}'), "given", "is no text"),
    (("c", "gs-01", SHOP, "", '{"contact": "\\ud800"}'), "given", "is no text"),
    (("c", "gs-01", SHOP, "", {"contact": "张" * 501}), "given", "is no text"),
    (("c", "rs-01", SHOP, "", {"signed": "昨天"}), "given", "is no day"),
    (("c", "rs-01", SHOP, "", {"insured": "maybe"}), "given", "is no flag"),
    (("c", "gs-01", "nobody", "", {"capital": 1}), "organisation of c", "import organisations first"),
]


async def test_records_that_cannot_be_are_refused_and_nobody_is_named(db: Database) -> None:
    await settled(db)
    await load(db, "forms", forms_table())
    for row, column, mend in WRONG_RECORDS:
        told = await load(db, "form_records", records_table([row]), good=False)
        assert (told.faults[0].column, mend in told.faults[0].mend) == (column, True), told.faults
        assert "张" not in str(told.faults)


async def test_records_of_a_kind_of_values_that_can_be(db: Database) -> None:
    await settled(db)
    await load(db, "forms", forms_table())
    given = {"capital": " １２ ", "contact": "", "phone": None, "scope": "第一行\n第二行"}
    await load(db, "form_records", records_table([("c", "gs-01", SHOP, "", given), (*RECORDS[0],)]))
    async with db.begin() as session:
        found = await dossier.read(session, SHOP, VISIT, asking("agent"))
    assert found is not None
    record = next(one for one in found.departments[0].forms[0].records if one.code == "c")
    assert {v.field: v.value for v in record.values} == {"capital": 12, "scope": "第一行\n第二行"}


# -- imports of people -------------------------------------------------------------------------------------------------
async def test_a_refused_file_of_people_names_none_of_them(db: Database) -> None:
    await settled(db)
    row = {"code": "p-9", "house": "h-1", "name": "张小丽", "phone": "13800131234", "id_number": ZHANG}
    files = {
        "people": [
            table([{**row, "code": ZHANG}]),
            table([{**row, "code": "13800131234"}]),
            table([{**row, "name": "张小丽" * 30, "id_number": "420802张小丽"}]),
            f"张小丽,13800131234,{ZHANG}\n欧阳建国,13800131234,{OUYANG}\n".encode(),
            f"name,code,house\n张小丽,p-1,h-1,{ZHANG}\n".encode(),
        ],
        "organisations": [table([{"code": ZHANG, "name": "某商店", "legal_person": "张小丽"}])],
        "houses": [table([{"code": "h", "address": "a-12", "kind": "住" * 20, "owner_name": "张小丽" * 30}])],
    }
    for kind, tried in files.items():
        for data in tried:
            told = await load(db, kind, data, good=False)
            assert told.faults
            assert not [one for one in PERSONAL if one in str(told.faults)], kind
    async with db.read() as session:
        kept = json.dumps([row.faults for row in await session.scalars(select(CityImport))], ensure_ascii=False)
    assert not [one for one in PERSONAL if one in kept]
    assert (await look(db, Where("person", "p-1"))).people, "the version before is still in force"


# -- over HTTP ---------------------------------------------------------------------------------------------------------
async def test_over_http_each_role_sees_what_is_theirs(api: Api) -> None:
    house = House(api)
    await settled(api.services.db)
    body = {"by": "house", "code": "h-1", "purpose": "emergency"}
    for role in ("agent", "command", "collector", "inspector", "supervisor"):
        answer = await (await house.one(role)).post(f"{V1}/residents/looks", json=body)
        assert answer.status_code == 200, answer.text
        assert [one["name"] for one in answer.json()["people"]] == ["张**", "欧阳**"], role
        assert not [one for one in PERSONAL if one in answer.text], role
        whole = await (await house.one(role)).post(f"{V1}/residents/looks", json={**body, "full": True})
        assert whole.status_code == (200 if role == "supervisor" else 403), role
        assert ("张小丽" in whole.text) == (role == "supervisor")
    refused = [one for one in await audited(api.services.db) if one.result == "refused"]
    assert {(one.action, one.subject) for one in refused} == {
        ("residents looked at", "permission:city:read_people_full")
    }
    assert len(refused) == 4


async def test_over_http_the_case_must_be_one_that_the_asker_may_see(api: Api) -> None:
    house = House(api)
    await settled(api.services.db)
    agent, command = await house.one("agent"), await house.one("command")
    draft = await house.reported()
    body = {"by": "house", "code": "h-1", "purpose": "case", "case": draft["id"]}
    assert (await agent.post(f"{V1}/residents/looks", json=body)).status_code == 200
    assert (await command.post(f"{V1}/residents/looks", json=body)).status_code == 404, "no case of command's yet"
    for case in (str(uuid4()), "2026112099999", "x"):
        assert (await agent.post(f"{V1}/residents/looks", json={**body, "case": case})).status_code == 404
    assert (await agent.post(f"{V1}/residents/looks", json={**body, "case": None})).status_code == 422
    entries = [one for one in await audited(api.services.db) if one.action == "residents looked at"]
    assert [one.detail["case"] for one in entries] == [draft["id"]]


async def test_over_http_a_lost_cover_leads_to_its_owner_the_community_and_the_residents(api: Api) -> None:
    """000-18."""
    house = House(api)
    await settled(api.services.db)
    case = await house.reported(lat=DOOR.lat, lon=DOOR.lon)
    body = {"by": "case", "purpose": "case", "case": case["id"]}
    answer = await (await house.one("agent")).post(f"{V1}/residents/looks", json=body)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert [(one["name"], one["owner"]["name"]) for one in seen["parts"]] == [("污水井盖", "市政设施管理处")]
    assert [one["name"] for one in seen["addresses"][0]["areas"]][:2] == ["第一网格", "白龙社区"]
    assert {one["name"] for one in seen["people"]} == {"张**", "欧阳**", "*"}
    async with api.services.db.begin() as session:
        stored = await session.get_one(Case, UUID(case["id"]))
        stored.lat = stored.lon = None
    answer = await (await house.one("agent")).post(f"{V1}/residents/looks", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body.case")


async def test_over_http_too_many_looks_are_told_when_to_come_again(api: Api) -> None:
    house = House(api)
    await settled(api.services.db)
    few = api.services.settings.model_copy(update={"resident_looks_per_hour": 2})
    object.__setattr__(api.services, "settings", few)
    agent, body = await house.one("agent"), {"by": "house", "code": "h-1", "purpose": "visit"}
    left = [(await agent.post(f"{V1}/residents/looks", json=body)).json()["looks_left"] for _ in range(2)]
    assert left == [1, 0]
    answer = await agent.post(f"{V1}/residents/looks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
    assert 0 < int(answer.headers["Retry-After"]) <= HOUR.total_seconds() + 1
    answer = await agent.post(f"{V1}/residents/dossiers", json={"organisation": SHOP, "purpose": "visit"})
    assert answer.status_code == 429
    assert [one.result for one in await audited(api.services.db)][-4:] == ["done", "done", "refused", "refused"]


CANNOT_BE_ASKED: list[dict[str, Any]] = [
    {"code": ZHANG, "by": "person"},
    {"code": "13800131234", "by": "person"},
    {"code": "张小丽"},
    {"code": "' OR 1=1 --"},
    {"code": "h-1\0"},
    {"code": "h" * 33},
    {"code": "%"},
    {"code": None},
    {"by": "everybody"},
    {"by": "point"},
    {"by": "case"},
    {"lat": 31.0, "lon": 112.0},
    {"purpose": "curiosity"},
    {"purpose": None},
    {"purpose": "case"},
    {"category": "0102"},
    {"full": "perhaps"},
    {"name": "张小丽"},
]


async def test_over_http_what_cannot_be_asked_is_refused_and_not_repeated(api: Api) -> None:
    await settled(api.services.db)
    agent = await House(api).one("agent")
    for changes in CANNOT_BE_ASKED:
        body = {"by": "house", "code": "h-1", "purpose": "visit", **changes}
        sent = {name: one for name, one in body.items() if one is not None}
        answer = await agent.post(f"{V1}/residents/looks", json=sent)
        assert answer.status_code == 422, (changes, answer.text)
        assert not [one for one in (*PERSONAL, "1=1") if one in answer.text], changes
    assert not [one for one in await audited(api.services.db) if one.action.startswith("residents")]


async def test_over_http_another_site_has_nobody_look(api: Api) -> None:
    await settled(api.services.db)
    agent = await House(api).one("agent")
    body = {"by": "house", "code": "h-1", "purpose": "visit"}
    answer = await agent.post(f"{V1}/residents/looks", json=body, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert (await agent.get(f"{V1}/residents/looks", params=body)).status_code == 405
