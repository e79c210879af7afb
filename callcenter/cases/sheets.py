"""督办单 supervision sheets and 批示 leaders' notes. Either puts a case into the inspectors' box (电子监察箱) for good.

Inspectors, duty chiefs and leaders issue sheets; a unit's own people receipt and answer them; leaders write notes.
Nobody here touches how a case is handled: its state and its version stay. Texts are ``CaseText`` rows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases.calendar import load_calendar
from callcenter.cases.city_settings import in_force
from callcenter.cases.deadlines import Limit, LimitUnit, due
from callcenter.cases.life import CaseOrder, CaseText, LeaderNote, SupervisionSheet
from callcenter.cases.lifecycle import Actor, Post
from callcenter.cases.model import DRAFT, Case, CaseCounter
from callcenter.cases.record import CaseError, CaseNotFound, append_log, locked, write_text
from callcenter.city.model import Unit
from callcenter.clock import local
from callcenter.jobs.store import add_job
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import insert_into

SHEET_ISSUED: Final = "case.sheet"
SHEET_RECEIPTED: Final = "case.sheet_receipted"
SHEET_REPLIED: Final = "case.sheet_replied"
NOTED: Final = "case.noted"

LEVELS: Final = {Post.DUTY_CHIEF: 1, Post.INSPECTOR: 2, Post.LEADER: 3}
"""Who issues a sheet, and of which level it then is."""
BY_RED: Final = 2
"""Level of the sheet that a red lamp causes: the inspectors' own (电子监察单)."""
REPLY_WITHIN: Final = Limit(1, LimitUnit.WORK_DAY)
LONGEST_TEXT: Final = 2_000
"""Characters of a sheet, a reply or a note."""
PAGE: Final = 200

MESSAGE_UNIT: Final = "message.unit"
"""Kind of the job that tells a unit something (``callcenter.messages.units`` carries it out)."""


class NotAllowed(CaseError):
    """The actor's post does not do this, or the sheet is another unit's."""


class SheetNotFound(CaseError):
    """There is no such sheet."""


class NothingToSupervise(CaseError):
    """No unit has the case, it is a draft, or a text or time is missing or unfit."""


class AlreadyReplied(CaseError):
    """The sheet was answered before; an answer is not rewritten."""


async def issue_sheet(
    session: AsyncSession,
    case_id: UUID,
    *,
    actor: Actor,
    text: str,
    at: datetime,
    unit: UUID | None = None,
    reply_by: datetime | None = None,
) -> SupervisionSheet:
    """Send a sheet to the leader of ``unit``; None: of the unit that has the lead. The case enters the inspectors' box.

    ``reply_by`` None: one working day. Open and closed cases can be supervised. Raises CaseNotFound, NotAllowed,
    NothingToSupervise.
    """
    level = max((level for post, level in LEVELS.items() if post in actor.posts), default=0)
    if not level:
        raise NotAllowed("a supervision sheet is issued by an inspector, a duty chief or a leader")
    words = _words(text, "sheet")
    case = await _held(session, case_id)
    if case.state == DRAFT:
        raise NothingToSupervise(f"case {case_id} is a draft: it has no number and no unit yet")
    unit = unit or case.lead_unit_id
    if unit is None:
        raise NothingToSupervise(f"case {case_id} has no unit yet: dispatch it, or name the unit")
    if unit != case.lead_unit_id and not await _had_order(session, case_id, unit):
        raise NothingToSupervise(f"unit {unit} never had an order of case {case_id}: name one that had")
    if reply_by is not None and reply_by <= at:
        raise NothingToSupervise(f"reply by {reply_by.isoformat()} is not after {at.isoformat()}: choose a later time")
    content = await write_text(session, case, "sheet", actor.id, words, at)
    [number] = await sheet_numbers(session, at, 1)
    sheet = SupervisionSheet(
        id=uuid4(),
        number=number,
        case_id=case_id,
        unit_id=unit,
        addressee=await _leader(session, unit),
        level=level,
        by=actor.id,
        rule=None,
        issued_at=at,
        reply_by=reply_by or await reply_time(session, at),
        content=content,
    )
    session.add(sheet)
    case.monitored = True
    detail = {"sheet": str(sheet.id), "number": number, "level": level, "unit": str(unit)}
    await append_log(session, case, actor=actor.id, action="sheet_issued", from_state=case.state, at=at, detail=detail)
    refs: Refs = {"sheet": sheet.id, "unit": unit, "level": level, "version": case.version}
    add_event(session, SHEET_ISSUED, at=at, call=case.call_id, case=case.id, refs=refs, feed=case.filed_at is not None)
    job: Refs = {"case": case.id, "unit": unit, "sheet": sheet.id, "template": "unit_sheet"}
    await add_job(session, MESSAGE_UNIT, f"{MESSAGE_UNIT}:sheet:{sheet.id}", job, at=at)
    return sheet


