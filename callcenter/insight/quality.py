"""How good the router was, from what people said about its answers: the queries.

A label is the first word of a person on a case (``Confirmation``). Three things are kept apart: a habit – Enter within
HABIT_S of being shown – proves nothing and counts as decided but not as a label; a blind label, given without the
router's answer, is the true measure; any other was given with the answer before one's eyes and flatters it. Days are
those of Asia/Shanghai.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from heapq import nsmallest
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.calls.model import Call
from callcenter.calls.repository import read_marks
from callcenter.calls.timeline import LAST_VOICED, ROUTED
from callcenter.cases.model import Case, CaseParticulars, Confirmation
from callcenter.insight.arithmetic import BINS, Bin, Share, calibration_error, percentile

HABIT_S: Final = 3.0
"""Nobody reads a suggestion and what was said within three seconds."""

LONGEST_LOOK_S: Final = 600.0

TIMED_CALLS: Final = 2_000
"""The newest calls of the period that the time to a routing is computed from: their timelines are JSON."""

_SHANGHAI_S: Final = 8 * 3600
"""No summer time since 1991."""
_EPOCH_DAY: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """Which confirmations: from ``since`` (inclusive) to ``until`` (exclusive), and only of what is given."""

    since: datetime
    until: datetime
    model: str | None = None
    domain: str | None = None
    kind: str | None = None
    code: str | None = None
    """The category that the router had answered."""
    agent: UUID | None = None


@dataclass(slots=True)
class Tally:
    """Counts that add up. A label is ``right`` where the person left the category as it was."""

    decided: int = 0
    corrected: int = 0
    habits: int = 0
    seen_labels: int = 0
    seen_right: int = 0
    domain_labels: int = 0
    domain_right: int = 0
    blind_labels: int = 0
    blind_right: int = 0
    blind_auto_labels: int = 0
    blind_auto_right: int = 0
    seconds: float = 0.0
    timed: int = 0

    def __iadd__(self, other: "Tally") -> "Tally":
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    @property
    def confirmed(self) -> int:
        """Words that left the category as it was, habits included."""
        return self.decided - self.corrected

    @property
    def overridden(self) -> Share:
        """Corrections among all that was decided."""
        return Share(self.corrected, self.decided)

    @property
    def accuracy(self) -> Share:
        """Right categories among labels given with the answer in sight; flatters the router."""
        return Share(self.seen_right, self.seen_labels)

    @property
    def domain_accuracy(self) -> Share:
        """Right domains among all labels."""
        return Share(self.domain_right, self.domain_labels)

    @property
    def blind_accuracy(self) -> Share:
        """Right categories among blind labels: the true measure."""
        return Share(self.blind_right, self.blind_labels)

    @property
    def blind_auto_accuracy(self) -> Share:
        """The same among those that the router would have let go by themselves."""
        return Share(self.blind_auto_right, self.blind_auto_labels)

    @property
    def mean_seconds(self) -> float | None:
        """Mean time to decide, where it is known."""
        return self.seconds / self.timed if self.timed else None


@dataclass(frozen=True, slots=True)
class AutoShare:
    """Complete cases and how many of them the router let go by itself."""

    auto: int
    complete: int


@dataclass(frozen=True, slots=True)
class Quality:
    """One period's figures, whole and by what they can be split by."""

    total: Tally
    days: dict[date, Tally]
    models: dict[str, Tally]
    agents: dict[UUID, Tally]
    category_ece: float | None
    domain_ece: float | None
    calibration: list[Bin]
    """Of the category's probability, BINS of them."""
    auto: dict[date, AutoShare]
    routing_seconds: dict[str, float | None] = field(default_factory=dict)
    """``p50``, ``p95`` and ``p99`` from the last voiced sample to the routing; ``n`` calls."""


