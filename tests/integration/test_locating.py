"""Where a case lies: found from words, from a point, from a part; never moved by words once a person has said it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from callcenter import clock
from callcenter.cases import alike, locating
from callcenter.cases.amending import amend
from callcenter.cases.intake import NewCase, Unknown, register
from callcenter.cases.life import CaseSuggestion, HotSpot
from callcenter.cases.lifecycle import Post
from callcenter.cases.model import Case, CaseLog
from callcenter.cases.repository import erase_particulars
from callcenter.city.city import City
from callcenter.city.model import Area, Unit
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.acting import somebody
from tests.ground import COVER, LAMP, community, door, grid, ground, street
from tests.sample_calls import SampleCall, apply

pytestmark = pytest.mark.integration


@pytest.fixture
async def city(db: Database) -> AsyncIterator[City]:
    made = await ground(db)
    locating.use(made)
    yield made
    locating.use(None)


async def taken_in(db: Database, text: str, **more: object) -> Case:
    async with db.begin() as session:
        new = NewCase(source="web", text=text, **more)  # type: ignore[arg-type]
        case, _ = await register(session, uuid4(), new, by=str(uuid4()), at=clock.now())
        return case


async def codes(db: Database, case: Case) -> tuple[str | None, str | None]:
    """The codes of a case's area and of the unit that owns what it is about."""
    async with db.read() as session:
        area = await session.get(Area, case.area_id) if case.area_id else None
        owner = await session.get(Unit, case.asset_owner_id) if case.asset_owner_id else None
    return (area.code if area else None, owner.code if owner else None)


def part(code: str) -> dict[str, str]:
    names = {LAMP: "路灯", COVER: "上水井盖"}
    return {
        "domain": "urban",
        "standard": "GB/T 30428.2-2013",
        "code": code,
        "kind": "part",
        "major": "公用设施",
        "minor": names[code],
    }


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("柳泉路五十八号门口的井盖没了", grid(1)),
        ("柳全路五十八号门口的井盖没了", grid(10)),
        ("刘泉路五十八号门口", grid(1)),
        ("柳泉路和建设大道的十字路口积水", grid(4)),
        ("翠竹花园三号楼二单元楼道堆物", grid(9)),
        ("柳全路上的实验小学门口乱停车", grid(14)),
        ("临江街道的实验小学门口乱停车", grid(2)),
    ],
)
async def test_words_bring_a_case_to_its_grid(db: Database, city: City, text: str, where: str) -> None:
    case = await taken_in(db, text)
    assert ((await codes(db, case))[0], case.located_by) == (where, "spoken")
    assert None not in (case.lat, case.cell)


async def test_a_road_without_a_number_gives_what_all_of_it_shares(db: Database, city: City) -> None:
    case = await taken_in(db, "建设大道路面破了")
    assert ((await codes(db, case))[0], case.lat) == (grid(4), None)  # it runs within one grid, nobody knows where
    wide = await taken_in(db, "柳泉路的路灯全都不亮")
    assert ((await codes(db, wide))[0], wide.lat) == ("990801", None)


async def test_what_names_no_place_lies_nowhere(db: Database, city: City) -> None:
    case = await taken_in(db, "路灯不亮了你们管不管")
    assert (case.area_id, case.located_by) == (None, None)


async def test_a_matter_about_a_part_finds_the_part_and_its_owner(db: Database, city: City) -> None:
    case = await taken_in(db, "柳泉路五十八号的自来水井盖没了", **part(COVER))
    assert (case.asset_code, (await codes(db, case))[1]) == (f"990801{COVER}000001", "water")
    dark = await taken_in(db, "柳泉路五十九号的路灯不亮", **part(LAMP))
    assert (dark.asset_code, (await codes(db, dark))[1]) == (None, "lamps")  # one of two lamps, but theirs either way


async def test_a_fix_is_not_moved_by_words(db: Database, city: City) -> None:
    place = door(150)
    case = await taken_in(db, "柳泉路五十八号", lat=place.lat, lon=place.lon)
    assert ((await codes(db, case))[0], case.located_by, case.lon) == (grid(4), "person", place.lon)


