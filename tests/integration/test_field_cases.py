"""Where field work meets cases: inboxes of units, looks at risk sources, alarms of devices, reports from the street."""

import asyncio
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select, update

from callcenter.access.audit import Actor
from callcenter.access.model import AuditEntry
from callcenter.cases import alarms, inboxes, intake, street
from callcenter.cases.alarms import AlarmRefused, NewAlarm, UnknownDevice
from callcenter.cases.life import CaseOrder
from callcenter.cases.lifecycle import Action
from callcenter.cases.links import merge_duplicate
from callcenter.cases.model import ENDED, Case, CaseParticulars
from callcenter.city import cells, inspections, tracks
from callcenter.city.coordinates import Point
from callcenter.city.field import FieldConflict, FieldNotFound, FieldRefused
from callcenter.city.field_model import DeviceAlarm, Inspection, TrackPoint
from callcenter.city.inspections import NewInspection
from callcenter.city.model import DEPARTMENT, Unit
from callcenter.storage.engine import Database
from tests.acting import NINE, WEB, House, house
from tests.walking import DEVICES, import_table, person

__all__ = ["house"]

pytestmark = pytest.mark.integration

WORKER = Actor("user", "22222222-2222-4222-8222-222222222222")
AT = NINE.astimezone(UTC)


async def count(db: Database, model: Any, *where: Any) -> int:
    async with db.read() as session:
        return await session.scalar(select(func.count()).select_from(model).where(*where)) or 0


# -- inboxes -----------------------------------------------------------------------------------------------------------
async def inbox(db: Database, unit: UUID) -> inboxes.Inbox:
    async with db.read() as session:
        [found] = await inboxes.inboxes(session, unit=unit)
    return found


def figures(one: inboxes.Inbox) -> tuple[int, int, int, int, int]:
    return one.unsigned, one.open, one.yellow, one.red, one.unread


async def read_until(db: Database, unit: UUID, until: datetime, at: datetime) -> datetime:
    async with db.begin() as session:
        return await inboxes.set_read(session, unit, until, actor=WORKER, at=at)


async def test_an_inbox_counts_what_waits_what_is_late_and_what_is_new(db: Database, house: House) -> None:
    assert figures(await inbox(db, house.roads)) == (0, 0, 0, 0, 0)
    signed = await house.handled()
    waiting = await house.report()
    await house.do(waiting, Action.FILE, house.agent)
    await house.do(waiting, Action.DISPATCH, house.dispatcher, unit=house.roads, assisting=(house.other,))
    assert figures(await inbox(db, house.roads)) == (1, 2, 0, 0, 2)
    assert figures(await inbox(db, house.other)) == (1, 1, 0, 0, 1), "who assists has it in the inbox, too"
    async with db.begin() as session:
        await session.execute(update(Case).where(Case.id == signed).values(lamp="red"))
        await session.execute(update(Case).where(Case.id == waiting).values(lamp="yellow"))
    assert figures(await inbox(db, house.roads)) == (1, 2, 1, 1, 2)
    await house.done(signed)
    assert figures(await inbox(db, house.roads)) == (1, 1, 1, 0, 1), "what is reported done is no longer theirs to do"
    async with db.read() as session:
        everyone = {one.unit: one for one in await inboxes.inboxes(session)}
    assert everyone[house.roads] == await inbox(db, house.roads)
    assert figures(everyone[house.street]) == (0, 0, 0, 0, 0), "who has nothing is there"


async def test_read_is_read_up_to_a_moment_and_never_back(db: Database, house: House) -> None:
    await house.handled()
    seen = house.at
    house.later(minutes=5)
    await house.handled()
    assert await read_until(db, house.roads, seen, house.at) == seen
    assert (await inbox(db, house.roads)).unread == 1, "what was issued meanwhile is still unread"
    assert await read_until(db, house.roads, house.at, house.at) == house.at
    assert await read_until(db, house.roads, seen, house.at) == house.at
    assert (await inbox(db, house.roads)).unread == 0
    assert (await inbox(db, house.roads)).read_until == house.at
    assert (await inbox(db, house.other)).read_until is None
    with pytest.raises(ValueError, match="lies ahead"):
        await read_until(db, house.roads, house.at + timedelta(minutes=1), house.at)
    assert await count(db, AuditEntry, AuditEntry.action == "inbox read") == 2, "what changes nothing is no deed"


