"""Lamps, rings, sheets and notes: once each, with their true moments, by who may; on both databases."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update

from callcenter.access.model import User
from callcenter.cases import boxes, lamps, sheets, supervision
from callcenter.cases.lamps import RING
from callcenter.cases.life import (
    CITIZEN,
    DISPATCH,
    HANDLE,
    LEAD,
    SIGN,
    CaseDeadline,
    CaseOrder,
    SupervisionSheet,
)
from callcenter.cases.lifecycle import Actor, Post
from callcenter.cases.model import CLOSED, DRAFT, HANDLING, Case, CaseLog, CaseParticulars
from callcenter.cases.record import CaseNotFound
from callcenter.cases.ringing import RUNG, ring_handler
from callcenter.cases.sheets import MESSAGE_UNIT
from callcenter.cases.supervision import LampWatch, SweepSettings, sweep
from callcenter.city.model import Area, Unit
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.api import Api, api

__all__ = ["api"]

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
"""Friday, nine in the morning in the city."""
PHONE = "13900139000"
TRUE = {"warned": timedelta(hours=8), "yellow": timedelta(hours=34), "red": timedelta(hours=58)}
"""After the start of a limit of ten hours: 80 %, a day over, two days over."""


@dataclass
class Late:
    """A case with one order and one limit, as the tests need it."""

    phase: str = HANDLE
    start: datetime = AT
    state: str = HANDLING
    urgency: str = "ordinary"
    limit_unit: str = "work_hour"
    signed: bool = True
    filed: bool = True
    with_order: bool = True
    unit: UUID | None = None
    case: UUID = field(default_factory=uuid4)
    order: UUID = field(default_factory=uuid4)
    limit: UUID = field(default_factory=uuid4)
    more: dict[str, Any] = field(default_factory=dict)
    of_limit: dict[str, Any] = field(default_factory=dict)


async def a_unit(db: Database, **more: Any) -> UUID:
    id = uuid4()
    values: dict[str, Any] = {
        "id": id,
        "code": f"U{id.hex[:8]}",
        "name": "市政管理处",
        "kind": "department",
        "level": 1,
        "leader": "处长",
        "duty_phone": PHONE,
        "round_the_clock": False,
        "active": True,
        "created_at": AT,
        **more,
    }
    async with db.begin() as session:
        session.add(Unit(**values))
    return id


async def write(db: Database, *cases: Late) -> None:
    """The rows of these cases; those without a unit get one of their own."""
    for one in cases:
        one.unit = one.unit or await a_unit(db)
    async with db.begin() as session:
        for one in cases:
            values: dict[str, Any] = {
                "id": one.case,
                "number": f"2026112{random.randrange(10**9):09d}",
                "source": "phone",
                "state": one.state,
                "disposition": "case",
                "decision": "auto",
                "emergency": [],
                "secrecy": False,
                "version": 5,
                "created_at": one.start,
                "filed_at": one.start if one.filed else None,
                "urgency": one.urgency,
                "lead_unit_id": one.unit,
                "category_minor": "路灯",
                **one.more,
            }
            session.add(Case(**values))
            session.add(CaseParticulars(case_id=one.case))
            session.add(_log_row(one))
        await session.flush()
        for one in cases:
            if one.with_order:
                session.add(_order(one))
        await session.flush()
        for one in cases:
            session.add(_limit(one))


def _log_row(one: Late) -> CaseLog:
    return CaseLog(
        case_id=one.case,
        seq=1,
        actor="system",
        action="dispatch",
        to_state=one.state,
        version=5,
        detail={},
        at=one.start,
    )


def _order(one: Late) -> CaseOrder:
    return CaseOrder(
        id=one.order,
        case_id=one.case,
        unit_id=one.unit,
        part=LEAD,
        round=1,
        issued_at=one.start,
        issued_by="system",
        signed_at=one.start if one.signed else None,
    )


def _limit(one: Late) -> CaseDeadline:
    warn, yellow, red = (one.start + TRUE[lamp] for lamp in ("warned", "yellow", "red"))
    due = one.start + timedelta(hours=10)
    values: dict[str, Any] = {
        "id": one.limit,
        "case_id": one.case,
        "order_id": one.order if one.with_order else None,
        "phase": one.phase,
        "limit_value": 10,
        "limit_unit": one.limit_unit,
        "started_at": one.start,
        "due_at": due,
        "original_due_at": due,
        "extended": 0,
        "used_s": 0,
        "warn_at": warn,
        "yellow_at": yellow,
        "red_at": red,
        "lamp": "none",
        "next_lamp_at": warn,
        "provisional": False,
        **one.of_limit,
    }
    return CaseDeadline(**values)


async def lamp_rows(db: Database, case: UUID) -> list[tuple[str | None, datetime]]:
    """Rule and moment of the lamps in a case's log, as they were written."""
    async with db.read() as session:
        rows = await session.execute(
            select(CaseLog.rule, CaseLog.at)
            .where(CaseLog.case_id == case, CaseLog.action == "lamp")
            .order_by(CaseLog.seq)
        )
        return [(rule, at) for rule, at in rows]


