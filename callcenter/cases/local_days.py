"""The days on which a city differs from the country: listed, set, removed. Running limits follow by a job
(``recounting``) that is asked for in the same transaction.

A day that has begun to be counted stays as it was: nobody makes an overdue limit well by declaring a holiday
afterwards. Today may still be set, since a typhoon is announced on the day.
"""

from datetime import date, datetime
from typing import Final

from sqlalchemy import extract, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.cases.deadlines import PastDeadline
from callcenter.cases.lists import CalendarDay
from callcenter.cases.model import SYSTEM
from callcenter.cases.recounting import ask_recount
from callcenter.clock import local
from callcenter.storage.rows import insert_new

LONGEST_NOTE: Final = 80


class NoLocalDay(Exception):
    """The city has settled nothing about this day."""


async def local_days(session: AsyncSession, year: int | None = None) -> list[CalendarDay]:
    """The city's own days by date, of one ``year`` where given."""
    query = select(CalendarDay).order_by(CalendarDay.day)
    if year is not None:
        query = query.where(extract("year", CalendarDay.day) == year)
    return list(await session.scalars(query))


async def set_day(
    session: AsyncSession, day: date, *, works: bool, note: str, actor: Actor, at: datetime
) -> CalendarDay:
    """Let the city work on ``day``, or not; audited. Limits that were counted over it move soon after.

    ``note``: why, such as the notice's number; at most LONGEST_NOTE characters, nobody's particulars. Raises
    PastDeadline for a day before today in Asia/Shanghai, ValueError for a longer note.
    """
    _not_past(day, at)
    if len(note) > LONGEST_NOTE:
        raise ValueError(f"note of {len(note)} characters: at most {LONGEST_NOTE}")
    values = {"works": works, "note": note, "set_by": actor.id or SYSTEM, "set_at": at}
    await insert_new(session, CalendarDay, {"day": day, **values})  # unless it is there, or somebody sets it just now
    row = await session.get_one(CalendarDay, day, with_for_update=True, populate_existing=True)
    for name, value in values.items():
        setattr(row, name, value)
    add_entry(session, actor, "local day set", at=at, subject=f"day:{day.isoformat()}", detail={"works": works})
    await ask_recount(session, day, at)
    return row


async def remove_day(session: AsyncSession, day: date, *, actor: Actor, at: datetime) -> None:
    """Let the country's calendar hold again for ``day``; audited, limits move as by ``set_day``. Raises NoLocalDay,
    PastDeadline as ``set_day``."""
    row = await session.get(CalendarDay, day, with_for_update=True)
    if row is None:
        raise NoLocalDay(f"local day {day.isoformat()}")
    _not_past(day, at)
    await session.delete(row)
    add_entry(session, actor, "local day removed", at=at, subject=f"day:{day.isoformat()}")
    await ask_recount(session, day, at)


def _not_past(day: date, at: datetime) -> None:
    today = local(at).date()
    if day < today:
        raise PastDeadline(
            f"{day.isoformat()} is over (today is {today.isoformat()}): what was counted stays counted. Give today or "
            "a day that lies ahead"
        )