async def test_all_inboxes_are_one_query(db: Database, house: House) -> None:
    async with db.begin() as session:
        for n in range(300):
            session.add(
                Unit(
                    id=uuid4(),
                    code=f"u{n:03d}",
                    name="单位",
                    kind=DEPARTMENT,
                    level=2,
                    leader="",
                    duty_phone="",
                    round_the_clock=False,
                    active=n > 0,
                    created_at=AT,
                )
            )
    await house.handled()
    asked: list[str] = []
    async with db.read() as session:
        connection = (await session.connection()).sync_connection
        assert connection is not None
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        found = await inboxes.inboxes(session)
    assert len(asked) == 1
    assert len(found) == 299 + 3, "a dissolved unit has no inbox"
    assert sum(one.open for one in found) == 1


async def test_a_units_people_and_what_each_has(db: Database, house: House) -> None:
    busy, free = await person(db, AT, "unit", unit=house.roads), await person(db, AT, "unit", unit=house.roads)
    await person(db, AT, "unit", unit=house.other)
    await person(db, AT, "unit", unit=house.roads, disabled=True)
    case = await house.handled()
    async with db.begin() as session:
        await session.execute(update(CaseOrder).where(CaseOrder.case_id == case).values(handler=busy))
    async with db.read() as session:
        found = await inboxes.members(session, house.roads)
    assert {one.user: one.handling for one in found} == {busy: 1, free: 0}
    await house.done(case)
    async with db.read() as session:
        assert [one.handling for one in await inboxes.members(session, house.roads)] == [0, 0]


# -- risk sources ------------------------------------------------------------------------------------------------------
RISKS = """\
code,name,owner,lon,lat,kind,grade
K1,加油站,{owner},112.026,31.0501,加油站,1
K2,液化气站,,112.027,31.0501,燃气,2
K3,烟花仓库,,112.028,31.0501,烟花,1
"""


async def looked(
    db: Database, in_force: int | None, by: UUID, key: UUID | None = None, unit: UUID | None = None, **values: Any
) -> tuple[Inspection, bool]:
    given: dict[str, Any] = {"source": "K1", "kind": "collector", "result": "passed", "finding": "", "inspected_at": AT}
    async with db.begin() as session:
        return await inspections.record(
            session,
            key or uuid4(),
            NewInspection(**{**given, **values}),
            import_id=in_force,
            by=by,
            unit_id=unit,
            actor=Actor("user", str(by)),
            at=AT,
        )


async def test_three_kinds_of_looks_at_a_risk_source(db: Database, house: House) -> None:
    in_force = await import_table(db, "risk_sources", RISKS.format(owner=house.roads.hex[:8]))
    by, key = await person(db, AT), uuid4()
    first, fresh = await looked(
        db, in_force, by, key, finding="灭火器过期", result="danger", next_due=date(2026, 12, 1)
    )
    again, twice = await looked(
        db, in_force, by, key, finding="灭火器过期", result="danger", next_due=date(2026, 12, 1)
    )
    assert (fresh, twice, first.id) == (True, False, again.id)
    with pytest.raises(FieldConflict, match="idempotency key"):
        await looked(db, in_force, by, key, finding="别的", result="danger", next_due=date(2026, 12, 1))
    await looked(db, in_force, by, unit=house.roads, kind="self", inspected_at=AT - timedelta(days=1))
    await looked(db, in_force, by, unit=house.other, kind="department", inspected_at=AT - timedelta(days=2))
    for unit, values, why in (
        (house.other, {"kind": "self"}, "the unit that owns"),
        (None, {"kind": "self"}, "person of a unit"),
        (None, {"kind": "department"}, "person of a unit"),
        (None, {"kind": "x"}, "none of self"),
        (None, {"result": "x"}, "none of passed"),
        (None, {"result": "danger"}, "a danger is described"),
        (None, {"finding": "x" * 2001}, "2001 characters"),
        (None, {"inspected_at": AT + timedelta(minutes=5)}, "not ahead"),
        (None, {"inspected_at": AT - timedelta(days=400)}, "last 366 days"),
        (None, {"next_due": date(2026, 11, 23)}, "after the inspection"),
        (None, {"next_due": date(2099, 1, 1)}, "at most"),
    ):
        with pytest.raises(FieldRefused, match=why):
            await looked(db, in_force, by, unit=unit, **values)
    for version, code in ((in_force, "K9"), (None, "K1"), (in_force + 1, "K1")):
        with pytest.raises(FieldNotFound, match="no risk source"):
            await looked(db, version, by, source=code)
    async with db.read() as session:
        found = await inspections.of_source(session, "K1")
        assert [one.kind for one in found] == ["collector", "self", "department"]
        assert [one.kind for one in await inspections.of_source(session, "K1", unit_id=house.other)] == ["department"]
    for _ in range(2):
        async with db.begin() as session:
            await inspections.erase(session, first.id, actor=WORKER, at=AT)
    assert await count(db, Inspection, Inspection.finding.is_(None), Inspection.erased_at == AT) == 1
    assert await count(db, AuditEntry, AuditEntry.action == "inspection erased") == 1


