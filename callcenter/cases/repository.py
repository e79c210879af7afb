"""Cases as others ask for them: one, a page of many, and a person's word on the routing of one.

The one place for SQL about cases, beside ``cases.drafts``, which is what the machine does by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import events
from callcenter.cases.drafts import settle
from callcenter.cases.life import CaseEvidence, CaseOrder, CaseText
from callcenter.cases.model import (
    CANCELLED,
    DRAFT,
    PENDING_DISPATCH,
    PENDING_FILING,
    PENDING_VERIFY,
    REPORTED,
    Case,
    CaseLog,
    CaseParticulars,
    Confirmation,
)
from callcenter.cases.record import CaseError as CaseError
from callcenter.cases.record import CaseNotFound as CaseNotFound
from callcenter.cases.record import Conflict as Conflict
from callcenter.cases.record import append_log, changes_since, locked, move
from callcenter.cases.search_index import forget_words
from callcenter.city import tasks
from callcenter.messages.model import Message, MessageParticulars
from callcenter.storage.outbox import add_event
from callcenter.storage.rows import before, encode_cursor

PAGE_LIMIT = 200
"""Rows of one page at most; an answer stays small enough to be rendered and masked within a request."""


class NotConfirmable(CaseError):
    """The case is in no state in which its category can be decided, or has none to confirm."""


@dataclass(frozen=True, slots=True)
class CategoryChoice:
    """The category that a person chose. ``domain``: urban or social; ``kind``: part, event or social."""

    domain: str
    standard: str
    code: str
    kind: str
    major: str
    minor: str


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case with its particulars; who may see which of those is for the caller to decide."""

    case: Case
    particulars: CaseParticulars


@dataclass(frozen=True, slots=True)
class CaseDetail:
    """A case with all that happened to it."""

    case: Case
    particulars: CaseParticulars
    log: list[CaseLog]
    confirmations: list[Confirmation]


@dataclass(frozen=True, slots=True)
class CasePage:
    """Newest first. ``next`` is the cursor of the page after; None: that was all."""

    rows: list[CaseRow]
    next: str | None


async def get_case(session: AsyncSession, case_id: UUID) -> CaseDetail:
    """The case. Raises CaseNotFound."""
    return await _detail(session, select(Case).where(Case.id == case_id), str(case_id))


async def get_case_by_number(session: AsyncSession, number: str) -> CaseDetail:
    """The case of this number. Raises CaseNotFound."""
    return await _detail(session, select(Case).where(Case.number == number), number)


async def cases_of_call(session: AsyncSession, call_id: UUID) -> list[CaseRow]:
    """The cases that came from a call, oldest first."""
    found = await session.execute(_rows().where(Case.call_id == call_id).order_by(Case.created_at, Case.id))
    return [CaseRow(case, particulars) for case, particulars in found]


async def cases_by_id(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, CaseRow]:
    """Many cases at once."""
    found = await session.execute(_rows().where(Case.id.in_(ids)))
    return {case.id: CaseRow(case, particulars) for case, particulars in found}


async def list_cases(
    session: AsyncSession,
    *,
    states: Sequence[str] = (),
    domain: str | None = None,
    decision: str | None = None,
    category: str | None = None,
    unit: UUID | None = None,
    limit: int = 50,
    after: str | None = None,
) -> CasePage:
    """A page of cases, newest first; ``after`` is the cursor of the page before. Raises ValueError for a bad cursor.

    ``unit``: only cases of which it has or had an order.
    """
    limit = max(1, min(limit, PAGE_LIMIT))
    query = _rows()
    for column, value in ((Case.domain, domain), (Case.decision, decision), (Case.category_code, category)):
        if value is not None:
            query = query.where(column == value)
    if unit is not None:
        query = query.where(_ordered(unit))
    if after is not None:
        query = query.where(before(Case.created_at, Case.id, after))
    query = query.order_by(Case.created_at.desc(), Case.id.desc()).limit(limit + 1)
    rows: list[CaseRow] = []
    # A query for each state: with "state IN (…)" neither database can walk an index in order, and both would sort
    # every case ever in those states to show fifty.
    for part in [query.where(Case.state == state) for state in dict.fromkeys(states)] or [query]:
        found = await session.execute(part)
        rows.extend(CaseRow(case, particulars) for case, particulars in found)
    rows.sort(key=lambda row: (row.case.created_at, row.case.id.hex), reverse=True)
    page = rows[:limit]
    more = len(rows) > limit
    return CasePage(page, encode_cursor(page[-1].case.created_at, page[-1].case.id) if more else None)


