"""Finding cases: by words, number, telephone, place, unit and what else a list is narrowed by; the newest first.

The work of a page is bounded, however many cases there are. Cases are read in windows of time, from the newest back,
along the index of whichever filter is sparsest there, and the other filters are tried on what a window holds. When the
last of STEPS has been read and the page is not full, it is given as it is, with the cursor of where the search stood: a
page may be short, or empty, and still have a ``next``. Nothing is counted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    TextClause,
    Uuid,
    and_,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from callcenter.cases.life import NO_LAMP, CaseAssist
from callcenter.cases.model import LIT, Case, CaseParticulars
from callcenter.cases.repository import PAGE_LIMIT, CasePage, CaseRow
from callcenter.cases.search_filters import (
    LONGEST_WORDS,
    BadSearch,
    Find,
    Position,
    begins,
    below,
    first_position,
)
from callcenter.cases.search_index import (
    FIRST_SECOND,
    SLOTS,
    TAILS,
    CaseSearch,
    digits_of,
    key_floor,
    secret,
    tail_token,
    word_tokens,
)
from callcenter.city.model import Unit
from callcenter.clock import now
from callcenter.storage.bulk import as_rows
from callcenter.storage.rows import decode_cursor, encode_cursor

STEPS: Final = (100, 1_000, 6_000)
"""Rows of the sparsest filter that the windows of a page hold, about: the first is what nearly all pages need, together
they are what either database reads and tries within 50 ms (``scripts/bench/cases``)."""
RARE: Final = 12
"""Fewer found in the windows before the last: PostgreSQL is asked for all that have the words. With more, the last
window fills the page."""
ENOUGH_AT_ONCE: Final = 8_000
"""Cases of a rare word or number that are taken together and sorted; more are read by windows."""
MOST_HITS: Final = 30_000
"""Cases of one window that have the words and are noted before the window is read, on SQLite; of more frequent words
nearly every case has them, and each is tried by itself."""
MOST_BRANCHES: Final = 200
"""Areas that are read each along the index; below more of them there are so many cases that time finds them sooner."""


@dataclass(frozen=True)
class _Way:
    """An index in the order of time along which cases can be read: those whose ``column`` has one of ``values``; None:
    all. ``also``: what the columns before it in the index must be. ``time`` and ``key``: the index's own columns of a
    case's moment and id, where it is another table's."""

    column: Any = None
    values: Sequence[Any] = (None,)
    also: Sequence[ColumnElement[bool]] = ()
    time: Any = field(default_factory=lambda: Case.created_at)
    key: Any = field(default_factory=lambda: Case.id)


@dataclass
class _Search:
    """One search, prepared: tokens cut, areas looked up."""

    session: AsyncSession
    find: Find
    sqlite: bool
    tokens: frozenset[str] = frozenset()
    areas: Sequence[UUID] | None = None
    """None: wherever it is, even unknown; empty: wherever it is."""
    assists: UUID | None = None
    """The unit that assists in what is looked for; the lead is then whoever it is."""
    ways: list[_Way] = field(default_factory=list)
    hits: float = 0.0
    """Cases that have the words, on SQLite: about how many a second there are where the search stands."""

    # -- predicates ----------------------------------------------------------------------------------------------------
    def col(self, column: Any) -> Any:
        """``column`` as the filters name it. SQLite keeps no figures of its own on what an index holds and would pick
        any of them: a plus before it (sqlite.org/optoverview.html) leaves the one that was chosen here."""
        return UnaryExpression(column, operator=custom_op("+"), type_=column.type) if self.sqlite else column

    def filters(self) -> list[ColumnElement[bool]]:
        """What is tried on each case of a window, but for its words."""
        find = self.find
        equal = (
            (Case.lead_unit_id, find.unit),
            (Case.lamp, find.lamp),
            (Case.domain, find.domain),
            (Case.decision, find.decision),
            (Case.category_code, find.category),
            (Case.source, find.source),
        )
        given = [self.col(column) == value for column, value in equal if value]
        if find.states:
            given.append(self.col(Case.state).in_(list(find.states)))
        if find.filed_only and not (find.unit or self.assists):  # who has an order has a filed case
            given.append(self.col(Case.filed_at).is_not(None))
        if find.number:
            given.append(and_(*begins(self.col(Case.number), find.number)))
        if self.areas is not None:
            area = self.col(Case.area_id)
            given.append(self.among(area, self.areas) if self.areas else area.is_not(None))
        if find.phone and len(digits_of(find.phone)) not in TAILS:
            given.append(self._ends_with(digits_of(find.phone)))
        return given

    def assisted(self) -> list[ColumnElement[bool]]:
        """What is tried on a case that was not read along the unit's own list of those it assists in."""
        if self.assists is None:
            return []
        mine = (CaseAssist.created_at == Case.created_at, CaseAssist.case_id == Case.id)
        return [select(1).where(CaseAssist.unit_id == self.assists, *mine).exists()]

    def _ends_with(self, digits: str) -> ColumnElement[bool]:
        """A tail was kept of four and eight digits; for another number of them the number itself decides."""
        numbers = (CaseParticulars.reporter_number, CaseParticulars.callback_number)
        plain = [func.replace(func.replace(number, "-", ""), " ", "") for number in numbers]
        return (
            select(1)
            .where(CaseParticulars.case_id == Case.id, or_(*(one.like(f"%{digits}") for one in plain)))
            .exists()
        )

    def has_words(self, start: datetime | None, until: Position) -> list[ColumnElement[bool]]:
        """Tries the tokens on a case of the window."""
        if not self.tokens:
            return []
        span = (min(until[0], now()) - (start or FIRST_SECOND)).total_seconds()
        if self.sqlite and self.hits * span <= MOST_HITS:
            mine = select(CaseSearch.key).where(CaseSearch.case_id == Case.id).scalar_subquery()
            return [mine.in_(self._matching("SELECT f.rowid FROM case_search_fts f", start, until))]
        there: list[ColumnElement[bool]] = [CaseSearch.case_id == Case.id]
        if self.sqlite:
            there += [func.instr(CaseSearch.words, f" {token} ") > 0 for token in sorted(self.tokens)]
        else:
            # The function, not the operator @@: that one would be looked up in the index, and a common word's whole
            # list be read for one case.
            there.append(func.ts_match_vq(CaseSearch.words, self.query()))
        return [select(1).where(*there).exists()]

    def query(self) -> ColumnElement[Any]:
        """The tokens as PostgreSQL asks for them; a token has only letters and digits, and ``#``."""
        return cast(literal(" & ".join(f"'{token}'" for token in sorted(self.tokens)), Text), TSQUERY)

    def match(self) -> str:
        """The tokens as FTS5 asks for them."""
        return " AND ".join(f'"{token}"' for token in sorted(self.tokens))

    def _matching(self, select_from: str, start: datetime | None, until: Position) -> TextClause:
        """The rows of FTS5, ``f``, that have the tokens and are of the window's time."""
        where = " WHERE f.case_search_fts MATCH :match AND f.rowid >= :low AND f.rowid < :high"
        low = key_floor(start) if start is not None else 0
        return text(select_from + where).bindparams(match=self.match(), low=low, high=key_floor(until[0]) + SLOTS)

    def among(self, column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
        """``column`` has one of ``values``; ids, of which there can be many, as one parameter."""
        if len(values) == 1:
            return column == values[0]  # type: ignore[no-any-return]
        if not isinstance(values[0], UUID):
            return column.in_(list(values))  # type: ignore[no-any-return]
        if self.sqlite:
            return column.in_(select(as_rows(values).c.value))  # type: ignore[no-any-return]
        return column == func.any(literal(list(values), ARRAY(Uuid())))  # type: ignore[no-any-return]

    @property
    def straight(self) -> "tuple[_Way, None] | None":
        """The way that leads to nothing but what is looked for: its newest are the page."""
        way = self.ways[0]
        alone = len(self.ways) == 1 and len(way.values) == 1 and not self.tokens
        told = (way.column is not None and way.key is Case.id) + bool(way.also)
        return (way, None) if alone and len(self.filters()) == told else None

    # -- reading -------------------------------------------------------------------------------------------------------
    async def way(self, until: Position, rows: int) -> tuple[_Way | None, datetime | None]:
        """The sparsest way back from ``until``, None for that of the words on SQLite, and how far back it holds
        ``rows`` cases, about; None: to its end."""
        best: tuple[float, _Way | None, datetime | None] | None = None
        for way in self.ways:
            each = max(20, rows // len(way.values))
            ends = [one for (one,) in await self.session.execute(self._nth(way, until, each)) if one is not None]
            best = _sparser(best, way, until, each, ends)
        if self.tokens and self.sqlite:
            key = await self.session.scalar(
                text(
                    "SELECT rowid FROM case_search_fts WHERE case_search_fts MATCH :match AND rowid < :until"
                    " ORDER BY rowid DESC LIMIT 1 OFFSET :rows"
                ),
                {"match": self.match(), "until": key_floor(until[0]) + SLOTS, "rows": rows},
            )
            ends = [] if key is None else [FIRST_SECOND + timedelta(seconds=key // SLOTS)]
            self.hits = _density(until, rows, ends)
            best = _sparser(best, None, until, rows, ends)
        assert best is not None  # noqa: S101 - there is always the way of all cases
        return best[1], best[2]

    def _nth(self, way: _Way, until: Position, rows: int) -> Select[Any]:
        """When, for each value of the way, the case after ``rows`` of them was opened; NULL where there are fewer."""
        query = select(way.time).where(way.time <= until[0])
        query = query.where(*way.also).order_by(way.time.desc(), way.key.desc()).limit(1).offset(rows)
        if way.column is None:
            return query
        if len(way.values) == 1:
            return query.where(way.column == way.values[0])
        if not isinstance(way.values[0], UUID):
            each = [select(query.where(way.column == value).scalar_subquery()) for value in way.values]
            return union_all(*each)  # type: ignore[return-value]
        listed = as_rows(way.values) if self.sqlite else _unnested(way.values)
        return select(query.where(way.column == listed.c.value).correlate(listed).scalar_subquery()).select_from(listed)

    async def window(self, way: _Way | None, start: datetime | None, until: Position, limit: int) -> list[Position]:
        """The newest ``limit`` cases of the way's window that are what is looked for."""
        created, key = self.col(Case.created_at), self.col(Case.id)
        query = select(Case.id, Case.created_at).where(*self.filters()).limit(limit)
        query = query.where(or_(created < until[0], and_(created == until[0], key < until[1])))
        if way is None:
            hits = "SELECT s.case_id FROM case_search_fts f CROSS JOIN case_search s ON s.key = f.rowid"
            query = query.where(Case.id.in_(self._matching(hits, start, until)), *self.assisted())
            if start is not None:
                query = query.where(created >= start)
            return await self._positions(query.order_by(created.desc(), key.desc()))
        if self.tokens and not self.sqlite and way.column is None:
            return await self._time_of_words(start, until, limit)
        query = query.where(*self.has_words(start, until), way.time <= until[0])
        if start is not None:
            query = query.where(way.time >= start)
        if way.column is not None:
            query = query.where(self.among(way.column, way.values), *way.also)
        query = query.where(Case.id == way.key) if way.key is not Case.id else query.where(*self.assisted())
        if len(way.values) == 1:
            return await self._positions(query.order_by(way.time.desc(), way.key.desc()))
        # Read along several places of the index and sorted: the window holds no more than can be.
        return await self._positions(query.order_by(created.desc(), key.desc()))

    async def _time_of_words(self, start: datetime | None, until: Position, limit: int) -> list[Position]:
        """A window of the index itself, on PostgreSQL: its rows lie in the order of time, the cases need not be
        read."""
        created, key = CaseSearch.created_at, CaseSearch.case_id
        query = select(key, created).where(func.ts_match_vq(CaseSearch.words, self.query()), created <= until[0])
        query = query.where(or_(created < until[0], key < until[1]))
        if start is not None:
            query = query.where(created >= start)
        if filters := self.filters():
            query = query.join(Case, Case.id == key).where(*filters)
        return await self._positions(query.order_by(created.desc(), key.desc()).limit(limit))

    async def at_once(self, until: Position, limit: int) -> list[Position] | None:
        """The newest of all that a rare number or, on PostgreSQL, rare words find; None: they are not rare."""
        find = self.find
        created = Case.created_at
        keyset = or_(created < until[0], and_(created == until[0], Case.id < until[1]))
        bounds = [keyset] if find.created_from is None else [keyset, created >= find.created_from]
        if len(find.number) >= 8:
            hits = select(Case.id).where(*begins(Case.number, find.number)).limit(ENOUGH_AT_ONCE + 1)
            bounds += self.has_words(find.created_from, until)
        elif self.tokens and not self.sqlite:
            hits = select(CaseSearch.case_id).where(CaseSearch.words.op("@@")(self.query())).limit(ENOUGH_AT_ONCE + 1)
        else:
            return None
        ids = (await self.session.scalars(hits)).all()
        if not ids or len(ids) > ENOUGH_AT_ONCE:
            return None if ids else []
        query = select(Case.id, created).where(self.among(Case.id, ids), *self.filters(), *self.assisted(), *bounds)
        return await self._positions(query.order_by(self.col(created).desc(), self.col(Case.id).desc()).limit(limit))

    async def _positions(self, query: Any) -> list[Position]:
        return [(created, key) for key, created in await self.session.execute(query)]


async def find_cases(session: AsyncSession, find: Find, *, limit: int = 50, after: str | None = None) -> CasePage:
    """A page of the cases that are what ``find`` says, the newest first; ``after`` is the cursor of the page before.

    At most PAGE_LIMIT rows; a short page may have a ``next`` (see above). Raises BadSearch, and ValueError for a bad
    cursor.
    """
    limit = max(1, min(limit, PAGE_LIMIT))
    until = first_position(find)
    if after is not None:
        until = min(until, decode_cursor(after))
    search = await _prepared(session, find)
    searches = [search, _assisting(search, find.unit)] if find.assisting and find.unit is not None else [search]
    looked = [await _look(one, until, limit) for one in searches]
    # Below where one of them stands it is not known what it would still find: that is the next page's.
    stood = max((one for _, one in looked if one is not None), default=None)
    found = {row for rows, _ in looked for row in rows if stood is None or row >= stood}
    return await _page(session, sorted(found, reverse=True), limit, stood)


async def _look(search: _Search, until: Position, limit: int) -> tuple[list[Position], Position | None]:
    """The newest cases from ``until`` back, one more than ``limit`` at most; and where the search stood when it has not
    seen all."""
    find, rows = search.find, list[Position]()
    rare = bool(find.phone) or len(find.number) > 8
    # A unit assists in few of its cases: one window of a thousand holds them all, where a first of a hundred would only
    # be one more.
    steps = STEPS if search.assists is None else STEPS[1:]
    for step, size in enumerate(steps):
        if rare or (step == len(steps) - 1 and len(rows) < RARE):
            rare = False
            found = await search.at_once(until, limit + 1 - len(rows))
            if found is not None:
                rows += found
                return rows, rows[-1] if len(rows) > limit else None
        way, start = search.straight or await search.way(until, max(size, limit + 1))
        if find.created_from is not None and (start is None or start <= find.created_from):
            start, last = find.created_from, True
        else:
            last = start is None
        rows += await search.window(way, start, until, limit + 1 - len(rows))
        if len(rows) > limit or last:
            return rows, rows[-1] if len(rows) > limit else None
        assert start is not None  # noqa: S101 - else it was the last
        until = (start, UUID(int=0))
    return rows, until


def _assisting(search: _Search, unit: UUID) -> _Search:
    """The same search among the cases in which a unit assists, whoever leads them."""
    way = _Way(CaseAssist.unit_id, [unit], time=CaseAssist.created_at, key=CaseAssist.case_id)
    return replace(search, find=replace(search.find, unit=None), assists=unit, ways=[way])


async def _page(session: AsyncSession, found: list[Position], limit: int, stood: Position | None) -> CasePage:
    """The cases of the positions; ``stood``: where the search ended without having seen all."""
    more = found[limit - 1] if len(found) > limit else stood
    if not found:
        return CasePage([], encode_cursor(*more) if more is not None else None)
    query = select(Case, CaseParticulars).join(CaseParticulars, CaseParticulars.case_id == Case.id)
    query = query.where(Case.id.in_([key for _, key in found[:limit]]))
    cases = {case.id: CaseRow(case, particulars) for case, particulars in await session.execute(query)}
    rows = [cases[key] for _, key in found[:limit] if key in cases]
    return CasePage(rows, encode_cursor(*more) if more is not None else None)


async def _prepared(session: AsyncSession, find: Find) -> _Search:
    search = _Search(session, find, session.get_bind().dialect.name == "sqlite")
    tokens: set[str] = set()
    if find.words.strip():
        if len(find.words) > LONGEST_WORDS:
            raise BadSearch(f"words: {len(find.words)} characters, at most {LONGEST_WORDS} are looked for")
        tokens |= await asyncio.to_thread(word_tokens, find.words)
        if not tokens:
            raise BadSearch("words: nothing in them can be looked for; a telephone number is looked for as phone")
    if find.phone:
        digits = digits_of(find.phone)
        if len(digits) < TAILS[0]:
            raise BadSearch(f"phone: {len(digits)} digits, at least the last {TAILS[0]} are needed")
        tokens.add(tail_token(digits, await secret()))
    search.tokens = frozenset(tokens)
    if find.area:
        search.areas = await below(session, find.area)
    # Who asks for all that a unit has a part in is of that unit.
    if find.unit is not None and not find.assisting and await session.get(Unit, find.unit) is None:
        raise BadSearch(f"unit: there is no unit {find.unit}")
    search.ways = _ways(find, search.areas)
    if not search.sqlite:
        # Parameters decide how many rows there are: a plan made for any of them may read a million. What is read here
        # are some thousand rows by their keys; a scan of the table is never the way to them.
        await session.execute(
            select(
                func.set_config("plan_cache_mode", "force_custom_plan", True),
                *(func.set_config(f"enable_{one}", "off", True) for one in ("seqscan", "hashjoin", "mergejoin")),
            )
        )
    return search


def _ways(find: Find, areas: Sequence[UUID] | None) -> list[_Way]:
    """The indexes that lead to what is looked for."""
    equal = ((Case.domain, find.domain), (Case.decision, find.decision), (Case.category_code, find.category))
    ways = [_Way(column, [value]) for column, value in equal if value]
    unit, states = Case.lead_unit_id == find.unit, list(dict.fromkeys(find.states))
    if find.unit is not None:
        if find.lamp not in ("", NO_LAMP):
            ways.append(_Way(Case.lamp, [find.lamp], (unit, text(LIT))))  # type: ignore[arg-type]
        elif states:
            ways.append(_Way(Case.state, states, (unit,)))
        else:
            ways.append(_Way(Case.lead_unit_id, [find.unit]))
    else:
        ways += [_Way(Case.lamp, [find.lamp])] if find.lamp else []
        ways += [_Way(Case.state, states)] if states else []
    if areas and len(areas) <= MOST_BRANCHES:
        ways.append(_Way(Case.area_id, areas))
    return ways or [_Way()]


def _density(until: Position, rows: int, ends: Sequence[datetime]) -> float:
    """Cases a second of a way whose branches go back to ``ends`` for ``rows``; 0 when that is all there are."""
    newest = min(until[0], now())
    return sum(rows / max((newest - end).total_seconds(), 1e-6) for end in ends)


def _sparser(
    best: "tuple[float, _Way | None, datetime | None] | None",
    way: _Way | None,
    until: Position,
    rows: int,
    ends: Sequence[datetime],
) -> "tuple[float, _Way | None, datetime | None]":
    """``best``, or ``way`` when it has fewer cases a second; ``ends``: how far its branches go back for ``rows``."""
    density = _density(until, rows, ends)
    if best is not None and best[0] <= density:
        return best
    return density, way, max(ends, default=None)


def _unnested(values: Sequence[UUID]) -> Any:
    """Ids as rows, on PostgreSQL."""
    return func.unnest(literal(list(values), ARRAY(Uuid()))).table_valued(column("value", Uuid())).render_derived()
