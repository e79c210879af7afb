"""Limits are counted again when the calendar changes: a year becomes known, the city sets a day; on both databases."""

from datetime import date, datetime, time, timedelta

import pytest
from sqlalchemy import delete, select, update
from structlog.testing import capture_logs

from callcenter.cases import clock_rows, clocks, events, life, recounting
from callcenter.cases.calendar import Calendar, at_time, load_calendar
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.deadlines import Limit, LimitUnit, due
from callcenter.cases.life import CHECK, DISPATCH, HANDLE, SIGN, VERIFY, CaseDeadline
from callcenter.cases.lists import CalendarDay
from callcenter.cases.model import SYSTEM, Case, CaseLog
from callcenter.clock import SHANGHAI
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.integration.test_clocks import (
    CITY,
    DAY_1,
    DAYS_5,
    HOURS_2,
    URGENT_2,
    deadline,
    new_case,
    new_order,
    shown,
    t,
)

pytestmark = pytest.mark.integration

NEW_YEAR_2027 = {date(2027, 1, day) for day in (1, 2, 3)}


def told(until: int = 2027) -> Calendar:
    """The calendar once 2027 is known: 1 to 3 January are off."""

    def holidays(day: date) -> bool | None:
        if day.year > until:
            return None
        return CITY.works(day) if day.year < 2027 else day.weekday() < 5 and day not in NEW_YEAR_2027

    return Calendar(CITY.periods, holidays)


async def test_a_year_that_becomes_known_moves_what_was_counted_over_it(db: Database) -> None:
    eve = datetime(2026, 12, 31, 10, 0, tzinfo=SHANGHAI)
    clock_rows.tell_unknown.cache_clear()
    with capture_logs() as logs:
        async with db.begin() as session:
            case, untouched = await new_case(session), await new_case(session)
            order = await new_order(session, case)
            sign = await clocks.start(session, case, SIGN, DAY_1, eve, calendar=CITY, order=order)
            handle = await clocks.start(session, case, HANDLE, URGENT_2, eve, calendar=CITY, order=order)
            handle.lamp = life.WARNED
            verify = await clocks.start(session, untouched, VERIFY, URGENT_2, eve, calendar=CITY)
            ended = await clocks.start(session, untouched, CHECK, DAY_1, eve, calendar=CITY)
            await clocks.stop(session, untouched, (CHECK,), eve + timedelta(hours=1))
            far = await clocks.start(session, untouched, DISPATCH, Limit(300, LimitUnit.WORK_DAY), eve, calendar=CITY)
    assert [(one["event"], one["log_level"], one["year"]) for one in logs] == [
        ("calendar.year_unknown", "warning", 2027)
    ]
    assert [row.provisional for row in (sign, handle, verify, ended, far)] == [True, True, False, True, True]
    assert sign.due_at == datetime(2027, 1, 1, 10, 0, tzinfo=SHANGHAI)

    async with db.begin() as session:
        assert await clocks.provisional_open(session) == 3
        assert await clocks.recompute_provisional(session, CITY, eve) == 0  # nobody knows more than before
    found_at = eve + timedelta(hours=2)
    async with db.begin() as session:
        assert await clocks.recompute_provisional(session, told(), found_at) == 2
    async with db.begin() as session:
        assert await clocks.recompute_provisional(session, told(), found_at) == 0
        assert await clocks.provisional_open(session) == 1  # reaches into 2028

    kept = await deadline(db, sign.id)
    monday = datetime(2027, 1, 4, 10, 0, tzinfo=SHANGHAI)
    assert (kept.due_at, kept.provisional, kept.yellow_at) == (monday, False, monday + timedelta(hours=24))
    assert kept.next_lamp_at == kept.warn_at == monday - timedelta(minutes=84)
    waits = await deadline(db, handle.id)  # an urgent limit, but it waits for the signature
    assert (waits.started_at, waits.due_at, waits.provisional) == (monday, monday + timedelta(hours=2), False)
    assert (waits.lamp, waits.next_lamp_at) == (life.WARNED, waits.yellow_at)
    async with db.read() as session:
        assert (await session.get_one(Case, case.id)).due_at == monday
        rows = (await session.scalars(select(CaseLog).where(CaseLog.case_id == case.id).order_by(CaseLog.seq))).all()
        assert [(row.actor, row.action, row.rule, row.detail["phase"]) for row in rows] == [
            (SYSTEM, clocks.DEADLINE_MOVED, clocks.YEAR_KNOWN, SIGN),
            (SYSTEM, clocks.DEADLINE_MOVED, clocks.YEAR_KNOWN, HANDLE),
        ]
        assert rows[0].detail["from"] == "2027-01-01T02:00:00+00:00"
        assert rows[0].detail["to"] == "2027-01-04T02:00:00+00:00"
        [event] = (await session.scalars(select(OutboxEvent).where(OutboxEvent.case_id == case.id))).all()
        assert (event.kind, event.feed, event.refs["rule"]) == (events.UPDATED, True, clocks.YEAR_KNOWN)
        assert (await session.scalars(select(CaseLog).where(CaseLog.case_id == untouched.id))).all() == []