async def test_a_tag_opens_a_case_where_its_part_stands(db: Database, city: City) -> None:
    case = await taken_in(db, "这个盖子裂了", asset_code=f"990801{COVER}000001")
    assert ((await codes(db, case)), case.located_by) == ((grid(1), "water"), "asset")
    with pytest.raises(Unknown, match="no part of that code"):
        await taken_in(db, "这个盖子裂了", asset_code="9908010101999999")


async def test_the_log_says_by_which_rule_and_holds_no_words(db: Database, city: City) -> None:
    case = await taken_in(db, "柳泉路五十八号门口的井盖没了")
    async with db.read() as session:
        rows = list(
            await session.scalars(select(CaseLog).where(CaseLog.case_id == case.id, CaseLog.action == "located"))
        )
    assert [(row.rule, row.actor, row.version) for row in rows] == [("location.words", "system", case.version)]
    assert "柳泉" not in str(rows[0].detail)
    assert "door" in rows[0].detail["reasons"]


async def test_a_person_moves_it_and_words_no_more(db: Database, city: City) -> None:
    case = await taken_in(db, "柳泉路五十八号门口的井盖没了")
    agent, place = somebody(Post.AGENT), door(150)

    async def amended(**changes: object) -> Case:
        async with db.begin() as session:
            version = (await session.get_one(Case, case.id)).version
            return await amend(session, case.id, changes, actor=agent, expected_version=version, at=clock.now())

    moved = await amended(lat=place.lat, lon=place.lon)
    assert ((await codes(db, moved))[0], moved.located_by) == (grid(4), "person")
    moved = await amended(address="柳全路五十八号")
    assert (await codes(db, moved))[0] == grid(4)
    moved = await amended(asset_code=f"990801{COVER}000001")
    assert (await codes(db, moved), moved.located_by) == ((grid(1), "water"), "asset")
    with pytest.raises(Unknown, match="no such part"):
        await amended(asset_code="9908010101999999")


async def test_a_call_is_located_when_it_gets_its_number(db: Database, city: City) -> None:
    call = SampleCall()
    await apply(db, *call.whole("我在柳泉路五十八号这里井盖没了", address={"text": "柳泉路五十八号"}))
    async with db.read() as session:
        case = await session.scalar(select(Case).where(Case.call_id == call.call))
        assert case is not None
        rows = list(await session.scalars(select(CaseLog.action).where(CaseLog.case_id == case.id)))
    assert (await codes(db, case))[0] == grid(1)
    assert rows.count("located") == 1


async def test_erased_the_door_is_gone_and_the_area_stays(db: Database, city: City) -> None:
    case = await taken_in(db, "翠竹花园三号楼二单元楼道堆物")
    async with db.begin() as session:
        await erase_particulars(session, case.id, actor="system", at=clock.now())
    async with db.read() as session:
        left = await session.get_one(Case, case.id)
    assert (left.lat, left.lon, left.cell, left.area_id) == (None, None, None, case.area_id)


async def test_without_a_map_cases_come_in_all_the_same(db: Database) -> None:
    locating.use(City(db))
    try:
        case = await taken_in(db, "柳泉路五十八号门口的井盖没了")
    finally:
        locating.use(None)
    assert (case.number is not None, case.area_id) == (True, None)


# -- duplicates and hot spots ------------------------------------------------------------------------------------------
async def suggested(db: Database, case: UUID) -> list[tuple[UUID, float | None]]:
    async with db.read() as session:
        rows = await session.execute(
            select(CaseSuggestion.other_id, CaseSuggestion.distance_m)
            .where(CaseSuggestion.case_id == case)
            .order_by(CaseSuggestion.likeness.desc())
        )
    return [(other, far) for other, far in rows]


