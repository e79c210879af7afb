"""The working calendar over HTTP: who sets a local day, what it moves, what is refused."""

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from callcenter import clock
from callcenter.access.audit import entries
from callcenter.cases import clocks
from callcenter.cases.calendar import Calendar, at_time, default_calendar
from callcenter.cases.city_settings import DEFAULT_CITY
from callcenter.cases.deadlines import Limit, LimitUnit, due
from callcenter.cases.life import DISPATCH, CaseDeadline
from callcenter.cases.model import CaseLog
from callcenter.cases.recounting import RECOUNT, recount_handler
from callcenter.jobs.runner import Runner
from tests.api import Api, api
from tests.integration.test_clocks import new_case

__all__ = ["api"]

pytestmark = pytest.mark.integration

CITY = default_calendar()


def day_off() -> tuple[date, datetime]:
    """A working day at least two days ahead, and 10:00 of the working day before it."""
    day = CITY.next_workday(clock.local(clock.now()).date() + timedelta(days=2))
    return day, at_time(CITY.workday_before(day), time(10))


async def test_a_local_day_moves_limits_and_is_taken_back(api: Api) -> None:
    manager = await api.signed_in("maintainer")
    day, start = day_off()
    async with api.services.db.begin() as session:
        case = await new_case(session)
        row = await clocks.start(session, case, DISPATCH, Limit(1, LimitUnit.WORK_DAY), start, calendar=CITY)
    assert clock.local(row.due_at).date() == day

    runner = Runner(api.services.db, {RECOUNT: recount_handler(DEFAULT_CITY)})
    told = await manager.put(f"/api/v1/calendar/{day}", json={"works": False, "note": "台风停工"})
    assert told.status_code == 200, told.text
    assert (told.json()["day"], told.json()["works"]) == (str(day), False)
    assert await runner.run_once(clock.now()) == 1
    async with api.services.db.read() as session:
        moved = (await session.get_one(CaseDeadline, row.id)).due_at
        assert moved == due(start, Limit(1, LimitUnit.WORK_DAY), Calendar(CITY.periods, CITY.works, {day: False})).at
        assert clock.local(moved).date() == CITY.next_workday(day)
        [step] = (await session.scalars(select(CaseLog).where(CaseLog.case_id == case.id))).all()
        assert (step.action, step.rule) == (clocks.DEADLINE_MOVED, clocks.LOCAL_DAY)

    shown: dict[str, Any] = (await manager.get("/api/v1/calendar")).json()
    assert shown["periods"] == ["08:30-12:00", "14:00-17:30"]
    [one] = shown["days"]
    assert (one["day"], one["works"], one["note"]) == (str(day), False, "台风停工")
    assert (await manager.get(f"/api/v1/calendar?year={day.year + 5}")).json()["days"] == []
    again = await manager.put(f"/api/v1/calendar/{day}", json={"works": False, "note": "again"})
    assert again.json()["note"] == "again"
    assert (await manager.delete(f"/api/v1/calendar/{day}")).status_code == 204
    assert await runner.run_once(clock.now()) == 2
    assert (await manager.get("/api/v1/calendar")).json()["days"] == []
    async with api.services.db.read() as session:
        assert (await session.get_one(CaseDeadline, row.id)).due_at == row.due_at
        found = [(entry.action, entry.detail) for entry in await entries(session, subject=f"day:{day}")]
    assert found == [
        ("local day removed", {}),
        ("local day set", {"works": False}),
        ("local day set", {"works": False}),
    ]


async def test_what_is_refused(api: Api) -> None:
    manager, agent = await api.signed_in("maintainer"), await api.signed_in("agent")
    day, _ = day_off()
    yesterday = clock.local(clock.now()).date() - timedelta(days=1)
    off = {"works": False}
    assert (await agent.get("/api/v1/calendar")).status_code == 200
    assert (await agent.put(f"/api/v1/calendar/{day}", json=off)).status_code == 403
    assert (await agent.delete(f"/api/v1/calendar/{day}")).status_code == 403
    past = await manager.put(f"/api/v1/calendar/{yesterday}", json=off)
    assert past.status_code == 422
    assert f"{yesterday} is over" in past.json()["detail"]
    assert (await manager.delete(f"/api/v1/calendar/{day}")).status_code == 404
    assert (await manager.put("/api/v1/calendar/2026-02-30", json=off)).status_code == 422
    assert (await manager.put(f"/api/v1/calendar/{day}", json=off | {"note": "x" * 81})).status_code == 422
    assert (await manager.get("/api/v1/calendar")).json()["days"] == []
