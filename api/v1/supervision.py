"""Supervision: the boxes, the sheets to units and their answers, leaders' notes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import require, services_of
from api.v1.acts import actor_of
from api.v1.cases import find_case
from api.v1.shapes import CaseOut, Cursor, Limit, View, case_out, checked_cursor, may_see, unit_scope, visible
from api.v1.values import Body, Moment, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import boxes, repository, sheets
from callcenter.cases.life import CaseDeadline, LeaderNote, SupervisionSheet
from callcenter.cases.model import Case

router = APIRouter(prefix="/api/v1/supervision", tags=["supervision"])

Reader = Annotated[Principal, require(Permission.CASES_READ)]

Supervisor = Annotated[Principal, require(Permission.CASES_SUPERVISE)]
Instructor = Annotated[Principal, require(Permission.CASES_INSTRUCT)]
UnitsOwn = Annotated[Principal, require(Permission.CASES_HANDLE)]

Text = Annotated[str, Words, Field(min_length=1, max_length=sheets.LONGEST_TEXT)]


class SheetIn(Body):
    """A sheet to issue."""

    text: Text = Field(description="what is asked of the unit; kept erasable", examples=["请于明日前办结并说明原因"])
    unit: UUID | None = Field(None, description="one that has or had an order of the case; null: the lead")
    reply_by: Moment | None = Field(None, description="with its offset; null: one working day")


class WordsIn(Body):
    """A reply or a note."""

    text: Text


class SheetOut(BaseModel):
    """督办单. Numbers within texts are masked."""

    id: UUID
    number: str = Field(examples=["DB202611210001"])
    case: UUID
    unit: UUID
    addressee: str = Field(description="a post", examples=["局长"])
    level: int = Field(description="1: supervision centre, 2: inspectors, 3: leader", examples=[2])
    by: str = Field(description="`system` or the id of a user")
    rule: str | None = Field(description="of one that the machine issued", examples=["lamp.red"])
    issued_at: datetime
    reply_by: datetime
    receipted_at: datetime | None
    replied_at: datetime | None
    content: str | None
    reply: str | None


class SheetList(BaseModel):
    """Sheets."""

    items: list[SheetOut]


class NoteOut(BaseModel):
    """批示"""

    id: UUID
    case: UUID
    by: str
    at: datetime
    content: str | None


class LimitOut(BaseModel):
    """A limit of a case and its lamp."""

    id: UUID
    phase: str = Field(examples=["handle"])
    unit_order: UUID | None
    due_at: datetime
    lamp: str = Field(description="none, warned, yellow or red", examples=["yellow"])
    paused: bool
    ended_at: datetime | None
    met: bool | None


class SupervisedCase(BaseModel):
    """A case as who supervises it needs it."""

    case: CaseOut
    lamp: str
    monitored: bool
    lead_unit: UUID | None
    due_at: datetime | None
    limits: list[LimitOut]
    sheets: list[SheetOut]
    notes: list[NoteOut]


class BoxCountOut(BaseModel):
    """One unit in one area."""

    unit: UUID | None
    area: UUID | None
    yellow: int
    red: int
    monitored: int
    monitored_open: int


class BoxesOut(BaseModel):
    """The boxes in figures: in all, and by unit and area."""

    yellow: int
    red: int
    monitored: int
    monitored_open: int
    items: list[BoxCountOut]


class BoxedCase(BaseModel):
    """A case in a box, without its words."""

    id: UUID
    number: str | None
    state: str
    lamp: str
    monitored: bool
    lead_unit: UUID | None
    area: UUID | None
    category: str | None = Field(examples=["路灯"])
    due_at: datetime | None
    created_at: datetime


class BoxPage(BaseModel):
    """A page of a box, the newest case first."""

    items: list[BoxedCase]
    next: str | None = Field(description="send as `cursor` for the page after; null: that was all")


@asynccontextmanager
async def _refusals(*, unit: bool = False) -> AsyncIterator[None]:
    """What the store refuses, as problems. ``unit``: it is a unit that asks, to whom another unit's sheet is none."""
    try:
        yield
    except sheets.NotAllowed as fault:
        if unit:
            raise not_found("a sheet to your unit with that id") from None
        raise Problem(403, "permission_missing", str(fault)) from None
    except (repository.CaseNotFound, sheets.SheetNotFound):
        raise not_found("a case or sheet with that id") from None
    except sheets.AlreadyReplied as fault:
        raise Problem(409, "conflict", str(fault)) from None
    except sheets.NothingToSupervise as fault:
        errors = [FieldProblem(where="body", problem=str(fault)[:200])]
        raise Problem(422, "value_refused", str(fault), errors=errors) from None