async def test_one_matter_at_one_place_is_suggested_and_never_merged_by_itself(db: Database, city: City) -> None:
    first = await taken_in(db, "柳泉路五十八号门口的井盖没了", **part(COVER))
    far = await taken_in(db, "柳泉路一百五十号门口的井盖没了", **part(COVER))
    other = await taken_in(db, "柳泉路五十八号楼上天天半夜打麻将吵得睡不着")
    second = await taken_in(db, "喂柳泉路五十九号这里井盖被人偷了", **part(COVER))
    [(found, metres)] = await suggested(db, second.id)
    assert found == first.id
    assert 0 < (metres or 0) < 50
    assert await suggested(db, far.id) == []
    assert await suggested(db, other.id) == []
    async with db.read() as session:
        assert (await session.get_one(Case, first.id)).state == "reported"


async def test_the_same_words_without_a_place(db: Database, city: City) -> None:
    first = await taken_in(db, "小区门口那盏路灯坏了三天没人修", **part(LAMP))
    same = await taken_in(db, "小区门口那盏路灯坏了三天了没人修", **part(LAMP))
    await taken_in(db, "路灯不亮", **part(LAMP))
    assert await suggested(db, same.id) == [(first.id, None)]


async def test_yesterdays_is_another_matter(db: Database, city: City) -> None:
    first = await taken_in(db, "柳泉路五十八号门口的井盖没了", **part(COVER))
    async with db.begin() as session:
        row = await session.get_one(Case, first.id)
        row.created_at -= timedelta(hours=25)
    later = await taken_in(db, "柳泉路五十八号门口的井盖没了", **part(COVER))
    assert await suggested(db, later.id) == []


async def test_many_callers_on_one_matter_raise_one_hot_spot(db: Database, city: City) -> None:
    for n in range(4):
        await taken_in(db, f"柳泉路{n + 50}号停水了", **part(COVER), reporter_number="13800000001")
    async with db.read() as session:
        assert await alike.hot_spots(session, clock.now() - timedelta(hours=1)) == []  # one caller, four times
    for n in range(6):
        await taken_in(db, f"柳泉路{n + 52}号停水了", **part(COVER), reporter_number=f"1390000000{n}")
    async with db.read() as session:
        [spot] = await session.scalars(select(HotSpot))
        told = list(await session.scalars(select(OutboxEvent).where(OutboxEvent.kind == alike.HOT_SPOT)))
    assert (spot.cases, spot.callers, len(told)) == (10, 7, 1)


def test_likeness() -> None:
    assert alike.likeness("路灯不亮了", "路灯不亮了") == pytest.approx(1)
    assert alike.likeness("路灯不亮了", "") == 0
    assert alike.likeness("柳泉路路灯不亮", "柳泉路的路灯不亮了") > 0.6 > alike.likeness("路灯不亮", "井盖没了")


def test_codes_are_those_of_the_standards() -> None:
    assert [len(code) for code in (street(0), community(0), grid(0))] == [9, 12, 15]


async def test_a_transaction_does_not_wait_for_a_newer_map(db: Database) -> None:
    clock_s = [0.0]
    asked = City(db, clock=lambda: clock_s[0])
    assert not len(await asked.areas())
    await ground(db)
    clock_s[0] = 5.0
    async with db.read() as session:
        assert await asked.find("柳泉路五十八号", session=session) == []  # answered from what was in memory
    assert asked._taking is not None
    await asked._taking
    async with db.read() as session:
        [first, *_] = await asked.find("柳泉路五十八号", session=session)
    assert first.area is not None
    assert first.area.code == grid(1)


async def test_while_the_store_is_away_what_is_in_memory_answers(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = [0.0]
    asked = City(await _grounded(db), clock=lambda: clock_s[0])
    place = door(58)
    assert (await asked.at(place)).narrowest is not None

    def gone(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(db, "read", gone)
    clock_s[0] = 5.0
    assert (await asked.at(place)).narrowest is not None
    with pytest.raises(TimeoutError):
        await City(db).at(place)


async def _grounded(db: Database) -> Database:
    await ground(db)
    return db
