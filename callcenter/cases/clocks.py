"""The limits of a case as rows: begun, met or missed, withdrawn, paused, resumed, extended.

Called inside the transaction of whoever changes the case, whose row is locked. Which limit a step begins or ends is
``lifecycle``'s; what the steps do to each clock is written down in docs/deadlines.md. Every function keeps
``Case.due_at``: the nearest due of the limits that run for whoever must act (the citizen's clock is not one of them).

A row's ``started_at`` is since when it runs: the signing moves that of a handle limit, a pause and a resumption move
it, with what was used before put into ``used_s``. So what is used at any moment is ``used_s`` and what has gone by
since (``clock_rows.used_by``).
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import events
from callcenter.cases.calendar import at_time
from callcenter.cases.city_settings import in_force
from callcenter.cases.clock_rows import alarm, begin, count_again, counted, end, limit_of, put, used_by
from callcenter.cases.deadlines import Calendar, Due, LampSettings, Limit, LimitUnit, ahead, due
from callcenter.cases.life import CITIZEN, HANDLE, NO_LAMP, PHASES, SIGN, CaseDeadline, CaseOrder
from callcenter.cases.model import SYSTEM, Case
from callcenter.cases.record import append_log, locked
from callcenter.clock import local
from callcenter.storage.outbox import Refs, add_event

log = structlog.get_logger()

DEADLINE_MOVED: Final = "deadline_moved"
"""The log's action when the machine moves a limit by itself."""
YEAR_KNOWN: Final = "deadlines.year_known"
"""The rule: a year's holidays have become known."""
LOCAL_DAY: Final = "deadlines.local_day"
"""The rule: the city works, or does not, on a day that running limits were counted over."""

ONE_ROUND: Final = 50
"""Cases that are counted again in one transaction, about half a second: others wait for their rows meanwhile, and on
SQLite for the only writer."""


class Round(NamedTuple):
    """One round of counting again. ``counted``: limits; ``last``: go on after this case, None: that was the last."""

    counted: int
    last: UUID | None


async def start(
    session: AsyncSession,
    case: Case,
    phase: str,
    limit: Limit,
    at: datetime,
    *,
    calendar: Calendar,
    order: CaseOrder | None = None,
    lamp_settings: LampSettings | None = None,
) -> CaseDeadline:
    """Begin the limit of ``phase``; ``order``: the one it is a limit of (needed for sign and handle).

    A handle limit begins with the receipt of its order: while the order's sign limit runs, it is put to begin when that
    ends, and ``stop`` of the sign limit moves it to the moment of signing. Which of the two is begun first does not
    matter. A limit that already runs is given back as it is: asking twice wins no time. Raises ValueError for an
    unknown phase, an order of another case, a sign or handle limit without an order.
    """
    (phase,) = _checked((phase,))
    if order is None and phase in (SIGN, HANDLE):
        raise ValueError(f"case {case.id}: a {phase} limit is a unit's, give its order")
    if order is not None and order.case_id != case.id:
        raise ValueError(f"case {case.id}: order {order.id} is of case {order.case_id}")
    rows = await _running(session, case)
    of_order = [row for row in rows if order is not None and row.order_id == order.id]
    mine = (row for row in (rows if order is None else of_order) if row.phase == phase and _is(row.order_id, order))
    if (found := next(mine, None)) is not None:
        return found
    deadline = CaseDeadline(
        id=uuid4(),
        case_id=case.id,
        order_id=order.id if order is not None else None,
        phase=phase,
        limit_value=limit.value,
        limit_unit=limit.unit.value,
        extended=0,
        paused_at=None,
        used_s=0,
        lamp=NO_LAMP,
        ended_at=None,
        met=None,
    )
    signing = next((row for row in of_order if row.phase == SIGN), None) if phase == HANDLE else None
    begin(deadline, at if signing is None else signing.due_at, calendar, lamp_settings or in_force().lamps, signing)
    session.add(deadline)
    if phase == SIGN:
        for row in of_order:
            if row.phase == HANDLE:
                begin(row, deadline.due_at, calendar, lamp_settings or in_force().lamps, deadline)
    alarm(deadline, calendar)
    _keep_due(case, [*rows, deadline])
    return deadline


async def stop(
    session: AsyncSession,
    case: Case,
    phases: Iterable[str],
    at: datetime,
    *,
    order: CaseOrder | None = None,
    calendar: Calendar | None = None,
    lamp_settings: LampSettings | None = None,
) -> list[CaseDeadline]:
    """What was asked for is done: end the limits of ``phases`` that run, and settle whether each was met.

    ``order``: only those of this order; None: of the whole case. With a sign limit whose order's handle limit goes on,
    this is the signing: a handle limit that has not begun yet begins now, and ``calendar`` is needed for that. Gives
    the limits ended. Raises ValueError for an unknown phase, or a signing without ``calendar``.
    """
    rows = await _running(session, case)
    ended = _chosen(rows, _checked(phases), order)
    signed = {row.order_id for row in ended if row.phase == SIGN}
    for row in rows:
        if row.phase == HANDLE and row.order_id in signed and row not in ended and at < row.started_at:
            if calendar is None:
                raise ValueError(f"case {case.id}: signing begins the handle limit, give stop() the calendar")
            begin(row, at, calendar, lamp_settings or in_force().lamps)
    for row in ended:
        # A paused limit is judged as of its pause: none of its time was used since.
        end(row, at, met=(row.paused_at or at) <= row.due_at)
    _keep_due(case, rows)
    return ended


