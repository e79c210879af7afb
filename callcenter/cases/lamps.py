"""Lighting lamps: what is due of a few cases, all of it written at once in one transaction.

Each lamp's row in the log and its event have the moment at which the lamp was due; ``noticed_at`` in the detail is when
that was seen.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID, uuid4

from sqlalchemy import Table, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from callcenter.cases.life import (
    CITIZEN,
    LAMPS,
    RED,
    SIGN,
    WARNED,
    YELLOW,
    CaseDeadline,
    CaseOrder,
    SupervisionSheet,
)
from callcenter.cases.model import ENDED, SYSTEM, Case, CaseLog
from callcenter.cases.sheets import BY_RED, MESSAGE_UNIT, SHEET_ISSUED, reply_time, sheet_numbers
from callcenter.city.model import Unit
from callcenter.jobs.model import Job
from callcenter.jobs.store import job_values
from callcenter.storage.base import Base
from callcenter.storage.bulk import among, insert_many
from callcenter.storage.outbox import Reference, add_event

LAMP: Final = "case.lamp"
RING: Final = "unit.ring"
"""Kind of the job that rings a unit (``cases.ringing`` carries it out)."""
URGENT: Final = frozenset({"urgent", "critical"})
URGENT_LIMIT: Final = "urgent_"
"""How the units of limits begin that run on the clock."""


@dataclass(slots=True)
class SweepResult:
    """What a sweep did."""

    cases: int = 0
    lit: Counter[str] = field(default_factory=Counter)
    """Lamps lit, by lamp."""
    sheets: int = 0
    rings: int = 0
    stale: int = 0
    """Limits that still ran although their case has ended: none is meant to be."""
    faults: int = 0
    """Cases that could not be done; the log names them, the next sweep tries again."""

    def add(self, other: "SweepResult") -> None:
        """Count ``other`` in."""
        self.cases += other.cases
        self.lit.update(other.lit)
        self.sheets += other.sheets
        self.rings += other.rings
        self.stale += other.stale
        self.faults += other.faults


_MOMENTS: Final = ((WARNED, "warn_at"), (YELLOW, "yellow_at"), (RED, "red_at"))
"""The lamps from the lowest, each with the column that says when it is lit."""


class _Lit(NamedTuple):
    """A lamp and the moment at which it was due."""

    lamp: str
    moment: datetime
    limit: Any


async def light(session: AsyncSession, cases: Sequence[UUID], at: datetime) -> SweepResult:
    """Light what is due of these cases, in ``session``'s transaction, which locks them.

    For whoever is about to end a limit too: a lamp that came due since the last sweep is then not lost. Cases and
    limits that ``session`` has already read show their new lamps.
    """
    await session.flush()  # the rows are written and read past the session's objects, which would cost thrice as much
    held = await _hold(session, cases)
    result = SweepResult(cases=len(held))
    changed: dict[tuple[str, str | None], list[Any]] = defaultdict(list)
    lit: list[_Lit] = []
    for limit in await _limits(session, list(held), at):
        if held[limit.case_id].state in ENDED:
            result.stale += 1
            changed[limit.lamp, None].append(limit)
            continue
        new, following = _due_lamps(limit, at)
        lit += new
        changed[new[-1].lamp if new else limit.lamp, following].append(limit)
    result.lit.update(one.lamp for one in lit)
    for (lamp, following), limits in changed.items():
        await _relight(session, lamp, following, limits)
    if lit:
        writer = _Writer(session, held, {one.limit.case_id: one.limit.last_step for one in lit}, at)
        for one in sorted(lit, key=lambda one: (one.moment, LAMPS.index(one.lamp))):
            writer.lamp(one)
        writer.words(lit)
        result.rings = writer.rings(lit)
        result.sheets = await writer.sheets(lit)
        await writer.write()
    return result


def _due_lamps(limit: Any, at: datetime) -> tuple[list[_Lit], str | None]:
    """The lamps of a limit that are due and not lit, lowest first, and which of its columns says when the one after
    them is."""
    found: list[_Lit] = []
    lit = LAMPS.index(limit.lamp)
    for level, (lamp, column) in enumerate(_MOMENTS, 1):
        if level <= lit:
            continue
        moment = getattr(limit, column)
        if moment > at:
            return found, column
        found.append(_Lit(lamp, moment, limit))
    return found, None


class _Writer:
    """Collects the rows of one batch and writes each kind at once: row by row ten thousand lamps take a minute."""

    def __init__(
        self, session: AsyncSession, held: Mapping[UUID, Any], steps: Mapping[UUID, int], at: datetime
    ) -> None:
        self._session = session
        self._held = held
        self._steps = defaultdict(int, steps)
        self._at = at
        self._log: list[dict[str, Any]] = []
        self._jobs: list[dict[str, Any]] = []
        self._sheets: list[dict[str, Any]] = []
        self._lamp: dict[UUID, str] = {id: case.lamp for id, case in held.items()}

    def lamp(self, one: _Lit) -> None:
        """The log row and the event of a lamp, at its own moment."""
        case, limit = self._held[one.limit.case_id], one.limit
        detail = {
            "lamp": one.lamp,
            "phase": limit.phase,
            "deadline": str(limit.id),
            "order": str(limit.order_id) if limit.order_id else None,
            "noticed_at": self._at.isoformat(),
        }
        self._step(case, "lamp", one.moment, f"lamp.{one.lamp}", detail)
        refs = {"lamp": one.lamp, "phase": limit.phase, "deadline": limit.id, "version": case.version}
        self._event(case, LAMP, one.moment, refs)
        self._lamp[case.id] = max(self._lamp[case.id], one.lamp, key=LAMPS.index)

    def words(self, lit: Iterable[_Lit]) -> None:
        """A word to the unit, once for each limit: of several lamps at once it hears of the highest."""
        highest = {one.limit.id: one for one in lit}  # a limit's lamps come lowest first
        for id, one in highest.items():
            if (unit := self._unit(one.limit)) is not None:
                name = "unit_unsigned" if self._unsigned(one) else f"unit_{one.lamp}"
                refs = {"case": one.limit.case_id, "unit": unit, "deadline": id, "template": name}
                self._job(MESSAGE_UNIT, f"{MESSAGE_UNIT}:{one.lamp}:{id}", refs)

    def rings(self, lit: Iterable[_Lit]) -> int:
        """A ring for each urgent order that nobody has signed for within its limit; gives how many."""
        orders = {one.limit.order_id: one.limit.case_id for one in lit if self._unsigned(one)}
        for order, case in orders.items():
            self._job(RING, f"{RING}:{order}", {"order": order, "case": case})
        return len(orders)

    def _unsigned(self, one: _Lit) -> bool:
        """An urgent order that nobody has signed for within its limit."""
        return (
            one.lamp == YELLOW
            and one.limit.phase == SIGN
            and one.limit.order_open
            and one.limit.signed_at is None
            and (one.limit.limit_unit.startswith(URGENT_LIMIT) or self._held[one.limit.case_id].urgency in URGENT)
        )

    async def sheets(self, lit: Iterable[_Lit]) -> int:
        """A sheet to the leader of each unit with a red lamp, unless one of that case still waits for its answer."""
        pairs = [(one.limit.case_id, unit) for one in lit if one.lamp == RED and (unit := self._unit(one.limit))]
        wanted = dict.fromkeys(pairs)
        if not wanted:
            return 0
        waiting = await self._session.execute(
            select(SupervisionSheet.case_id, SupervisionSheet.unit_id).where(
                SupervisionSheet.case_id.in_({case for case, _ in wanted}), SupervisionSheet.replied_at.is_(None)
            )
        )
        for case_id, unit in waiting:
            wanted.pop((case_id, unit), None)
        leaders = await self._session.execute(select(Unit.id, Unit.leader).where(Unit.id.in_({u for _, u in wanted})))
        leader = {id: name for id, name in leaders}
        numbers = await sheet_numbers(self._session, self._at, len(wanted)) if wanted else []
        reply_by = await reply_time(self._session, self._at)
        for (case_id, unit), number in zip(wanted, numbers, strict=True):
            self._sheet(self._held[case_id], unit, leader[unit], number, reply_by)
        return len(wanted)

    def _sheet(self, case: Any, unit: UUID, leader: str, number: str, reply_by: datetime) -> None:
        sheet = uuid4()
        row = {
            "id": sheet,
            "number": number,
            "case_id": case.id,
            "unit_id": unit,
            "addressee": leader,
            "level": BY_RED,
            "by": SYSTEM,
            "rule": f"lamp.{RED}",
            "issued_at": self._at,
            "reply_by": reply_by,
        }
        self._sheets.append(row)
        detail = {"sheet": str(sheet), "number": number, "level": BY_RED, "unit": str(unit)}
        self._step(case, "sheet_issued", self._at, f"lamp.{RED}", detail)
        refs = {"sheet": sheet, "unit": unit, "level": BY_RED, "version": case.version}
        self._event(case, SHEET_ISSUED, self._at, refs)
        job = {"case": case.id, "unit": unit, "sheet": sheet, "template": "unit_sheet"}
        self._job(MESSAGE_UNIT, f"{MESSAGE_UNIT}:sheet:{sheet}", job)

    async def write(self) -> None:
        """Write all."""
        moved: dict[tuple[str, bool], list[UUID]] = defaultdict(list)
        for id, lamp in self._lamp.items():
            case = self._held[id]
            monitored = case.monitored or lamp == RED
            if lamp != case.lamp or monitored != case.monitored:
                moved[lamp, monitored].append(id)
        for (lamp, monitored), ids in moved.items():
            await _set(self._session, Case, ids, lamp=lamp, monitored=monitored)
            _show(self._session, Case, {id: {"lamp": lamp, "monitored": monitored} for id in ids})
        await insert_many(self._session, SupervisionSheet, self._sheets)
        await insert_many(self._session, CaseLog, self._log)
        await insert_many(self._session, Job, self._jobs, unless_there=True)

    def _unit(self, limit: Any) -> UUID | None:
        """Who is late: the unit of the order; of the citizen's clock the unit that has the lead; else the house."""
        if limit.order_id is not None:
            return cast(UUID, limit.unit_id) if limit.order_open else None
        return self._held[limit.case_id].lead_unit_id if limit.phase == CITIZEN else None

    def _step(self, case: Any, action: str, moment: datetime, rule: str, detail: dict[str, Any]) -> None:
        self._steps[case.id] += 1
        self._log.append(
            {
                "case_id": case.id,
                "seq": self._steps[case.id],
                "actor": SYSTEM,
                "action": action,
                "from_state": case.state,
                "to_state": case.state,
                "rule": rule,
                "version": case.version,
                "detail": detail,
                "at": moment,
            }
        )

    def _event(self, case: Any, kind: str, moment: datetime, refs: Mapping[str, Reference]) -> None:
        # A case that is not filed yet is the house's own: units must not hear of it.
        filed = case.filed_at is not None
        add_event(self._session, kind, at=moment, call=case.call_id, case=case.id, refs=refs, feed=filed)

    def _job(self, kind: str, key: str, refs: Mapping[str, Reference]) -> None:
        self._jobs.append(job_values(kind, key, refs, at=self._at))


