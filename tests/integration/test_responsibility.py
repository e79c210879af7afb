"""Whose a case is: owner, list, street, and never the accused; imports; verification; what is counted. Both stores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from callcenter import cli
from callcenter.access.audit import SYSTEM, Actor, entries
from callcenter.cases import filing_rules, responsibility
from callcenter.cases.calendar import default_calendar
from callcenter.cases.deadlines import Limit, LimitUnit
from callcenter.cases.life import ASSIST, LEAD, CaseOrder
from callcenter.cases.list_import import import_items, import_patrol, lists, patrol_items
from callcenter.cases.lists import PatrolItem, ResponsibilityItem, ResponsibilityList
from callcenter.cases.model import Case
from callcenter.cases.responsibility import Finding, find, first_dispatch_accuracy, return_rate, verification
from callcenter.city import units
from callcenter.city.model import DEPARTMENT, STREET, Area, Unit
from callcenter.city.units import NewUnit
from callcenter.storage.engine import Database
from callcenter.tables.rows import TableRefused

pytestmark = pytest.mark.integration

GB = "GB/T 30428.2-2013"
AT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
"""A Wednesday, ten in the morning."""
ME = Actor("user", str(uuid4()))
HEAD = "code,kind,category_code,area,unit,filing_condition,closing_condition,limit_value,limit_unit,line,level\n"


class City:
    """A small city: city, district, street, community, grid; a government for the first three; two departments."""

    def __init__(self) -> None:
        self.areas: dict[str, Area] = {}
        self.units: dict[str, Unit] = {}

    async def build(self, db: Database) -> "City":
        async with db.begin() as session:
            above: UUID | None = None
            for level, code in enumerate(("city", "district", "street", "village", "grid"), 1):
                area = await units.create_area(
                    session, code=code, name=code, level=level, parent_id=above, actor=ME, at=AT
                )
                self.areas[code], above = area, area.id
            for code, kind, parent, area_code in (
                ("gov-city", STREET, None, "city"),
                ("gov-district", STREET, "gov-city", "district"),
                ("gov-street", STREET, "gov-district", "street"),
                ("water", DEPARTMENT, "gov-city", None),
                ("water-crew", DEPARTMENT, "water", None),
                ("roads", DEPARTMENT, "gov-district", None),
            ):
                new = NewUnit(
                    code,
                    f"{code} 单位",
                    kind,
                    parent_id=self.units[parent].id if parent else None,
                    area_id=self.areas[area_code].id if area_code else None,
                )
                self.units[code] = await units.create_unit(session, new, actor=ME, at=AT)
        return self

    def names(self, found: Finding) -> tuple[str | None, list[str], list[str]]:
        codes = {unit.id: code for code, unit in self.units.items()}
        lead = codes[found.unit_id] if found.unit_id else None
        return lead, [codes[one] for one in found.assisting], sorted(codes[one] for one in found.excluded)

    def case(self, area: str | None = "grid", code: str = "0101", kind: str = "part", **changes: object) -> Case:
        values: dict[str, object] = {
            "id": uuid4(),
            "source": "phone",
            "state": "reported",
            "disposition": "case",
            "domain": "urban",
            "category_standard": GB,
            "category_code": code,
            "category_kind": kind,
            "decision": "auto",
            "emergency": [],
            "secrecy": False,
            "anonymous": False,
            "version": 1,
            "created_at": AT,
            "area_id": self.areas[area].id if area else None,
        }
        return Case(**(values | changes))


@pytest.fixture
async def city(db: Database) -> City:
    return await City().build(db)


async def imported(
    db: Database, *rows: str, at: datetime = AT, name: str = "清单", since: datetime | None = None
) -> int:
    data = (HEAD + "\n".join(rows) + "\n").encode()
    async with db.begin() as session:
        return (await import_items(session, data, name=name, actor=ME, at=at, in_force_from=since)).version


async def found(db: Database, case: Case, at: datetime = AT) -> Finding:
    async with db.read() as session:
        return await find(session, case, at=at)


# -- who ---------------------------------------------------------------------------------------------------------------
async def test_owner_first_then_the_list_then_the_street(db: Database, city: City) -> None:
    case = city.case()
    answer = await found(db, case)
    assert city.names(answer) == ("gov-street", [], [])
    assert answer.reason == "street+shipped_rule"
    assert answer.item_id is None
    assert answer.limit == Limit(2, LimitUnit.URGENT_HOUR), "the strictest of the shipped four"
    assert answer.closing_condition == "盖好并与路面平"

    await imported(db, "A1,part,0101,district,water,不见了,盖好,3,urgent_hour,traffic,2")
    answer = await found(db, case)
    assert city.names(answer)[0] == "water"
    assert (answer.reason, answer.line, answer.level) == ("item+listed", "traffic", 2)
    assert answer.limit == Limit(3, LimitUnit.URGENT_HOUR), "a list of the city stands in place of ours"

    case.asset_owner_id = city.units["roads"].id
    answer = await found(db, case)
    assert city.names(answer) == ("roads", ["water"], [])
    assert answer.reason == "owner+listed"

    async with db.begin() as session:
        await units.set_active(session, "roads", False, actor=ME, at=AT)
    assert city.names(await found(db, case))[0] == "water", "a dissolved owner gets nothing"


async def test_without_anybody_it_says_why(db: Database, city: City) -> None:
    assert (await found(db, city.case(area=None))).reason == "no_area+shipped_rule"
    async with db.begin() as session:
        for code in ("gov-street", "gov-district", "gov-city"):
            await units.set_active(session, code, False, actor=ME, at=AT)
    answer = await found(db, city.case())
    assert (answer.unit_id, answer.reason) == (None, "no_street+shipped_rule")
    answer = await found(db, city.case(code="S0101", kind="social", category_standard="social", domain="social"))
    assert (answer.reason, answer.line) == ("no_street+ordinary_limit", "society")
    assert answer.limit == filing_rules.ORDINARY
    assert answer.closing_condition


async def test_the_list_of_a_narrower_area_names_the_unit_and_the_strictest_the_limit(db: Database, city: City) -> None:
    await imported(
        db,
        "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3",
        "A2,part,0101,street,roads,不见了,盖好,4,urgent_hour,city,2",
        "A3,part,0101,,water-crew,作响,不响,2,work_day,city,1",
    )
    answer = await found(db, city.case())
    assert city.names(answer) == ("roads", ["water-crew"], [])
    assert answer.limit == Limit(2, LimitUnit.URGENT_HOUR)
    assert city.names(await found(db, city.case(area="district")))[0] == "water", "outside the street the city's row"
    await imported(
        db,
        "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3",
        "A2,part,0101,street,,不见了,盖好,4,urgent_hour,city,2",
    )
    assert (await found(db, city.case())).reason == "street+listed", "a narrow row without a unit: the street, here"


async def test_lists_of_several_names_apply_together(db: Database, city: City) -> None:
    await imported(db, "A1,part,0101,,water,不见了,盖好,5,work_day,city,3", name="城管")
    await imported(db, "B1,part,0101,,roads,不见了,盖好,1,work_day,city,3", name="文明创建")
    answer = await found(db, city.case())
    assert (city.names(answer)[:2], answer.limit) == (("roads", ["water"]), Limit(1, LimitUnit.WORK_DAY))


# -- the accused -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("accused", "owner", "lead", "reason"),
    [
        ("gov-street", None, "gov-district", "street+level_above+shipped_rule"),
        ("gov-district", None, "gov-city", "street+level_above+shipped_rule"),
        ("water", "water", "gov-city", "owner+level_above+shipped_rule"),
        ("water", "water-crew", "gov-city", "owner+level_above+shipped_rule"),
        ("water-crew", "water-crew", "water", "owner+level_above+shipped_rule"),
        ("water", "roads", "roads", "owner+shipped_rule"),
        ("gov-city", None, None, "all_accused+shipped_rule"),
    ],
)
async def test_the_accused_never_gets_its_own_complaint(
    db: Database, city: City, accused: str, owner: str | None, lead: str | None, reason: str
) -> None:
    case = city.case(accused_unit_id=city.units[accused].id, asset_owner_id=city.units[owner].id if owner else None)
    answer = await found(db, case)
    assert (city.names(answer)[0], answer.reason) == (lead, reason)
    assert city.units[accused].id in answer.excluded
    assert answer.unit_id not in answer.excluded


async def test_the_accused_does_not_assist_either(db: Database, city: City) -> None:
    await imported(
        db,
        "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3",
        "A2,part,0101,,water-crew,作响,不响,2,work_day,city,3",
        "A3,part,0101,,roads,路破,路平,5,work_day,city,3",
    )
    answer = await found(db, city.case(accused_unit_id=city.units["water"].id))
    assert city.names(answer) == ("gov-city", ["roads"], ["water", "water-crew"])


async def test_a_street_that_stands_alone_gives_its_own_complaint_to_the_wider_area(db: Database, city: City) -> None:
    async with db.begin() as session:
        alone = await units.create_unit(
            session, NewUnit("gov-village", "村", STREET, area_id=city.areas["village"].id), actor=ME, at=AT
        )
    answer = await found(db, city.case(accused_unit_id=alone.id))
    assert (answer.unit_id, answer.excluded) == (city.units["gov-street"].id, (alone.id,))
    assert answer.reason == "street+level_above+shipped_rule"


async def test_a_circle_of_parents_ends(db: Database, city: City) -> None:
    async with db.begin() as session:
        top = await session.get_one(Unit, city.units["gov-city"].id)
        top.parent_id = city.units["gov-street"].id
    answer = await found(db, city.case(accused_unit_id=city.units["gov-street"].id))
    assert (answer.unit_id, answer.reason) == (None, "all_accused+shipped_rule")


# -- which version -----------------------------------------------------------------------------------------------------
async def test_a_case_keeps_the_list_that_it_was_filed_by(db: Database, city: City) -> None:
    row = "A1,part,0101,,{},不见了,盖好,{},urgent_hour,city,3"
    assert await imported(db, row.format("water", 2)) == 1
    filed = city.case(filed_at=AT + timedelta(hours=1))
    filed.item_id = (await found(db, filed)).item_id
    assert await imported(db, row.format("roads", 9), at=AT + timedelta(hours=2)) == 2
    # A third, announced: not in force before its day.
    coming = AT + timedelta(days=9)
    assert await imported(db, row.format("water-crew", 1), at=AT + timedelta(hours=3), since=coming) == 3

    answer = await found(db, filed, at=AT + timedelta(days=30))
    assert (city.names(answer)[0], answer.item_id, answer.limit.value) == ("water", filed.item_id, 2)
    assert city.names(await found(db, city.case(), at=AT + timedelta(hours=4)))[0] == "roads"
    assert city.names(await found(db, city.case(), at=coming))[0] == "water-crew"
    filed.category_code = "0102"
    assert (await found(db, filed)).item_id is None, "its rule was for another category"


async def test_a_person_chooses_the_condition(db: Database, city: City) -> None:
    await imported(
        db,
        "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3",
        "A2,part,0101,,roads,路破,路平,5,work_day,city,2",
    )
    case = city.case()
    async with db.read() as session:
        rules = await responsibility.applicable(session, case, at=AT)
    assert [(rule.code, rule.filing_condition) for rule in rules] == [("A1", "不见了"), ("A2", "路破")]
    case.item_id = rules[1].id
    answer = await found(db, case)
    assert (city.names(answer)[:2], answer.limit) == (("roads", ["water"]), Limit(5, LimitUnit.WORK_DAY))
    assert (answer.level, answer.closing_condition) == (2, "路平")


# -- imports -----------------------------------------------------------------------------------------------------------
async def test_the_same_file_makes_no_version_and_an_import_is_audited(db: Database, city: City) -> None:
    row = "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3"
    assert await imported(db, row) == await imported(db, row, at=AT + timedelta(days=1)) == 1
    assert await imported(db, row.replace("盖好", "复原")) == 2
    assert await imported(db, row) == 3, "back to what was before is a change again"
    async with db.read() as session:
        assert [one.version for one in await lists(session)].count(3) == 1
        assert await session.scalar(select(func.count()).select_from(ResponsibilityItem)) == 3
        audited = [one for one in await entries(session) if one.action == "list imported"]
    assert [one.detail["version"] for one in audited] == [3, 2, 1]
    assert {one.actor for one in audited} == {ME.id}


async def test_a_wrong_row_imports_nothing(db: Database, city: City) -> None:
    good = "A1,part,0101,,water,不见了,盖好,2,urgent_hour,city,3"
    await imported(db, good)
    async with db.begin() as session:
        await units.set_active(session, "roads", False, actor=ME, at=AT)
    with pytest.raises(TableRefused) as caught:
        await imported(db, good, good.replace("A1", "A2").replace("water", "roads"))
    assert [(fault.row, fault.column, fault.value) for fault in caught.value.faults] == [(3, "unit", "roads")]
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(ResponsibilityList)) == 1
        assert await session.scalar(select(func.count()).select_from(ResponsibilityItem)) == 1


async def test_a_patrol_list_has_versions_too(db: Database) -> None:
    def text(name: str) -> bytes:
        return f"编号,名称,类型,小类编码,周期天数\nP1,{name},部件,0101,7\nP2,看垃圾,事件,0110,\n".encode("gbk")

    versions = []
    for name in ("看井盖", "看井盖", "看雨水井"):
        async with db.begin() as session:
            told = await import_patrol(session, text(name), name="巡查", actor=ME, at=AT)
            versions.append((told.version, told.new))
    assert versions == [(1, True), (1, False), (2, True)]
    async with db.read() as session:
        assert [item.name for item in await patrol_items(session, "巡查")] == ["看雨水井", "看垃圾"]
        assert await session.scalar(select(func.count()).select_from(PatrolItem)) == 4


async def test_the_shipped_list_can_be_imported_as_it_is(db: Database, city: City) -> None:
    async with db.begin() as session:
        told = await import_items(session, filing_rules.FILE.read_bytes(), name="x", actor=SYSTEM, at=AT)
    assert (told.rows, told.new) == (372, True)
    answer = await found(db, city.case())
    assert answer.item_id is not None
    assert answer.reason == "street+listed"


@pytest.fixture
def settings_of(db_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLCENTER_DATABASE_URL", db_url)
    monkeypatch.setenv("CALLCENTER_DATA_DIR", str(tmp_path))


def test_the_command(settings_of: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes((HEAD + "A1,part,0101,,,不见了,盖好,2,urgent_hour,city,3\n").encode("gbk"))
    for said in ("version 1, 1 items", "version 1 has this content already"):
        assert cli.main(["lists", "import", str(file), "--since", "2026-01-01"]) == 0
        assert said in capsys.readouterr().out
    file.write_text(HEAD + "A1,part,9999,,nobody,不见了,盖好,2,urgent_hour,city,3\n")
    assert cli.main(["lists", "import", str(file)]) == 1
    out = capsys.readouterr().out
    assert "row 2, unit: 'nobody'" in out
    assert "row 2, category_code: '9999'" in out
    assert cli.main(["lists", "import", str(file), "--since", "tomorrow"]) == 2
    assert cli.main(["lists", "import", str(tmp_path / "gone.csv")]) == 2
    file.write_text("编号,名称,类型,小类编码\nP1,看井盖,部件,0101\n")
    assert cli.main(["lists", "import", str(file), "--patrol", "--name", "一队"]) == 0
    assert "一队: version 1, 1 items" in capsys.readouterr().out


# -- verification ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "domain", "anonymous", "mode"),
    [
        ("phone", "urban", False, "dispatch_first"),
        ("collector", "urban", False, "exempt"),
        ("110", "urban", False, "exempt"),
        ("iot", "urban", True, "exempt"),
        ("video", "urban", False, "exempt"),
        ("web", "urban", False, "verify_first"),
        ("wechat", "urban", False, "verify_first"),
        ("web", "social", False, "exempt"),
        ("phone", "social", False, "exempt"),
        ("phone", "social", True, "dispatch_first"),
        ("web", "social", True, "verify_first"),
    ],
)
async def test_how_a_matter_is_looked_at_by_default(
    db: Database, city: City, source: str, domain: str, anonymous: bool, mode: str
) -> None:
    async with db.read() as session:
        assert await verification(session, city.case(source=source, domain=domain, anonymous=anonymous)) == mode


async def test_the_most_specific_rule_wins(db: Database, city: City) -> None:
    async def settle(mode: str | None, **columns: str) -> None:
        async with db.begin() as session:
            await responsibility.set_verification(session, mode, **columns, actor=ME, at=AT)

    async def asked() -> str:
        async with db.read() as session:
            return await verification(session, case)

    case = city.case()
    await settle("verify_first")
    assert await asked() == "verify_first"
    await settle("exempt", source="phone")
    await settle("verify_first", domain="urban")
    assert await asked() == "exempt", "of one column each the source goes before the domain"
    await settle("dispatch_first", kind="part", domain="urban")
    assert await asked() == "dispatch_first"
    await settle("verify_first", category_code="0101", source="phone")
    await settle("exempt", category_code="0102", source="phone", kind="part", domain="urban")
    assert await asked() == "verify_first", "another category's rule does not count"
    await settle("exempt", category_code="0101", source="phone")
    assert await asked() == "exempt"
    for columns in ({"category_code": "0101", "source": "phone"}, {"kind": "part", "domain": "urban"}):
        await settle(None, **columns)
    assert await asked() == "exempt"
    with pytest.raises(ValueError, match="none of verify_first"):
        await settle("perhaps")
    async with db.read() as session:
        assert len(await responsibility.verification_rules(session)) == 4
        assert len([one for one in await entries(session) if one.action == "verification rule set"]) == 9


# -- returns and what is counted ---------------------------------------------------------------------------------------
def test_an_order_may_be_given_back_for_two_working_days() -> None:
    friday = datetime(2026, 3, 6, 2, 0, tzinfo=UTC)
    calendar = default_calendar()
    assert responsibility.return_by(friday, calendar) == datetime(2026, 3, 10, 2, 0, tzinfo=UTC)
    hours = Limit(4, LimitUnit.URGENT_HOUR)
    assert responsibility.return_by(friday, calendar, hours) == friday + timedelta(hours=4)


async def test_first_dispatch_accuracy_and_return_rate(db: Database, city: City) -> None:
    water, roads = city.units["water"].id, city.units["roads"].id

    def order(
        case: Case, unit: UUID, round_: int, hours: int, outcome: str | None = None, part: str = LEAD
    ) -> CaseOrder:
        at = AT + timedelta(hours=hours)
        return CaseOrder(
            id=uuid4(),
            case_id=case.id,
            unit_id=unit,
            part=part,
            round=round_,
            issued_at=at,
            issued_by="system",
            ended_at=at + timedelta(minutes=9) if outcome else None,
            outcome=outcome,
        )

    right, returned, moved, reworked, running, earlier = cases = [city.case() for _ in range(6)]
    async with db.begin() as session:
        session.add_all(cases)
        await session.flush()
        session.add_all(
            [
                order(right, water, 1, 1, "closed"),
                order(right, roads, 1, 1, "done", ASSIST),
                order(returned, water, 1, 1, "returned"),
                order(moved, water, 1, 1, "withdrawn"),
                order(moved, roads, 2, 2, "done"),
                order(reworked, roads, 1, 1, "rework"),
                order(reworked, roads, 2, 2, "done"),
                order(running, roads, 1, 1),
                # Dispatched first before the period: its second order is not a first one.
                order(earlier, water, 1, -5, "returned"),
                order(earlier, roads, 2, 3, "done"),
            ]
        )
    day = AT, AT + timedelta(days=1)
    async with db.read() as session:
        rate = await first_dispatch_accuracy(session, *day)
        assert (rate.numerator, rate.denominator, rate.open, rate.value) == (3, 5, 1, 0.6)
        rate = await first_dispatch_accuracy(session, *day, unit_id=roads)
        assert (rate.numerator, rate.denominator) == (2, 2)
        rate = await return_rate(session, *day)
        assert (rate.numerator, rate.denominator, rate.open) == (1, 8, 1)
        assert (await return_rate(session, *day, unit_id=water)).value == pytest.approx(1 / 3)
        nothing = await return_rate(session, AT - timedelta(days=9), AT - timedelta(days=8))
        assert (nothing.denominator, nothing.value) == (0, None)


# -- areas and units ---------------------------------------------------------------------------------------------------
async def test_what_no_area_or_unit_can_be(db: Database, city: City) -> None:
    async with db.begin() as session:
        with pytest.raises(units.CodeTaken, match="water"):
            await units.create_unit(session, NewUnit("water", "again", DEPARTMENT), actor=ME, at=AT)
        with pytest.raises(units.CodeTaken):
            await units.create_area(session, code="grid", name="x", level=5, parent_id=None, actor=ME, at=AT)
        with pytest.raises(units.BadValue, match="level 3"):
            await units.create_area(
                session, code="odd", name="x", level=3, parent_id=city.areas["grid"].id, actor=ME, at=AT
            )
        with pytest.raises(units.NotThere, match="parent"):
            await units.create_area(session, code="odd", name="x", level=3, parent_id=uuid4(), actor=ME, at=AT)
        for new in (
            NewUnit("a b", "x", DEPARTMENT),
            NewUnit("ok", " ", DEPARTMENT),
            NewUnit("ok", "x", "office"),
            NewUnit("ok", "x", DEPARTMENT, level=7),
            NewUnit("ok", "x", STREET),
        ):
            with pytest.raises(units.BadValue):
                await units.create_unit(session, new, actor=ME, at=AT)
        with pytest.raises(units.NotThere):
            await units.create_unit(session, NewUnit("ok", "x", DEPARTMENT, parent_id=uuid4()), actor=ME, at=AT)
        with pytest.raises(units.NotThere):
            await units.unit_by_code(session, "nobody")
        made = await units.create_unit(session, NewUnit("fine", "x", DEPARTMENT), actor=ME, at=AT)
    async with db.read() as session:
        assert await session.get(Unit, made.id) is not None, "a refusal does not spoil the transaction"
        assert (await units.level_above(session, city.units["gov-street"].id)) is not None
        street = await units.street_of(session, city.areas["grid"].id)
        assert street is not None
        assert street.code == "gov-street"
        assert [one.code for one in await units.units(session, after="gov-street")] == ["roads", "water", "water-crew"]