async def withdraw(
    session: AsyncSession, case: Case, phases: Iterable[str], at: datetime, *, order: CaseOrder | None = None
) -> list[CaseDeadline]:
    """End the limits of ``phases`` that run without judging them: ``met`` stays None. ``order`` as in ``stop``. Gives
    the limits ended. Raises ValueError for an unknown phase."""
    rows = await _running(session, case)
    ended = _chosen(rows, _checked(phases), order)
    for row in ended:
        end(row, at, met=None)
    _keep_due(case, rows)
    return ended


async def pause(
    session: AsyncSession, case: Case, phases: Iterable[str], at: datetime, calendar: Calendar
) -> list[CaseDeadline]:
    """Suspend the limits of ``phases`` that run (挂账): what was used of their own kind of time is kept, and until
    ``resume`` no lamp of theirs is lit and none of their time is used. Gives those paused now. Raises ValueError for
    the citizen's clock, which never stops."""
    rows = await _running(session, case)
    paused = [row for row in _chosen(rows, _checked(phases, citizen=False), None) if row.paused_at is None]
    for row in paused:
        row.used_s = int(used_by(row, calendar, at).total_seconds())
        row.paused_at = at
        row.started_at = max(at, row.started_at)  # a handle limit that waits for its order's signature has not begun
    _keep_due(case, rows)
    return paused


async def resume(
    session: AsyncSession,
    case: Case,
    phases: Iterable[str],
    at: datetime,
    calendar: Calendar,
    *,
    lamp_settings: LampSettings | None = None,
) -> list[CaseDeadline]:
    """Let paused limits of ``phases`` run on with what was left of each; one that was overdue stays as much overdue.

    Gives those resumed. Raises ValueError for an unknown phase.
    """
    rows = await _running(session, case)
    resumed = [row for row in _chosen(rows, _checked(phases), None) if row.paused_at is not None]
    for row in resumed:
        row.started_at = max(at, row.started_at)  # not before the pause, even if the clock has jumped back
        row.paused_at = None
        put(row, counted(row, calendar), calendar, lamp_settings or in_force().lamps)
        alarm(row, calendar)
    _keep_due(case, rows)
    return resumed


async def extend(
    session: AsyncSession,
    deadline: CaseDeadline,
    calendar: Calendar,
    at: datetime,
    *,
    lamp_settings: LampSettings | None = None,
) -> None:
    """Grant one more original limit from the present due (延期); a lamp that is lit stays lit. How often is
    ``lifecycle``'s to say.

    Raises ValueError for a limit that has ended and for the citizen's clock, PastDeadline when even the new due has
    gone by: such an extension would grant nothing.
    """
    if deadline.ended_at is not None or deadline.phase == CITIZEN:
        why = "has ended" if deadline.ended_at is not None else "is the citizen's: nobody extends it for them"
        raise ValueError(f"deadline {deadline.id} of case {deadline.case_id} {why}")
    longer = due(deadline.due_at, limit_of(deadline), calendar)
    if deadline.paused_at is None:
        ahead(longer.at, at, f"the extended {deadline.phase} limit of case {deadline.case_id}")
    deadline.extended += 1
    put(
        deadline,
        Due(longer.at, longer.provisional or deadline.provisional),
        calendar,
        lamp_settings or in_force().lamps,
    )
    alarm(deadline, calendar)
    case = await session.get_one(Case, deadline.case_id)
    _keep_due(case, await _running(session, case))


async def provisional_open(session: AsyncSession) -> int:
    """How many limits run whose due was counted over days nobody knew: for the metrics. Not zero in autumn, until
    the library with the next year's holidays is installed."""
    query = select(func.count()).where(CaseDeadline.provisional, CaseDeadline.ended_at.is_(None))
    return await session.scalar(query) or 0


async def recompute_provisional(
    session: AsyncSession,
    calendar: Calendar,
    at: datetime,
    *,
    lamp_settings: LampSettings | None = None,
    most: int = ONE_ROUND,
) -> int:
    """Settle running limits that were counted over days nobody knew and that ``calendar`` now knows.

    Each that moves is a row of its case's log by ``system`` under YEAR_KNOWN, with an event; its lamps move with it,
    those lit stay lit. Locks the cases, at most ``most``; call again, each time in a transaction of its own, until it
    gives 0. Gives how many limits are settled.
    """
    unknown = calendar.unknown_year(local(at).year)
    query = select(CaseDeadline.case_id).where(CaseDeadline.provisional, CaseDeadline.ended_at.is_(None))
    if unknown is not None:
        query = query.where(CaseDeadline.due_at < at_time(date(unknown, 1, 1)))
    cases = (await session.scalars(query.distinct().order_by(CaseDeadline.case_id).limit(most))).all()
    settled = await _recompute(session, cases, calendar, at, YEAR_KNOWN, lamp_settings or in_force().lamps)
    if settled:
        log.info("deadlines.recomputed", rule=YEAR_KNOWN, settled=settled)
    return settled