async def test_settling_goes_on_in_rounds_until_nothing_is_left(db: Database) -> None:
    eve = datetime(2026, 12, 31, 10, 0, tzinfo=SHANGHAI)
    async with db.begin() as session:
        for _ in range(5):
            case = await new_case(session, filed=False)
            await clocks.start(session, case, VERIFY, DAY_1, eve, calendar=CITY)
    found = []
    while not found or found[-1]:
        async with db.begin() as session:
            found.append(await clocks.recompute_provisional(session, told(), eve, most=2))
    assert found == [2, 2, 1, 0]
    assert await recounting.settle_provisional(db, CitySettings(), eve) == 0
    async with db.read() as session:
        assert {event.feed for event in await session.scalars(select(OutboxEvent))} == {False}  # not filed: no unit's


async def test_a_local_day_moves_what_was_counted_over_it_and_nothing_else(db: Database) -> None:
    city = CitySettings()
    async with db.begin() as session:
        case, clear = await new_case(session), await new_case(session)
        over = await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)
        urgent = await clocks.start(session, case, VERIFY, Limit(2, LimitUnit.URGENT_DAY), t("23 10:00"), calendar=CITY)
        before = await clocks.start(session, clear, VERIFY, HOURS_2, t("23 10:00"), calendar=CITY)
        after = await clocks.start(session, clear, DISPATCH, HOURS_2, t("25 10:00"), calendar=CITY)
    day = date(2026, 11, 24)  # a typhoon
    async with db.begin() as session:
        session.add(CalendarDay(day=day, works=False, note="台风", set_by=SYSTEM, set_at=t("23 20:00")))
        await session.flush()
        calendar = await load_calendar(session, city)
        assert await clocks.recompute_day(session, day, calendar, t("23 20:00")) == (1, None)
    assert shown((await deadline(db, over.id)).due_at) == "25 10:00"
    for row, same in ((urgent, "25 10:00"), (before, "23 12:00"), (after, "25 12:00")):
        assert shown((await deadline(db, row.id)).due_at) == same
    async with db.begin() as session:
        [step] = (await session.scalars(select(CaseLog).where(CaseLog.case_id == case.id))).all()
        assert (step.rule, step.version) == (clocks.LOCAL_DAY, 3)
        await session.execute(delete(CalendarDay))
        assert await clocks.recompute_day(session, day, await load_calendar(session, city), t("23 21:00")) == (1, None)
    assert shown((await deadline(db, over.id)).due_at) == "24 10:00"


async def test_only_what_was_counted_over_the_day_is_looked_at(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        await clocks.start(session, case, VERIFY, DAY_1, t("23 10:00"), calendar=CITY)
        late = Calendar(CITY.periods, CITY.works, {date(2026, 11, 24): False})  # another day: not what was asked for
        assert await clocks.recompute_day(session, date(2026, 11, 25), late, t("23 10:00")) == (0, None)
        wrong = Calendar(CITY.periods, lambda day: True)
        assert await clocks.recompute_day(session, date(2026, 11, 25), wrong, t("23 10:00")) == (0, None)
        await clocks.stop(session, case, (VERIFY,), t("23 11:00"))
        await clocks.start(session, case, DISPATCH, DAY_1, t("27 10:00"), calendar=CITY)
        assert await clocks.recompute_day(session, date(2026, 11, 26), wrong, t("23 10:00")) == (0, None)
        assert await clocks.recompute_day(session, date(2026, 11, 28), wrong, t("23 10:00")) == (1, None)


@pytest.mark.parametrize(
    ("paused", "used_s", "over"),
    [("24 11:00", 3600, "03 10:00"), ("23 15:00", 0, "03 11:00")],  # after and before the handle limit began
)
async def test_counting_again_leaves_a_resumed_handle_limit_where_it_runs(
    db: Database, paused: str, used_s: int, over: str
) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case, life.ASSIST)
        # Its unit never signs: handling begins on the 24th at 10:00.
        await clocks.start(session, case, SIGN, DAY_1, t("23 10:00"), calendar=CITY, order=order)
        row = await clocks.start(session, case, HANDLE, DAYS_5, t("23 10:00"), calendar=CITY, order=order)
        await clocks.pause(session, case, (HANDLE,), t(paused), CITY)
        await clocks.resume(session, case, (HANDLE,), t("25 11:00"), CITY)
        off = Calendar(CITY.periods, CITY.works, {date(2026, 11, 26): False})
        await clocks.recompute_day(session, date(2026, 11, 26), off, t("25 12:00"))
        assert (row.used_s, shown(row.started_at), shown(row.due_at)) == (used_s, "25 11:00", over)