async def _sheets_out(session: AsyncSession, found: list[SupervisionSheet], view: View) -> list[SheetOut]:
    texts = await sheets.texts_of(session, [id for one in found for id in (one.content, one.reply)])

    def words(id: UUID | None) -> str | None:
        return view.text(texts.get(id)) if id is not None else None

    return [
        SheetOut(
            id=one.id,
            number=one.number,
            case=one.case_id,
            unit=one.unit_id,
            addressee=one.addressee,
            level=one.level,
            by=one.by,
            rule=one.rule,
            issued_at=one.issued_at,
            reply_by=one.reply_by,
            receipted_at=one.receipted_at,
            replied_at=one.replied_at,
            content=words(one.content),
            reply=words(one.reply),
        )
        for one in found
    ]


async def _notes_out(session: AsyncSession, found: list[LeaderNote], view: View) -> list[NoteOut]:
    texts = await sheets.texts_of(session, [one.content for one in found])
    return [
        NoteOut(id=one.id, case=one.case_id, by=one.by, at=one.at, content=view.text(texts.get(one.content)))
        for one in found
    ]


@router.get("/boxes", summary="The boxes in figures", responses=responses())
async def get_boxes(principal: Reader, request: Request) -> BoxesOut:
    """Yellow and red: open cases with that lamp. Monitored: all that ever were. A unit sees its own."""
    async with services_of(request).db.read() as session:
        found = await boxes.box_counts(session, unit=await unit_scope(session, principal))
    items = [BoxCountOut.model_validate(one, from_attributes=True) for one in found]
    names = ("yellow", "red", "monitored", "monitored_open")
    return BoxesOut(**{name: sum(getattr(one, name) for one in found) for name in names}, items=items)