async def test_what_nobody_has_looked_at_in_time(db: Database, house: House) -> None:
    owner = house.roads.hex[:8]
    in_force = await import_table(db, "risk_sources", RISKS.format(owner=owner))
    by = await person(db, AT)
    await looked(db, in_force, by, inspected_at=AT - timedelta(days=9), next_due=date(2026, 11, 15))
    await looked(db, in_force, by, inspected_at=AT - timedelta(days=5), next_due=date(2026, 11, 22))
    await looked(db, in_force, by, source="K2", next_due=date(2026, 11, 24))

    async def due(at: datetime, **more: Any) -> list[tuple[str, bool]]:
        async with db.read() as session:
            found = await inspections.overdue(session, in_force, at, **more)
        return [(one.source.code, one.last is None) for one in found]

    assert await due(AT) == [("K3", True), ("K1", False)], "yesterday's by the newest look; never looked at first"
    assert await due(AT - timedelta(days=1)) == [("K3", True)], "on the day itself there is still time"
    assert await due(AT + timedelta(days=30)) == [("K3", True), ("K1", False), ("K2", False)]
    assert await due(AT, owner=owner) == [("K1", False)]
    assert await due(AT + timedelta(days=30), limit=1) == [("K3", True)]
    await looked(db, in_force, by)  # no next day was named
    assert await due(AT + timedelta(days=30)) == [("K3", True), ("K2", False)]
    async with db.read() as session:
        assert await inspections.overdue(session, None, AT) == []


# -- alarms ------------------------------------------------------------------------------------------------------------
async def rang(
    db: Database,
    in_force: int | None,
    key: UUID | None = None,
    *,
    after: float = 0,
    area: UUID | None = None,
    **values: Any,
) -> tuple[DeviceAlarm, Case, bool]:
    at = AT + timedelta(seconds=after)
    given: dict[str, Any] = {"device": "GAS-1", "value": 26.5, "threshold": 20.0, "taken_at": at, "measure": "%LEL"}
    async with db.begin() as session:
        return await alarms.take_in(
            session,
            key or uuid4(),
            NewAlarm(**{**given, **values}),
            import_id=in_force,
            area_id=area,
            by=str(WORKER.id),
            at=at,
        )


async def test_an_alarm_is_a_case_and_the_next_ones_join_it(db: Database, house: House) -> None:
    in_force = await import_table(
        db, "devices", DEVICES.replace("燃气探测器,,", f"燃气探测器,{house.roads.hex[:8]},", 1)
    )
    key = uuid4()
    first, case, fresh = await rang(db, in_force, key, area=house.area)
    assert (fresh, first.joined, case.source, case.urgency, case.number is not None) == (
        True,
        False,
        "iot",
        "urgent",
        True,
    )
    assert (case.area_id, case.lon, case.lat, case.located_by) == (house.area, 112.0243, 31.0502, "device")
    assert (case.cell, case.asset_owner_id) == (cells.cell_of(Point(112.0243, 31.0502)), house.roads)
    async with db.read() as session:
        words = await session.get_one(CaseParticulars, case.id)
    assert words.text == "物联网报警：燃气探测器（GAS-1），测得 26.5 %LEL，阈值 20 %LEL"
    again, same, twice = await rang(db, in_force, key, after=0)
    assert (again.id, same.id, twice) == (first.id, case.id, False)
    late = await rang(db, in_force, key, after=8 * 86_400, taken_at=AT)
    assert late[0].id == first.id, "repeated late it is the same all the same"
    joined, there, fresh = await rang(db, in_force, after=1)
    assert (joined.joined, there.id, fresh) == (True, case.id, True)
    _, other, _ = await rang(db, in_force, device="GAS-2")
    assert other.id != case.id, "another device, another case"
    assert await count(db, Case) == 2
    async with db.read() as session:
        assert [one.id for one in await alarms.alarms_of(session, case.id)] == [joined.id, first.id]


async def test_a_device_that_rings_on_and_on_fills_no_log(db: Database) -> None:
    in_force = await import_table(db, "devices", DEVICES)
    _, case, _ = await rang(db, in_force)
    for n in range(1, 41):
        await rang(db, in_force, after=n * 30)  # twenty minutes of it
    house = House(db)
    assert [one.action for one in await house.log(case.id)].count("alarm_joined") == 2
    told = [kind for kind, _ in await house.events(case.id)]
    assert told.count(alarms.ALARM_JOINED) == 2
    assert await count(db, DeviceAlarm) == 41


