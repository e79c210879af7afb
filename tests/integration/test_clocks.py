"""The limits of a case as rows, on both databases: what signing, return, rework, suspension, extension and a calendar
that becomes known do to each (the table of docs/deadlines.md)."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import clock_rows, clocks, life
from callcenter.cases.calendar import default_calendar
from callcenter.cases.deadlines import Limit, LimitUnit, PastDeadline, length, used
from callcenter.cases.life import CHECK, CITIZEN, DISPATCH, HANDLE, SIGN, VERIFY, CaseDeadline, CaseOrder
from callcenter.cases.model import HANDLING, SYSTEM, Case
from callcenter.city.model import DEPARTMENT, Unit
from callcenter.clock import SHANGHAI, local
from callcenter.storage.engine import Database

pytestmark = pytest.mark.integration

CITY = default_calendar()
HOURS_2 = Limit(2, LimitUnit.WORK_HOUR)
DAY_1 = Limit(1, LimitUnit.WORK_DAY)
DAYS_5 = Limit(5, LimitUnit.WORK_DAY)
URGENT_2 = Limit(2, LimitUnit.URGENT_HOUR)
QUARTER = Limit(0.25, LimitUnit.URGENT_HOUR)


def t(text: str) -> datetime:
    """A moment of November 2026 in the city, ``DD HH:MM``. The 23rd is a Monday."""
    return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)


def shown(moment: datetime | None) -> str | None:
    return None if moment is None else f"{local(moment):%d %H:%M}"


async def new_case(session: AsyncSession, *, filed: bool = True) -> Case:
    case = Case(
        id=uuid4(),
        source="phone",
        state=HANDLING,
        disposition="case",
        decision="auto",
        emergency=[],
        secrecy=False,
        version=3,
        created_at=t("23 08:00"),
        filed_at=t("23 09:00") if filed else None,
    )
    session.add(case)
    await session.flush()
    return case


async def new_order(session: AsyncSession, case: Case, part: str = life.LEAD, round: int = 1) -> CaseOrder:
    code = uuid4().hex[:12]
    unit = Unit(
        id=uuid4(),
        code=code,
        name=code,
        kind=DEPARTMENT,
        level=1,
        leader="",
        duty_phone="",
        round_the_clock=False,
        active=True,
        created_at=t("23 08:00"),
    )
    session.add(unit)
    await session.flush()
    order = CaseOrder(
        id=uuid4(),
        case_id=case.id,
        unit_id=unit.id,
        part=part,
        round=round,
        issued_at=t("23 09:00"),
        issued_by=SYSTEM,
    )
    session.add(order)  # not flushed: whoever gives an order starts its limits at once
    return order


async def deadline(db: Database, id: UUID) -> CaseDeadline:
    async with db.read() as session:
        return await session.get_one(CaseDeadline, id)


async def case_due(db: Database, id: UUID) -> str | None:
    async with db.read() as session:
        return shown((await session.get_one(Case, id)).due_at)


# -- begin, meet, miss -----------------------------------------------------------------------------------------------
async def test_a_limit_begins_with_its_due_and_its_lamps(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)
    kept = await deadline(db, row.id)
    assert (kept.phase, kept.limit_value, kept.limit_unit) == (DISPATCH, 1, "work_day")
    assert (shown(kept.started_at), shown(kept.due_at), shown(kept.original_due_at)) == ("23 10:00",) + (
        "24 10:00",
    ) * 2
    assert kept.next_lamp_at == kept.warn_at
    assert (kept.lamp, kept.provisional, kept.ended_at, kept.met, kept.extended, kept.used_s) == (
        "none",
        False,
        None,
        None,
        0,
        0,
    )
    assert await case_due(db, case.id) == "24 10:00"


@pytest.mark.parametrize(("done", "met"), [("24 09:59", True), ("24 10:00", True), ("24 10:01", False)])
async def test_a_limit_is_met_until_its_due(db: Database, done: str, met: bool) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)
        assert await clocks.stop(session, case, (DISPATCH, CHECK), t(done)) == [row]
    kept = await deadline(db, row.id)
    assert (shown(kept.ended_at), kept.met, kept.next_lamp_at) == (done, met, None)
    assert await case_due(db, case.id) is None


async def test_what_is_withdrawn_is_not_judged(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        met = await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)
        row = await clocks.start(session, case, CITIZEN, DAYS_5, t("23 10:00"), calendar=CITY)
        await clocks.stop(session, case, (DISPATCH,), t("23 11:00"))
        assert await clocks.withdraw(session, case, life.PHASES, t("27 10:00")) == [row]
    assert (await deadline(db, row.id)).met is None
    assert (await deadline(db, met.id)).met is True


async def test_asking_twice_wins_no_time(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        first = await clocks.start(session, case, VERIFY, URGENT_2, t("23 10:00"), calendar=CITY)
        again = await clocks.start(session, case, VERIFY, URGENT_2, t("23 11:30"), calendar=CITY)
        assert again is first
        await clocks.stop(session, case, (VERIFY,), t("23 11:40"))
        later = await clocks.start(session, case, VERIFY, URGENT_2, t("23 13:00"), calendar=CITY)
    assert shown((await deadline(db, first.id)).due_at) == "23 12:00"
    assert shown((await deadline(db, later.id)).due_at) == "23 15:00"


async def test_the_case_is_due_when_the_nearest_of_those_who_must_act_is(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        await clocks.start(session, case, CITIZEN, QUARTER, t("23 10:00"), calendar=CITY)
        assert case.due_at is None  # the citizen need not act
        await clocks.start(session, case, VERIFY, DAYS_5, t("23 10:00"), calendar=CITY)
        await clocks.start(session, case, DISPATCH, DAY_1, t("23 10:00"), calendar=CITY)
        assert shown(case.due_at) == "24 10:00"
        await clocks.stop(session, case, (DISPATCH,), t("23 11:00"))
    assert await case_due(db, case.id) == "30 10:00"


async def test_a_clock_that_jumped_back_harms_nothing(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, VERIFY, HOURS_2, t("23 10:00"), calendar=CITY)
        assert clock_rows.used_by(row, CITY, t("23 09:00")) == timedelta()
        await clocks.pause(session, case, (VERIFY,), t("23 09:00"), CITY)
        await clocks.resume(session, case, (VERIFY,), t("23 08:30"), CITY)
        assert (row.used_s, shown(row.due_at)) == (0, "23 12:00")
        await clocks.stop(session, case, (VERIFY,), t("23 09:00"))
        assert clock_rows.used_by(row, CITY, t("23 11:00")) == timedelta()
    assert (await deadline(db, row.id)).met is True


# -- signing and handling --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("phases", [(SIGN, HANDLE), (HANDLE, SIGN)])
async def test_handling_runs_from_the_signature(db: Database, phases: tuple[str, ...]) -> None:
    rows: dict[str, CaseDeadline] = {}
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        limits = {SIGN: DAY_1, HANDLE: DAYS_5}
        for phase in phases:
            rows[phase] = await clocks.start(
                session, case, phase, limits[phase], t("23 10:00"), calendar=CITY, order=order
            )
        assert shown(rows[HANDLE].started_at) == "24 10:00"  # at the latest, if nobody ever signs
    assert await case_due(db, case.id) == "24 10:00"
    async with db.begin() as session:
        case = await session.get_one(Case, case.id)
        order = await session.get_one(CaseOrder, order.id)
        with pytest.raises(ValueError, match="give stop\\(\\) the calendar"):
            await clocks.stop(session, case, (SIGN,), t("23 15:00"), order=order)
    async with db.begin() as session:
        case = await session.get_one(Case, case.id)
        await clocks.stop(session, case, (SIGN,), t("23 15:00"), order=order, calendar=CITY)
    kept = await deadline(db, rows[HANDLE].id)
    assert (shown(kept.started_at), shown(kept.due_at), shown(kept.original_due_at)) == (
        "23 15:00",
        "30 15:00",
        "30 15:00",
    )
    assert (await deadline(db, rows[SIGN].id)).met is True
    assert await case_due(db, case.id) == "30 15:00"


async def test_who_never_signs_is_handling_from_the_end_of_the_sign_limit(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        sign = await clocks.start(session, case, SIGN, QUARTER, t("21 23:00"), calendar=CITY, order=order)
        handle = await clocks.start(session, case, HANDLE, URGENT_2, t("21 23:00"), calendar=CITY, order=order)
        assert clock_rows.used_by(handle, CITY, t("21 23:10")) == timedelta()
        assert clock_rows.used_by(handle, CITY, t("22 00:15")) == timedelta(hours=1)
        # Signed after an hour: late, and the hour is not given back.
        await clocks.stop(session, case, (SIGN,), t("22 00:00"), order=order)
    assert (await deadline(db, sign.id)).met is False
    kept = await deadline(db, handle.id)
    assert (shown(kept.started_at), shown(kept.due_at)) == ("21 23:15", "22 01:15")
    assert shown(kept.yellow_at) == "22 01:15"  # urgent: at the limit itself


async def test_each_units_clock_is_its_own(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        lead, assist = await new_order(session, case), await new_order(session, case, life.ASSIST)
        rows = {}
        for order in (lead, assist):
            for phase, limit in ((SIGN, DAY_1), (HANDLE, HOURS_2)):
                rows[order.part, phase] = await clocks.start(
                    session, case, phase, limit, t("23 10:00"), calendar=CITY, order=order
                )
        await clocks.stop(session, case, (SIGN,), t("23 10:30"), order=lead, calendar=CITY)
        assert shown(rows["lead", HANDLE].due_at) == "23 14:30"
        assert shown(rows["assist", HANDLE].due_at) == "24 12:00"  # its unit has not signed
        # It has done its part without signing: both its limits end, with nothing used of the handling.
        await clocks.stop(session, case, (SIGN, HANDLE), t("23 11:00"), order=assist, calendar=CITY)
        await clocks.stop(session, case, (HANDLE,), t("23 15:00"), order=lead, calendar=CITY)
    assert {key: (await deadline(db, row.id)).met for key, row in rows.items()} == {
        ("lead", SIGN): True,
        ("lead", HANDLE): False,
        ("assist", SIGN): True,
        ("assist", HANDLE): True,
    }


async def test_a_return_gives_the_next_unit_its_whole_limit(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        citizen = await clocks.start(session, case, CITIZEN, DAYS_5, t("23 09:00"), calendar=CITY)
        wrong = await new_order(session, case)
        sign = await clocks.start(session, case, SIGN, DAY_1, t("23 10:00"), calendar=CITY, order=wrong)
        handle = await clocks.start(session, case, HANDLE, DAY_1, t("23 10:00"), calendar=CITY, order=wrong)
        await clocks.withdraw(session, case, (SIGN, HANDLE), t("25 10:00"))  # overdue, but not theirs
        await clocks.start(session, case, DISPATCH, HOURS_2, t("25 10:00"), calendar=CITY)
        await clocks.stop(session, case, (DISPATCH,), t("25 11:00"))
        right = await new_order(session, case, round=2)
        second = await clocks.start(session, case, HANDLE, DAY_1, t("25 11:00"), calendar=CITY, order=right)
    assert [(await deadline(db, row.id)).met for row in (sign, handle)] == [None, None]
    assert shown((await deadline(db, second.id)).due_at) == "26 11:00"
    kept = await deadline(db, citizen.id)
    assert (shown(kept.due_at), kept.ended_at) == ("30 09:00", None)


async def test_a_rework_leaves_the_first_round_as_it_was(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        citizen = await clocks.start(session, case, CITIZEN, DAYS_5, t("23 09:00"), calendar=CITY)
        order = await new_order(session, case)
        first = await clocks.start(session, case, HANDLE, HOURS_2, t("23 10:00"), calendar=CITY, order=order)
        await clocks.stop(session, case, (SIGN, HANDLE), t("23 15:00"), order=order)
        await clocks.start(session, case, CHECK, DAY_1, t("23 15:00"), calendar=CITY)
        await clocks.stop(session, case, (CHECK,), t("24 09:00"))
        again = await new_order(session, case, round=2)
        sign = await clocks.start(session, case, SIGN, DAY_1, t("24 09:00"), calendar=CITY, order=again)
        second = await clocks.start(session, case, HANDLE, HOURS_2, t("24 09:00"), calendar=CITY, order=again)
        await clocks.stop(session, case, (SIGN,), t("24 10:00"), order=again, calendar=CITY)
        await clocks.stop(session, case, (HANDLE,), t("24 11:00"), order=again)
    assert [(await deadline(db, row.id)).met for row in (first, sign, second)] == [False, True, True]
    assert shown((await deadline(db, citizen.id)).due_at) == "30 09:00"


# -- suspension and extension ----------------------------------------------------------------------------------------
async def test_a_suspension_stops_handling_and_not_the_citizen(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        citizen = await clocks.start(session, case, CITIZEN, DAYS_5, t("23 09:00"), calendar=CITY)
        order = await new_order(session, case)
        row = await clocks.start(session, case, HANDLE, DAY_1, t("23 10:00"), calendar=CITY, order=order)
        with pytest.raises(ValueError, match="the citizen's clock never stops"):
            await clocks.pause(session, case, life.PHASES, t("23 11:00"), CITY)
        assert await clocks.pause(session, case, (HANDLE,), t("23 11:00"), CITY) == [row]
        assert await clocks.pause(session, case, (HANDLE,), t("23 12:00"), CITY) == []
        assert case.due_at is None  # nobody must act now
    kept = await deadline(db, row.id)
    assert (shown(kept.paused_at), kept.used_s) == ("23 11:00", 3600)
    assert clock_rows.used_by(kept, CITY, t("25 08:30")) == timedelta(hours=1)
    async with db.begin() as session:
        case = await session.get_one(Case, case.id)
        assert [one.id for one in await clocks.resume(session, case, (HANDLE,), t("25 09:00"), CITY)] == [row.id]
    kept = await deadline(db, row.id)
    assert (kept.paused_at, shown(kept.due_at), shown(kept.original_due_at)) == (None, "25 17:00", "24 10:00")
    assert [shown(at) for at in (kept.warn_at, kept.yellow_at, kept.red_at)] == ["25 15:36", "26 17:00", "27 17:00"]
    assert clock_rows.used_by(kept, CITY, kept.due_at) == length(DAY_1, CITY)
    assert await case_due(db, case.id) == "25 17:00"
    unmoved = await deadline(db, citizen.id)
    assert (shown(unmoved.due_at), unmoved.paused_at, unmoved.used_s) == ("30 09:00", None, 0)


async def test_an_overdue_limit_does_not_get_well_by_suspension(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        row = await clocks.start(session, case, HANDLE, HOURS_2, t("23 09:00"), calendar=CITY, order=order)
        row.lamp = life.WARNED  # lit by the sweep
        await clocks.pause(session, case, (HANDLE,), t("23 14:30"), CITY)  # an hour and a half over
        await clocks.resume(session, case, (HANDLE,), t("25 15:00"), CITY)
        assert (shown(row.due_at), shown(row.next_lamp_at)) == ("25 11:30", "26 11:30")  # yellow comes, no new warning
        await clocks.stop(session, case, (HANDLE,), t("25 15:00"))
    assert (await deadline(db, row.id)).met is False


async def test_a_limit_that_ends_while_suspended_is_judged_as_of_its_pause(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        row = await clocks.start(session, case, HANDLE, HOURS_2, t("23 09:00"), calendar=CITY, order=order)
        await clocks.pause(session, case, (HANDLE,), t("23 10:00"), CITY)
        await clocks.stop(session, case, (HANDLE,), t("26 10:00"))
    assert (await deadline(db, row.id)).met is True


async def test_a_suspension_before_an_assisting_unit_has_signed(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case, life.ASSIST)
        await clocks.start(session, case, SIGN, DAY_1, t("23 10:00"), calendar=CITY, order=order)
        row = await clocks.start(session, case, HANDLE, HOURS_2, t("23 10:00"), calendar=CITY, order=order)
        await clocks.pause(session, case, (HANDLE,), t("23 11:00"), CITY)
        assert row.used_s == 0
        await clocks.stop(session, case, (SIGN,), t("23 15:00"), order=order, calendar=CITY)  # signs meanwhile
        await clocks.resume(session, case, (HANDLE,), t("26 09:00"), CITY)
    kept = await deadline(db, row.id)
    assert (shown(kept.started_at), shown(kept.due_at), kept.used_s) == ("26 09:00", "26 11:00", 0)


async def test_an_extension_is_one_more_limit_from_the_present_due(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        row = await clocks.start(session, case, HANDLE, DAY_1, t("23 10:00"), calendar=CITY, order=order)
        row.lamp = life.WARNED
        await clocks.extend(session, row, CITY, t("24 09:00"))
        assert (shown(row.due_at), row.extended, shown(case.due_at)) == ("25 10:00", 1, "25 10:00")
        assert shown(row.next_lamp_at) == "26 10:00"  # a warning is given once
        await clocks.pause(session, case, (HANDLE,), t("24 10:00"), CITY)  # one of two days used
        await clocks.resume(session, case, (HANDLE,), t("26 10:00"), CITY)
        await clocks.extend(session, row, CITY, t("26 10:00"))
    kept = await deadline(db, row.id)
    assert (shown(kept.due_at), shown(kept.original_due_at), kept.extended) == ("30 10:00", "24 10:00", 2)
    assert clock_rows.used_by(kept, CITY, kept.due_at) == length(DAY_1.times(3), CITY)


async def test_an_extension_that_would_be_over_is_refused(db: Database) -> None:
    async with db.begin() as session:
        case = await new_case(session)
        order = await new_order(session, case)
        row = await clocks.start(session, case, HANDLE, URGENT_2, t("23 10:00"), calendar=CITY, order=order)
        with pytest.raises(PastDeadline, match=f"the extended handle limit of case {case.id} would be over"):
            await clocks.extend(session, row, CITY, t("23 14:00"))
        assert (row.extended, shown(row.due_at)) == (0, "23 12:00")
        await clocks.extend(session, row, CITY, t("23 13:59"))  # late, but it grants a minute
        await clocks.stop(session, case, (HANDLE,), t("23 14:00"))
        with pytest.raises(ValueError, match="has ended"):
            await clocks.extend(session, row, CITY, t("23 14:00"))
        citizen = await clocks.start(session, case, CITIZEN, DAYS_5, t("23 10:00"), calendar=CITY)
        with pytest.raises(ValueError, match="is the citizen's"):
            await clocks.extend(session, citizen, CITY, t("23 14:00"))


async def test_what_cannot_be_started_is_named(db: Database) -> None:
    async with db.begin() as session:
        case, other = await new_case(session), await new_case(session)
        order = await new_order(session, other)
        with pytest.raises(ValueError, match="unknown phase 'lunch'"):
            await clocks.start(session, case, "lunch", DAY_1, t("23 10:00"), calendar=CITY)
        for phase in (SIGN, HANDLE):
            with pytest.raises(ValueError, match="give its order"):
                await clocks.start(session, case, phase, DAY_1, t("23 10:00"), calendar=CITY)
        with pytest.raises(ValueError, match="is of case"):
            await clocks.start(session, case, SIGN, DAY_1, t("23 10:00"), calendar=CITY, order=order)


steps = st.lists(st.tuples(st.sampled_from(["pause", "resume", "extend"]), st.integers(0, 3000)), max_size=8)


@given(steps, st.sampled_from([HOURS_2, DAY_1, DAYS_5, URGENT_2, Limit(0.5, LimitUnit.WORK_DAY)]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_to_it_a_limit_gives_what_it_was_granted(
    db: Database, taken: list[tuple[str, int]], limit: Limit
) -> None:
    at = t("23 10:00")
    async with db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, VERIFY, limit, at, calendar=CITY)
        ran, runs_from = timedelta(), at
        for step, minutes in taken:
            at += timedelta(minutes=minutes)
            paused, before = row.paused_at is not None, row.due_at
            if step == "pause" and not paused:
                ran += used(runs_from, at, limit.unit, CITY)
                await clocks.pause(session, case, (VERIFY,), at, CITY)
            elif step == "resume" and paused:
                runs_from = at
                await clocks.resume(session, case, (VERIFY,), at, CITY)
                assert row.due_at >= before or used(row.due_at, before, limit.unit, CITY) == timedelta()
            elif step == "extend":
                try:
                    await clocks.extend(session, row, CITY, at)
                except PastDeadline:
                    continue
                assert row.due_at > before
        total = ran if row.paused_at is not None else ran + used(runs_from, at, limit.unit, CITY)
        assert clock_rows.used_by(row, CITY, at) == total
        granted = length(limit.times(1 + row.extended), CITY)
        if row.paused_at is None:
            if row.due_at >= row.started_at:
                assert clock_rows.used_by(row, CITY, row.due_at) == granted
            else:
                assert timedelta(seconds=row.used_s) - used(row.due_at, row.started_at, limit.unit, CITY) == granted
        assert row.warn_at <= row.due_at <= row.yellow_at <= row.red_at
        assert case.due_at == (None if row.paused_at is not None else row.due_at)