class CategoryKey(NamedTuple):
    """What makes a category one: kind and code within a standard. Empty: the router had none."""

    standard: str
    kind: str
    code: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """What the router said against what people said, by domain and by category; habits left out."""

    domains: dict[tuple[str, str], int]
    """(router's, person's) → labels; ``none`` stands for no domain."""
    pairs: list[tuple[CategoryKey, CategoryKey, int]]
    """(router's, person's, labels), the commonest first, wrong ones only."""
    categories: dict[CategoryKey, Share]
    """Corrected among the labels of each category that the router answered."""


async def quality(session: AsyncSession, period: Period) -> Quality:
    """The figures of ``period``: two scans of its confirmations, one of its cases, and its newest calls."""
    # Bare counts first, tallies of them afterwards: a month has thousands of rows here, and this is the event loop.
    by: tuple[_Counts, ...] = tuple(defaultdict(lambda: [0, 0.0, 0]) for _ in range(4))
    rows: list[Any] = list(await session.execute(_tallies(session, period)))
    for day, model, user, kind, n, seconds, timed in rows:
        for counts, which in zip(by, (day, model, user, None), strict=True):
            cell = counts[which, kind]
            cell[0] += n
            cell[1] += seconds or 0.0
            cell[2] += timed
    days, models, agents, whole = (_added(counts) for counts in by)
    calibration, domains = await _calibration(session, period)
    return Quality(
        total=whole.get(None, Tally()),
        days={_date(day): days[day] for day in sorted(days)},
        models={model or "": models[model] for model in sorted(models, key=lambda one: one or "")},
        agents=agents,
        category_ece=calibration_error(calibration),
        domain_ece=calibration_error(domains),
        calibration=calibration,
        auto=await _auto(session, period),
        routing_seconds=await _routing_seconds(session, period),
    )


async def confusion(session: AsyncSession, period: Period, *, blind: bool | None = None, most: int = 30) -> Confusion:
    """Router against people in ``period``; ``blind`` True: only blind labels, False: only the others."""
    before, after = _keys("before"), _keys("after")
    domain_before = func.coalesce(Confirmation.domain_before, "none")
    domain_after = func.coalesce(Confirmation.domain_after, "none")
    where = [*_where(period), ~_habit()]
    if blind is not None:
        where.append(Confirmation.blind.is_(blind))
    # In two: nine of ten labels leave everything as it was, and grouping those by six columns is what takes the time.
    right = (
        select(*before, domain_before, func.count())
        .where(*where, _category_right())
        .group_by(*reversed(before), domain_before)
    )
    corrected = (
        select(*before, *after, domain_before, domain_after, func.count())
        .where(*where, ~_category_right())
        .group_by(*before, *after, domain_before, domain_after)
    )
    domains: dict[tuple[str, str], int] = defaultdict(int)
    wrong: dict[tuple[CategoryKey, CategoryKey], int] = defaultdict(int)
    answered: dict[CategoryKey, list[int]] = defaultdict(lambda: [0, 0])
    for standard, kind, code, domain, count in await session.execute(right):
        domains[domain, domain] += count
        answered[CategoryKey(standard, kind, code)][1] += count
    for row in await session.execute(corrected):
        said, meant, count = CategoryKey(*row[:3]), CategoryKey(*row[3:6]), row[8]
        domains[row[6], row[7]] += count
        wrong[said, meant] += count
        answered[said][0] += count
        answered[said][1] += count
    commonest = nsmallest(most, wrong.items(), key=lambda one: (-one[1], one[0]))
    pairs = [(said, meant, count) for (said, meant), count in commonest]
    return Confusion(dict(domains), pairs, {key: Share(*counts) for key, counts in answered.items()})


@dataclass(frozen=True, slots=True)
class Beside:
    """A candidate in shadow beside what was live, on the very same labelled texts."""

    candidate: str
    live: str
    labels: int
    live_right: int
    candidate_right: int
    only_live: int
    only_candidate: int
    candidate_auto: int
    candidate_auto_right: int
    live_auto: int
    live_auto_right: int

    @property
    def sign_test(self) -> float:
        """How likely it is that two equally good versions differ this much by chance (McNemar, normal approximation
        with continuity correction); 1 where they do not differ."""
        from math import erfc, sqrt

        differ = self.only_live + self.only_candidate
        if not differ:
            return 1.0
        return erfc(max(0.0, abs(self.only_candidate - self.only_live) - 1) / sqrt(differ) / sqrt(2))


