"""What citizens and units are told of a case's steps: once each, in the step's transaction, and none betrays them."""

import pytest
from sqlalchemy import select

from callcenter.cases.act_effects import Words
from callcenter.cases.life import CaseDeadline
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import Case
from callcenter.cases.responsibility import find, name_accused
from callcenter.city.model import STREET, Area, Unit
from callcenter.clock import local
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.messages.model import Message, MessageParticulars
from callcenter.messages.sending import handlers
from callcenter.storage.engine import Database
from tests.acting import House, house

__all__ = ["house"]

pytestmark = pytest.mark.integration


async def told(house: House, case: object) -> list[tuple[str, str, str | None]]:
    """What was written to anybody of a case, oldest first: template, state, reason."""
    async with house.db.read() as session:
        rows = await session.scalars(
            select(Message).where(Message.case_id == case).order_by(Message.created_at, Message.template)
        )
        return [(row.template, row.state, row.reason) for row in rows]


async def test_a_citizen_hears_of_the_number_the_unit_the_work_and_the_end(house: House) -> None:
    case = await house.closed()
    assert await told(house, case) == [
        ("accepted", "waiting", None),
        ("dispatched", "waiting", None),
        ("done", "waiting", None),
        ("closed", "waiting", None),
    ]
    async with house.db.read() as session:
        rows = (await session.execute(select(MessageParticulars.number, MessageParticulars.words))).all()
        jobs = list(await session.scalars(select(Job).where(Job.kind == "message.send")))
    assert {number for number, _ in rows} == {"13812345678"}
    assert any("2026112300001" in words for _, words in rows)
    assert len(jobs) == 4


async def test_a_step_that_is_refused_tells_nobody(house: House) -> None:
    case = await house.report()
    await house.refused(case, Action.CLOSE, house.chief, "step from")
    assert [name for name, *_ in await told(house, case)] == ["accepted"]


async def test_the_same_unit_again_is_no_news_and_a_rework_is_told_to_the_unit(house: House) -> None:
    case = await house.handled()
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, "还在漏", result="failed")
    names = [name for name, *_ in await told(house, case)]
    assert names == ["accepted", "dispatched", "done"]
    async with house.db.read() as session:
        orders = await session.scalars(select(Job.refs).where(Job.kind == "order.notify").order_by(Job.created_at))
        assert [refs["template"] for refs in orders] == ["unit_order", "unit_rework"]


async def test_an_order_to_a_unit_names_the_limit_of_handling(house: House) -> None:
    async with house.db.begin() as session:
        unit = await session.get_one(Unit, house.roads)
        unit.duty_phone = "13900001111"
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    deadline = next(row for row in await house.rows(CaseDeadline, case) if row.phase == "handle")
    runner = Runner(house.db, handlers(None))
    await runner.run_once(house.at)
    async with house.db.read() as session:
        words = await session.scalar(select(MessageParticulars.words).where(MessageParticulars.number == "13900001111"))
    assert words is not None
    assert f"{local(deadline.due_at):%H:%M}" in words


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secrecy": True}, "confidential"),
        ({"emergency": ("119",)}, "emergency"),
        ({"anonymous": True}, "anonymous"),
        ({"wants_reply": False}, "not_wanted"),
    ],
)
async def test_who_must_not_be_written_to_is_not(house: House, changes: dict[str, object], reason: str) -> None:
    case = await house.closed(**changes)
    found = await told(house, case)
    assert {(state, why) for _, state, why in found} == {("withheld", reason)}
    async with house.db.read() as session:
        assert list(await session.scalars(select(MessageParticulars))) == []


async def test_a_suspension_an_extension_and_a_refusal_are_told(house: House) -> None:
    case = await house.handled()
    unit = house.of(house.roads)
    await house.do(case, Action.ASK_EXTENSION, unit, "下雨")
    await house.do(case, Action.GRANT_EXTENSION, house.dispatcher)
    until = house.at.replace(day=house.at.day + 3)
    await house.do(case, Action.ASK_SUSPENSION, unit, "等配件", until=until)
    await house.do(case, Action.GRANT_SUSPENSION, house.dispatcher)
    assert [name for name, *_ in await told(house, case)][2:] == ["extended", "suspended"]
    other = await house.report()
    await house.do(other, Action.REFUSE, house.chief, "不属于本市")
    assert [name for name, *_ in await told(house, other)] == ["accepted", "not_accepted"]


async def test_an_answered_question_is_told(house: House) -> None:
    case = await house.report(disposition="question")
    await house.do(case, Action.ANSWER, house.agent, Words(text="周一到周五都办"))
    assert [name for name, *_ in await told(house, case)] == ["accepted", "answered"]


# -- who is accused in the caller's words ------------------------------------------------------------------------------
async def test_whoever_accuses_the_village_is_heard_a_level_up(db: Database) -> None:
    house = await House(db).open()
    async with db.begin() as session:
        district = Area(id=(district_id := house.other), code="420802", name="东宝区", level=2, parent_id=None)
        session.add(district)
        await session.flush()
        (await session.get_one(Area, house.area)).parent_id = district_id
        above = Unit(
            id=house.area,
            code="dongbao",
            name="东宝区政府",
            kind=STREET,
            level=2,
            area_id=district_id,
            leader="区长",
            duty_phone="",
            round_the_clock=False,
            active=True,
            created_at=house.at,
        )
        session.add(above)
    plain = await house.report(area_id=house.area, kind=None, code=None, standard=None, domain="social")
    secret = await house.report(
        area_id=house.area, kind=None, code=None, standard=None, domain="social", accused="我们村主任", secrecy=True
    )
    async with db.begin() as session:
        answers = {}
        for key in (plain, secret):
            case = await session.get_one(Case, key)
            await name_accused(session, case)
            answers[key] = await find(session, case, at=house.at)
    assert answers[plain].unit_id == house.street
    assert answers[secret].unit_id == above.id
    assert house.street in answers[secret].excluded
    async with db.read() as session:
        assert (await session.get_one(Case, secret)).accused_unit_id == house.street, "kept, whatever is erased later"


async def test_a_unit_that_is_named_is_the_accused_and_one_named_before_stays(house: House) -> None:
    async with house.db.begin() as session:
        (await session.get_one(Unit, house.roads)).name = "市政管理处"
        (await session.get_one(Unit, house.other)).name = "市政管理处路灯所"
        (await session.get_one(Unit, house.street)).name = "龙泉街道办"
    by_name = await house.report(accused="市政管理处路灯所的队长")
    nobody = await house.report(accused="隔壁老板")
    before = await house.report(accused="市政管理处", accused_unit_id=house.street)
    found = []
    async with house.db.begin() as session:
        for key in (by_name, nobody, before):
            case = await session.get_one(Case, key)
            await name_accused(session, case)
            found.append(case.accused_unit_id)
    assert found == [house.other, None, house.street]
