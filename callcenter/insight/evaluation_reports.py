"""Reports: the sums of a period by what is asked for, from the pre-aggregated table only.

Whole years and months are read as such and the rest as days, so that few rows are read for any period. Days are those
of Asia/Shanghai, both ends included.
"""

from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.insight.evaluation_cells import (
    ALL,
    CATEGORY,
    DAY,
    FINEST_DAILY,
    MONTH,
    PERSON,
    POST,
    SPOT,
    SPOT_COUNTERS,
    STREET,
    UNIT,
    YEAR,
    area_axis,
)
from callcenter.insight.evaluation_model import CELLS, EvaluationState
from callcenter.insight.indicators import COUNTERS

DAILY: Final = (YEAR, MONTH, DAY)
MONTHLY: Final = (YEAR, MONTH)
KEYED: Final = (UNIT, POST, PERSON, CATEGORY)
PERIODS: Final = ("day", "month")
BY: Final = ("area", *KEYED, *PERIODS)


class WholeMonths(ValueError):
    """What was asked for is kept by month only; the message says which period to ask for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A report: by what, over which days, and of what only.

    ``level``: of areas, 1 city to 5 grid. ``only``: for reports by day or month, an axis (as in BY) and its key.
    """

    by: str
    first: date
    last: date
    domain: str | None = None
    level: int = STREET
    only: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line: an area, a unit, …, a day or a month (its first day)."""

    key: str
    counts: Counter[str]


@dataclass(frozen=True, slots=True)
class Report:
    """The lines, the busiest first (days and months in order), their total over everything, and up to when the log is
    in it; None: nothing has been folded in yet."""

    rows: list[Row]
    total: Counter[str]
    folded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a period: all its starts of one span."""

    span: str
    starts: tuple[date, ...]


async def report(session: AsyncSession, asked: Asked) -> Report:
    """The report. Raises WholeMonths, ValueError for an unknown ``by`` or a period that ends before it begins."""
    if asked.by not in BY:
        raise ValueError(f"by {asked.by!r} is none of {', '.join(BY)}")
    state = await _state(session)
    if state is None:
        return Report([], Counter(), None)
    if asked.by in PERIODS:
        lines = await _over_time(session, state.book, asked)
        total = Counter[str]()
        for row in lines:
            total.update(row.counts)
        return Report(lines, total, state.folded_at)
    axis = area_axis(asked.level) if asked.by == "area" else asked.by
    daily = asked.by != "area" or asked.level <= FINEST_DAILY
    sums = await _sums(session, state.book, axis, CELLS.c.key, asked, daily=daily)
    whole = await _sums(session, state.book, ALL, CELLS.c.key, asked)
    found = [Row(key, counts) for key, counts in sums.items()]
    found.sort(key=lambda row: (-row.counts["reported"], -row.counts["handling_due"], row.key))
    return Report(found, whole.get("", Counter()), state.folded_at)


async def hot_spots(
    session: AsyncSession, first: date, last: date, *, domain: str | None = None, most: int = 20
) -> list[Row]:
    """Where (a street) which matter was reported most often; the key is ``area|standard|kind|code``. Raises
    WholeMonths."""
    state = await _state(session)
    if state is None:
        return []
    names = sorted(SPOT_COUNTERS)
    columns = [func.sum(CELLS.c[name]) for name in names]
    busiest = columns[names.index("reported")].desc()
    parts = [and_(CELLS.c.span == one.span, CELLS.c.start.in_(one.starts)) for one in pieces(first, last, MONTHLY)]
    where = [CELLS.c.book == state.book, CELLS.c.axis == SPOT, or_(*parts), *_of_domain(domain)]
    query = select(CELLS.c.key, *columns).where(*where)
    rows = await session.execute(query.group_by(CELLS.c.key).order_by(busiest, CELLS.c.key).limit(most))
    return [Row(row[0], Counter(dict(zip(names, map(int, row[1:]), strict=True)))) for row in rows]


