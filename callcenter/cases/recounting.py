"""Counting running limits again when the calendar has changed: in rounds, so that nobody waits long for the store.

A city may have ten thousand limits open over a day; counted again in one transaction they would keep SQLite's only
writer for minutes. Each round is a job that asks for the next in its own transaction: nothing is lost with a process.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from callcenter import clock
from callcenter.cases.calendar import CalendarSettings, load_calendar
from callcenter.cases.clocks import recompute_day, recompute_provisional
from callcenter.cases.deadlines import LampSettings
from callcenter.jobs.model import Job
from callcenter.jobs.runner import GiveUp, Handler
from callcenter.jobs.store import add_job
from callcenter.storage.engine import Database
from callcenter.storage.outbox import Refs

RECOUNT: Final = "deadlines.recount"
"""Kind of the job that moves limits after a local day was set or removed."""
_DAY: Final = "day:"


async def ask_recount(session: AsyncSession, day: date, at: datetime) -> None:
    """Have the limits that were counted over ``day`` counted again after ``session``'s transaction."""
    await _ask(session, day, uuid4(), None, at)


def recount_handler(
    settings: CalendarSettings,
    *,
    lamp_settings: LampSettings | None = None,
    now: Callable[[], datetime] = clock.now,
) -> Handler:
    """The handler of RECOUNT: one round, and the job of the next in the same transaction. Idempotent: what has been
    counted by the calendar in force does not move again."""

    async def handle(db: Database, job: Job) -> None:
        try:
            day = date.fromisoformat(str(job.refs["day"]).removeprefix(_DAY))
            change = UUID(job.refs["change"])
            after = UUID(job.refs["after"]) if job.refs["after"] is not None else None
        except (KeyError, TypeError, ValueError):
            raise GiveUp("the job names no day, change and place to go on from") from None
        at = now()
        async with db.begin() as session:
            calendar = await load_calendar(session, settings)
            done = await recompute_day(session, day, calendar, at, after=after, lamp_settings=lamp_settings)
            if done.last is not None:
                await _ask(session, day, change, done.last, at)

    return handle


async def settle_provisional(
    db: Database, settings: CalendarSettings, at: datetime, *, lamp_settings: LampSettings | None = None
) -> int:
    """Settle every running limit that was counted over days that are known by now, a transaction a round. For the
    start of a process: a newer library comes with one. Gives how many were settled."""
    settled = 0
    while True:
        async with db.begin() as session:
            calendar = await load_calendar(session, settings)
            found = await recompute_provisional(session, calendar, at, lamp_settings=lamp_settings)
        if not found:
            return settled
        settled += found


async def _ask(session: AsyncSession, day: date, change: UUID, after: UUID | None, at: datetime) -> None:
    refs: Refs = {"day": f"{_DAY}{day.isoformat()}", "change": change, "after": after}
    await add_job(session, RECOUNT, f"{RECOUNT}:{change}:{after}", refs, at=at)
