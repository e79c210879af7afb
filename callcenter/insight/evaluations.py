"""Evaluation in the store: the log folded into sums as it grows, the sums counted again from nothing, and reports.

``fold`` takes in what the log has grown by and is cheap enough for every minute. ``recompute`` counts everything again
into the other book, says what differed, and puts the new book in the place of the old. Both go through the same
pure counting; neither reads anything that a person could have typed in as a figure.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, except_, func, literal, select, tuple_, update

from callcenter.cases.life import CaseDeadline
from callcenter.cases.model import Case, CaseLog
from callcenter.insight.evaluation_model import CELL_KEY, CELLS, EvaluationCase, EvaluationState
from callcenter.insight.evaluation_reading import read_facts, read_tree
from callcenter.insight.evaluation_writing import Outcome, outcomes_of, write
from callcenter.storage.base import EPOCH, UtcDateTime
from callcenter.storage.engine import Database
from callcenter.storage.rows import insert_new

SETTLES: Final = timedelta(minutes=10)
"""A log row's number is given before its transaction commits: later than this no smaller number can still appear, since
no transaction of the house lasts as long. Until then what was folded last is folded again."""
UNDER_WAY: Final = 10_000
"""Log rows that may have been given numbers and not be committed when the first fold begins: far more than there are
connections to write them."""
LEASE: Final = timedelta(minutes=10)
"""A recomputation that has not been heard of for so long is dead."""
BATCH: Final = 200
"""Cases of one transaction: SQLite's only writer is not held for more than about a tenth of a second."""
PAGE: Final = 2_000
"""Log rows looked through at once."""
PARTS: Final = 100
"""Parts of a book at once, when it is emptied or compared."""
EXAMPLES: Final = 20
ONLY: Final = 1


class Busy(Exception):
    """A recomputation is already under way; the message says since when it was last heard of."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold did: cases whose contribution changed, cells written. ``waiting``: it left everything as it was,
    because a recomputation is under way."""

    cases: int
    cells: int
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Recomputed:
    """``cases`` counted again; ``differed`` cells were not what the log says, ``examples`` some of them (axis, span,
    start, key, domain)."""

    cases: int
    differed: int
    examples: tuple[tuple[str, ...], ...]


async def fold(db: Database, at: datetime) -> Folded:
    """Take in what happened since the last fold. Idempotent: a second one right after changes nothing.

    The first fold of a store counts every case. Two at once do not count twice: each batch is written under the lock of
    the state row, against what the case had put in before.
    """
    state = await _state(db, at)
    if _building(state, at):
        return Folded(0, 0, waiting=True)
    top = await _top(db)
    if state.seen_id == 0:
        cases, cells = await _take_in(db, _every_case(db), state.book)
    else:
        cases, cells = await _take_in(db, _touched(db, state.settled_id, state.book), state.book)
    await _advance(db, top, at)
    return Folded(cases, cells)


async def recompute(db: Database, at: datetime) -> Recomputed:
    """Count everything again from nothing and read that from now on. Raises Busy while another is at it.

    About 200 cases a second: half an hour for 400,000. Figures are read from the old book meanwhile, and folds wait.
    """
    await fold(db, at)  # what is merely not folded in yet is no difference
    began = monotonic()
    settled, book, other = await _begin(db, at)
    try:
        await _clear(db, other)
        await _take_in(db, _every_case(db), other, building=at, began=began)
        top = await _top(db)
        # Steps taken meanwhile, into both.
        await _take_in(db, _touched(db, settled, book), book, other, building=at, began=began)
        differed, examples = await _differences(db, book, other, at, began)
        async with db.begin() as session:
            counted = await session.scalar(select(func.count()).where(EvaluationCase.book == other)) or 0
            await session.execute(update(EvaluationState).values(book=other, folded_at=at))
        await _advance(db, top, at)
        await _clear(db, book)
    finally:
        async with db.begin() as session:
            await session.execute(update(EvaluationState).values(building_at=None))
    return Recomputed(counted, differed, examples)


# -- which cases -------------------------------------------------------------------------------------------------------


async def _every_case(db: Database) -> AsyncIterator[list[UUID]]:
    last: tuple[datetime, UUID] = (EPOCH, UUID(int=0))
    while True:
        after = tuple_(Case.created_at, Case.id) > tuple_(literal(last[0], UtcDateTime()), literal(last[1]))
        query = select(Case.created_at, Case.id).where(after).order_by(Case.created_at, Case.id).limit(BATCH)
        async with db.read() as session:
            rows = list(await session.execute(query))
        if not rows:
            return
        last = (rows[-1][0], rows[-1][1])
        yield [key for _, key in rows]


async def _touched(db: Database, settled: int, book: int) -> AsyncIterator[list[UUID]]:
    seen: set[UUID] = set()
    while True:
        query = select(CaseLog.id, CaseLog.case_id).where(CaseLog.id > settled).order_by(CaseLog.id).limit(PAGE)
        async with db.read() as session:
            rows = list(await session.execute(query))
        if not rows:
            break
        settled = rows[-1][0]
        fresh = list(dict.fromkeys(key for _, key in rows if key not in seen))
        seen.update(fresh)
        for start in range(0, len(fresh), BATCH):
            yield fresh[start : start + BATCH]
    unsure = select(CaseDeadline.id).where(
        CaseDeadline.case_id == EvaluationCase.case_id, CaseDeadline.provisional.is_(True)
    )
    known = select(EvaluationCase.case_id).where(
        EvaluationCase.book == book, EvaluationCase.provisional.is_(True), ~unsure.exists()
    )
    async with db.read() as session:
        rest = [key for key in await session.scalars(known) if key not in seen]
    for start in range(0, len(rest), BATCH):
        yield rest[start : start + BATCH]