def months(first: date, last: date) -> tuple[date, date]:
    """The first day of the month of ``first`` and the last day of that of ``last``."""
    return first.replace(day=1), last.replace(day=monthrange(last.year, last.month)[1])


async def _state(session: AsyncSession) -> EvaluationState | None:
    found: EvaluationState | None = await session.scalar(select(EvaluationState))
    return found


async def _over_time(session: AsyncSession, book: int, asked: Asked) -> list[Row]:
    axis, key = ALL, ""
    if asked.only is not None:
        axis, key = asked.only
        axis = area_axis(asked.level) if axis == "area" else axis
    daily = axis != area_axis(FINEST_DAILY + 1)
    if asked.by == "day" and not daily:
        raise WholeMonths(f"areas of level {asked.level} are counted by month: ask by=month")
    sums: dict[date, Counter[str]] = {}
    spans = (DAY,) if asked.by == "day" else (MONTH, DAY) if daily else (MONTH,)
    for piece in pieces(asked.first, asked.last, spans):
        for start, counts in (await _piece(session, book, axis, CELLS.c.start, piece, asked.domain, key)).items():
            shown = start if asked.by == "day" else start.replace(day=1)
            sums.setdefault(shown, Counter()).update(counts)
    return [Row(start.isoformat(), sums[start]) for start in sorted(sums)]


async def _sums(
    session: AsyncSession, book: int, axis: str, column: Any, asked: Asked, *, daily: bool = True
) -> dict[Any, Counter[str]]:
    found: dict[Any, Counter[str]] = {}
    for piece in pieces(asked.first, asked.last, DAILY if daily else MONTHLY):
        for key, counts in (await _piece(session, book, axis, column, piece, asked.domain)).items():
            if key in found:
                found[key].update(counts)
            else:
                found[key] = counts
    return found


async def _piece(
    session: AsyncSession,
    book: int,
    axis: str,
    column: Any,
    piece: Piece,
    domain: str | None,
    key: str | None = None,
) -> dict[Any, Counter[str]]:
    where = [
        CELLS.c.book == book,
        CELLS.c.axis == axis,
        CELLS.c.span == piece.span,
        CELLS.c.start.in_(piece.starts),
        *_of_domain(domain),
    ]
    if key is not None:
        where.append(CELLS.c.key == key)
    query = select(column, *(func.sum(CELLS.c[name]) for name in COUNTERS)).where(*where).group_by(column)
    return {
        row[0]: Counter({name: int(n) for name, n in zip(COUNTERS, row[1:], strict=True) if n})
        for row in await session.execute(query)
    }


def _of_domain(domain: str | None) -> list[Any]:
    return [] if domain is None else [CELLS.c.domain == domain]


def pieces(first: date, last: date, spans: Sequence[str] = DAILY) -> list[Piece]:
    """The period in whole years, else months, else days, as far as ``spans`` (the longest first) allow. Raises
    WholeMonths when months are not fine enough, ValueError for a period that ends before it begins."""
    if first > last:
        raise ValueError(f"a period from {first} to {last} ends before it begins")
    if DAY not in spans and months(first, last) != (first, last):
        whole = months(first, last)
        raise WholeMonths(f"this is counted by month: ask for {whole[0]} to {whole[1]}")
    found: dict[str, list[date]] = {span: [] for span in spans}
    at = first
    while at <= last:
        for span in spans:
            end = end_of(span, at)
            if end is not None and end <= last:
                found[span].append(at)
                at = end + timedelta(days=1)
                break
    return [Piece(span, tuple(starts)) for span, starts in found.items() if starts]


def end_of(span: str, start: date) -> date | None:
    """The last day of the span that begins on ``start``; None: none does."""
    if span == DAY:
        return start
    if start.day != 1 or (span == YEAR and start.month != 1):
        return None
    return start.replace(month=12, day=31) if span == YEAR else months(start, start)[1]


def id_in(key: str) -> UUID | None:
    """The id in a key, where it is one."""
    try:
        return UUID(key)
    except ValueError:
        return None