async def recompute_day(
    session: AsyncSession,
    day: date,
    calendar: Calendar,
    at: datetime,
    *,
    after: UUID | None = None,
    most: int = ONE_ROUND,
    lamp_settings: LampSettings | None = None,
) -> Round:
    """Move the running limits that were counted over ``day``, which has become a working day or ceased to be one.

    Logged as by ``recompute_provisional``, under LOCAL_DAY; ``calendar`` as it is after the change. Locks at most
    ``most`` cases, those ``after`` one by id; ``recounting`` has the rounds.
    """
    begins = at_time(day)
    query = select(CaseDeadline.case_id).where(
        CaseDeadline.ended_at.is_(None),
        CaseDeadline.limit_unit.in_([LimitUnit.WORK_HOUR.value, LimitUnit.WORK_DAY.value]),
        CaseDeadline.started_at < begins + timedelta(days=1),
        CaseDeadline.due_at >= begins,
    )
    if after is not None:
        query = query.where(CaseDeadline.case_id > after)
    cases = (await session.scalars(query.distinct().order_by(CaseDeadline.case_id).limit(most))).all()
    counted = await _recompute(session, cases, calendar, at, LOCAL_DAY, lamp_settings or in_force().lamps)
    if counted:
        log.info("deadlines.recomputed", rule=LOCAL_DAY, day=day.isoformat(), settled=counted)
    return Round(counted, cases[-1] if len(cases) == most else None)


# -- rows ----------------------------------------------------------------------------------------------------------


async def _running(session: AsyncSession, case: Case) -> list[CaseDeadline]:
    """The case's limits that have not ended, paused ones included; signing before handling, which follows it."""
    # Orders and deadlines have no relationship that would tell the session which to write first.
    await session.flush()
    query = select(CaseDeadline).where(CaseDeadline.case_id == case.id, CaseDeadline.ended_at.is_(None))
    # Read again: lamps are lit past the session (``lamps.light``).
    found = await session.scalars(query.execution_options(populate_existing=True))
    return sorted(found, key=lambda row: (PHASES.index(row.phase), row.started_at, row.id.hex))


def _checked(phases: Iterable[str], *, citizen: bool = True) -> tuple[str, ...]:
    wanted = tuple(phases)
    for phase in wanted:
        if phase not in PHASES:
            raise ValueError(f"unknown phase {phase!r}: one of {', '.join(PHASES)}")
        if phase == CITIZEN and not citizen:
            raise ValueError("the citizen's clock never stops: leave it out of what is paused")
    return wanted


def _chosen(rows: Iterable[CaseDeadline], phases: tuple[str, ...], order: CaseOrder | None) -> list[CaseDeadline]:
    return [row for row in rows if row.phase in phases and (order is None or row.order_id == order.id)]


def _is(order_id: UUID | None, order: CaseOrder | None) -> bool:
    return order_id == (order.id if order is not None else None)


def _keep_due(case: Case, rows: Iterable[CaseDeadline]) -> None:
    case.due_at = min(
        (row.due_at for row in rows if row.ended_at is None and row.paused_at is None and row.phase != CITIZEN),
        default=None,
    )


async def _recompute(
    session: AsyncSession,
    cases: Sequence[UUID],
    calendar: Calendar,
    at: datetime,
    rule: str,
    lamp_settings: LampSettings,
) -> int:
    """Count the calendar's limits of ``cases`` again; how many are not provisional any more, or were moved."""
    changed = 0
    for case_id in cases:  # in the order of ids: two that do this at once wait for one another, and do not deadlock
        case = await locked(session, case_id)
        if case is None:
            raise LookupError(f"case {case_id} vanished within its own transaction")
        rows = await _running(session, case)
        moved, dues_before = False, {row.id: row.due_at for row in rows}
        for row in rows:
            if LimitUnit(row.limit_unit).on_clock and row.phase != HANDLE:
                continue
            before = (row.due_at, row.provisional)
            waits_for = (one for one in rows if one.phase == SIGN and one.order_id == row.order_id)
            signing = next(waits_for, None) if row.phase == HANDLE else None
            count_again(row, signing, dues_before, calendar, lamp_settings)
            changed += before != (row.due_at, row.provisional)
            if row.due_at != before[0]:
                moved = True
                detail = {
                    "deadline": str(row.id),
                    "phase": row.phase,
                    "from": before[0].isoformat(),
                    "to": row.due_at.isoformat(),
                }
                await append_log(
                    session,
                    case,
                    actor=SYSTEM,
                    action=DEADLINE_MOVED,
                    from_state=case.state,
                    at=at,
                    rule=rule,
                    detail=detail,
                )
        _keep_due(case, rows)
        if moved:
            feed = case.filed_at is not None
            refs: Refs = {"version": case.version, "rule": rule}
            add_event(session, events.UPDATED, at=at, call=case.call_id, case=case.id, refs=refs, feed=feed)
    return changed