async def rows(db: Database, model: Any, *where: Any) -> list[Any]:
    async with db.read() as session:
        return list(await session.scalars(select(model).where(*where)))


def all_three(start: datetime = AT) -> list[tuple[str, datetime]]:
    return [(f"lamp.{lamp}", start + after) for lamp, after in TRUE.items()]


# -- lamps -------------------------------------------------------------------------------------------------------------
async def test_each_lamp_is_lit_once_at_its_moment(db: Database) -> None:
    late = Late()
    await write(db, late)
    expected: list[tuple[str, datetime]] = []
    for lamp, after in TRUE.items():
        before = await sweep(db, AT + after - timedelta(microseconds=1))
        assert (before.cases, dict(before.lit)) == (0, {})
        result = await sweep(db, AT + after)
        assert dict(result.lit) == {lamp: 1}
        expected.append((f"lamp.{lamp}", AT + after))
        assert await lamp_rows(db, late.case) == expected
        [case] = await rows(db, Case, Case.id == late.case)
        assert (case.lamp, case.monitored, case.version, case.state) == (lamp, lamp == "red", 5, HANDLING)
    [limit] = await rows(db, CaseDeadline)
    assert (limit.lamp, limit.next_lamp_at) == ("red", None)
    events = await rows(db, OutboxEvent, OutboxEvent.kind == lamps.LAMP)
    assert [(event.refs["lamp"], event.at, event.feed) for event in events] == [
        (lamp, AT + after, True) for lamp, after in TRUE.items()
    ]
    messages = await rows(db, Job, Job.kind == MESSAGE_UNIT)
    assert sorted(job.refs["template"] for job in messages) == ["unit_red", "unit_sheet", "unit_warned", "unit_yellow"]


async def test_after_downtime_every_lamp_has_its_true_moment_and_the_unit_hears_once(db: Database) -> None:
    late = Late()
    await write(db, late)
    result = await sweep(db, AT + timedelta(days=9))
    assert dict(result.lit) == {"warned": 1, "yellow": 1, "red": 1}
    assert await lamp_rows(db, late.case) == all_three()
    again = await sweep(db, AT + timedelta(days=9))
    assert (again.cases, dict(again.lit), again.sheets) == (0, {}, 0)
    log = await rows(db, CaseLog, CaseLog.case_id == late.case)
    assert sorted(row.seq for row in log) == [1, 2, 3, 4, 5]
    assert {row.detail["noticed_at"] for row in log if row.action == "lamp"} == {(AT + timedelta(days=9)).isoformat()}
    messages = await rows(db, Job, Job.kind == MESSAGE_UNIT)
    assert sorted(job.refs["template"] for job in messages) == ["unit_red", "unit_sheet"]
    [sheet] = await rows(db, SupervisionSheet)
    assert (sheet.issued_at, sheet.rule, sheet.by, sheet.level) == (AT + timedelta(days=9), "lamp.red", "system", 2)


async def test_any_sequence_of_sweeps_lights_the_same_lamps(db: Database) -> None:
    chance = random.Random(7)
    unit = await a_unit(db)
    cases = [Late(unit=unit, start=AT + timedelta(minutes=chance.randrange(3000))) for _ in range(40)]
    await write(db, *cases)
    at, end = AT, AT + timedelta(hours=70)
    while at < end:
        await sweep(db, at, SweepSettings(batch=chance.randint(1, 9), read=chance.randint(1, 30)))
        at += timedelta(minutes=chance.randrange(1, 1500))
    await sweep(db, end)
    for one in cases:
        assert await lamp_rows(db, one.case) == [row for row in all_three(one.start) if row[1] <= end]


