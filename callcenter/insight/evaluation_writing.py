"""Contributions into the table: what a case had put in is taken out, what it puts in now is added, in one transaction.

Recurrences join two cases: whenever one opens, closes or moves, the cases of its category and area that were closed in
the 30 days before are looked at again.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.insight.evaluation_cells import Cell, Contribution, add, contribution
from callcenter.insight.evaluation_facts import RECURS_WITHIN, Placed, placed, recurs
from callcenter.insight.evaluation_model import CELL_KEY, CELLS, EvaluationCase
from callcenter.insight.evaluation_reading import Read, Tree
from callcenter.insight.indicators import COUNTERS

Delta = dict[Cell, Counter[str]]
CASES: Final = EvaluationCase.__table__
NOTHING: Final = dict.fromkeys(COUNTERS, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case counted: what it puts in, where it stands."""

    case: UUID
    area: UUID | None
    category: str | None
    seq: int
    provisional: bool
    place: Placed
    contribution: Contribution


def outcomes_of(read: Sequence[Read], tree: Tree) -> list[Outcome]:
    """Count these cases. Pure."""
    return [
        Outcome(
            case=one.facts.case,
            area=one.facts.area,
            category=one.facts.category,
            seq=one.seq,
            provisional=one.provisional,
            place=placed(one.facts),
            contribution=contribution(one.facts, tree),
        )
        for one in read
    ]