async def receipt_sheet(session: AsyncSession, sheet_id: UUID, *, actor: Actor, at: datetime) -> SupervisionSheet:
    """The unit has read the sheet; a second receipt changes nothing. Raises SheetNotFound, NotAllowed."""
    sheet, case = await _of_unit(session, sheet_id, actor)
    if sheet.receipted_at is None:
        sheet.receipted_at, sheet.receipted_by = at, actor.id
        await _tell(session, case, sheet, actor, "sheet_receipted", SHEET_RECEIPTED, at)
    return sheet


async def reply_sheet(
    session: AsyncSession, sheet_id: UUID, *, actor: Actor, text: str, at: datetime
) -> SupervisionSheet:
    """The unit's answer, once; it is also the receipt when there was none. Raises SheetNotFound, NotAllowed,
    NothingToSupervise (no text), AlreadyReplied."""
    words = _words(text, "reply")
    sheet, case = await _of_unit(session, sheet_id, actor)
    if sheet.replied_at is not None:
        raise AlreadyReplied(f"sheet {sheet.number} was answered at {sheet.replied_at.isoformat()}")
    if sheet.receipted_at is None:
        sheet.receipted_at, sheet.receipted_by = at, actor.id
    sheet.replied_at, sheet.replied_by = at, actor.id
    sheet.reply = await write_text(session, case, "reply", actor.id, words, at)
    await _tell(session, case, sheet, actor, "sheet_replied", SHEET_REPLIED, at)
    return sheet


async def add_note(session: AsyncSession, case_id: UUID, *, actor: Actor, text: str, at: datetime) -> LeaderNote:
    """批示 of a leader. The case enters the inspectors' box. Raises CaseNotFound, NotAllowed, NothingToSupervise."""
    if Post.LEADER not in actor.posts:
        raise NotAllowed("a note (批示) is a leader's")
    words = _words(text, "note")
    case = await _held(session, case_id)
    if case.state == DRAFT:
        raise NothingToSupervise(f"case {case_id} is a draft: it has no number yet")
    content = await write_text(session, case, "instruction", actor.id, words, at)
    note = LeaderNote(id=uuid4(), case_id=case_id, by=actor.id, at=at, content=content)
    session.add(note)
    case.monitored = True
    detail = {"note": str(note.id)}
    await append_log(session, case, actor=actor.id, action="noted", from_state=case.state, at=at, detail=detail)
    refs: Refs = {"note": note.id, "version": case.version}
    add_event(session, NOTED, at=at, call=case.call_id, case=case.id, refs=refs, feed=case.filed_at is not None)
    return note


async def sheets_of(session: AsyncSession, case_id: UUID) -> list[SupervisionSheet]:
    """The sheets of a case, oldest first."""
    query = select(SupervisionSheet).where(SupervisionSheet.case_id == case_id)
    return list(await session.scalars(query.order_by(SupervisionSheet.issued_at, SupervisionSheet.number)))


async def notes_of(session: AsyncSession, case_id: UUID) -> list[LeaderNote]:
    """The leaders' notes on a case, oldest first."""
    query = select(LeaderNote).where(LeaderNote.case_id == case_id)
    return list(await session.scalars(query.order_by(LeaderNote.at, LeaderNote.id)))