async def test_whoever_ends_a_limit_can_light_it_first_and_sees_what_was_lit(db: Database) -> None:
    late = Late()
    await write(db, late)
    at = AT + TRUE["red"]
    async with db.begin() as session:
        case = await session.get_one(Case, late.case)
        limit = await session.get_one(CaseDeadline, late.limit)
        case.state = "pending_check"
        result = await supervision.light(session, [late.case], at)
        assert (result.lit["red"], case.lamp, case.monitored, limit.lamp) == (1, "red", True, "red")
        limit.ended_at, limit.met = at, False
    [kept] = await rows(db, Case)
    assert (kept.state, kept.lamp, kept.monitored) == ("pending_check", "red", True)
    [ended] = await rows(db, CaseDeadline)
    assert (ended.lamp, ended.next_lamp_at, ended.ended_at) == ("red", None, at)
    assert await lamp_rows(db, late.case) == all_three()


async def test_two_processes_that_sweep_at_once_light_nothing_twice(db: Database, db_url: str) -> None:
    other = Database(db_url)
    await other.connect()
    unit = await a_unit(db)
    cases = [Late(unit=unit) for _ in range(60)]
    await write(db, *cases)
    at = AT + timedelta(days=9)
    results = await asyncio.gather(*(sweep(one, at, SweepSettings(batch=7)) for one in (db, other, db, other)))
    await other.close()
    assert sum(result.lit["red"] for result in results) == 60
    assert sum(result.sheets for result in results) == 60
    assert not any(result.faults for result in results)
    for one in cases:
        assert await lamp_rows(db, one.case) == all_three()
    found = await rows(db, SupervisionSheet)
    assert sorted(sheet.number for sheet in found) == [f"DB20261129{number:04d}" for number in range(1, 61)]


async def test_what_is_paused_ended_or_of_an_ended_case_is_not_lit(db: Database) -> None:
    paused = Late(of_limit={"paused_at": AT})
    ended = Late(of_limit={"ended_at": AT, "met": True})
    forgotten = Late(state=CLOSED)
    await write(db, paused, ended, forgotten)
    result = await sweep(db, AT + timedelta(days=9))
    assert (dict(result.lit), result.stale, result.sheets) == ({}, 1, 0)
    assert (await sweep(db, AT + timedelta(days=9))).stale == 0
    assert await rows(db, Job) == []
    async with db.begin() as session:
        await session.execute(update(CaseDeadline).where(CaseDeadline.id == paused.limit).values(paused_at=None))
    assert (await sweep(db, AT + timedelta(days=9))).lit["red"] == 1


async def test_a_lamp_lit_before_an_extension_is_not_lit_again_and_the_rest_move(db: Database) -> None:
    late = Late()
    await write(db, late)
    await sweep(db, AT + TRUE["warned"])
    moved = timedelta(hours=10)
    async with db.begin() as session:
        limit = await session.get_one(CaseDeadline, late.limit)
        limit.yellow_at += moved
        limit.red_at += moved
        limit.next_lamp_at = limit.yellow_at
    assert not (await sweep(db, AT + TRUE["yellow"])).lit
    assert (await sweep(db, AT + TRUE["yellow"] + moved)).lit == {"yellow": 1}
    assert [rule for rule, _ in await lamp_rows(db, late.case)] == ["lamp.warned", "lamp.yellow"]


async def test_a_case_has_the_highest_lamp_of_its_limits(db: Database) -> None:
    late = Late()
    await write(db, late)
    slow = Late(case=late.case, unit=late.unit, order=late.order, start=AT + timedelta(hours=50))
    async with db.begin() as session:
        session.add(_limit(slow))
    await sweep(db, AT + timedelta(hours=59))  # red, and the other warned
    [case] = await rows(db, Case)
    assert case.lamp == "red"
    moments = [at for _, at in await lamp_rows(db, late.case)]
    assert moments == sorted(moments)
    assert len(moments) == 4


