"""What cases can be looked for by, and what of it is known before any case is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.city.model import Area
from callcenter.clock import SHANGHAI

LONGEST_WORDS: Final = 100
"""Characters of what is searched for."""

Position = tuple[datetime, UUID]
"""A place in the order of time: a case's moment and its id."""
BEYOND: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))
"""After every case."""


class BadSearch(ValueError):
    """What was asked for cannot be looked for; the message names the filter and the mend, and no number or word."""


@dataclass(frozen=True, slots=True)
class Find:
    """What cases must be to be found; empty and None: whatever it is."""

    words: str = ""
    """All of these, in any order, in what was said, the address or the wish."""
    number: str = ""
    """A case's number or how it begins, from four digits on."""
    phone: str = ""
    """The last digits, four or more, of the citizen's number or call-back number. Whoever asks by it reads particulars:
    the caller checks the permission and writes the audit."""
    area: str = ""
    """The code of an area: it and all below it."""
    states: Sequence[str] = ()
    unit: UUID | None = None
    """The unit that has the order, as lead."""
    assisting: bool = False
    """With ``unit``: also the cases in which it assists or has assisted."""
    lamp: str = ""
    domain: str = ""
    decision: str = ""
    category: str = ""
    source: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None
    filed_only: bool = False
    """Only what units may see."""


async def below(session: AsyncSession, code: str) -> Sequence[UUID]:
    """The ids of the area of this code and of all below it; none at all for the one area above all others. Raises
    BadSearch."""
    root = (await session.execute(select(Area.id, Area.parent_id).where(Area.code == code))).one_or_none()
    if root is None:
        raise BadSearch("area: there is no area of that code")
    if root.parent_id is None:
        roots = await session.scalars(select(Area.id).where(Area.parent_id.is_(None)).limit(2))
        if len(roots.all()) == 1:
            return ()
    tree = select(literal(root.id, Uuid()).label("id")).cte("below", recursive=True)
    tree = tree.union_all(select(Area.id).join(tree, Area.parent_id == tree.c.id))
    return (await session.scalars(select(tree.c.id))).all()


def begins(column: Any, number: str) -> list[ColumnElement[bool]]:
    """The numbers that begin with this one. By the next one and not by LIKE: either database then uses the index."""
    after = str(int(number) + 1).zfill(len(number))
    return [column >= number, *([column < after] if len(after) == len(number) else [])]


def first_position(find: Find) -> Position:
    """Where the newest of what is looked for can be. Raises BadSearch."""
    until = BEYOND
    if find.created_before is not None:
        until = (find.created_before, UUID(int=0))
    if find.number:
        if not (find.number.isascii() and find.number.isdigit() and 4 <= len(find.number) <= 20):
            raise BadSearch("number: a case's number or how it begins, four to twenty digits")
        # A case has its number by the end of the day that the number names, and was there before.
        until = min(until, (_end_of(find.number[:8]), UUID(int=0)))
    return until


def _end_of(begins: str) -> datetime:
    """The end, in the city's time, of the year, month or day that a number begins with; the far future for none."""
    year, month, day = begins[:4], begins[4:6], begins[6:8]
    try:
        if len(day) == 2:
            return (datetime(int(year), int(month), int(day), tzinfo=SHANGHAI) + timedelta(days=1)).astimezone(UTC)
        if len(month) == 2:
            first = datetime(int(year), int(month), 1, tzinfo=SHANGHAI) + timedelta(days=32)
            return first.replace(day=1).astimezone(UTC)
        return datetime(int(year) + 1, 1, 1, tzinfo=SHANGHAI).astimezone(UTC)
    except (ValueError, OverflowError):
        return BEYOND[0]