async def beside_live(session: AsyncSession, period: Period) -> list[Beside]:
    """Each candidate's shadow answers judged by the labels of ``period``: seen ones, habits left out. A seen label
    leans to the live version, which the agent had before their eyes; blind ones do not, so where a candidate is ahead
    here it is ahead all the more."""
    from callcenter.insight.model import ShadowRouting

    live = _category_right()
    version = func.coalesce(Confirmation.model, "")  # one object: PostgreSQL takes two equal parameters for different
    shadow = and_(
        func.coalesce(ShadowRouting.category_code, "") == func.coalesce(Confirmation.code_after, ""),
        func.coalesce(ShadowRouting.category_kind, "") == func.coalesce(Confirmation.kind_after, ""),
        func.coalesce(ShadowRouting.category_standard, "") == func.coalesce(Confirmation.standard_after, ""),
    )
    auto, live_auto = ShadowRouting.decision == "auto", Confirmation.decision_before == "auto"
    query = (
        select(
            ShadowRouting.model,
            version,
            func.count(),
            _count(live),
            _count(shadow),
            _count(and_(live, ~shadow)),
            _count(and_(~live, shadow)),
            _count(auto),
            _count(and_(auto, shadow)),
            _count(live_auto),
            _count(and_(live_auto, live)),
        )
        .join(ShadowRouting, ShadowRouting.routing_id == Confirmation.routing_id)
        .where(*_where(period), ~_habit(), ShadowRouting.model != version)
        .group_by(ShadowRouting.model, version)
        .order_by(ShadowRouting.model, func.count().desc())
    )
    return [Beside(*row) for row in await session.execute(query)]


@dataclass(frozen=True, slots=True)
class Decided:
    """One case behind a figure: what the router said, what the person said."""

    case_id: UUID
    number: str | None
    at: datetime
    user_id: UUID
    before: CategoryKey
    after: CategoryKey
    blind: bool
    probability: float | None
    text: str | None
    """What was said; None after erasure."""


async def decided_cases(
    session: AsyncSession,
    period: Period,
    *,
    before: CategoryKey | None = None,
    after: CategoryKey | None = None,
    domains: tuple[str, str] | None = None,
    corrected_only: bool = False,
    limit: int = 50,
) -> list[Decided]:
    """The cases behind a cell of the confusion, the newest first."""
    query = (
        select(Confirmation, Case.number, CaseParticulars.text)
        .join(Case, Case.id == Confirmation.case_id)
        .join(CaseParticulars, CaseParticulars.case_id == Confirmation.case_id)
        .where(*_where(period), ~_habit())
        .order_by(Confirmation.at.desc(), Confirmation.id.desc())
        .limit(limit)
    )
    for wanted, names in ((before, "before"), (after, "after")):
        if wanted is not None:
            columns = _keys(names)
            values = (wanted.standard, wanted.kind, wanted.code)
            query = query.where(*(column == value for column, value in zip(columns, values, strict=True)))
    if domains is not None:
        query = query.where(
            func.coalesce(Confirmation.domain_before, "none") == domains[0],
            func.coalesce(Confirmation.domain_after, "none") == domains[1],
        )
    if corrected_only:
        query = query.where(Confirmation.verdict == "corrected")
    return [
        Decided(
            case_id=row.case_id,
            number=number,
            at=row.at,
            user_id=row.user_id,
            before=CategoryKey(row.standard_before or "", row.kind_before or "", row.code_before or ""),
            after=CategoryKey(row.standard_after or "", row.kind_after or "", row.code_after or ""),
            blind=row.blind,
            probability=row.probability_before,
            text=text,
        )
        for row, number, text in await session.execute(query)
    ]