async def test_after_a_case_has_ended_the_next_alarm_opens_another(db: Database, house: House) -> None:
    in_force = await import_table(db, "devices", DEVICES)
    _, case, _ = await rang(db, in_force)
    await house.do(case.id, Action.CANCEL, house.chief, "误报")
    alarm, other, _ = await rang(db, in_force, after=1)
    assert (alarm.joined, other.id != case.id) == (False, True)
    alarm, there, _ = await rang(db, in_force, after=2)
    assert (alarm.joined, there.id) == (True, other.id)


async def test_the_alarms_of_a_duplicate_go_where_it_was_merged_into(db: Database, house: House) -> None:
    in_force = await import_table(db, "devices", DEVICES)
    _, first, _ = await rang(db, in_force)
    _, second, _ = await rang(db, in_force, device="GAS-2", after=1)
    seen = (await house.case(second.id)).version
    async with db.begin() as session:
        await merge_duplicate(
            session, second.id, first.id, actor=house.chief, reason="同一处泄漏", expected_version=seen, at=AT
        )
    assert (await house.case(second.id)).state in ENDED
    alarm, there, _ = await rang(db, in_force, device="GAS-2", after=2)
    assert (alarm.joined, there.id) == (True, first.id)


async def test_many_alarms_at_once_make_one_case(db: Database) -> None:
    in_force = await import_table(db, "devices", DEVICES)
    key = uuid4()
    done = await asyncio.gather(
        *(rang(db, in_force, after=0) for _ in range(6)), *(rang(db, in_force, key) for _ in range(4))
    )
    assert len({case.id for _, case, _ in done}) == 1
    assert sum(not alarm.joined for alarm, _, fresh in done if fresh) == 1
    assert await count(db, DeviceAlarm) == 7
    assert await count(db, Case) == 1


async def test_what_is_no_alarm_is_refused(db: Database) -> None:
    in_force = await import_table(db, "devices", DEVICES)
    for values, why in (
        ({"value": math.nan}, "value: is no number"),
        ({"threshold": math.inf}, "threshold: is no number"),
        ({"taken_at": AT + timedelta(minutes=2)}, "not ahead"),
        ({"taken_at": AT - timedelta(days=8)}, "last 7 days"),
    ):
        with pytest.raises(AlarmRefused, match=why):
            await rang(db, in_force, **values)
    for version, code in ((in_force, "GAS-9"), (None, "GAS-1"), (in_force, "'; --")):
        with pytest.raises(UnknownDevice, match="no device"):
            await rang(db, version, device=code)
    key = uuid4()
    await rang(db, in_force, key)
    for values in ({"value": 27.0}, {"device": "GAS-2"}, {"taken_at": AT - timedelta(seconds=1)}):
        with pytest.raises(intake.AlreadyRegistered, match="another alarm"):
            await rang(db, in_force, key, **values)
    assert (await count(db, Case), await count(db, DeviceAlarm)) == (1, 1)
    _, case, _ = await rang(db, in_force, device="CAR-1")
    assert (case.lon, case.cell, case.located_by) == (None, None, None), "a device may have no place"


# -- from the street ---------------------------------------------------------------------------------------------------
async def test_a_report_from_the_street_keeps_how_well_its_place_is_known(db: Database, house: House) -> None:
    me, key = await person(db, AT), uuid4()
    fix = tracks.Fix(112.2, 31.03, 35.0, "network", AT - timedelta(seconds=5))
    order = intake.NewCase(source="web", text="井盖缺失", lat=1.0, lon=1.0)

    async def report(fix: tracks.Fix, key: UUID = key) -> tuple[Case, bool]:
        async with db.begin() as session:
            return await street.report(session, key, order, fix, who=me, area_id=house.area, at=AT)

    case, fresh = await report(fix)
    assert (fresh, case.source, case.lon, case.lat, case.area_id) == (True, "collector", 112.2, 31.03, house.area)
    assert (case.cell, case.located_by) == (cells.cell_of(Point(112.2, 31.03)), "person")
    assert (await report(fix))[1] is False
    async with db.read() as session:
        kept = await street.fix_of(session, case.id)
        assert await street.fix_of(session, uuid4()) is None
    assert kept is not None
    assert (kept.accuracy_m, kept.source, kept.taken_at, kept.user_id) == (35.0, "network", fix.taken_at, me)
    assert await count(db, TrackPoint, TrackPoint.tracker == me) == 1
    for bad in (
        tracks.Fix(0.0, 0.0, 1.0, "gps", AT),
        tracks.Fix(112.2, 31.03, 1.0, "gps", AT + timedelta(hours=1)),
        tracks.Fix(112.2, 31.03, math.nan, "gps", AT),
    ):
        with pytest.raises(FieldRefused, match="fix: "):
            await report(bad, uuid4())
    assert await count(db, Case) == 1, "nothing of a refused report is kept"
    assert WEB.source != case.source
