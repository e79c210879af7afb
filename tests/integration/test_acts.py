"""Each path of a case's life over both databases, from the report to its end, and what is written on the way."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, inspect, select

from callcenter.access.model import User
from callcenter.calls import repository as calls
from callcenter.calls.model import case_id
from callcenter.cases import intake
from callcenter.cases.act_effects import NOTIFY, RESUME, Words
from callcenter.cases.acts import MACHINE, act, legal_now, resume_job
from callcenter.cases.life import (
    CaseAppeal,
    CaseCheck,
    CaseDeadline,
    CaseEvidence,
    CaseOrder,
    CaseRequest,
    CaseText,
    PoliceHandover,
)
from callcenter.cases.lifecycle import Action, Actor, Post
from callcenter.cases.lists import KnowledgeArticle, VerificationRule
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.record import Conflict
from callcenter.cases.repository import NotConfirmable, confirm_routing, erase_particulars
from callcenter.city.model import DEPARTMENT, Unit
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from tests.acting import NINE, WEB, House, house, somebody
from tests.api import Api, api
from tests.pictures import jpeg
from tests.sample_calls import MANHOLE, RUNG, SampleCall

__all__ = ["api", "house"]

pytestmark = pytest.mark.integration

# -- the straight way --------------------------------------------------------------------------------------------------


async def test_the_straight_way_from_report_to_close(house: House) -> None:
    case = await house.closed()
    row = await house.case(case)
    assert (row.state, row.outcome, row.lead_unit_id, row.due_at) == ("closed", "solved", house.roads, None)
    assert row.closed_at == house.at
    log = await house.log(case)
    assert [(one.action, one.from_state, one.to_state) for one in log] == [
        ("registered", None, "reported"),
        ("file", "reported", "pending_dispatch"),
        ("dispatch", "pending_dispatch", "pending_handle"),
        ("sign", "pending_handle", "handling"),
        ("report_done", "handling", "pending_check"),
        ("ask_check", "pending_check", "checking"),
        ("check", "checking", "pending_close"),
        ("call_back", "pending_close", "pending_close"),
        ("close", "pending_close", "closed"),
    ]
    assert [one.version for one in log] == list(range(1, 10))
    assert row.version == log[-1].version
    assert [one.actor for one in log][:3] == [house.agent.id, house.agent.id, house.dispatcher.id]
    assert await house.running(case) == set()
    met = {one.phase: one.met for one in await house.rows(CaseDeadline, case)}
    assert met == dict.fromkeys(("citizen", "file", "dispatch", "sign", "handle", "check", "close"), True)
    told = await house.events(case)
    assert [kind for kind, feed in told if feed] == [
        "case.filed",
        "case.dispatched",
        "case.signed",
        "case.done",
        "case.closed",
    ]
    assert len(told) == len(log), "one event a step"
    [order] = await house.rows(CaseOrder, case)
    assert (order.part, order.round, order.outcome) == ("lead", 1, "done")
    async with house.db.read() as session:
        [job] = list(await session.scalars(select(Job).where(Job.kind == NOTIFY)))
    assert job.refs == {
        "case": str(case),
        "order": str(order.id),
        "unit": str(house.roads),
        "template": "unit_order",
    }


async def test_the_log_of_a_step_names_what_was_written_and_no_words(house: House) -> None:
    case = await house.handled()
    await house.done(case)
    texts = await house.rows(CaseText, case)
    assert {one.text for one in texts} == {"修好了"}
    done = next(one for one in await house.log(case) if one.action == "report_done")
    assert {done.detail["reason"], done.detail["text"]} == {str(one.id) for one in texts}
    assert done.detail["met"] == {"handle": True}
    assert done.detail["unit"] == str(house.roads)
    assert len(done.detail["pictures"]) == 1
    for one in await house.log(case):
        assert "修好了" not in str(one.detail)


async def test_every_limit_runs_while_it_should(house: House) -> None:
    case = await house.report()
    assert await house.running(case) == {"citizen", "file"}
    await house.do(case, Action.FILE, house.agent)
    assert await house.running(case) == {"citizen", "dispatch"}
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    assert await house.running(case) == {"citizen", "sign", "handle"}
    await house.do(case, Action.SIGN, house.of(house.roads))
    assert await house.running(case) == {"citizen", "handle"}
    assert (await house.case(case)).due_at is not None
    await house.done(case)
    assert await house.running(case) == {"citizen", "check"}
    await house.do(case, Action.CHECK, house.collector, result="passed")
    assert await house.running(case) == {"citizen", "close"}


@pytest.mark.parametrize(("urgency", "minutes"), [("critical", 15), ("ordinary", None)])
async def test_danger_is_signed_for_within_a_quarter_of_an_hour(
    house: House, urgency: str, minutes: int | None
) -> None:
    case = await house.report(urgency=urgency)
    await house.do(case, Action.FILE, house.agent)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    [sign] = [one for one in await house.rows(CaseDeadline, case) if one.phase == "sign"]
    expected = house.at + (timedelta(minutes=minutes) if minutes else timedelta(days=1))
    assert sign.due_at == expected


# -- taking in ---------------------------------------------------------------------------------------------------------


async def test_a_question_is_answered_from_the_knowledge_base(house: House) -> None:
    article = KnowledgeArticle(
        id=uuid4(),
        code="K1",
        version=1,
        title="公交线路",
        answer="请乘1路",
        source="公交公司",
        standard="",
        kind="",
        category_code="",
        review_by=(NINE + timedelta(days=30)).date(),
        written_by="x",
        written_at=NINE,
    )
    async with house.db.begin() as session:
        session.add(article)
    case = await house.report(disposition="question", code=None, kind=None)
    await house.refused(case, Action.ANSWER, house.agent, "answer is needed")
    await house.refused(case, Action.FILE, house.agent, "question is not filed")
    await house.refused(case, Action.ANSWER, house.agent, "no such article", Words(knowledge=uuid4()))
    row = await house.do(case, Action.ANSWER, house.agent, Words(knowledge=article.id))
    assert (row.state, row.outcome, row.filed_at) == ("closed", "answered", None)
    assert await house.running(case) == set()
    assert ("case.answered", False) in await house.events(case)
    late = await house.report(disposition="question", code=None, kind=None)
    house.later(days=40)
    await house.refused(late, Action.ANSWER, house.agent, "review date", Words(knowledge=article.id))


async def test_verified_first_then_filed(house: House) -> None:
    case = await house.report(source="web")
    await house.refused(case, Action.FILE, house.agent, "先核后立")
    await house.do(case, Action.ASK_VERIFY, house.agent)
    assert (await house.case(case)).state == "pending_verify"
    assert await house.running(case) == {"citizen", "verify"}
    await house.refused(case, Action.VERIFY, house.agent, "it is for collector", result="exists")
    await house.do(case, Action.VERIFY, house.collector, "在", result="exists")
    [check] = await house.rows(CaseCheck, case)
    assert (check.kind, check.result, check.collector) == ("verify", "exists", UUID(house.collector.id))
    row = await house.do(case, Action.FILE, house.agent)
    assert (row.state, row.verification) == ("pending_dispatch", "verify_first")


async def test_what_nobody_found_is_not_filed_but_refused_with_a_reason(house: House) -> None:
    case = await house.report(source="web")
    await house.do(case, Action.ASK_VERIFY, house.agent)
    await house.do(case, Action.VERIFY, house.collector, result="not_exists")
    await house.refused(case, Action.FILE, house.chief, "found nothing")
    await house.refused(case, Action.REFUSE, house.agent, "it is for duty_chief", "不存在")
    await house.refused(case, Action.REFUSE, house.chief, "a reason is needed")
    row = await house.do(case, Action.REFUSE, house.chief, "现场没有")
    assert (row.state, row.outcome, row.closed_at) == ("not_accepted", "not_accepted", house.at)
    assert await house.running(case) == set()
    assert not any(feed for _, feed in await house.events(case))


async def test_of_what_could_not_be_told_the_duty_chief_decides(house: House) -> None:
    case = await house.report(source="web")
    await house.do(case, Action.ASK_VERIFY, house.agent)
    await house.do(case, Action.VERIFY, house.collector, result="cannot_tell")
    await house.refused(case, Action.FILE, house.agent, "duty chief decides")
    assert (await house.do(case, Action.FILE, house.chief)).state == "pending_dispatch"


async def test_a_grid_worker_closes_a_small_matter_with_proof(house: House) -> None:
    case = await house.report(source="collector")
    refusal = await house.refused(case, Action.SELF_HANDLE, house.collector, "level 1")
    assert Action.VERIFY not in refusal.legal
    async with house.db.begin() as session:
        listed = await _list_item(session, house, level=1, unit=None)
    await house.refused(case, Action.SELF_HANDLE, house.collector, "picture")
    await house.picture(case)
    row = await house.do(case, Action.SELF_HANDLE, house.collector, "已清理")
    assert (row.state, row.outcome, row.self_handled, row.item_id) == ("closed", "solved", True, listed)
    assert await house.running(case) == set()


async def test_a_matter_for_the_police_is_handed_over_under_their_number(house: House) -> None:
    case, other = await house.report(), await house.report()
    await house.refused(case, Action.HAND_OVER, house.agent, "number under which the police")
    row = await house.do(case, Action.HAND_OVER, house.agent, Words(police_number="J20261123001"))
    assert (row.state, row.outcome) == ("closed", "handed_over")
    [handover] = await house.rows(PoliceHandover, case)
    assert (handover.direction, handover.police_number) == ("out", "J20261123001")
    assert "J2026" not in str([one.detail for one in await house.log(case)])
    await house.refused(other, Action.HAND_OVER, house.agent, "another case", Words(police_number=" J20261123001 "))


async def _list_item(session: Any, house: House, *, level: int, unit: UUID | None) -> UUID:
    from callcenter.cases.lists import ResponsibilityItem, ResponsibilityList

    listed = ResponsibilityList(
        id=uuid4(),
        name="事项清单",
        version=1,
        in_force_from=NINE - timedelta(days=30),
        imported_at=NINE,
        imported_by="x",
        sha256="0" * 64,
        items=1,
    )
    session.add(listed)
    await session.flush()
    item = ResponsibilityItem(
        id=uuid4(),
        list_id=listed.id,
        code="1",
        standard=MANHOLE[0],
        kind=MANHOLE[2],
        category_code=MANHOLE[1],
        unit_id=unit,
        filing_condition="缺失",
        closing_condition="补齐",
        limit_value=2,
        limit_unit="urgent_hour",
        line="city",
        level=level,
    )
    session.add(item)
    return item.id


# -- what calls become -------------------------------------------------------------------------------------------------


async def test_a_call_files_by_itself_and_is_dispatched_by_the_list(house: House) -> None:
    async with house.db.begin() as session:
        item = await _list_item(session, house, level=3, unit=house.roads)
    call = SampleCall()
    async with house.db.begin() as session:
        for command in call.whole():
            await calls.apply(session, command)
    row = await house.case(case_id(call.call))
    assert (row.state, row.lead_unit_id, row.item_id, row.line, row.level) == (
        "pending_handle",
        house.roads,
        item,
        "city",
        3,
    )
    assert row.verification == "dispatch_first"
    steps = [(one.actor, one.action, one.rule) for one in (await house.log(row.id))[-2:]]
    assert steps == [("system", "filed", "filing.auto"), ("system", "dispatch", "dispatch.responsibility")]
    [order] = await house.rows(CaseOrder, row.id)
    assert (order.unit_id, order.issued_by, order.rule) == (house.roads, "system", "dispatch.responsibility")
    limits = {one.phase: (one.limit_value, one.limit_unit) for one in await house.rows(CaseDeadline, row.id)}
    assert limits["handle"] == (2, "urgent_hour")
    assert "verify" in limits, "先派后核: somebody looks while it goes its way"
    house.at = RUNG + timedelta(minutes=5)
    await house.do(row.id, Action.VERIFY, house.collector, result="exists")
    assert (await house.case(row.id)).state == "pending_handle"


async def test_a_call_that_must_be_verified_first_waits_for_it_and_is_in_no_feed(house: House) -> None:
    async with house.db.begin() as session:
        session.add(
            VerificationRule(id=uuid4(), source="phone", domain="", kind="", category_code="", mode="verify_first")
        )
    call = SampleCall()
    async with house.db.begin() as session:
        for command in call.whole():
            await calls.apply(session, command)
    row = await house.case(case_id(call.call))
    assert (row.state, row.filed_at, row.verification) == ("pending_verify", None, "verify_first")
    last = (await house.log(row.id))[-1]
    assert (last.actor, last.action, last.rule) == ("system", "ask_verify", "verification.first")
    assert not any(feed for _, feed in await house.events(row.id))
    async with house.db.begin() as session:
        await calls.apply(session, call.routed("其实是邻居吵架", disposition="none", category=None))
    assert (await house.case(row.id)).category_code == MANHOLE[1], "more words move no category that is being verified"


async def test_an_agents_confirmation_files_and_counts_as_supervision(house: House) -> None:
    call = SampleCall()
    async with house.db.begin() as session:
        for command in call.whole(decision="confirm"):
            await calls.apply(session, command)
    case = case_id(call.call)
    both = somebody(Post.AGENT, Post.DISPATCHER)
    house.at = RUNG + timedelta(minutes=5)
    await _confirm(house, case, UUID(both.id))
    assert (await house.case(case)).state == "pending_dispatch"
    await house.refused(case, Action.DISPATCH, both, "acted on this case for supervision", unit=house.roads)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    with pytest.raises(NotConfirmable, match="before a unit has it"):
        await _confirm(house, case, uuid4())


async def _confirm(house: House, case: UUID, user: UUID) -> None:
    version = (await house.case(case)).version
    async with house.db.begin() as session:
        await confirm_routing(session, case, user_id=user, choice=None, expected_version=version, at=house.at)


# -- units -------------------------------------------------------------------------------------------------------------


async def test_lead_and_assisting_units_each_have_their_order(house: House) -> None:
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    await house.refused(case, Action.DISPATCH, house.dispatcher, "no active unit", unit=uuid4())
    await house.refused(
        case, Action.DISPATCH, house.dispatcher, "named twice", unit=house.roads, assisting=(house.roads,)
    )
    await house.do(
        case, Action.DISPATCH, house.dispatcher, "一起去", unit=house.roads, assisting=(house.street, house.other)
    )
    lead, helper, idle = house.of(house.roads), house.of(house.street), house.of(house.other)
    await house.do(case, Action.SIGN, helper)
    assert (await house.case(case)).state == "pending_handle"
    await house.refused(case, Action.SIGN, helper, "has signed")
    await house.do(case, Action.SIGN, lead)
    await house.refused(case, Action.ASK_EXTENSION, helper, "does not lead", "没时间")
    await house.refused(case, Action.REPORT_DONE, idle, "has not signed", "好了")
    await house.refused(case, Action.REPORT_DONE, house.of(uuid4()), "no open order", "好了")
    await house.picture(case)
    await house.do(case, Action.REPORT_DONE, helper, "我们的部分好了")
    assert (await house.case(case)).state == "handling"
    await house.do(case, Action.REPORT_DONE, lead, "好了")
    orders = {one.unit_id: one for one in await house.rows(CaseOrder, case)}
    assert {unit: one.outcome for unit, one in orders.items()} == {
        house.roads: "done",
        house.street: "done",
        house.other: "withdrawn",
    }
    met = {
        (one.order_id, one.phase): one.met for one in await house.rows(CaseDeadline, case) if one.order_id is not None
    }
    assert met[orders[house.other].id, "handle"] is None, "what was withdrawn was neither met nor missed"
    assert met[orders[house.roads].id, "handle"] is True


async def test_the_unit_names_one_of_its_people(house: House) -> None:
    case = await house.handled()
    people = {}
    async with house.db.begin() as session:
        for name, unit in (("own", house.roads), ("strange", house.street)):
            user = User(
                id=uuid4(),
                username=name,
                display_name=name,
                password_hash="x",
                roles=["unit"],
                extension="",
                disabled=False,
                failures=0,
                created_at=house.at,
                password_changed_at=house.at,
                unit_id=unit,
            )
            session.add(user)
            people[name] = user.id
    who = house.of(house.roads)
    await house.refused(case, Action.ASSIGN, who, "person who handles")
    await house.refused(case, Action.ASSIGN, who, "nobody of your unit", handler=people["strange"])
    await house.do(case, Action.ASSIGN, who, handler=people["own"])
    [order] = await house.rows(CaseOrder, case)
    assert order.handler == people["own"]


async def test_the_accused_never_gets_the_order(house: House) -> None:
    case = await house.report(accused_unit_id=house.street)
    await house.do(case, Action.FILE, house.agent)
    for units in ({"unit": house.street}, {"unit": house.roads, "assisting": (house.street,)}):
        await house.refused(case, Action.DISPATCH, house.dispatcher, "complained about", **units)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)


async def test_rework_is_a_new_order_to_the_same_unit_and_needs_a_new_picture(house: House) -> None:
    case = await house.handled()
    await house.done(case)
    await house.refused(case, Action.CHECK, house.collector, "a reason is needed", result="failed")
    row = await house.do(case, Action.CHECK, house.collector, "还缺一块", result="failed")
    assert (row.state, row.reworks, row.lead_unit_id) == ("pending_handle", 1, house.roads)
    orders = await house.rows(CaseOrder, case, CaseOrder.round)
    assert [(one.round, one.unit_id, one.outcome) for one in orders] == [
        (1, house.roads, "rework"),
        (2, house.roads, None),
    ]
    assert ("case.reworked", True) in await house.events(case)
    assert await house.running(case) == {"citizen", "sign", "handle"}
    await house.do(case, Action.SIGN, house.of(house.roads))
    await house.refused(case, Action.REPORT_DONE, house.of(house.roads), "new picture", "这次好了")
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    assert (await house.case(case)).state == "pending_close"


async def test_an_old_picture_proves_nothing(house: House) -> None:
    first = await house.handled()
    await house.picture(first, sha="ab" * 32)
    case = await house.handled()
    who = house.of(house.roads)
    await house.picture(case, sha="ab" * 32)  # another case's
    await house.refused(case, Action.REPORT_DONE, who, "new picture", "好了")
    await house.picture(case, taken_at=NINE - timedelta(days=1))  # taken before the order
    await house.refused(case, Action.REPORT_DONE, who, "new picture", "好了")
    await house.picture(case, kind="before")
    await house.refused(case, Action.REPORT_DONE, who, "new picture", "好了")
    await house.picture(case)
    await house.refused(case, Action.REPORT_DONE, who, "what was done")
    await house.do(case, Action.REPORT_DONE, who, "好了")


async def test_returned_three_times_the_duty_chief_designates_and_it_stays(house: House) -> None:
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    who = house.of(house.roads)
    for number in range(3):
        await house.refused(case, Action.DESIGNATE, house.second_chief, "designated", unit=house.roads)
        await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
        await house.refused(case, Action.ASK_RETURN, who, "a reason is needed")
        await house.do(case, Action.ASK_RETURN, who, "不是我们的")
        await house.refused(case, Action.ASK_RETURN, who, "asked for", "不是我们的")
        await house.do(case, Action.GRANT_RETURN, house.dispatcher)
        row = await house.case(case)
        assert (row.state, row.returns, row.lead_unit_id) == ("pending_dispatch", number + 1, None)
        assert await house.running(case) == {"citizen", "dispatch"}
    await house.refused(case, Action.DISPATCH, house.dispatcher, "duty chief designates", unit=house.roads)
    await house.do(case, Action.DESIGNATE, house.second_chief, unit=house.roads)
    await house.refused(case, Action.ASK_RETURN, who, "designated", "不是我们的")
    orders = await house.rows(CaseOrder, case, CaseOrder.round)
    assert [(one.round, one.outcome, one.rule) for one in orders] == [
        (1, "returned", None),
        (2, "returned", None),
        (3, "returned", None),
        (4, None, "dispatch.designated"),
    ]
    # Who designated has commanded, and closes no case.
    assert Action.FORCE_CLOSE not in await _legal(house, case, house.second_chief)
    assert Action.FORCE_CLOSE in await _legal(house, case, house.chief)


async def _legal(house: House, case: UUID, who: Actor) -> tuple[Action, ...]:
    async with house.db.read() as session:
        return await legal_now(session, await session.get_one(Case, case), who, city=house.city)


async def test_a_return_is_denied_or_too_late(house: House) -> None:
    case = await house.handled()
    await house.do(case, Action.ASK_RETURN, house.of(house.roads), "不是我们的")
    await house.do(case, Action.DENY_RETURN, house.dispatcher, "是你们的")
    [request] = await house.rows(CaseRequest, case)
    assert (request.granted, request.decided_by) == (False, house.dispatcher.id)
    assert (await house.case(case)).returns == 0
    house.later(days=5)
    await house.refused(case, Action.ASK_RETURN, house.of(house.roads), "could be given back until", "不是我们的")


async def test_back_to_filing_and_filed_again(house: House) -> None:
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    filed_at = (await house.case(case)).filed_at
    await house.do(case, Action.RETURN_TO_FILING, house.dispatcher, "分类不对")
    assert (await house.case(case)).state == "pending_filing"
    await house.do(case, Action.FILE, house.agent)
    assert (await house.case(case)).filed_at == filed_at


async def test_extended_twice_and_not_thrice(house: House) -> None:
    case = await house.handled()
    who = house.of(house.roads)

    async def due() -> datetime:
        [row] = [one for one in await house.rows(CaseDeadline, case) if one.phase == "handle"]
        return row.due_at

    dues = [await due()]
    for _ in range(2):
        await house.do(case, Action.ASK_EXTENSION, who, "下雨")
        await house.do(case, Action.GRANT_EXTENSION, house.dispatcher)
        dues.append(await due())
    assert dues == sorted(set(dues)), "each gives more time"
    await house.refused(case, Action.ASK_EXTENSION, who, "2 is the most", "下雨")
    assert (await house.case(case)).extensions == 2
    assert Action.ASK_EXTENSION in await _legal(house, case, who)


async def test_an_extension_that_grants_nothing_is_not_granted(house: House) -> None:
    case = await house.handled()
    await house.do(case, Action.ASK_EXTENSION, house.of(house.roads), "下雨")
    house.later(days=60)
    await house.refused(case, Action.GRANT_EXTENSION, house.dispatcher, "would be over")
    await house.do(case, Action.DENY_EXTENSION, house.dispatcher, "太晚了")


async def test_suspended_and_resumed_by_the_job(house: House) -> None:
    case = await house.handled()
    who = house.of(house.roads)
    until = house.at + timedelta(days=10)
    await house.refused(case, Action.ASK_SUSPENSION, who, "must lie ahead", "等配件", until=house.at)
    await house.do(case, Action.ASK_SUSPENSION, who, "等配件", until=until)
    row = await house.do(case, Action.GRANT_SUSPENSION, house.dispatcher)
    assert (row.state, row.suspensions) == ("suspended", 1)
    [handle] = [one for one in await house.rows(CaseDeadline, case) if one.phase == "handle"]
    assert handle.paused_at is not None
    runner = Runner(house.db, {RESUME: resume_job})
    assert await runner.run_once(until - timedelta(seconds=1)) == 0
    assert await runner.run_once(until) == 1
    row = await house.case(case)
    assert row.state == "handling"
    last = (await house.log(case))[-1]
    assert (last.actor, last.action, last.rule) == ("system", "resume", "suspension.over")
    [handle] = [one for one in await house.rows(CaseDeadline, case) if one.phase == "handle"]
    assert (handle.paused_at, handle.ended_at) == (None, None)
    async with house.db.read() as session:
        [job] = list(await session.scalars(select(Job).where(Job.kind == RESUME)))
    await resume_job(house.db, job)
    assert (await house.case(case)).version == row.version, "a job done twice changes nothing"
    house.at = until
    await house.refused(case, Action.ASK_SUSPENSION, who, "1 is the most", "等", until=until + timedelta(days=5))


async def test_a_long_suspension_is_the_duty_chiefs(house: House) -> None:
    case = await house.handled()
    await house.do(case, Action.ASK_SUSPENSION, house.of(house.roads), "等", until=house.at + timedelta(days=60))
    await house.refused(case, Action.GRANT_SUSPENSION, house.dispatcher, "duty chief")
    row = await house.do(case, Action.GRANT_SUSPENSION, house.second_chief)
    assert row.state == "suspended"
    await house.refused(case, Action.RESUME, house.of(house.street), "does not lead")
    assert (await house.do(case, Action.RESUME, house.of(house.roads))).state == "handling"


async def test_a_request_that_nobody_decided_lapses_when_the_work_is_done(house: House) -> None:
    case = await house.handled()
    await house.do(case, Action.ASK_EXTENSION, house.of(house.roads), "下雨")
    await house.done(case)
    [request] = await house.rows(CaseRequest, case)
    assert (request.granted, request.decided_by) == (None, "system")


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_a_case_closes_after_the_citizen_was_reached_or_tried_three_times(house: House) -> None:
    case = await house.handled()
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    for tries in range(3):
        await house.refused(case, Action.CLOSE, house.chief, f"{tries} of 3 tries")
        await house.do(case, Action.CALL_BACK, house.agent, reached=False)
    await house.refused(case, Action.CLOSE, house.agent, "it is for duty_chief")
    assert (await house.do(case, Action.CLOSE, house.chief)).outcome == "solved"


async def test_a_citizen_who_left_no_number_is_not_waited_for(house: House) -> None:
    case = await house.handled(reporter_number=None, anonymous=True)
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    assert (await house.do(case, Action.CLOSE, house.chief)).state == "closed"


async def test_a_dissatisfied_citizen_reopens_it_and_the_next_round_is_asked_anew(house: House) -> None:
    case = await house.handled()
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    await house.do(case, Action.CALL_BACK, house.agent, reached=True, satisfaction="dissatisfied")
    await house.refused(case, Action.CLOSE, house.chief, "not satisfied")
    row = await house.do(case, Action.REOPEN, house.agent, "没修好")
    assert (row.state, row.lead_unit_id) == ("pending_dispatch", None)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.other)
    await house.do(case, Action.SIGN, house.of(house.other))
    await house.done(case, house.other)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    await house.refused(case, Action.CLOSE, house.chief, "0 of 3 tries")
    await house.do(case, Action.CALL_BACK, house.agent, reached=True, satisfaction="basically")
    assert (await house.do(case, Action.CLOSE, house.chief)).state == "closed"


@pytest.mark.parametrize("suspended", [False, True])
async def test_forced_to_close_leaves_nothing_open(house: House, suspended: bool) -> None:
    case = await house.handled()
    await house.do(case, Action.ASK_SUSPENSION, house.of(house.roads), "等", until=house.at + timedelta(days=3))
    if suspended:
        await house.do(case, Action.GRANT_SUSPENSION, house.dispatcher)
    await house.refused(case, Action.FORCE_CLOSE, house.chief, "a reason is needed")
    row = await house.do(case, Action.FORCE_CLOSE, house.chief, "拆迁")
    assert (row.state, row.outcome) == ("closed", "forced")
    assert await house.running(case) == set()
    [order] = await house.rows(CaseOrder, case)
    assert order.outcome == "closed"
    [request] = await house.rows(CaseRequest, case)
    assert request.decided_at is not None
    runner = Runner(house.db, {RESUME: resume_job})
    await runner.run_once(house.at + timedelta(days=4))
    assert (await house.case(case)).version == row.version


async def test_an_overtime_is_appealed_once_and_two_people_decide(house: House) -> None:
    case = await house.handled()
    house.later(days=40)
    await house.done(case)
    await house.do(case, Action.CHECK, house.collector, result="passed")
    await house.do(case, Action.CALL_BACK, house.agent, reached=True, satisfaction="satisfied")
    await house.do(case, Action.CLOSE, house.chief)
    await house.refused(case, Action.APPEAL, house.of(house.street), "missed no limit", "下雨")
    await house.do(case, Action.APPEAL, house.of(house.roads), "下雨")
    await house.refused(case, Action.APPEAL, house.of(house.roads), "one a case", "下雨")
    await house.refused(case, Action.CONFIRM_APPEAL, house.agent, "no appeal waits", granted=True)
    both = somebody(Post.DISPATCHER, Post.AGENT)
    await house.do(case, Action.JUDGE_APPEAL, both, granted=True)
    await house.refused(case, Action.CONFIRM_APPEAL, both, "acted on this case for command", granted=True)
    row = await house.do(case, Action.CONFIRM_APPEAL, house.agent, granted=True)
    assert row.state == "closed"
    [appeal] = await house.rows(CaseAppeal, case)
    assert (appeal.first_by, appeal.second_by, appeal.granted) == (both.id, house.agent.id, True)
    missed = [one for one in await house.rows(CaseDeadline, case) if one.met is False]
    assert "handle" in {one.phase for one in missed}, "the raw overtime stays"


async def test_nobody_watches_and_commands_and_handles_one_case(house: House) -> None:
    everybody = Actor(
        str(uuid4()),
        frozenset({Post.AGENT, Post.DUTY_CHIEF, Post.DISPATCHER, Post.COLLECTOR, Post.UNIT}),
        house.roads,
    )
    case = await house.report()
    await house.do(case, Action.FILE, everybody)
    await house.refused(case, Action.DISPATCH, everybody, "for supervision", unit=house.roads)
    await house.do(case, Action.DISPATCH, house.dispatcher, unit=house.roads)
    await house.refused(case, Action.SIGN, everybody, "for supervision")
    other = await house.handled()
    await house.picture(other)
    await house.do(other, Action.REPORT_DONE, everybody, "好了")
    await house.refused(other, Action.ASK_CHECK, everybody, "for handling")


# -- two at once, and what is not there --------------------------------------------------------------------------------


async def test_of_two_at_once_one_wins_and_the_other_is_told_what_changed(house: House) -> None:
    case = await house.report()
    version = (await house.case(case)).version

    async def step(action: Action, who: Actor, words: Words) -> Case:
        async with house.db.begin() as session:
            return await act(
                session,
                case,
                action,
                actor=who,
                words=words,
                expected_version=version,
                at=house.at,
                city=house.city,
            )

    both: list[Awaitable[Case]] = [
        step(Action.FILE, house.agent, Words()),
        step(Action.REFUSE, house.chief, Words(reason="不归我们管")),
    ]
    done = await asyncio.gather(*both, return_exceptions=True)
    [won] = [one for one in done if isinstance(one, Case)]
    [lost] = [one for one in done if isinstance(one, Conflict)]
    row = await house.case(case)
    assert (row.state, row.version) == (won.state, version + 1)
    winner = house.agent if won.state == "pending_dispatch" else house.chief
    assert lost.changes == [f"{'file' if winner is house.agent else 'refuse'} by {winner.id}"]
    assert len(await house.log(case)) == 2


async def test_a_person_says_which_version_they_saw_and_the_machine_need_not(house: House) -> None:
    case = await house.report()
    async with house.db.begin() as session:
        with pytest.raises(ValueError, match="which version"):
            await act(session, case, Action.FILE, actor=house.agent, expected_version=None, at=house.at)
        row = await act(session, case, Action.FILE, actor=MACHINE, expected_version=None, at=house.at, rule="x")
    assert row.state == "pending_dispatch"


async def test_a_crash_in_the_middle_leaves_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await house.report()
    await house.do(case, Action.FILE, house.agent)
    before = await house.case(case)

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("cut")

    for where in ("start_limits", "append_log", "_tell"):
        with monkeypatch.context() as patched:
            patched.setattr(f"callcenter.cases.acts.{where}", broken if where != "_tell" else _cut)
            with pytest.raises(RuntimeError, match="cut"):
                await house.do(case, Action.DISPATCH, house.dispatcher, "去", unit=house.roads)
        assert await house.rows(CaseOrder, case) == []
        assert await house.rows(CaseText, case) == []
        assert await house.running(case) == {"citizen", "dispatch"}
        assert (await house.case(case)).version == before.version
    async with house.db.read() as session:
        kinds = set(await session.scalars(select(Job.kind)))
        assert kinds <= {"message.send"}, "the citizen was told of the number, before; nobody of an order"


def _cut(*_: Any) -> None:
    raise RuntimeError("cut")


# -- registering and erasing -------------------------------------------------------------------------------------------


async def test_registering_twice_under_one_key_makes_one_case(house: House) -> None:
    key = uuid4()

    async def once(new: intake.NewCase = WEB) -> tuple[Case, bool]:
        async with house.db.begin() as session:
            return await intake.register(session, key, new, by=house.agent.id, at=house.at)

    first = await asyncio.gather(once(), once())
    assert sorted(fresh for _, fresh in first) == [False, True]
    assert {case.number for case, _ in first} == {"2026112300001"}
    with pytest.raises(intake.AlreadyRegistered, match="another matter"):
        await once(intake.NewCase(source="web", text="别的事"))
    row = await house.case(key)
    assert (row.state, row.number, row.decision) == ("reported", "2026112300001", "confirm")
    assert len(await house.log(key)) == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"source": "pigeon"}, "source 'pigeon' is none of"),
        ({"urgency": "sehr"}, "urgency"),
        ({"intent": "x"}, "intent"),
        ({"area_id": uuid4()}, "area"),
        ({"accused_unit_id": uuid4()}, "accused_unit"),
    ],
)
async def test_what_is_not_known_is_refused_and_nothing_is_kept(
    house: House, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises((ValueError, intake.Unknown), match=match):
        await house.report(**changes)
    async with house.db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Case)) == 0


async def test_a_police_number_stands_for_one_case(house: House) -> None:
    case = await house.report(police_number="J1")
    [handover] = await house.rows(PoliceHandover, case)
    assert (handover.direction, handover.by) == ("in", house.agent.id)
    with pytest.raises(intake.AlreadyRegistered, match="police number"):
        await house.report(police_number="J1 ")


async def test_erasing_blanks_everything_that_people_wrote(house: House) -> None:
    case = await house.report(
        reporter_name="王丽", callback_number="13900000000", wish="快点", accused="张三", source="web"
    )
    await house.do(case, Action.ASK_VERIFY, house.agent)
    await house.do(case, Action.VERIFY, house.collector, "井盖在王丽家门口", result="exists")
    await house.picture(case)
    async with house.db.begin() as session:
        await erase_particulars(session, case, actor="system", at=house.at)
    async with house.db.read() as session:
        words = await session.get_one(CaseParticulars, case)
        left = {one.key: getattr(words, one.key) for one in inspect(CaseParticulars).attrs if one.key != "case_id"}
    assert {name for name, value in left.items() if value is not None} == {"erased_at"}
    assert {one.text for one in await house.rows(CaseText, case)} == {None}
    assert all(one.erased_at is not None for one in await house.rows(CaseEvidence, case))
    assert [one.action for one in await house.log(case)][-1] == "erased"


# -- over HTTP ---------------------------------------------------------------------------------------------------------

JPEG = jpeg("picture of a manhole")


async def _unit(api: Api, name: str) -> UUID:
    unit = uuid4()
    async with api.services.db.begin() as session:
        session.add(
            Unit(
                id=unit,
                code=name,
                name=name,
                kind=DEPARTMENT,
                level=2,
                leader="处长",
                duty_phone="",
                round_the_clock=False,
                active=True,
                created_at=NINE,
            )
        )
    return unit


async def _person_of(api: Api, unit: UUID | None, admin: httpx.AsyncClient) -> httpx.AsyncClient:
    client = await api.signed_in("unit")
    me = (await client.get("/api/v1/me")).json()
    answer = await admin.put(f"/api/v1/users/{me['id']}/unit", json={"unit": str(unit) if unit else None})
    assert answer.status_code == 200, answer.text
    return client


async def _registered(client: httpx.AsyncClient, key: str = "", **changes: Any) -> httpx.Response:
    category = {"standard": MANHOLE[0], "kind": MANHOLE[2], "code": MANHOLE[1]}
    body = {
        "source": "110",
        "text": "井盖不见了，打13812345678",
        "category": category,
        "reporter_number": "13812345678",
        "reporter_name": "王丽",
        "address": "解放大道",
        **changes,
    }
    return await client.post("/api/v1/cases", json=body, headers={"Idempotency-Key": key or uuid4().hex})


async def _take(client: httpx.AsyncClient, case: dict[str, Any], action: str, **given: Any) -> httpx.Response:
    return await client.post(
        f"/api/v1/cases/{case['id']}/acts",
        json={"action": action, "expected_version": case["version"], **given},
    )


async def test_a_case_is_registered_and_handled_over_http(api: Api) -> None:
    admin, agent, chief = await api.signed_in("admin"), await api.signed_in("agent"), await api.signed_in("supervisor")
    command, collector = await api.signed_in("command"), await api.signed_in("collector")
    roads, parks = await _unit(api, "roads"), await _unit(api, "parks")
    worker, stranger = await _person_of(api, roads, admin), await _person_of(api, parks, admin)
    made = await _registered(agent)
    assert made.status_code == 201, made.text
    case = made.json()
    assert (case["state"], case["source"], case["reporter_name"]) == ("reported", "110", "王*")
    assert case["reporter_number"] == "138****5678"
    assert case["number"]
    path = f"/api/v1/cases/{case['id']}"
    assert (await worker.get(path)).status_code == 404
    legal = (await agent.get(f"{path}/legal")).json()
    assert legal["version"] == 1
    assert {"file", "ask_verify", "hand_over"} <= set(legal["legal"])
    case = (await _take(agent, case, "file")).json()
    assert case["state"] == "pending_dispatch"
    refused = await _take(agent, case, "dispatch", unit=str(roads))
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_missing")
    assert (await _take(command, case, "dispatch")).json()["reason"] == "the unit that leads is needed"
    case = (await _take(command, case, "dispatch", unit=str(roads))).json()
    assert (case["state"], case["lead_unit"]) == ("pending_handle", str(roads))
    assert (await stranger.get(path)).status_code == 404, "another unit's case"
    assert (await _take(stranger, case, "sign")).status_code == 404
    assert [one["id"] for one in (await worker.get("/api/v1/cases")).json()["items"]] == [case["id"]]
    assert (await stranger.get("/api/v1/cases")).json()["items"] == []
    case = (await _take(worker, case, "sign")).json()
    refused = await _take(worker, case, "report_done", text="装好了")
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert (body["code"], body["reason"]) == (
        "step_refused",
        "a new picture, taken after the order was given, is needed",
    )
    assert "ask_extension" in body["legal"]
    added = await worker.post(f"{path}/evidence", params={"kind": "after"}, content=JPEG)
    assert added.status_code == 201, added.text
    case = (await _take(worker, case, "report_done", text="装好了")).json()
    case = (await _take(agent, case, "ask_check")).json()
    case = (await _take(collector, case, "check", result="passed", lat=31.0, lon=112.2)).json()
    case = (await _take(agent, case, "call_back", reached=True, satisfaction="satisfied")).json()
    case = (await _take(chief, case, "close")).json()
    assert (case["state"], case["outcome"], case["due_at"]) == ("closed", "solved", None)


async def test_over_http_one_wins_and_the_other_hears_what_changed(api: Api) -> None:
    agent, chief = await api.signed_in("agent"), await api.signed_in("supervisor")
    case = (await _registered(agent)).json()
    answers = await asyncio.gather(_take(agent, case, "file"), _take(chief, case, "refuse", reason="不归我们管"))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [lost] = [answer.json() for answer in answers if answer.status_code == 409]
    assert lost["code"] == "conflict"
    [change] = lost["changes"]
    assert change.split(" by ")[0] in ("file", "refuse")


async def test_the_same_key_is_the_same_case_and_another_matter_is_refused(api: Api) -> None:
    agent, other = await api.signed_in("agent"), await api.signed_in("agent")
    first = await _registered(agent, "form-00017")
    again = await _registered(agent, "form-00017")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (await _registered(agent, "form-00017", text="别的事")).status_code == 409
    assert (await _registered(other, "form-00017")).json()["id"] != first.json()["id"], "a key is its owner's"
    assert (await _registered(agent, "short")).status_code == 422
    missing = await agent.post("/api/v1/cases", json={"source": "web", "text": "x"})
    assert missing.status_code == 422
    assert (await _registered(agent, area=str(uuid4()))).json()["errors"][0]["where"] == "body.area"
    assert (await _registered(agent, source="phone")).status_code == 422


async def test_a_volunteer_reports_and_no_more(api: Api) -> None:
    volunteer, collector = await api.signed_in("volunteer"), await api.signed_in("collector")
    assert (await _registered(volunteer, source="110")).status_code == 403
    assert (await _registered(collector, source="web")).status_code == 403
    made = await _registered(volunteer, source="volunteer")
    assert made.status_code == 201
    path = f"/api/v1/cases/{made.json()['id']}"
    assert (await volunteer.get(path)).status_code == 403
    assert (await _take(volunteer, made.json(), "file")).status_code == 403
    before = await volunteer.post(f"{path}/evidence", params={"kind": "before"}, content=JPEG)
    assert before.status_code == 201
    others = (await _registered(collector, source="collector")).json()
    refused = await volunteer.post(f"/api/v1/cases/{others['id']}/evidence", params={"kind": "before"}, content=JPEG)
    assert refused.status_code == 404


async def test_an_inspector_reads_everything_and_takes_no_step(api: Api) -> None:
    agent, inspector = await api.signed_in("agent"), await api.signed_in("inspector")
    case = (await _registered(agent)).json()
    path = f"/api/v1/cases/{case['id']}"
    assert (await inspector.get(path)).status_code == 200
    assert (await inspector.get(f"{path}/legal")).json()["legal"] == []
    assert (await inspector.get(f"{path}/evidence")).status_code == 200
    for answer in (
        await _take(inspector, case, "file"),
        await _registered(inspector),
        await inspector.post(f"{path}/evidence", params={"kind": "other"}, content=JPEG),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing")


async def test_pictures_are_sniffed_measured_and_kept_by_their_hash(api: Api) -> None:
    agent, auditor = await api.signed_in("agent"), await api.signed_in("auditor")
    case = (await _registered(agent)).json()
    path = f"/api/v1/cases/{case['id']}/evidence"
    where = {"kind": "before"}
    made = await agent.post(path, params=where, content=JPEG, headers={"Content-Type": "text/html"})
    assert made.status_code == 201, made.text
    again = await agent.post(path, params={"kind": "after"}, content=JPEG)
    assert (again.status_code, again.json()["kind"]) == (200, "before")
    assert made.json()["media"] == "image/jpeg"
    folder = api.services.settings.data_dir / "evidence"
    assert [one.name for one in folder.iterdir()] == [made.json()["sha256"]]
    assert (folder / made.json()["sha256"]).read_bytes() == JPEG
    assert (folder.stat().st_mode & 0o777, (folder / made.json()["sha256"]).stat().st_mode & 0o777) == (0o700, 0o600)
    shown = await agent.get(f"{path}/{made.json()['id']}")
    assert (shown.content, shown.headers["content-type"]) == (JPEG, "image/jpeg")
    assert shown.headers["content-disposition"].startswith("attachment")
    assert (await auditor.get(f"{path}/{made.json()['id']}")).status_code == 403
    assert (await agent.get(f"{path}/{uuid4()}")).status_code == 404
    for body in (b"", b"<script>alert(1)</script>", b"%PDF-1.7", b"GIF89a"):
        assert (await agent.post(path, params=where, content=body)).status_code == 422
    ahead = {**where, "taken_at": "2099-01-01T00:00:00+08:00"}
    assert (await agent.post(path, params=ahead, content=jpeg())).status_code == 422
    large = jpeg(data=2 * 1024 * 1024)
    assert (await agent.post(path, params=where, content=large)).status_code == 201
    too_large = await agent.post(path, params=where, content=JPEG + bytes(20 * 1024 * 1024))
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]
    assert (await agent.post("/api/v1/cases", content=bytes(2 * 1024 * 1024))).status_code == 413


async def test_a_secret_reporter_is_not_named_to_the_unit(api: Api) -> None:
    admin, agent, command = await api.signed_in("admin"), await api.signed_in("agent"), await api.signed_in("command")
    roads = await _unit(api, "roads")
    worker, lost = await _person_of(api, roads, admin), await _person_of(api, None, admin)
    case = (await _registered(agent, secrecy=True, callback_number="13900000000")).json()
    case = (await _take(agent, case, "file")).json()
    case = (await _take(command, case, "dispatch", unit=str(roads))).json()
    seen = (await worker.get(f"/api/v1/cases/{case['id']}")).json()
    assert (seen["reporter_name"], seen["reporter_number"], seen["callback_number"]) == ("", "", "")
    assert "13812345678" not in seen["text"]
    no_unit = await lost.get("/api/v1/cases")
    assert (no_unit.status_code, no_unit.json()["code"]) == (403, "permission_missing")