async def _take_in(
    db: Database, batches: AsyncIterator[list[UUID]], *books: int, building: datetime | None = None, began: float = 0.0
) -> tuple[int, int]:
    """Count these cases into each of ``books``; ``building``: give signs of life, that moment being ``began``."""
    async with db.read() as session:
        tree = await read_tree(session)
    cases = cells = 0
    async for ids in batches:
        async with db.read() as session:
            read = await read_facts(session, ids, tree)
        # In a thread: calls are answered in this process, and a batch of counting is tens of milliseconds.
        found: Sequence[Outcome] = await asyncio.to_thread(outcomes_of, read, tree)
        async with db.begin() as session:
            state = await session.get_one(EvaluationState, ONLY, with_for_update=True)
            if building is not None:
                state.building_at = building + timedelta(seconds=monotonic() - began)
            for book in books:
                changed, written = await write(session, book, found)
                cases, cells = cases + changed, cells + written
    return cases, cells


# -- the state ---------------------------------------------------------------------------------------------------------


async def _state(db: Database, at: datetime) -> EvaluationState:
    async with db.read() as session:
        found = await session.get(EvaluationState, ONLY)
    if found is not None:
        return found
    first = {"id": ONLY, "book": 0, "settled_id": 0, "seen_id": 0, "seen_at": at, "folded_at": at}
    async with db.begin() as session:
        await insert_new(session, EvaluationState, first)
    async with db.read() as session:
        return await session.get_one(EvaluationState, ONLY)


def _building(state: EvaluationState, at: datetime) -> bool:
    return state.building_at is not None and at - state.building_at < LEASE


async def _top(db: Database) -> int:
    async with db.read() as session:
        return await session.scalar(select(func.max(CaseLog.id))) or 0


async def _advance(db: Database, top: int, at: datetime) -> None:
    async with db.begin() as session:
        state = await session.get_one(EvaluationState, ONLY, with_for_update=True)
        if state.seen_id == 0:
            state.settled_id = max(0, top - UNDER_WAY)
            state.seen_id, state.seen_at = top, at
        elif at - state.seen_at >= SETTLES:
            state.settled_id = state.seen_id
            state.seen_id, state.seen_at = top, at
        state.folded_at = at


async def _begin(db: Database, at: datetime) -> tuple[int, int, int]:
    async with db.begin() as session:
        state = await session.get_one(EvaluationState, ONLY, with_for_update=True)
        if _building(state, at) and state.building_at is not None:
            heard = state.building_at.isoformat(timespec="seconds")
            raise Busy(f"the figures are being counted again (last heard of {heard}): ask again when it is done")
        state.building_at = at
        return state.settled_id, state.book, 1 - state.book


async def _parts(db: Database, *books: int) -> list[tuple[str, str, date]]:
    """The axis, span and start of every part of these books. A part lies in one piece and is small, so that what is
    done part by part depends on no plan and holds nobody up."""
    part = (CELLS.c.axis, CELLS.c.span, CELLS.c.start)
    async with db.read() as session:
        rows = await session.execute(select(*part).where(CELLS.c.book.in_(books)).distinct().order_by(*part))
        return [(axis, span, start) for axis, span, start in rows]


def _in_part(book: int, part: tuple[str, str, date]) -> list[ColumnElement[bool]]:
    values = zip(CELL_KEY, (book, *part), strict=False)
    return [CELLS.c[name] == value for name, value in values]


async def _clear(db: Database, book: int) -> None:
    """Empty a book that is not read, little by little."""
    parts = await _parts(db, book)
    for start in range(0, len(parts), PARTS):
        async with db.begin() as session:
            for part in parts[start : start + PARTS]:
                await session.execute(delete(CELLS).where(*_in_part(book, part)))
    while True:
        some = select(EvaluationCase.case_id).where(EvaluationCase.book == book).limit(PAGE)
        async with db.begin() as session:
            ids = list(await session.scalars(some))
            if not ids:
                return
            gone = delete(EvaluationCase).where(EvaluationCase.book == book, EvaluationCase.case_id.in_(ids))
            await session.execute(gone)


async def _differences(
    db: Database, book: int, other: int, building: datetime, began: float
) -> tuple[int, tuple[tuple[str, ...], ...]]:
    """Cells of one book that the other has not, or has otherwise: how many, and some of them."""
    columns = [column for column in CELLS.c if column.name != "book"]
    total, examples = 0, list[tuple[str, ...]]()
    for number, part in enumerate(await _parts(db, book, other)):
        one, two = (select(*columns).where(*_in_part(which, part)) for which in (book, other))
        unlike: set[tuple[str, str]] = set()
        async with db.read() as session:
            for found in (except_(one, two).subquery(), except_(two, one).subquery()):
                unlike |= {(key, domain) for key, domain in await session.execute(select(found.c.key, found.c.domain))}
        total += len(unlike)
        if len(examples) < EXAMPLES:
            examples += [(part[0], part[1], part[2].isoformat(), *cell) for cell in sorted(unlike)]
        if number % PARTS == 0:
            await _alive(db, building, began)
    return total, tuple(examples[:EXAMPLES])


async def _alive(db: Database, building: datetime, began: float) -> None:
    async with db.begin() as session:
        now = building + timedelta(seconds=monotonic() - began)
        await session.execute(update(EvaluationState).values(building_at=now))