async def _read(session: AsyncSession, query: Any) -> Sequence[Any]:
    return (await (await session.connection()).execute(query)).all()


async def _relight(session: AsyncSession, lamp: str, following: str | None, limits: Sequence[Any]) -> None:
    """Of limits: which lamp they have now, and in which of their columns the moment of the next one stands."""
    next_at = CaseDeadline.__table__.c[following] if following is not None else null()
    await _set(session, CaseDeadline, [one.id for one in limits], lamp=lamp, next_lamp_at=next_at)
    shown = {
        one.id: {"lamp": lamp, "next_lamp_at": getattr(one, following) if following is not None else None}
        for one in limits
    }
    _show(session, CaseDeadline, shown)


async def _set(session: AsyncSession, model: type[Base], ids: Sequence[UUID], **values: Any) -> None:
    """Set the same in many rows by one statement: a statement a row is most of what a sweep would cost."""
    table = cast(Table, model.__table__)
    changes = update(table).where(among(session, table.c.id, ids)).values(values)
    await (await session.connection()).execute(changes)


def _show(session: AsyncSession, model: type[Base], rows: Mapping[UUID, Mapping[str, Any]]) -> None:
    """The same in what the session has read already."""
    if not (known := session.identity_map):
        return
    for id, values in rows.items():
        if (found := known.get(identity_key(model, id))) is not None:
            for name, value in values.items():
                set_committed_value(found, name, value)