async def test_units_hear_nothing_of_a_case_that_is_not_filed_and_the_house_gets_no_sheet(db: Database) -> None:
    late = Late(phase=DISPATCH, filed=False, with_order=False, more={"lead_unit_id": None})
    await write(db, late)
    result = await sweep(db, AT + timedelta(days=9))
    assert (result.lit["red"], result.sheets) == (1, 0)
    [case] = await rows(db, Case)
    assert case.monitored
    assert await rows(db, Job) == []
    assert {event.feed for event in await rows(db, OutboxEvent)} == {False}


async def test_the_citizens_clock_calls_on_the_unit_that_leads(db: Database) -> None:
    late = Late(phase=CITIZEN, with_order=False)
    await write(db, late)
    assert (await sweep(db, AT + timedelta(days=9))).sheets == 1
    [sheet] = await rows(db, SupervisionSheet)
    assert sheet.unit_id == late.unit


async def test_a_second_red_limit_brings_no_second_sheet_until_the_first_is_answered(db: Database) -> None:
    late = Late()
    await write(db, late)
    await sweep(db, AT + timedelta(days=9))
    second = Late(case=late.case, unit=late.unit, order=late.order)
    async with db.begin() as session:
        session.add(_limit(second))
    assert (await sweep(db, AT + timedelta(days=9))).sheets == 0
    unit = Actor("u", frozenset({Post.UNIT}), late.unit)
    [sheet] = await rows(db, SupervisionSheet)
    third = Late(case=late.case, unit=late.unit, order=late.order)
    async with db.begin() as session:
        await sheets.reply_sheet(session, sheet.id, actor=unit, text="已安排", at=AT + timedelta(days=9))
        session.add(_limit(third))
    assert (await sweep(db, AT + timedelta(days=10))).sheets == 1