async def write(session: AsyncSession, book: int, outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Bring ``book`` to these outcomes; gives how many cases changed and how many cells were written. The caller holds
    the state row's lock."""
    ids = [one.case for one in outcomes]
    kept = await session.execute(select(*CASES.c).where(EvaluationCase.book == book, EvaluationCase.case_id.in_(ids)))
    before: dict[UUID, Any] = {row.case_id: row for row in kept}
    delta: Delta = {}
    rows: list[dict[str, Any]] = []
    places: list[tuple[UUID | None, str | None, Placed]] = []
    for one in outcomes:
        old, new = before.get(one.case), _row(book, one)
        if old is None and not one.contribution.by:
            continue  # a draft, or words without a matter
        if old is not None and (old.seq > one.seq or all(old._mapping[name] == new[name] for name in _COMPARED)):
            continue
        if old is not None:
            _put(delta, Contribution.of(old.contribution), old.recurred, -1)
            places.append((old.area_id, old.category, _placed(old)))
        _put(delta, one.contribution, False, 1)
        places.append((one.area, one.category, one.place))
        rows.append(new)
    if not rows:
        return 0, 0
    await session.execute(_upsert_case(session.get_bind().dialect.name), rows)
    await _recurrences(session, book, places, delta)
    return len(rows), await _apply(session, book, delta)


_COMPARED: Final = ("area_id", "category", "lat", "lon", "opened_at", "closed_at", "provisional", "contribution")


def _row(book: int, one: Outcome) -> dict[str, Any]:
    return {
        "book": book,
        "case_id": one.case,
        "seq": one.seq,
        "area_id": one.area,
        "category": one.category,
        "lat": one.place.lat,
        "lon": one.place.lon,
        "grid": one.place.grid,
        "opened_at": one.place.opened_at,
        "closed_at": one.place.closed_at,
        "recurred": False,
        "provisional": one.provisional,
        "contribution": one.contribution.kept(),
    }


def _placed(row: Any) -> Placed:
    return Placed(row.opened_at, row.closed_at, row.lat, row.lon, row.grid)


def _put(delta: Delta, one: Contribution, recurred: bool, sign: int) -> None:
    for cell, counts in one.cells().items():
        add(delta, cell, counts, sign)
    if recurred:
        for cell, counts in one.recurrence_cells().items():
            add(delta, cell, counts, sign)


async def _recurrences(
    session: AsyncSession, book: int, places: Sequence[tuple[UUID | None, str | None, Placed]], delta: Delta
) -> None:
    """Settle for every case that one of ``places`` could be the return of, or that is one of them, whether its matter
    has come back."""
    keys = {(area, category) for area, category, _ in places if area is not None and category is not None}
    if not keys:
        return
    since = min(place.opened_at for _, _, place in places) - RECURS_WITHIN
    query = (
        select(*(CASES.c[name] for name in _OF_PLACE))
        .where(
            EvaluationCase.book == book,
            tuple_(EvaluationCase.area_id, EvaluationCase.category).in_(sorted(keys, key=str)),
            or_(EvaluationCase.opened_at >= since, EvaluationCase.closed_at >= since),
        )
        .order_by(EvaluationCase.opened_at, EvaluationCase.case_id)
    )
    groups: dict[tuple[UUID, str], list[Any]] = defaultdict(list)
    for row in await session.execute(query):
        groups[row.area_id, row.category].append(row)
    turned = [(row.case_id, not row.recurred) for rows in groups.values() for row in _turned(rows)]
    if not turned:
        return
    kept = select(EvaluationCase.case_id, EvaluationCase.contribution).where(
        EvaluationCase.book == book, EvaluationCase.case_id.in_([case for case, _ in turned])
    )
    contributions = {case: Contribution.of(document) for case, document in await session.execute(kept)}
    for case, recurred in turned:
        for cell, counts in contributions[case].recurrence_cells().items():
            add(delta, cell, counts, 1 if recurred else -1)
    for value in (True, False):
        if cases := [case for case, recurred in turned if recurred is value]:
            where = (EvaluationCase.book == book, EvaluationCase.case_id.in_(cases))
            await session.execute(update(EvaluationCase).where(*where).values(recurred=value))


_OF_PLACE: Final = (*("case_id", "area_id", "category", "lat", "lon", "grid", "opened_at", "closed_at", "recurred"),)


def _turned(rows: Sequence[Any]) -> list[Any]:
    """The cases of one area and category whose mark is not what it should be; ``rows``: the first opened first."""
    opened = [row.opened_at for row in rows]
    found: list[Any] = []
    for row in rows:
        now = False
        if row.closed_at is not None:
            place = _placed(row)
            first, last = bisect_left(opened, row.closed_at), bisect_right(opened, row.closed_at + RECURS_WITHIN)
            now = any(recurs(place, _placed(later)) for later in rows[first:last] if later.case_id != row.case_id)
        if now != row.recurred:
            found.append(row)
    return found


async def _apply(session: AsyncSession, book: int, delta: Delta) -> int:
    changes: list[dict[str, Any]] = []
    shrunk: list[tuple[Any, ...]] = []
    for cell in sorted(delta):
        counts = {name: n for name, n in delta[cell].items() if n}
        if not counts:
            continue
        entries = sum(counts.values())
        changes.append({**NOTHING, **counts, "entries": entries, "book": book, **cell._asdict()})
        if entries < 0:
            shrunk.append((book, *cell))
    if changes:
        await session.execute(_upsert_cell(session.get_bind().dialect.name), changes)
    key = tuple_(*(CELLS.c[name] for name in CELL_KEY))
    for start in range(0, len(shrunk), _AT_ONCE):
        await session.execute(delete(CELLS).where(key.in_(shrunk[start : start + _AT_ONCE]), CELLS.c.entries == 0))
    return len(changes)


_AT_ONCE: Final = 200


@cache
def _upsert_cell(dialect: str) -> Any:
    """Add to a cell. Built once: with so many columns building it costs more than running it."""
    statement: Any = sqlite.insert(CELLS) if dialect == "sqlite" else postgresql.insert(CELLS)
    sums: Mapping[str, Any] = {name: CELLS.c[name] + statement.excluded[name] for name in ("entries", *COUNTERS)}
    return statement.on_conflict_do_update(index_elements=[CELLS.c[name] for name in CELL_KEY], set_=sums)


@cache
def _upsert_case(dialect: str) -> Any:
    statement: Any = sqlite.insert(CASES) if dialect == "sqlite" else postgresql.insert(CASES)  # type: ignore[arg-type]
    names = [column.name for column in CASES.c if column.name not in ("book", "case_id")]
    return statement.on_conflict_do_update(
        index_elements=[CASES.c.book, CASES.c.case_id], set_={name: statement.excluded[name] for name in names}
    )