@router.get("/boxes/{box}", summary="The cases in a box", responses=responses())
async def get_box(
    box: boxes.Box, principal: Reader, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> BoxPage:
    """The newest first. A unit sees its own."""
    async with services_of(request).db.read() as session:
        unit = await unit_scope(session, principal)
        found, following = await boxes.box_cases(session, box, unit=unit, limit=limit, after=checked_cursor(cursor))
    items = [_boxed(one) for one in found if visible(one, principal)]
    return BoxPage(items=items, next=following)


def _boxed(case: Case) -> BoxedCase:
    return BoxedCase(
        id=case.id,
        number=case.number,
        state=case.state,
        lamp=case.lamp,
        monitored=case.monitored,
        lead_unit=case.lead_unit_id,
        area=case.area_id,
        category=case.category_minor,
        due_at=case.due_at,
        created_at=case.created_at,
    )


@router.get("/sheets", summary="Sheets to a unit", responses=responses())
async def list_sheets(
    principal: Reader,
    request: Request,
    unit: Annotated[UUID | None, Query(description="needed unless you are a unit")] = None,
    waiting: Annotated[bool, Query(description="only those without an answer")] = False,
    before: Annotated[Moment | None, Query(description="issued before this moment")] = None,
    limit: Limit = 50,
) -> SheetList:
    """The newest first. A unit gets its own, whatever it asks for."""
    async with services_of(request).db.read() as session:
        wanted = await unit_scope(session, principal) or unit
        if wanted is None:
            raise Problem(422, "value_refused", "query.unit is missing: name the unit whose sheets you want")
        found = await sheets.unit_sheets(session, wanted, waiting=waiting, before=before, limit=limit)
        return SheetList(items=await _sheets_out(session, found, View.masked(principal)))


@router.get("/cases/{case_id}", summary="A case as who supervises it sees it", responses=responses(404))
async def get_supervised(case_id: UUID, principal: Reader, request: Request) -> SupervisedCase:
    """The case, numbers masked, with its limits, lamps, sheets and notes. A unit sees its own sheets; notes
    are for the house's people only."""
    view = View.masked(principal)
    async with services_of(request).db.read() as session, _refusals():
        unit = await unit_scope(session, principal)
        found = await repository.get_case(session, case_id)
        if not await may_see(session, found.case, principal):
            raise not_found("a case or sheet with that id")
        mine = [one for one in await sheets.sheets_of(session, case_id) if unit in (None, one.unit_id)]
        notes = await sheets.notes_of(session, case_id) if unit is None and principal.kind == "user" else []
        query = select(CaseDeadline).where(CaseDeadline.case_id == case_id).order_by(CaseDeadline.started_at)
        limits = [_limit(one) for one in await session.scalars(query)]
        return SupervisedCase(
            case=case_out(found.case, found.particulars, view),
            lamp=found.case.lamp,
            monitored=found.case.monitored,
            lead_unit=found.case.lead_unit_id,
            due_at=found.case.due_at,
            limits=limits,
            sheets=await _sheets_out(session, mine, view),
            notes=await _notes_out(session, notes, view),
        )


def _limit(one: CaseDeadline) -> LimitOut:
    return LimitOut(
        id=one.id,
        phase=one.phase,
        unit_order=one.order_id,
        due_at=one.due_at,
        lamp=one.lamp,
        paused=one.paused_at is not None,
        ended_at=one.ended_at,
        met=one.met,
    )


@router.get("/cases/{case_id}/sheets", summary="The sheets of a case", responses=responses(404))
async def sheets_of_case(case_id: UUID, principal: Reader, request: Request) -> SheetList:
    """The oldest first. A unit sees its own."""
    return SheetList(items=(await get_supervised(case_id, principal, request)).sheets)


@router.post(
    "/cases/{case_id}/sheets", status_code=201, summary="Issue a supervision sheet", responses=responses(404, 409)
)
async def issue(case_id: UUID, sheet: SheetIn, principal: Supervisor, request: Request) -> SheetOut:
    """督办: for inspectors, duty chiefs and leaders. The case enters the inspectors' box and never leaves it."""
    await find_case(request, principal, str(case_id))
    async with _refusals(), services_of(request).db.begin() as session:
        actor = await actor_of(session, principal)
        at = clock.now()
        made = await sheets.issue_sheet(
            session, case_id, actor=actor, text=sheet.text, at=at, unit=sheet.unit, reply_by=sheet.reply_by
        )
        await session.flush()
        return (await _sheets_out(session, [made], View.masked(principal)))[0]


@router.post("/sheets/{sheet_id}/receipt", summary="Receipt a sheet", responses=responses(404))
async def receipt(sheet_id: UUID, principal: UnitsOwn, request: Request) -> SheetOut:
    """For the unit that it went to; a second receipt changes nothing."""
    async with _refusals(unit=True), services_of(request).db.begin() as session:
        await unit_scope(session, principal)
        actor = await actor_of(session, principal)
        made = await sheets.receipt_sheet(session, sheet_id, actor=actor, at=clock.now())
        return (await _sheets_out(session, [made], View.masked(principal)))[0]


@router.post("/sheets/{sheet_id}/reply", summary="Answer a sheet", responses=responses(404, 409))
async def reply(sheet_id: UUID, words: WordsIn, principal: UnitsOwn, request: Request) -> SheetOut:
    """For the unit that it went to, once; 409 when it was answered before."""
    async with _refusals(unit=True), services_of(request).db.begin() as session:
        await unit_scope(session, principal)
        actor = await actor_of(session, principal)
        made = await sheets.reply_sheet(session, sheet_id, actor=actor, text=words.text, at=clock.now())
        await session.flush()
        return (await _sheets_out(session, [made], View.masked(principal)))[0]


@router.post("/cases/{case_id}/notes", status_code=201, summary="Write a leader's note", responses=responses(404))
async def note(case_id: UUID, words: WordsIn, principal: Instructor, request: Request) -> NoteOut:
    """批示: for leaders. The case enters the inspectors' box and never leaves it."""
    await find_case(request, principal, str(case_id))
    async with _refusals(), services_of(request).db.begin() as session:
        actor = await actor_of(session, principal)
        made = await sheets.add_note(session, case_id, actor=actor, text=words.text, at=clock.now())
        await session.flush()
        return (await _notes_out(session, [made], View.masked(principal)))[0]
