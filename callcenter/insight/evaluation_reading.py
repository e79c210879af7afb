"""The facts of cases, read from the store for evaluation: a fixed number of queries for any number of cases.

No words of anybody are read: neither particulars nor texts. Addresses are not either: they can be erased, and figures
counted from them would change with it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from callcenter.cases.life import (
    ASSIST,
    CaseAppeal,
    CaseCallback,
    CaseCheck,
    CaseDeadline,
    CaseEvidence,
    CaseOrder,
    SupervisionSheet,
)
from callcenter.cases.lifecycle import Action
from callcenter.cases.model import Case, CaseLog
from callcenter.city.model import Area
from callcenter.insight.evaluation_facts import Callback, Check, Facts, Limit, Order, Picture, Step

Tree = Mapping[UUID, tuple[int, UUID | None]]
"""An area's level and the area above it."""

PART_DONE: Final = "part_done"
"""What the reply of an assisting unit is taken for: the case is not handled by it."""
URGENT_UNITS: Final = ("urgent_hour", "urgent_day")
ORDINARY: Final = "ordinary"


@dataclass(frozen=True, slots=True)
class Read:
    """A case's facts, the last row of its log among them, and whether a limit of it is not sure yet."""

    facts: Facts
    seq: int
    provisional: bool


async def read_tree(session: AsyncSession) -> Tree:
    """All areas."""
    return {key: (level, above) for key, level, above in await session.execute(_AREAS)}


async def read_facts(session: AsyncSession, ids: Sequence[UUID], tree: Tree) -> list[Read]:
    """The facts of these cases, in no order; a case that has gone is left out."""
    logs = await _grouped(session, _LOG, CaseLog.case_id, ids, CaseLog.case_id, CaseLog.seq)
    orders = await _grouped(session, _ORDERS, CaseOrder.case_id, ids, CaseOrder.issued_at, CaseOrder.round)
    limits = await _grouped(session, _LIMITS, CaseDeadline.case_id, ids, CaseDeadline.started_at, CaseDeadline.id)
    checks = await _grouped(session, _CHECKS, CaseCheck.case_id, ids, CaseCheck.asked_at, CaseCheck.id)
    pictures = await _grouped(session, _PICTURES, CaseEvidence.case_id, ids, CaseEvidence.added_at, CaseEvidence.id)
    callbacks = await _grouped(session, _CALLBACKS, CaseCallback.case_id, ids, CaseCallback.at, CaseCallback.id)
    appeals = await _grouped(session, _APPEALS, CaseAppeal.case_id, ids, CaseAppeal.asked_at)
    sheets = await _grouped(session, _SHEETS, SupervisionSheet.case_id, ids, SupervisionSheet.issued_at)
    found: list[Read] = []
    for case in await session.execute(_CASES.where(Case.id.in_(ids))):
        log = logs.get(case.id, ())
        if not log:
            continue
        decided = [(one.second_at, bool(one.granted)) for one in appeals.get(case.id, ()) if one.second_at is not None]
        facts = Facts(
            case=case.id,
            source=case.source,
            opened_at=case.created_at,
            domain=case.domain,
            kind=case.category_kind,
            category=_category(case),
            urgent=case.urgency != ORDINARY,
            area=case.area_id,
            area_level=tree[case.area_id][0] if case.area_id in tree else None,
            lat=case.lat,
            lon=case.lon,
            wants_reply=case.wants_reply,
            steps=[_step(one) for one in log],
            orders=[_order(one) for one in orders.get(case.id, ())],
            limits=[_limit(one) for one in limits.get(case.id, ())],
            checks=[
                Check(one.kind, str(one.collector) if one.collector else None, one.result)
                for one in checks.get(case.id, ())
            ],
            pictures=[Picture(one.taken_at, one.fresh) for one in pictures.get(case.id, ())],
            callbacks=[Callback(one.at, one.reached, one.satisfaction) for one in callbacks.get(case.id, ())],
            appeal=decided[-1] if decided else None,
            sheets=[(one.issued_at, one.unit_id) for one in sheets.get(case.id, ())],
        )
        found.append(Read(facts, log[-1].seq, any(one.provisional for one in limits.get(case.id, ()))))
    return found


async def _grouped(
    session: AsyncSession, query: Any, column: InstrumentedAttribute[UUID], ids: Sequence[UUID], *order: Any
) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = defaultdict(list)
    for row in await session.execute(query.where(column.in_(ids)).order_by(*order)):
        found[row.case_id].append(row)
    return found


def _category(case: Any) -> str | None:
    if not case.category_code:
        return None
    return f"{case.category_standard or ''}|{case.category_kind or ''}|{case.category_code}"


def _step(row: Any) -> Step:
    detail = row.detail or {}
    action = row.action
    if action == Action.REPORT_DONE and detail.get("part") == ASSIST:
        action = PART_DONE
    return Step(action, row.actor, row.from_state, row.to_state, row.at, detail.get("post"))


def _order(row: Any) -> Order:
    return Order(row.id, row.unit_id, row.issued_at, row.issued_by, row.handler, row.outcome, row.part)


def _limit(row: Any) -> Limit:
    return Limit(
        phase=row.phase,
        original_due_at=row.original_due_at,
        due_at=row.due_at,
        ended_at=row.ended_at,
        met=row.met,
        order=row.order_id,
        extended=row.extended,
        urgent=row.limit_unit in URGENT_UNITS,
        lamp=row.lamp,
        started_at=row.started_at,
    )


def columns(model: Any, names: str) -> list[Any]:
    """Columns of a model by their names with spaces between; rows of columns are read twice as fast as objects."""
    return [getattr(model, name) for name in names.split()]


_Other = aliased(CaseEvidence)
_AREAS: Final = select(Area.id, Area.level, Area.parent_id)
_CASES: Final = select(
    *columns(
        Case,
        "id source created_at domain category_standard category_kind category_code urgency area_id lat lon wants_reply",
    )
)
_LOG: Final = select(*columns(CaseLog, "case_id seq actor action from_state to_state detail at"))
_ORDERS: Final = select(*columns(CaseOrder, "case_id id unit_id issued_at issued_by handler outcome part round"))
_LIMITS: Final = select(
    *columns(
        CaseDeadline,
        "case_id phase original_due_at due_at ended_at met order_id extended limit_unit lamp started_at provisional",
    )
)
_CHECKS: Final = select(*columns(CaseCheck, "case_id kind collector result"))
_PICTURES: Final = select(
    CaseEvidence.case_id,
    CaseEvidence.taken_at,
    ~select(_Other.id)
    .where(
        _Other.sha256 == CaseEvidence.sha256,
        _Other.case_id != CaseEvidence.case_id,
        _Other.added_at < CaseEvidence.added_at,
    )
    .exists()
    .label("fresh"),
).where(CaseEvidence.kind == "after")
_CALLBACKS: Final = select(*columns(CaseCallback, "case_id at reached satisfaction"))
_APPEALS: Final = select(*columns(CaseAppeal, "case_id second_at granted"))
_SHEETS: Final = select(*columns(SupervisionSheet, "case_id issued_at unit_id"))