async def test_lamps_lit_past_the_session_are_not_forgotten(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, VERIFY, DAY_1, t("23 10:00"), calendar=CITY)
        await session.flush()
        await session.execute(
            update(CaseDeadline).values(lamp=life.WARNED), execution_options={"synchronize_session": False}
        )
        await clocks.pause(session, case, (VERIFY,), t("24 09:00"), CITY)
        await clocks.resume(session, case, (VERIFY,), t("25 09:00"), CITY)
        assert (row.lamp, row.next_lamp_at) == (life.WARNED, row.yellow_at)


async def test_a_day_is_counted_again_by_jobs_each_a_round(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks.recompute_day, "__kwdefaults__", clocks.recompute_day.__kwdefaults__ | {"most": 2})
    day, ids = date(2026, 11, 24), []
    async with db.begin() as session:
        for _ in range(5):
            case = await new_case(session)
            ids.append((await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)).id)
        session.add(CalendarDay(day=day, works=False, note="", set_by=SYSTEM, set_at=t("23 20:00")))
        await recounting.ask_recount(session, day, t("23 20:00"))
    runner = Runner(db, {recounting.RECOUNT: recounting.recount_handler(CitySettings(), now=lambda: t("23 20:01"))})
    rounds = 0
    while await runner.run_once(t("23 20:02")):
        rounds += 1
    assert (rounds, runner.counts["done"]) == (3, 3)
    assert {shown((await deadline(db, id)).due_at) for id in ids} == {"25 10:00"}
    async with db.begin() as session:
        jobs = (await session.scalars(select(Job))).all()
        for job in jobs:  # a process that died before it could say so does them all again
            job.done_at = None
    while await runner.run_once(t("23 20:03")):
        pass
    async with db.read() as session:
        assert len((await session.scalars(select(CaseLog))).all()) == 5
        assert len((await session.scalars(select(Job))).all()) == len(jobs)


async def test_counting_again_by_the_same_calendar_moves_nothing(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, VERIFY, Limit(0.5, LimitUnit.WORK_DAY), t("23 08:30"), calendar=CITY)
        await clocks.extend(session, row, CITY, t("23 09:00"))
        assert shown(row.due_at) == "23 17:30"  # twice half a day; a whole day would be over at 08:30
        assert await clocks.recompute_day(session, date(2026, 11, 23), CITY, t("23 09:00")) == (0, None)
        assert shown(row.due_at) == "23 17:30"
        assert (await session.scalars(select(CaseLog))).all() == []


async def test_the_calendar_is_the_citys_and_kept(db: Database) -> None:
    city = CitySettings(work_periods=("09:00-17:00",))
    async with db.begin() as session:
        plain = await load_calendar(session, city)
        assert plain.day_length == timedelta(hours=8)
        assert await load_calendar(session, city) is plain
        session.add(CalendarDay(day=date(2026, 11, 28), works=True, note="", set_by=SYSTEM, set_at=t("23 10:00")))
        await session.flush()
        changed = await load_calendar(session, city)
        assert changed.works(date(2026, 11, 28))
        assert not plain.works(date(2026, 11, 28))
        start = at_time(date(2026, 11, 27), time(16))
        assert shown(due(start, Limit(2, LimitUnit.WORK_HOUR), changed).at) == "28 10:00"
        with pytest.raises(ValueError, match="'nine to five'"):
            await load_calendar(session, CitySettings(work_periods=("nine to five",)))