def due(at: datetime) -> tuple[Any, ...]:
    """In the words of the partial index ix_case_deadlines_lamp, which is used for nothing less."""
    running = (CaseDeadline.ended_at.is_(None), CaseDeadline.paused_at.is_(None))
    return (*running, CaseDeadline.next_lamp_at.is_not(None), CaseDeadline.next_lamp_at <= at)


async def _hold(session: AsyncSession, cases: Sequence[UUID]) -> dict[UUID, Any]:
    """The cases, locked in the order of their ids: two sweeps at once do not wait for one another in a circle."""
    columns = (Case.id, Case.state, Case.lamp, Case.monitored, Case.urgency, Case.version)
    more = (Case.filed_at, Case.call_id, Case.lead_unit_id)
    query = select(*columns, *more).where(among(session, Case.id, cases)).order_by(Case.id).with_for_update()
    return {row.id: row for row in await _read(session, query)}


async def _limits(session: AsyncSession, cases: Sequence[UUID], at: datetime) -> Sequence[Any]:
    """What is due of these cases, read under their locks, each with the last step of its case's log."""
    limit = CaseDeadline
    last = select(func.max(CaseLog.seq)).where(CaseLog.case_id == limit.case_id).scalar_subquery()
    query = (
        select(
            *(limit.id, limit.case_id, limit.order_id, limit.phase, limit.lamp, limit.limit_unit),
            *(limit.warn_at, limit.yellow_at, limit.red_at),
            *(CaseOrder.unit_id, CaseOrder.signed_at),
            CaseOrder.ended_at.is_(None).label("order_open"),
            func.coalesce(last, 0).label("last_step"),
        )
        .outerjoin(CaseOrder, CaseOrder.id == limit.order_id)
        .where(among(session, limit.case_id, cases), *due(at))
        .order_by(limit.next_lamp_at, limit.id)
    )
    return await _read(session, query)
