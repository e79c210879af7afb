"""Risk sources are looked at: by who holds them (自查自报), by a department (部门检查), by a collector (监督员补强).

A source is an entry of the registry ``risk_sources`` and known by its code (SEED_FEATURES 004-08). A look has a result
and the day of the next one; what is overdue is a list.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from callcenter.access.audit import Actor, add_entry
from callcenter.city.field import FieldConflict, FieldNotFound, FieldRefused
from callcenter.city.field_model import Inspection
from callcenter.city.ground import Registered
from callcenter.city.model import Unit
from callcenter.clock import local
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import insert_new

SELF, DEPARTMENT, COLLECTOR = "self", "department", "collector"
KINDS: Final = (SELF, DEPARTMENT, COLLECTOR)
"""自查自报, 部门检查, 监督员补强."""
PASSED, DANGER, RECTIFIED = "passed", "danger", "rectified"
RESULTS: Final = (PASSED, DANGER, RECTIFIED)
"""合格, 有隐患, 已整改."""
INSPECTED: Final = "field.inspected"
LONGEST_FINDING: Final = 2_000
AHEAD: Final = timedelta(minutes=1)
OLDEST: Final = timedelta(days=366)
"""What is entered later belongs to the past year's files."""
LATEST_NEXT: Final = timedelta(days=3 * 366)
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class NewInspection:
    """A look at a risk source. ``next_due``: a day in Asia/Shanghai."""

    source: str
    kind: str
    result: str
    finding: str
    inspected_at: datetime
    next_due: date | None = None


@dataclass(frozen=True, slots=True)
class DueSource:
    """A risk source that nobody has looked at in time. ``last`` None: never."""

    source: Registered
    last: Inspection | None


async def source_of(session: AsyncSession, import_id: int | None, code: str) -> Registered:
    """The risk source with this code, in the version in force. Raises FieldNotFound."""
    found = await session.get(Registered, (import_id, code)) if import_id is not None else None
    if found is None:
        raise FieldNotFound("there is no risk source with that code in the version in force: import the registry first")
    return found


async def record(
    session: AsyncSession,
    inspection_id: UUID,
    new: NewInspection,
    *,
    import_id: int | None,
    by: UUID,
    unit_id: UUID | None,
    actor: Actor,
    at: datetime,
) -> tuple[Inspection, bool]:
    """Keep what was found; audited. Idempotent by ``inspection_id``: recorded again, the first one is given back,
    and False.

    ``import_id``: of the risk sources in force; ``unit_id``: for whom the person looks. A report of one's own is that
    of the unit that owns the source, a department's check that of a unit. Raises FieldNotFound, FieldRefused,
    FieldConflict when ``inspection_id`` stands for another look.
    """
    source = await source_of(session, import_id, new.source)
    _check(new, at)
    finding = new.finding.strip()
    if len(finding) > LONGEST_FINDING or (new.result == DANGER and not finding):
        raise FieldRefused(
            "finding", f"has {len(finding)} characters: at most {LONGEST_FINDING}, a danger is described"
        )
    if new.kind in (SELF, DEPARTMENT):
        unit = await session.get(Unit, unit_id) if unit_id is not None else None
        if unit is None:
            raise FieldRefused("kind", f"{new.kind} is recorded by a person of a unit")
        if new.kind == SELF and unit.code != source.owner:
            raise FieldRefused("kind", "self is the report of the unit that owns the risk source: send department")
    values = {
        "id": inspection_id,
        "source": new.source,
        "kind": new.kind,
        "result": new.result,
        "finding": finding,
        "inspected_at": new.inspected_at,
        "next_due": new.next_due,
        "by": by,
        "unit_id": unit_id,
        "recorded_at": at,
    }
    fresh = await insert_new(session, Inspection, values)
    row = await session.get_one(Inspection, inspection_id)
    if not fresh:
        same = all(
            getattr(row, name) == values[name]
            for name in ("source", "kind", "result", "inspected_at", "next_due", "by")
        )
        if not same or row.finding not in (finding, None):
            raise FieldConflict("that idempotency key was used for another inspection: take a new key for each")
        return row, False
    detail: dict[str, str | int | bool | list[str]] = {"kind": new.kind, "result": new.result}
    add_entry(session, actor, "risk source inspected", at=at, subject=f"risk_source:{new.source}", detail=detail)
    refs: Refs = {"inspection": inspection_id, "kind": new.kind, "result": new.result}
    add_event(session, INSPECTED, at=at, refs=refs)
    return row, True


async def of_source(
    session: AsyncSession, code: str, *, unit_id: UUID | None = None, limit: int = 50
) -> list[Inspection]:
    """What was found at a source, the newest first; with ``unit_id`` only what that unit's people found."""
    query = select(Inspection).where(Inspection.source == code)
    if unit_id is not None:
        query = query.where(Inspection.unit_id == unit_id)
    newest = query.order_by(Inspection.inspected_at.desc(), Inspection.id.desc())
    return list(await session.scalars(newest.limit(max(1, min(limit, PAGE)))))


async def overdue(
    session: AsyncSession, import_id: int | None, at: datetime, *, owner: str | None = None, limit: int = PAGE
) -> list[DueSource]:
    """Risk sources whose next look was due before today (Asia/Shanghai) or that nobody has looked at, the latter first,
    then the longest overdue. One whose last look named no next day is not due. ``owner``: the code of a unit."""
    if import_id is None:
        return []
    rank = func.row_number().over(
        partition_by=Inspection.source, order_by=(Inspection.inspected_at.desc(), Inspection.id.desc())
    )
    ranked = select(Inspection, rank.label("rank")).subquery()
    newest = select(ranked).where(ranked.c.rank == 1).subquery()
    last = aliased(Inspection, newest)
    today = local(at).date()
    query: Any = (
        select(Registered, last)
        .outerjoin(newest, newest.c.source == Registered.code)
        .where(Registered.import_id == import_id, or_(newest.c.id.is_(None), newest.c.next_due < today))
        .order_by(newest.c.next_due.is_not(None), newest.c.next_due, Registered.code)
        .limit(max(1, min(limit, PAGE)))
    )
    if owner is not None:
        query = query.where(Registered.owner == owner)
    return [DueSource(*row) for row in await session.execute(query)]


async def erase(session: AsyncSession, inspection_id: UUID, *, actor: Actor, at: datetime) -> None:
    """Blank the words of an inspection; the rest stays. Audited. Raises FieldNotFound."""
    row = await session.get(Inspection, inspection_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise FieldNotFound("there is no inspection with that id")
    if row.finding is not None:
        row.finding, row.erased_at = None, at
        add_entry(session, actor, "inspection erased", at=at, subject=f"inspection:{inspection_id}")
        await session.flush()


def _check(new: NewInspection, at: datetime) -> None:
    if new.kind not in KINDS:
        raise FieldRefused("kind", f"{new.kind!r:.24} is none of {', '.join(KINDS)}")
    if new.result not in RESULTS:
        raise FieldRefused("result", f"{new.result!r:.24} is none of {', '.join(RESULTS)}")
    if not at - OLDEST <= new.inspected_at <= at + AHEAD:
        raise FieldRefused("inspected_at", f"must be within the last {OLDEST.days} days and not ahead")
    if new.next_due is not None:
        looked = local(new.inspected_at).date()
        if not looked < new.next_due <= looked + LATEST_NEXT:
            raise FieldRefused("next_due", f"must be after the inspection, by {LATEST_NEXT.days} days at most")