async def unit_sheets(
    session: AsyncSession, unit: UUID, *, waiting: bool = False, before: datetime | None = None, limit: int = 50
) -> list[SupervisionSheet]:
    """The sheets to a unit, newest first; ``waiting``: only those without an answer; ``before``: issued before."""
    query = select(SupervisionSheet).where(SupervisionSheet.unit_id == unit)
    if waiting:
        query = query.where(SupervisionSheet.replied_at.is_(None))
    if before is not None:
        query = query.where(SupervisionSheet.issued_at < before)
    query = query.order_by(SupervisionSheet.issued_at.desc(), SupervisionSheet.number.desc())
    return list(await session.scalars(query.limit(max(1, min(limit, PAGE)))))


async def texts_of(session: AsyncSession, ids: Sequence[UUID | None]) -> dict[UUID, str | None]:
    """Texts by id; None after erasure."""
    wanted = {id for id in ids if id is not None}
    rows = await session.execute(select(CaseText.id, CaseText.text).where(CaseText.id.in_(wanted)))
    return {id: words for id, words in rows}


async def reply_time(session: AsyncSession, at: datetime) -> datetime:
    """One working day after ``at`` by the city's calendar: when a sheet is to be answered unless it says otherwise."""
    return due(at, REPLY_WITHIN, await load_calendar(session, in_force())).at


async def sheet_numbers(session: AsyncSession, at: datetime, count: int) -> list[str]:
    """The next ``count`` sheet numbers of the day (Asia/Shanghai): ``DB202611210001``.

    Counted in the caller's transaction in a row of its own beside the cases' (``S261121``): whoever comes second waits,
    so no number is given twice, and one that rolls back gives its numbers back.
    """
    day = local(at)
    counter = insert_into(session, CaseCounter).values(day=f"S{day:%y%m%d}", next=1 + count)
    mine = CaseCounter.__table__.c
    end = await session.scalar(
        counter.on_conflict_do_update(index_elements=[mine.day], set_={"next": mine.next + count}).returning(mine.next)
    )
    first = int(end or 0) - count
    return [f"DB{day:%Y%m%d}{number:04d}" for number in range(first, first + count)]


async def _held(session: AsyncSession, case_id: UUID) -> Case:
    case = await locked(session, case_id)
    if case is None:
        raise CaseNotFound(f"no case {case_id}")
    return case


async def _of_unit(session: AsyncSession, sheet_id: UUID, actor: Actor) -> tuple[SupervisionSheet, Case]:
    sheet = await session.get(SupervisionSheet, sheet_id)
    if sheet is None:
        raise SheetNotFound(f"no sheet {sheet_id}")
    if Post.UNIT not in actor.posts or actor.unit != sheet.unit_id:
        raise NotAllowed(f"sheet {sheet.number} is receipted and answered by the unit it went to")
    # The case's row is what everybody locks; the sheet is read again under it.
    case = await _held(session, sheet.case_id)
    await session.refresh(sheet)
    return sheet, case


async def _tell(
    session: AsyncSession, case: Case, sheet: SupervisionSheet, actor: Actor, action: str, event: str, at: datetime
) -> None:
    detail = {"sheet": str(sheet.id), "number": sheet.number, "in_time": at <= sheet.reply_by}
    await append_log(session, case, actor=actor.id, action=action, from_state=case.state, at=at, detail=detail)
    refs: Refs = {"sheet": sheet.id, "unit": sheet.unit_id, "version": case.version}
    add_event(session, event, at=at, call=case.call_id, case=case.id, refs=refs, feed=case.filed_at is not None)


async def _had_order(session: AsyncSession, case_id: UUID, unit: UUID) -> bool:
    query = select(CaseOrder.id).where(CaseOrder.case_id == case_id, CaseOrder.unit_id == unit).limit(1)
    return await session.scalar(query) is not None


async def _leader(session: AsyncSession, id: UUID) -> str:
    unit = await session.get(Unit, id)
    if unit is None:
        raise NothingToSupervise(f"no unit {id}: name one of the city's units")
    return unit.leader


def _words(text: str, what: str) -> str:
    words = text.strip()
    if not 0 < len(words) <= LONGEST_TEXT:
        raise NothingToSupervise(f"the text of a {what} has {len(words)} characters: 1 to {LONGEST_TEXT}")
    return words