# -- the parts of the queries ------------------------------------------------------------------------------------------


def _habit() -> ColumnElement[bool]:
    """A habit; false, not unknown, where the time is not known."""
    return and_(
        Confirmation.verdict == "confirmed",
        Confirmation.blind.is_(False),
        func.coalesce(Confirmation.seconds_to_decide, HABIT_S) < HABIT_S,
    )


def _category_right() -> ColumnElement[bool]:
    return Confirmation.verdict == "confirmed"


def _domain_right() -> ColumnElement[bool]:
    return func.coalesce(Confirmation.domain_before, "") == func.coalesce(Confirmation.domain_after, "")


def _where(period: Period) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        Confirmation.at >= period.since,
        Confirmation.at < period.until,
        Confirmation.repeated.is_(False),
    ]
    for column, value in (
        (Confirmation.model, period.model),
        (Confirmation.domain_before, period.domain),
        (Confirmation.kind_before, period.kind),
        (Confirmation.code_before, period.code),
        (Confirmation.user_id, period.agent),
    ):
        if value is not None:
            found.append(column == value)
    return found


def _keys(which: str) -> tuple[ColumnElement[str], ColumnElement[str], ColumnElement[str]]:
    names = (f"standard_{which}", f"kind_{which}", f"code_{which}")
    one, two, three = (func.coalesce(getattr(Confirmation, name), "") for name in names)
    return one, two, three


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _day(session: AsyncSession, column: Any) -> ColumnElement[int]:
    """The number of the city's day since 1970-01-01."""
    if session.get_bind().dialect.name == "sqlite":
        # A time is an integer of microseconds there (storage.base).
        return (type_coerce(column, BigInteger) // 1_000_000 + _SHANGHAI_S) // 86_400
    return cast(func.floor((func.extract("epoch", column) + _SHANGHAI_S) / 86_400), Integer)


def _date(day: int) -> date:
    return _EPOCH_DAY + timedelta(days=int(day))


_CORRECTED, _BLIND, _HABIT, _DOMAIN, _AUTO = 1, 2, 4, 8, 16


def _tallies(session: AsyncSession, period: Period) -> Select[Any]:
    """Counts by day, model, agent and what kind of label it is – as one number of five bits: grouping by it costs a
    third of fifteen conditional sums."""
    day = _day(session, Confirmation.at).label("day")
    kind = sum(
        (
            case((condition, bit), else_=0)
            for condition, bit in (
                (Confirmation.verdict == "corrected", _CORRECTED),
                (Confirmation.blind.is_(True), _BLIND),
                (_habit(), _HABIT),
                (_domain_right(), _DOMAIN),
                (Confirmation.decision_before == "auto", _AUTO),
            )
        ),
        start=literal(0),
    ).label("kind")
    # How long anybody looked who looked longer than ten minutes says when they came back from lunch.
    seconds = case((Confirmation.seconds_to_decide < LONGEST_LOOK_S, Confirmation.seconds_to_decide))
    return (
        select(
            day,
            Confirmation.model,
            Confirmation.user_id,
            kind,
            func.count().label("n"),
            func.sum(seconds).label("seconds"),
            func.count(seconds).label("timed"),
        )
        .where(*_where(period))
        .group_by(day, kind, Confirmation.model, Confirmation.user_id)
    )


_Counts = dict[tuple[Any, int], list[Any]]
"""(day, version or agent; kind of label) → number, seconds, how many of them were timed."""


def _added(counts: _Counts) -> dict[Any, Tally]:
    found: dict[Any, Tally] = defaultdict(Tally)
    for (which, kind), (n, seconds, timed) in counts.items():
        found[which] += _tally(kind, n, seconds, timed)
    return dict(found)


def _tally(kind: int, n: int, seconds: float, timed: int) -> Tally:
    corrected, habit = bool(kind & _CORRECTED), bool(kind & _HABIT)
    blind, auto = bool(kind & _BLIND), bool(kind & _AUTO)
    right, seen, label = not corrected, not blind and not habit, not habit
    return Tally(
        decided=n,
        corrected=n * corrected,
        habits=n * habit,
        seen_labels=n * seen,
        seen_right=n * (seen and right),
        domain_labels=n * label,
        domain_right=n * (label and bool(kind & _DOMAIN)),
        blind_labels=n * blind,
        blind_right=n * (blind and right),
        blind_auto_labels=n * (blind and auto),
        blind_auto_right=n * (blind and auto and right),
        seconds=float(seconds),
        timed=timed,
    )


async def _calibration(session: AsyncSession, period: Period) -> tuple[list[Bin], list[Bin]]:
    """Probabilities of the category and of the domain against labels, BINS bins each; only where the answer was a case
    with a category."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    numbers = []
    for column in (Confirmation.probability_before, Confirmation.domain_probability_before):
        scaled = column * BINS
        # SQLite's CAST cuts off, PostgreSQL's rounds.
        numbers.append(cast(scaled if sqlite else func.floor(scaled), Integer))
    category, domain = Confirmation.probability_before, Confirmation.domain_probability_before
    query = (
        select(
            *numbers,
            func.count(),
            func.sum(category),
            func.sum(domain),
            _count(_category_right()),
            _count(_domain_right()),
        )
        .where(*_where(period), ~_habit(), Confirmation.code_before.is_not(None))
        .group_by(*numbers)
    )
    categories, domains = [Bin(0, 0.0, 0)] * BINS, [Bin(0, 0.0, 0)] * BINS
    found: list[Any] = list(await session.execute(query))
    for one, two, n, total, domain_total, right, domain_right in found:
        for bins, place, counts in (
            (categories, one, (n, total, right)),
            (domains, two, (n, domain_total, domain_right)),
        ):
            if place is not None:
                at = min(max(0, int(place)), BINS - 1)
                old = bins[at]
                bins[at] = Bin(old.n + counts[0], old.probability_sum + float(counts[1]), old.right + counts[2])
    return categories, domains


async def _auto(session: AsyncSession, period: Period) -> dict[date, AutoShare]:
    day = _day(session, Case.created_at).label("day")
    query = (
        select(day, Case.decision, func.count())
        .where(
            Case.created_at >= period.since,
            Case.created_at < period.until,
            Case.disposition == "case",
            Case.completed_at.is_not(None),
        )
        .group_by(day, Case.decision)
    )
    found: dict[date, AutoShare] = {}
    for number, decision, count in await session.execute(query):
        old = found.get(_date(number), AutoShare(0, 0))
        found[_date(number)] = AutoShare(old.auto + (count if decision == "auto" else 0), old.complete + count)
    return dict(sorted(found.items()))


async def _routing_seconds(session: AsyncSession, period: Period) -> dict[str, float | None]:
    query = (
        select(Call.timeline)
        .where(Call.rung_at >= period.since, Call.rung_at < period.until, Call.recovered == false())
        .order_by(Call.rung_at.desc(), Call.id.desc())
        .limit(TIMED_CALLS)
    )
    waited = list(_waits(await session.scalars(query)))
    return {
        "n": float(len(waited)),
        **{name: percentile(waited, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
    }


def _waits(timelines: Iterable[dict[str, Any]]) -> Iterable[float]:
    for stored in timelines:
        marks = read_marks({name: stored[name] for name in (LAST_VOICED, ROUTED) if name in stored})
        if len(marks) == 2 and marks[ROUTED] >= marks[LAST_VOICED]:
            yield (marks[ROUTED] - marks[LAST_VOICED]).total_seconds()


def days_of(since: date, until: date) -> tuple[datetime, datetime]:
    """The moments at which the city's days ``since`` begins and ``until`` ends."""
    begin = datetime(since.year, since.month, since.day, tzinfo=UTC) - timedelta(seconds=_SHANGHAI_S)
    end = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1, seconds=-_SHANGHAI_S)
    return begin, end