async def test_one_case_that_cannot_be_done_holds_up_nobody(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = await a_unit(db)
    cases = [Late(unit=unit) for _ in range(12)]
    await write(db, *cases)
    bad = cases[4].case
    real = supervision.light

    async def light(session: Any, ids: Any, at: datetime) -> Any:
        result = await real(session, ids, at)
        if bad in ids:
            raise RuntimeError("a fault")
        return result

    monkeypatch.setattr(supervision, "light", light)
    result = await sweep(db, AT + timedelta(days=9), SweepSettings(batch=5))
    assert (result.faults, result.lit["red"]) == (1, 11)
    assert await lamp_rows(db, bad) == []
    monkeypatch.setattr(supervision, "light", real)
    assert (await sweep(db, AT + timedelta(days=9))).lit["red"] == 1
    assert await lamp_rows(db, bad) == all_three()


async def test_the_sweep_reads_only_what_is_due(db: Database) -> None:
    """By the partial index: else a million limits would be read each time."""
    from sqlalchemy import text

    query = "SELECT case_id FROM case_deadlines WHERE ended_at IS NULL AND paused_at IS NULL"
    query += " AND next_lamp_at IS NOT NULL AND next_lamp_at <= "
    query += "5 ORDER BY next_lamp_at LIMIT 9" if db.is_sqlite else "now() ORDER BY next_lamp_at LIMIT 9"
    async with db.begin() as session:
        if not db.is_sqlite:
            await session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await session.execute(text(("EXPLAIN QUERY PLAN " if db.is_sqlite else "EXPLAIN ") + query))
        told = "\n".join(str(row) for row in plan)
    assert "ix_case_deadlines_lamp" in told
    assert "TEMP B-TREE" not in told


# -- rings -------------------------------------------------------------------------------------------------------------
def unsigned(**more: Any) -> Late:
    """An order of ten urgent hours that nobody has signed for; yellow at its limit."""
    at = {"yellow_at": AT + timedelta(hours=10)}
    return Late(**{"phase": SIGN, "limit_unit": "urgent_hour", "signed": False, "of_limit": at, **more})


@pytest.mark.parametrize(
    ("late", "rings"),
    [
        (unsigned(), 1),
        (unsigned(limit_unit="work_day"), 0),
        (unsigned(limit_unit="work_day", urgency="critical"), 1),
        (unsigned(signed=True), 0),
        (unsigned(phase=HANDLE), 0),
    ],
)
async def test_an_urgent_order_that_nobody_signed_for_rings_the_unit_once(db: Database, late: Late, rings: int) -> None:
    late = Late(**{**late.__dict__, "case": uuid4(), "order": uuid4(), "limit": uuid4(), "unit": None})
    await write(db, late)
    assert (await sweep(db, AT + timedelta(hours=9, minutes=59))).rings == 0
    assert (await sweep(db, AT + timedelta(hours=10))).rings == rings
    assert (await sweep(db, AT + timedelta(days=30))).rings == 0
    assert len(await rows(db, Job, Job.kind == RING)) == rings


async def test_the_ring_is_tried_recorded_and_not_repeated(db: Database) -> None:
    late = unsigned()
    await write(db, late)
    await sweep(db, AT + timedelta(hours=10))
    rung: list[tuple[str, UUID]] = []

    async def ring(phone: str, order: UUID) -> str:
        rung.append((phone, order))
        if len(rung) == 1:
            raise OSError("the line is down")
        return "no_answer"

    handler = ring_handler(ring, now=lambda: AT + timedelta(hours=11))
    runner = Runner(db, {RING: handler})
    assert await runner.run_once(AT + timedelta(hours=10)) == 1
    assert await runner.run_once(AT + timedelta(hours=11)) == 1
    assert rung == [(PHONE, late.order)] * 2
    [row] = await rows(db, CaseLog, CaseLog.action == RUNG)
    assert row.detail == {"order": str(late.order), "unit": str(late.unit), "outcome": "no_answer"}
    [job] = await rows(db, Job, Job.kind == RING)
    await handler(db, job)  # a process died after the log row and before the job was marked done
    assert len(rung) == 2
    assert PHONE not in str([job.refs, row.detail])


async def test_nobody_is_rung_once_the_order_is_signed_for(db: Database) -> None:
    late = unsigned()
    await write(db, late)
    await sweep(db, AT + timedelta(hours=10))
    async with db.begin() as session:
        await session.execute(update(CaseOrder).values(signed_at=AT + timedelta(hours=10)))
    await Runner(db, {RING: ring_handler()}).run_once(AT + timedelta(hours=10))
    assert await rows(db, CaseLog, CaseLog.action == RUNG) == []


@pytest.mark.parametrize(("phone", "outcome"), [("", "no_number"), (PHONE, "no_line")])
async def test_a_ring_that_cannot_be_made_is_on_record_too(db: Database, phone: str, outcome: str) -> None:
    late = unsigned(unit=await a_unit(db, duty_phone=phone))
    await write(db, late)
    await sweep(db, AT + timedelta(hours=10))
    await Runner(db, {RING: ring_handler()}).run_once(AT + timedelta(hours=10))
    [row] = await rows(db, CaseLog, CaseLog.action == RUNG)
    assert (row.detail["outcome"], row.rule) == (outcome, "lamp.unsigned")


# -- sheets and notes --------------------------------------------------------------------------------------------------
INSPECTOR = Actor(str(uuid4()), frozenset({Post.INSPECTOR}))
CHIEF = Actor(str(uuid4()), frozenset({Post.DUTY_CHIEF}))
LEADER = Actor(str(uuid4()), frozenset({Post.LEADER}))


@pytest.mark.parametrize(("actor", "level"), [(CHIEF, 1), (INSPECTOR, 2), (LEADER, 3)])
async def test_a_sheet_is_issued_receipted_and_answered(db: Database, actor: Actor, level: int) -> None:
    late = Late()
    await write(db, late)
    async with db.begin() as session:
        sheet = await sheets.issue_sheet(session, late.case, actor=actor, text=" 请说明 ", at=AT)
    assert (sheet.number, sheet.level, sheet.addressee, sheet.unit_id) == ("DB202611200001", level, "处长", late.unit)
    assert sheet.reply_by == datetime(2026, 11, 23, 1, 0, tzinfo=UTC)  # Friday nine to Monday nine
    [case] = await rows(db, Case)
    assert (case.monitored, case.version, case.state) == (True, 5, HANDLING)
    unit = Actor(str(uuid4()), frozenset({Post.UNIT}), late.unit)
    async with db.begin() as session:
        await sheets.receipt_sheet(session, sheet.id, actor=unit, at=AT + timedelta(hours=1))
        await sheets.receipt_sheet(session, sheet.id, actor=unit, at=AT + timedelta(hours=2))
    async with db.begin() as session:
        await sheets.reply_sheet(session, sheet.id, actor=unit, text="已更换灯具", at=AT + timedelta(days=4))
    with pytest.raises(sheets.AlreadyReplied):
        async with db.begin() as session:
            await sheets.reply_sheet(session, sheet.id, actor=unit, text="另一个说法", at=AT)
    [kept] = await rows(db, SupervisionSheet)
    assert (kept.receipted_at, kept.replied_at) == (AT + timedelta(hours=1), AT + timedelta(days=4))
    async with db.read() as session:
        texts = await sheets.texts_of(session, [kept.content, kept.reply])
        assert texts == {kept.content: "请说明", kept.reply: "已更换灯具"}
        assert [one.id for one in await sheets.unit_sheets(session, late.unit or uuid4())] == [sheet.id]
        assert await sheets.unit_sheets(session, late.unit or uuid4(), waiting=True) == []
    log = [row for row in await rows(db, CaseLog) if row.seq > 1]
    assert [(row.action, row.detail.get("in_time")) for row in log] == [
        ("sheet_issued", None),
        ("sheet_receipted", True),
        ("sheet_replied", False),
    ]
    assert "灯具" not in str([row.detail for row in log])


@pytest.mark.parametrize("post", [post for post in Post if post not in sheets.LEVELS])
async def test_nobody_else_issues_a_sheet(db: Database, post: Post) -> None:
    late = Late()
    await write(db, late)
    actor = Actor("x", frozenset({post}), late.unit)
    with pytest.raises(sheets.NotAllowed):
        async with db.begin() as session:
            await sheets.issue_sheet(session, late.case, actor=actor, text="请说明", at=AT)
    with pytest.raises(sheets.NotAllowed):
        async with db.begin() as session:
            await sheets.add_note(session, late.case, actor=actor, text="请办", at=AT)
    assert await rows(db, SupervisionSheet) == []
    assert not (await rows(db, Case))[0].monitored


async def test_only_the_units_own_people_receipt_and_reply(db: Database) -> None:
    late = Late()
    await write(db, late)
    other = await a_unit(db)
    async with db.begin() as session:
        sheet = await sheets.issue_sheet(session, late.case, actor=INSPECTOR, text="请说明", at=AT)
    strangers = [Actor("x", frozenset({post}), late.unit) for post in Post if post is not Post.UNIT]
    for actor in (Actor("x", frozenset({Post.UNIT}), other), Actor("x", frozenset({Post.UNIT})), *strangers):
        with pytest.raises(sheets.NotAllowed):
            async with db.begin() as session:
                await sheets.receipt_sheet(session, sheet.id, actor=actor, at=AT)
        with pytest.raises(sheets.NotAllowed):
            async with db.begin() as session:
                await sheets.reply_sheet(session, sheet.id, actor=actor, text="好", at=AT)


async def test_bad_sheets_are_refused_with_the_mend(db: Database) -> None:
    late, draft, lost = Late(), Late(state=DRAFT), Late(with_order=False, more={"lead_unit_id": None})
    await write(db, late, draft, lost)
    stranger = await a_unit(db)

    async def refused(case: UUID, error: type[Exception], words: str, **more: Any) -> None:
        with pytest.raises(error, match=words):
            async with db.begin() as session:
                await sheets.issue_sheet(session, case, **{"actor": CHIEF, "text": "请说明", "at": AT, **more})

    await refused(uuid4(), CaseNotFound, "no case")
    await refused(late.case, sheets.NothingToSupervise, "0 characters", text="  ")
    await refused(late.case, sheets.NothingToSupervise, "2001 characters", text="x" * 2001)
    await refused(late.case, sheets.NothingToSupervise, "later time", reply_by=AT)
    await refused(late.case, sheets.NothingToSupervise, "never had an order", unit=stranger)
    await refused(draft.case, sheets.NothingToSupervise, "draft")
    await refused(lost.case, sheets.NothingToSupervise, "no unit yet")
    with pytest.raises(sheets.SheetNotFound):
        async with db.begin() as session:
            await sheets.receipt_sheet(session, uuid4(), actor=CHIEF, at=AT)


async def test_sheets_issued_at_once_have_numbers_without_gap_or_double(db: Database) -> None:
    cases = [Late() for _ in range(8)]
    await write(db, *cases)

    async def issue(one: Late, fail: bool) -> None:
        async with db.begin() as session:
            await sheets.issue_sheet(session, one.case, actor=CHIEF, text="请说明", at=AT)
            if fail:
                raise RuntimeError("halfway")

    await asyncio.gather(
        *(issue(one, fail) for one in cases for fail in (False, True)),
        sweep(db, AT + timedelta(hours=14)),
        return_exceptions=True,
    )
    found = await rows(db, SupervisionSheet)
    assert sorted(sheet.number for sheet in found) == [f"DB20261120{number:04d}" for number in range(1, 9)]


async def test_a_note_puts_the_case_into_the_inspectors_box(db: Database) -> None:
    late = Late()
    await write(db, late)
    async with db.begin() as session:
        await sheets.add_note(session, late.case, actor=LEADER, text="请尽快解决", at=AT)
    [case] = await rows(db, Case)
    assert case.monitored
    [row] = await rows(db, CaseLog, CaseLog.action == "noted")
    assert "解决" not in str(row.detail)
    async with db.read() as session:
        [note] = await sheets.notes_of(session, late.case)
        assert await sheets.texts_of(session, [note.content]) == {note.content: "请尽快解决"}


# -- boxes -------------------------------------------------------------------------------------------------------------
async def test_boxes_count_open_lamps_and_everything_that_was_ever_supervised(db: Database) -> None:
    here = uuid4()
    async with db.begin() as session:
        session.add(Area(id=here, code="420802", name="东宝区", level=2))
    first, second = await a_unit(db), await a_unit(db)
    yellow = Late(unit=first, start=AT, more={"area_id": here})
    red = Late(unit=first, start=AT - timedelta(days=3), more={"area_id": here})
    noted, quiet = Late(unit=second, start=AT + timedelta(days=5)), Late(unit=second, start=AT + timedelta(days=5))
    await write(db, yellow, red, noted, quiet)
    await sweep(db, AT + TRUE["yellow"])
    async with db.begin() as session:
        await sheets.add_note(session, noted.case, actor=LEADER, text="请办", at=AT)
    async with db.read() as session:
        assert await boxes.box_counts(session) == [
            boxes.BoxCount(first, here, 1, 1, 1, 1),
            boxes.BoxCount(second, None, 0, 0, 1, 1),
        ]
        assert await boxes.box_counts(session, unit=second) == [boxes.BoxCount(second, None, 0, 0, 1, 1)]
    async with db.begin() as session:
        await session.execute(update(Case).where(Case.id == red.case).values(state=CLOSED))
    async with db.read() as session:
        assert (await boxes.box_counts(session))[0] == boxes.BoxCount(first, here, 1, 0, 1, 0)
        page, following = await boxes.box_cases(session, "monitored", limit=1)
        rest, none = await boxes.box_cases(session, "monitored", limit=1, after=following)
        assert ([one.id for one in (*page, *rest)], none) == ([noted.case, red.case], None)
        assert [one.id for one in (await boxes.box_cases(session, "yellow"))[0]] == [yellow.case]
        assert list((await boxes.box_cases(session, "red"))[0]) == []


# -- as a process ------------------------------------------------------------------------------------------------------
async def until(true: Callable[[], bool]) -> None:
    last = time.monotonic() + 10
    while not true():
        assert time.monotonic() < last, "not within 10 s"
        await asyncio.sleep(0.01)


async def test_the_watch_sweeps_when_it_starts_and_names_its_faults(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late()
    await write(db, late)
    monkeypatch.setattr("callcenter.clock.now", lambda: AT + timedelta(days=9))
    watch = LampWatch(db, every_s=0.01)
    await watch.start()
    await until(lambda: watch.done_at is not None)
    assert await lamp_rows(db, late.case) == all_three()

    async def broken(*_: Any) -> None:
        raise RuntimeError("a fault")

    real = supervision.sweep
    monkeypatch.setattr(supervision, "sweep", broken)
    await until(lambda: watch.fault is not None)
    assert "RuntimeError" in str(watch.fault)
    monkeypatch.setattr(supervision, "sweep", real)
    await until(lambda: watch.fault is None)
    await watch.stop()


# -- over HTTP ---------------------------------------------------------------------------------------------------------
async def of_unit(api: Api, unit: UUID, *roles: str) -> httpx.AsyncClient:
    name = f"unit.{uuid4().hex[:8]}"
    browser = await api.signed_in(*(roles or ("unit",)), username=name)
    async with api.services.db.begin() as session:
        await session.execute(update(User).where(User.username == name).values(unit_id=unit))
    return browser


async def test_supervision_over_http(api: Api) -> None:
    db = api.services.db
    late = Late()
    await write(db, late)
    base = "/api/v1/supervision"
    chief, unit = await api.signed_in("supervisor"), await of_unit(api, late.unit or uuid4())
    stranger, admin = await of_unit(api, await a_unit(db)), await api.signed_in("admin")
    words = {"text": f"请说明，电话{PHONE}"}

    for browser, status in ((unit, 403), (admin, 403), (api.browser(), 401)):
        answer = await browser.post(f"{base}/cases/{late.case}/sheets", json=words)
        assert answer.status_code == status, answer.text
    issued = await chief.post(f"{base}/cases/{late.case}/sheets", json=words)
    assert issued.status_code == 201, issued.text
    sheet = issued.json()
    assert PHONE not in issued.text
    assert (sheet["level"], sheet["unit"]) == (1, str(late.unit))
    assert (await chief.post(f"{base}/cases/{uuid4()}/sheets", json=words)).status_code == 404
    assert (await chief.post(f"{base}/cases/{late.case}/sheets", json={"text": " "})).status_code == 422

    mine = (await unit.get(f"{base}/sheets", params={"waiting": True})).json()["items"]
    assert [one["id"] for one in mine] == [sheet["id"]]
    assert (await stranger.get(f"{base}/sheets", params={"unit": str(late.unit)})).json() == {"items": []}
    assert (await stranger.get(f"{base}/cases/{late.case}/sheets")).status_code == 404
    assert (await chief.get(f"{base}/sheets")).status_code == 422
    assert len((await chief.get(f"{base}/sheets", params={"unit": str(late.unit)})).json()["items"]) == 1

    assert (await stranger.post(f"{base}/sheets/{sheet['id']}/receipt")).status_code == 404
    assert (await chief.post(f"{base}/sheets/{sheet['id']}/receipt")).status_code == 403
    assert (await unit.post(f"{base}/sheets/{sheet['id']}/receipt")).json()["receipted_at"]
    replied = await unit.post(f"{base}/sheets/{sheet['id']}/reply", json={"text": "已办"})
    assert replied.json()["reply"] == "已办"
    again = await unit.post(f"{base}/sheets/{sheet['id']}/reply", json={"text": "又办"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")

    assert (await chief.post(f"{base}/cases/{late.case}/notes", json={"text": "请办"})).status_code == 403
    leader, inspector = await api.signed_in("leader"), await api.signed_in("inspector")
    assert (await inspector.post(f"{base}/cases/{late.case}/notes", json={"text": "请办"})).status_code == 403
    assert (await inspector.post(f"{base}/cases/{late.case}/sheets", json=words)).json()["level"] == 2
    assert (await leader.post(f"{base}/cases/{late.case}/notes", json={"text": "请办"})).status_code == 201
    seen = (await leader.get(f"{base}/cases/{late.case}")).json()
    assert ([one["content"] for one in seen["notes"]], len(seen["sheets"]), len(seen["limits"])) == (["请办"], 2, 1)
    assert seen["monitored"]
    assert (await unit.get(f"{base}/cases/{late.case}")).json()["notes"] == []

    figures = (await leader.get(f"{base}/boxes")).json()
    assert (figures["monitored"], figures["items"][0]["unit"]) == (1, str(late.unit))
    assert (await stranger.get(f"{base}/boxes")).json()["monitored"] == 0
    assert [one["id"] for one in (await leader.get(f"{base}/boxes/monitored")).json()["items"]] == [str(late.case)]
    assert (await stranger.get(f"{base}/boxes/monitored")).json()["items"] == []
    assert (await leader.get(f"{base}/boxes/blue")).status_code == 422
    assert (await admin.get(f"{base}/boxes")).status_code == 403
    assert (await (await api.with_key()).get(f"{base}/cases/{late.case}")).json()["notes"] == []