async def confirm_routing(
    session: AsyncSession,
    case_id: UUID,
    *,
    user_id: UUID,
    choice: CategoryChoice | None,
    expected_version: int,
    at: datetime,
    blind: bool = False,
    seconds_to_decide: float | None = None,
) -> Case:
    """An agent's word on a case's category: ``choice`` None confirms the present one, another one corrects it.

    A draft stays a draft, and more words no longer move its category; a completed case is filed; one that was cancelled
    for having no matter is taken up again when a category is chosen. Every word is kept as a Confirmation: a label.
    ``seconds_to_decide``: since the agent's page showed what they decided on, where it told. ``blind``: the router's
    answer was not shown; a category is then chosen, not confirmed. Raises ValueError for a blind word without a choice,
    CaseNotFound, Conflict when the case is not at ``expected_version``, NotConfirmable.
    """
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    if case.version != expected_version:
        raise Conflict(case_id, expected_version, case.version, await changes_since(session, case_id, expected_version))
    undecided = (DRAFT, REPORTED, PENDING_VERIFY, PENDING_FILING, PENDING_DISPATCH)
    if case.state not in undecided and not (case.state == CANCELLED and case.number is None):
        raise NotConfirmable(f"case {case_id} is {case.state}: its category is decided before a unit has it")
    if blind and choice is None:
        raise ValueError(f"case {case_id}: a blind word names a category, there was none to confirm")
    before_it = (case.domain, case.category_standard, case.category_kind, case.category_code)
    corrected = choice is not None and (choice.domain, choice.standard, choice.kind, choice.code) != before_it
    repeated = case.confirmed_by is not None
    disposition_before = case.disposition
    if choice is None and case.disposition == "case" and case.category_code is None:
        raise NotConfirmable(f"case {case_id} has no category to confirm: choose one")
    if choice is not None:
        case.disposition = "case"
        case.domain, case.category_standard, case.category_code = choice.domain, choice.standard, choice.code
        case.category_kind, case.category_major, case.category_minor = choice.kind, choice.major, choice.minor
    case.confirmed_by = user_id
    confirmation = Confirmation(
        id=uuid4(),
        case_id=case_id,
        routing_id=case.routing_id,
        user_id=user_id,
        verdict="corrected" if corrected else "confirmed",
        domain_before=before_it[0],
        standard_before=before_it[1],
        kind_before=before_it[2],
        code_before=before_it[3],
        disposition_before=disposition_before,
        decision_before=case.decision,
        probability_before=case.probability,
        domain_probability_before=case.domain_probability,
        domain_after=case.domain,
        standard_after=case.category_standard,
        kind_after=case.category_kind,
        code_after=case.category_code,
        disposition_after=case.disposition,
        model=case.model,
        seconds_to_decide=seconds_to_decide,
        repeated=repeated,
        blind=blind,
        at=at,
    )
    session.add(confirmation)
    await move(
        session,
        case,
        case.state,
        actor=str(user_id),
        action=confirmation.verdict,
        at=at,
        detail={"confirmation": str(confirmation.id), "from": before_it[3], "to": case.category_code},
    )
    add_event(
        session,
        events.CORRECTED if corrected else events.CONFIRMED,
        at=at,
        call=case.call_id,
        case=case.id,
        refs={"confirmation": confirmation.id, "version": case.version},
    )
    if case.filed_at is not None and corrected:
        add_event(session, events.UPDATED, at=at, call=case.call_id, case=case.id, feed=True)
    elif case.completed_at is not None:
        await settle(session, case, at)
    return case


async def had_order(session: AsyncSession, case_id: UUID, unit: UUID) -> bool:
    """Whether a unit has or had an order to handle a case: it may know of that one."""
    return await session.scalar(select(Case.id).where(Case.id == case_id, _ordered(unit))) is not None


async def mark_pulled(session: AsyncSession, ids: Sequence[UUID], at: datetime) -> None:
    """Remember when a dispatch system first got these cases. Not a change of the case: its version stays."""
    await session.execute(update(Case).where(Case.id.in_(ids), Case.pulled_at.is_(None)).values(pulled_at=at))


async def erase_particulars(session: AsyncSession, case_id: UUID, *, actor: str, at: datetime) -> None:
    """Blank what a case knows of people and their words, and everything that was written about it or sent to anybody;
    its pictures are no longer shown. Its number, category, times and log stay."""
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    nothing = dict.fromkeys(
        ("text", "address", "reporter_number", "reporter_name", "callback_number", "wish", "accused")
    )
    blanked = await session.scalar(
        update(CaseParticulars)
        .where(CaseParticulars.case_id == case_id, CaseParticulars.erased_at.is_(None))
        .values(**nothing, erased_at=at)
        .returning(CaseParticulars.case_id)
    )
    # Written after an erasure, too: a case lives on and people go on writing.
    texts = update(CaseText).where(CaseText.case_id == case_id, CaseText.erased_at.is_(None))
    await session.execute(texts.values(text=None, erased_at=at))
    pictures = update(CaseEvidence).where(CaseEvidence.case_id == case_id, CaseEvidence.erased_at.is_(None))
    await session.execute(pictures.values(erased_at=at))
    await tasks.erase_of_case(session, case_id, at)
    own = select(Message.id).where(Message.case_id == case_id)
    told = update(MessageParticulars).where(
        MessageParticulars.message_id.in_(own), MessageParticulars.erased_at.is_(None)
    )
    await session.execute(told.values(number=None, words=None, erased_at=at))
    if blanked is None:
        return
    # A door tells who lives behind it; the area stays, for the figures.
    case.lat = case.lon = case.cell = None
    await forget_words(session, case_id)
    await append_log(session, case, actor=actor, action="erased", from_state=case.state, at=at)
    feed = case.filed_at is not None
    add_event(session, events.ERASED, at=at, call=case.call_id, case=case.id, feed=feed)


def _ordered(unit: UUID) -> "ColumnElement[bool]":
    return exists().where(CaseOrder.case_id == Case.id, CaseOrder.unit_id == unit)


def _rows() -> "Select[Case, CaseParticulars]":
    return select(Case, CaseParticulars).join(CaseParticulars, CaseParticulars.case_id == Case.id)


async def _detail(session: AsyncSession, query: "Select[Case]", name: str) -> CaseDetail:
    case = await session.scalar(query)
    if case is None:
        raise CaseNotFound(f"no case {name}")
    particulars = await session.get_one(CaseParticulars, case.id)
    log = await session.scalars(select(CaseLog).where(CaseLog.case_id == case.id).order_by(CaseLog.seq))
    words = await session.scalars(
        select(Confirmation).where(Confirmation.case_id == case.id).order_by(Confirmation.at, Confirmation.id)
    )
    return CaseDetail(case, particulars, list(log), list(words))
