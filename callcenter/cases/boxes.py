"""The boxes of supervision: open cases with a yellow lamp, with a red one, and all that were ever supervised.

A case is in the yellow or the red box while it is open; the inspectors' box it never leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.life import RED, YELLOW, LeaderNote, SupervisionSheet
from callcenter.cases.model import ENDED, Case
from callcenter.storage.rows import before, encode_cursor

Box = Literal["yellow", "red", "monitored"]
BOXES: Final[tuple[Box, ...]] = ("yellow", "red", "monitored")
PAGE_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class BoxCount:
    """How many cases of one unit in one area are in each box. ``unit`` None: no unit has them; ``area`` None: not
    known."""

    unit: UUID | None
    area: UUID | None
    yellow: int
    red: int
    monitored: int
    """Open and ended."""
    monitored_open: int


async def box_counts(session: AsyncSession, *, unit: UUID | None = None) -> list[BoxCount]:
    """The counts by unit with the lead and area; ``unit``: of this one only. Reads no more than the cases in boxes."""
    is_open = Case.state.not_in(ENDED)
    query = (
        select(
            Case.lead_unit_id,
            Case.area_id,
            _sum(and_(Case.lamp == YELLOW, is_open)),
            _sum(and_(Case.lamp == RED, is_open)),
            _sum(Case.monitored.is_(True)),
            _sum(and_(Case.monitored, is_open)),
        )
        .where(_in_any_box())
        .group_by(Case.lead_unit_id, Case.area_id)
    )
    if unit is not None:
        query = query.where(Case.lead_unit_id == unit)
    found = [BoxCount(*row) for row in await session.execute(query)]
    shown = [one for one in found if one.yellow or one.red or one.monitored]
    return sorted(shown, key=lambda one: (-one.red, -one.yellow, -one.monitored, str(one.unit), str(one.area)))


async def box_cases(
    session: AsyncSession, box: Box, *, unit: UUID | None = None, limit: int = 50, after: str | None = None
) -> tuple[Sequence[Case], str | None]:
    """A page of a box, newest case first, and the cursor of the page after (None: that was all). Raises ValueError for
    a bad cursor."""
    limit = max(1, min(limit, PAGE_LIMIT))
    query = select(Case)
    if box == "monitored":
        query = query.where(Case.monitored, Case.id.in_(_supervised()))
    else:
        query = query.where(Case.lamp == box, Case.state.not_in(ENDED))
    if unit is not None:
        query = query.where(Case.lead_unit_id == unit)
    if after is not None:
        query = query.where(before(Case.created_at, Case.id, after))
    rows = (await session.scalars(query.order_by(Case.created_at.desc(), Case.id.desc()).limit(limit + 1))).all()
    page = rows[:limit]
    more = len(rows) > limit
    return page, encode_cursor(page[-1].created_at, page[-1].id) if more else None


def _sum(true: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((true, 1), else_=0)), 0)


def _supervised() -> Any:
    """Every case that is in the inspectors' box came there by a red lamp, a sheet or a note, each of which is found by
    an index; ``monitored`` itself has none."""
    return (
        select(SupervisionSheet.case_id)
        .union(select(LeaderNote.case_id), select(Case.id).where(Case.lamp == RED))
        .scalar_subquery()
    )


def _in_any_box() -> ColumnElement[bool]:
    return or_(
        Case.lamp.in_((YELLOW, RED)),
        Case.id.in_(select(SupervisionSheet.case_id)),
        Case.id.in_(select(LeaderNote.case_id)),
    )
