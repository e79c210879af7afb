"""Whole lives of cases, as a city would tell them, over both databases."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from callcenter.access.audit import Actor as Writer
from callcenter.cases import joint, knowledge, links, police
from callcenter.cases.act_effects import RESUME, Words
from callcenter.cases.acts import resume_job
from callcenter.cases.amending import amend
from callcenter.cases.life import CaseDeadline, CaseLink, PoliceHandover, SupervisionSheet
from callcenter.cases.lifecycle import Action
from callcenter.cases.lists import CalendarDay
from callcenter.cases.model import Case, CaseLog
from callcenter.cases.police_results import RESULT, OverMessages, result_handler
from callcenter.cases.recounting import settle_provisional
from callcenter.cases.repository import CategoryChoice, confirm_routing
from callcenter.cases.sheets import receipt_sheet, reply_sheet
from callcenter.cases.supervision import sweep
from callcenter.city.model import Area, Unit
from callcenter.clock import local
from callcenter.insight.evaluation_reports import Asked, report
from callcenter.insight.evaluations import fold
from callcenter.insight.indicators import INDICATORS
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.messages.gateways import FileGateway
from callcenter.messages.model import Message, MessageParticulars
from callcenter.storage.outbox import OutboxEvent
from tests.acting import House, house
from tests.sample_calls import QUARREL, SampleCall, apply

__all__ = ["house"]

pytestmark = pytest.mark.integration


async def called(house: House, text: str, **answer: Any) -> Case:
    """What the line writes of a call that rang now; the case it became."""
    call = SampleCall(rung_at=house.at)
    await apply(house.db, *call.whole(text, **answer))
    house.later(minutes=1)
    async with house.db.read() as session:
        return await session.scalar(select(Case).where(Case.call_id == call.call).order_by(Case.created_at))


async def steps(house: House, case: UUID) -> list[str]:
    """The log as its words, lamps with their colour."""
    return [
        f"{row.action}:{row.detail['lamp']}" if row.action == "lamp" else row.action for row in await house.log(case)
    ]


async def rates(house: House, day: datetime) -> dict[str, tuple[int, int]]:
    """Numerator and denominator of each indicator over the whole city, from the log."""
    await fold(house.db, house.at)
    async with house.db.read() as session:
        found = await report(session, Asked("unit", local(day).date(), local(house.at).date()))
    made = {one.code: one.of(found.total) for one in INDICATORS}
    return {code: (rate.numerator, rate.denominator) for code, rate in made.items()}


async def test_a_missing_cover_from_the_call_to_the_closed_case(house: House) -> None:
    began = house.at
    case = (await called(house, "解放大道路口的井盖不见了", decision="confirm", accused=None)).id
    assert (await house.case(case)).state == "reported", "the machine was not sure: an agent decides"

    # 受理: confirmed, and the place filled in, by a person; filed by rule, and the street is found by the place.
    async with house.db.begin() as session:
        seen = await session.get_one(Case, case)
        await amend(
            session, case, {"area_id": house.area}, actor=house.agent, expected_version=seen.version, at=house.at
        )
    async with house.db.begin() as session:
        version = (await session.get_one(Case, case)).version
        user = UUID(house.agent.id)
        await confirm_routing(session, case, user_id=user, choice=None, expected_version=version, at=house.at)
    found = await house.case(case)
    assert (found.state, found.lead_unit_id) == ("pending_handle", house.street)
    # Not theirs: 井盖 belong to the roads' department.
    await house.do(case, Action.ASK_RETURN, house.of(house.street), "不是我们的井盖")
    await house.do(case, Action.GRANT_RETURN, house.dispatcher)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    roads = house.of(house.roads)
    await house.do(case, Action.SIGN, roads)

    # 延期, and still late: a warning, yellow after a day, red after two, a sheet to the department's leader.
    first_due = (await _limit(house, case, "handle")).due_at
    await house.do(case, Action.ASK_EXTENSION, roads, "配件未到")
    await house.do(case, Action.GRANT_EXTENSION, house.dispatcher)
    limit = await _limit(house, case, "handle")
    assert limit.due_at > first_due
    assert (limit.extended, limit.original_due_at) == (1, first_due)
    house.at = max(limit.red_at, house.at) + timedelta(minutes=5)
    swept = await sweep(house.db, house.at)
    assert (swept.lit["red"], swept.sheets) >= (1, 1)
    again = await sweep(house.db, house.at)
    assert (again.lit.total(), again.sheets) == (0, 0), "once each"
    lit = [row for row in await house.log(case) if row.action == "lamp" and row.detail["deadline"] == str(limit.id)]
    assert [(row.detail["lamp"], row.at) for row in lit] == [
        ("warned", limit.warn_at),
        ("yellow", limit.yellow_at),
        ("red", limit.red_at),
    ], "each at the moment it was due, however late it was seen"
    [sheet] = await house.rows(SupervisionSheet, case)
    assert (sheet.unit_id, sheet.addressee, sheet.rule) == (house.roads, "处长", "lamp.red")
    assert sheet.number
    assert sheet.reply_by > house.at
    async with house.db.begin() as session:
        await receipt_sheet(session, sheet.id, actor=roads, at=house.at)
        await reply_sheet(session, sheet.id, actor=roads, text="今日完成", at=house.at)
    [sheet] = await house.rows(SupervisionSheet, case)
    assert sheet.receipted_at == sheet.replied_at == house.at
    assert (await house.case(case)).monitored, "电子监察箱: a case never leaves it"

    # 返工 and 核查.
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, "盖不平", result="failed")
    assert (await house.case(case)).reworks == 1
    await house.do(case, Action.SIGN, roads)
    await house.refused(case, Action.REPORT_DONE, roads, "new picture", "好了")
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    await house.do(case, Action.CALL_BACK, house.agent, reached=True, satisfaction="satisfied")
    closed = await house.do(case, Action.CLOSE, house.chief)
    assert (closed.state, closed.outcome, closed.extensions, closed.returns) == ("closed", "solved", 1, 1)
    assert (await house.case(case)).monitored
    assert await house.running(case) == set()

    told = [one for one in await steps(house, case) if one not in ("words_added", "classified")]
    assert told[:4] == ["opened", "completed", "amended", "confirmed"]
    assert told[4:12] == [
        *("filed", "dispatch", "ask_return", "grant_return", "dispatch", "sign", "ask_extension", "grant_extension")
    ]
    ends = [one for one in told if not one.startswith(("lamp", "sheet"))][-9:]
    assert ends == [
        *("report_done", "ask_check", "check", "sign", "report_done", "ask_check", "check", "call_back", "close")
    ]
    log = await house.log(case)
    assert [row.seq for row in log] == list(range(1, len(log) + 1))
    kinds = [kind for kind, _ in await house.events(case)]
    for kind in ("case.filed", "case.dispatched", "case.returned", "case.extended", "case.reworked", "case.closed"):
        assert kind in kinds
    async with house.db.read() as session:
        names = set(await session.scalars(select(Message.template).where(Message.case_id == case)))
        jobs = set(await session.scalars(select(Job.kind)))
    assert {"accepted", "dispatched", "extended", "done", "closed"} <= names
    assert {"order.notify", "message.unit"} <= jobs

    house.later(days=40)  # until the citizen's limit would have fallen due: the day that the rates belong to
    figures = await rates(house, began)
    wanted = {
        "closing": (1, 1),
        "closing_on_time": (1, 1),  # the citizen's fifteen working days were kept
        "handling_on_time": (0, 1),  # the unit's own limit was not, whatever was extended
        "overtime_raw": (1, 1),
        "rework": (1, 1),
        "first_dispatch_accurate": (0, 1),
        "returned": (1, 2),
        "extension": (1, 2),
        "yellow": (1, 1),
        "red": (1, 1),
        "satisfaction": (1, 1),
    }
    assert {name: figures[name] for name in wanted} == wanted


async def _limit(house: House, case: UUID, phase: str) -> CaseDeadline:
    return next(
        row
        for row in await house.rows(CaseDeadline, case, CaseDeadline.started_at.desc())
        if row.phase == phase and row.ended_at is None
    )


async def test_one_call_becomes_an_urban_and_a_social_case_each_with_its_own_life(house: House) -> None:
    first = (await called(house, "路口井盖不见了还有楼上天天吵架要打起来了", decision="confirm", accused=None)).id
    quarrel = CategoryChoice("social", *QUARREL)
    async with house.db.begin() as session:
        seen = await session.get_one(Case, first)
        one, two = await links.split(
            session,
            first,
            actor=house.agent,
            domain="social",
            category=quarrel,
            text="楼上天天吵架要打起来了",
            reason="一通电话两件事",
            expected_version=seen.version,
            at=house.at,
        )
        second = two.id
        assert one.id == first
    urban, social = await house.case(first), await house.case(second)
    assert (urban.domain, social.domain) == ("urban", "social")
    assert urban.number != social.number
    assert urban.call_id == social.call_id
    [link] = [row for row in await house.rows(CaseLink, first)]
    assert (link.other_id, link.kind) == (second, "split")
    # Its own life: the social one is dispatched and closed, the urban one still waits.
    await house.do(second, Action.DISPATCH, house.dispatcher, unit=house.street)
    await house.do(second, Action.SIGN, house.of(house.street))
    await house.done(second, house.street)
    await house.do(second, Action.CHECK, house.collector, result="passed")
    await house.do(second, Action.CALL_BACK, house.agent, reached=True, satisfaction="satisfied")
    await house.do(second, Action.CLOSE, house.chief)
    assert (await house.case(second)).state == "closed"
    assert (await house.case(first)).state == "reported"
    assert (await house.running(first)) == {"citizen", "file"}
    assert {row.at for row in await house.rows(CaseLog, second)} != {row.at for row in await house.rows(CaseLog, first)}


async def test_whoever_accuses_the_village_head_is_kept_secret_and_heard_a_level_up(house: House) -> None:
    above = uuid4()
    async with house.db.begin() as session:
        district = Area(id=(area := uuid4()), code="420802", name="东宝区", level=2, parent_id=None)
        session.add(district)
        await session.flush()
        (await session.get_one(Area, house.area)).parent_id = area
        session.add(
            Unit(
                id=above,
                code="dongbao",
                name="东宝区政府",
                kind="street",
                level=2,
                area_id=area,
                leader="区长",
                duty_phone="",
                round_the_clock=False,
                active=True,
                created_at=house.at,
            )
        )
    text = "举报我们村主任吃低保，别说是我"
    official = ("social", "S0901", "social", "作风效能", "干部作风问题")
    case = (
        await called(
            house,
            text,
            decision="confirm",
            domain="social",
            category=official,
            secrecy=True,
            accused="我们村主任",
            intent="举报",
        )
    ).id
    seen = await house.case(case)
    assert seen.secrecy
    async with house.db.begin() as session:
        await amend(
            session, case, {"area_id": house.area}, actor=house.agent, expected_version=seen.version, at=house.at
        )
    async with house.db.begin() as session:
        version = (await session.get_one(Case, case)).version
        user = UUID(house.agent.id)
        await confirm_routing(session, case, user_id=user, choice=None, expected_version=version, at=house.at)
    found = await house.case(case)
    assert (found.state, found.lead_unit_id, found.accused_unit_id) == ("pending_handle", above, house.street)
    await house.do(case, Action.ASK_RETURN, house.of(above), "不归我们")
    await house.do(case, Action.GRANT_RETURN, house.dispatcher)
    await house.refused(case, Action.DISPATCH, house.dispatcher, "complained about", unit=house.street)
    async with house.db.read() as session:
        messages = list(await session.scalars(select(Message).where(Message.case_id == case)))
        assert {(row.state, row.reason) for row in messages if row.unit_id is None} == {("withheld", "confidential")}
        assert list(await session.scalars(select(MessageParticulars))) == []
        refs = [json.dumps(row) for row in await session.scalars(select(OutboxEvent.refs))]
        details = [json.dumps(row, ensure_ascii=False) for row in await session.scalars(select(CaseLog.detail))]
    for secret in ("村主任", "13812345678", "低保"):
        assert not any(secret in one for one in [*refs, *details])


async def test_110_hands_a_case_over_and_hears_what_came_of_it(house: House, tmp_path: Path) -> None:
    case = await house.report(police_number="J20261123007")
    [handover] = await house.rows(PoliceHandover, case)
    assert (handover.direction, handover.handed_at) == ("in", house.at)
    await house.do(case, Action.FILE, house.agent)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    await house.do(case, Action.SIGN, house.of(house.roads))
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    await house.do(case, Action.CALL_BACK, house.agent, reached=True, satisfaction="satisfied")
    await house.do(case, Action.CLOSE, house.chief)
    gateway = FileGateway(tmp_path / "out.jsonl")
    runner = Runner(house.db, {RESULT: result_handler(OverMessages(gateway), now=lambda: house.at)})
    assert await runner.run_once(house.at) == 1
    assert await runner.run_once(house.at) == 0
    [line] = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert "J20261123007" in line
    assert "solved" in line
    assert "修好了" in line
    [handover] = await house.rows(PoliceHandover, case)
    assert handover.result_at == house.at

    # The other way: what is theirs goes to them under their number, and they answer.
    theirs = await house.report()
    await house.do(theirs, Action.HAND_OVER, house.agent, Words(police_number="J20261123099"))
    async with house.db.begin() as session:
        await police.record_result(session, "J20261123099", text="已处警", actor=house.agent, at=house.at)
    [out] = await house.rows(PoliceHandover, theirs)
    assert (out.direction, out.result_at) == ("out", house.at)


async def test_three_units_work_together_by_a_joint_order(house: House) -> None:
    case = await house.handled()
    when = house.at + timedelta(days=1)
    duties = [
        joint.Duty(house.roads, "拆除围挡"),
        joint.Duty(house.street, "维持秩序"),
        joint.Duty(house.other, "清运"),
    ]
    async with house.db.begin() as session:
        order, fresh = await joint.issue(
            session,
            uuid4(),
            actor=house.dispatcher,
            cases=[case],
            meet_at=when,
            place="青年路北口",
            duties=duties,
            at=house.at,
        )
        number = order.id
        assert fresh
    async with house.db.read() as session:
        jobs = [row.refs for row in await session.scalars(select(Job).where(Job.kind == "message.unit"))]
    assert {refs["unit"] for refs in jobs if refs.get("template") == "unit_joint"} == {
        str(one) for one in (house.roads, house.street, house.other)
    }
    for unit in (house.roads, house.street, house.other):
        async with house.db.begin() as session:
            await joint.receipt(session, number, actor=house.of(unit), at=house.at)
    house.at = when + timedelta(hours=2)
    async with house.db.begin() as session:
        same, fresh = await joint.issue(
            session,
            number,
            actor=house.dispatcher,
            cases=[case],
            meet_at=when,
            place="青年路北口",
            duties=duties,
            at=house.at,
        )
        assert (same.id, fresh) == (number, False), "sent again after the time: the first one, no refusal"
    async with house.db.begin() as session:
        await joint.end(session, number, actor=house.dispatcher, at=house.at, result="拆除完毕")
    assert (await house.case(case)).state == "handling", "each case goes on in its own life"


async def test_a_consultation_is_answered_at_once_and_counted_as_answered(house: House) -> None:
    began = house.at
    async with house.db.begin() as session:
        article = await knowledge.write(
            session,
            "residence-permit",
            knowledge.Draft(
                title="居住证办理",
                answer="凭身份证和租赁合同到社区办理",
                source="市公安局公告",
                owner_unit_id=house.roads,
                review_by=local(house.at).date() + timedelta(days=365),
            ),
            expected_version=0,
            actor=Writer("user", str(uuid4())),
            at=house.at,
        )
        key = article.id
    case = await house.report(disposition="question", text="居住证怎么办")
    row = await house.do(case, Action.ANSWER, house.agent, Words(knowledge=key))
    assert (row.state, row.outcome) == ("closed", "answered")
    await fold(house.db, house.at)
    async with house.db.read() as session:
        found = await report(session, Asked("day", local(began).date(), local(house.at).date()))
    assert (found.total["reported"], found.total["answered"]) == (1, 1)


async def test_a_suspension_stops_the_units_clock_and_not_the_citizens(house: House) -> None:
    case = await house.handled()
    before = {row.phase: row.due_at for row in await house.rows(CaseDeadline, case) if row.ended_at is None}
    until = house.at + timedelta(days=7)
    await house.do(case, Action.ASK_SUSPENSION, house.of(house.roads), "等配件", until=until)
    await house.do(case, Action.GRANT_SUSPENSION, house.dispatcher)
    house.at = until + timedelta(minutes=1)
    runner = Runner(house.db, {RESUME: resume_job})
    assert await runner.run_once(house.at) == 1
    assert (await house.case(case)).state == "handling"
    after = {row.phase: row.due_at for row in await house.rows(CaseDeadline, case) if row.ended_at is None}
    assert after["citizen"] == before["citizen"]
    assert after["handle"] >= before["handle"] + timedelta(days=6)


async def test_a_limit_into_a_year_nobody_knows_is_counted_again_when_it_is(house: House) -> None:
    house.at = datetime.fromisoformat("2037-12-28T09:00:00+08:00")
    case = await house.report()
    limit = await _limit(house, case, "citizen")
    assert limit.provisional, "nobody knows the holidays of 2038 yet"
    async with house.db.begin() as session:
        session.add(
            CalendarDay(
                day=datetime(2038, 1, 4).date(),  # noqa: DTZ001 - a day
                works=False,
                note="元旦补休",
                set_by=str(uuid4()),
                set_at=house.at,
            )
        )
    assert await settle_provisional(house.db, house.city, house.at) >= 0
    assert (await _limit(house, case, "citizen")).provisional, "one local day does not make a year known"
