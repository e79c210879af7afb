"""Tasks of grid workers: seven kinds, made for a person or for whoever is on duty for an area (SEED_FEATURES 004-04).

open → accepted → done, or declined with a reason. A task of an area that somebody took and gives back is open again,
for the next. None of it is a step of a case, those are taken by ``cases.acts``; a task may name the case it serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.access.audit import Actor, add_entry
from callcenter.city.field import (
    FieldConflict,
    FieldNotFound,
    FieldRefused,
    areas_under,
    collector,
    shift_of,
)
from callcenter.city.field_model import ACCEPTED, DECLINED, DONE, OPEN, FieldTask
from callcenter.city.model import Area
from callcenter.city.units import areas_up
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import before, encode_cursor, insert_new

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "collect": "采集",
        "needs": "反映需求",
        "report": "发现报告",
        "resolve": "排查化解",
        "assist": "协助解决",
        "verify": "核实核查反馈",
        "mobilise": "动员群众",
    }
)
"""七大职能, as people read them."""
CODES: Final = tuple(KINDS)

Step = Literal["accept", "done", "decline"]
STEPS: Final[Mapping[tuple[str, Step], str]] = MappingProxyType(
    {
        (OPEN, "accept"): ACCEPTED,
        (OPEN, "decline"): DECLINED,
        (ACCEPTED, "done"): DONE,
        (ACCEPTED, "decline"): DECLINED,
    }
)
"""The state that a step leads to; a step that is not here cannot be taken."""
LONGEST_TEXT: Final = 2_000
PAGE: Final = 200


class TaskConflict(FieldConflict):
    """Somebody took a step since it was read, or the step is none from where it stands. ``version``: its own."""

    def __init__(self, mend: str, version: int) -> None:
        super().__init__(mend)
        self.version = version


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to make, for ``collector_id`` or for ``area_id``, never both."""

    kind: str
    words: str
    collector_id: UUID | None = None
    area_id: UUID | None = None
    case_id: UUID | None = None
    due_at: datetime | None = None


async def make(
    session: AsyncSession, task_id: UUID, new: NewTask, *, actor: Actor, at: datetime
) -> tuple[FieldTask, bool]:
    """Make a task; audited. Idempotent by ``task_id``: made again, the first one is given back, and False.

    ``new.case_id`` is of a case that is there, the caller has looked. Raises FieldRefused for values that are none,
    FieldConflict when ``task_id`` stands for another task.
    """
    if new.kind not in KINDS:
        raise FieldRefused("kind", f"{new.kind!r:.24} is none of {', '.join(KINDS)}")
    words = _words("text", new.words)
    if (new.collector_id is None) == (new.area_id is None):
        raise FieldRefused("collector", "a task is for a collector or for an area: name one of the two")
    values: dict[str, Any] = {
        "id": task_id,
        "kind": new.kind,
        "state": OPEN,
        "collector_id": new.collector_id,
        "area_id": new.area_id,
        "case_id": new.case_id,
        "due_at": new.due_at,
        "version": 1,
        "made_by": actor.id,
        "made_at": at,
        "words": words,
    }
    if (there := await session.get(FieldTask, task_id)) is not None:
        return _same(there, values), False
    if new.due_at is not None and new.due_at <= at:
        raise FieldRefused("due_at", "is not ahead: nothing can be done by then")
    if new.collector_id is not None:
        await collector(session, new.collector_id, "collector")
    elif (area := await session.get(Area, new.area_id)) is None or not area.active:
        raise FieldRefused("area", "there is none with that id on the map in force: see the list of areas")
    if not await insert_new(session, FieldTask, values):  # at the same time, by the same key
        return _same(await session.get_one(FieldTask, task_id), values), False
    task = await session.get_one(FieldTask, task_id)
    _tell(session, task, "made", actor, at)
    return task, True


async def take_step(
    session: AsyncSession,
    task_id: UUID,
    step: Step,
    *,
    who: UUID,
    words: str = "",
    expected_version: int,
    actor: Actor,
    at: datetime,
) -> FieldTask:
    """Take, finish or decline a task; audited. The same step again by the same person changes nothing.

    ``words``: the result, or the reason of declining; accepting has none. Raises FieldNotFound for a task that is not
    theirs, TaskConflict, FieldRefused (no words).
    """
    task = await session.get(FieldTask, task_id, with_for_update=True, populate_existing=True)
    if task is None:
        raise FieldNotFound("there is no task with that id for you")
    text = _words("text", words) if step != "accept" else ""
    again = (task.version, task.last_by, task.last_step) == (expected_version + 1, who, step)
    if again and (step == "accept" or task.result in (text, None)):
        return task  # also for who has given it back and is off duty since
    if not await _theirs(session, task, who, at):
        raise FieldNotFound("there is no task with that id for you")
    if task.version != expected_version:
        seen = f"task is at version {task.version}, you saw {expected_version}: read it again"
        raise TaskConflict(seen, task.version)
    state = STEPS.get((task.state, step))
    if state is None:
        can = ", ".join(one for was, one in STEPS if was == task.state) or "no step more"
        raise TaskConflict(f"task is {task.state}: {step} cannot be taken, but {can}", task.version)
    if step == "decline" and task.collector_id is None:
        raise TaskConflict("task is for whoever is on duty: leave it to the others", task.version)
    if step == "accept":
        task.collector_id = who
    else:
        task.result = text
    if state == DECLINED and task.area_id is not None:
        state, task.collector_id = OPEN, None
    task.state = state
    task.version += 1
    task.last_step, task.last_by, task.last_at = step, who, at
    await session.flush()
    _tell(session, task, {"accept": "accepted", "done": "done", "decline": "declined"}[step], actor, at)
    return task


async def own_tasks(
    session: AsyncSession,
    who: UUID,
    at: datetime,
    *,
    states: Sequence[str] = (OPEN, ACCEPTED),
    limit: int = 50,
    after: str | None = None,
) -> tuple[list[FieldTask], str | None]:
    """A page of what a person is asked to do, and of what waits in the areas of their present shift; the newest first.
    Raises ValueError for a bad cursor."""
    mine: ColumnElement[bool] = FieldTask.collector_id == who
    if areas := await _reach(session, who, at):
        waiting = and_(FieldTask.area_id.in_(list(areas)), FieldTask.collector_id.is_(None), FieldTask.state == OPEN)
        mine = or_(mine, waiting)
    return await _page(session, [mine, FieldTask.state.in_(list(states))], limit, after)


async def all_tasks(
    session: AsyncSession,
    *,
    state: str | None = None,
    collector_id: UUID | None = None,
    area_id: UUID | None = None,
    case_id: UUID | None = None,
    overdue_at: datetime | None = None,
    limit: int = 50,
    after: str | None = None,
) -> tuple[list[FieldTask], str | None]:
    """A page of tasks, the newest first. ``overdue_at``: only those not ended whose time was over by then. Raises
    ValueError for a bad cursor."""
    given: list[ColumnElement[bool]] = []
    for column, value in (
        (FieldTask.state, state),
        (FieldTask.collector_id, collector_id),
        (FieldTask.area_id, area_id),
        (FieldTask.case_id, case_id),
    ):
        if value is not None:
            given.append(column == value)
    if overdue_at is not None:
        given += [FieldTask.due_at <= overdue_at, FieldTask.state.in_((OPEN, ACCEPTED))]
    return await _page(session, given, limit, after)


async def erase(session: AsyncSession, task_id: UUID, *, actor: Actor, at: datetime) -> None:
    """Blank what was written in a task; its kind, times and people stay. Audited. Raises FieldNotFound."""
    task = await session.get(FieldTask, task_id, with_for_update=True, populate_existing=True)
    if task is None:
        raise FieldNotFound("there is no task with that id")
    if (task.words, task.result) == (None, None):
        return
    task.words = task.result = None
    task.erased_at = at
    add_entry(session, actor, "task erased", at=at, subject=f"task:{task_id}")
    await session.flush()


async def erase_of_case(session: AsyncSession, case_id: UUID, at: datetime) -> None:
    """Blank what was written in the tasks of a case, which is being erased itself."""
    written = or_(FieldTask.words.is_not(None), FieldTask.result.is_not(None))
    blank = update(FieldTask).where(FieldTask.case_id == case_id, written)
    await session.execute(blank.values(words=None, result=None, erased_at=at))


async def _theirs(session: AsyncSession, task: FieldTask, who: UUID, at: datetime) -> bool:
    if task.collector_id == who:
        return True
    if task.collector_id is not None or task.area_id is None:
        return False
    return task.area_id in await _reach(session, who, at)


async def _reach(session: AsyncSession, who: UUID, at: datetime) -> frozenset[UUID]:
    """The areas whose tasks a person may take now: that of their shift, those in it, and those it lies in."""
    shift = await shift_of(session, who, at)
    if shift is None:
        return frozenset()
    up = {area.id for area in await areas_up(session, shift.area_id)}
    return await areas_under(session, shift.area_id) | up


async def _page(
    session: AsyncSession, given: Sequence[ColumnElement[bool]], limit: int, after: str | None
) -> tuple[list[FieldTask], str | None]:
    limit = max(1, min(limit, PAGE))
    query = select(FieldTask).where(*given)
    if after is not None:
        query = query.where(before(FieldTask.made_at, FieldTask.id, after))
    found = await session.scalars(query.order_by(FieldTask.made_at.desc(), FieldTask.id.desc()).limit(limit + 1))
    rows = list(found)
    page = rows[:limit]
    return page, encode_cursor(page[-1].made_at, page[-1].id) if len(rows) > limit else None


def _same(there: FieldTask, values: dict[str, Any]) -> FieldTask:
    # The collector of an area's task changes as it is taken.
    wanted = [
        name for name in ("kind", "area_id", "case_id", "due_at", "made_by") if getattr(there, name) != values[name]
    ]
    if wanted or there.words not in (values["words"], None):
        raise FieldConflict("that idempotency key was used for another task: take a new key for each")
    if there.area_id is None and there.collector_id != values["collector_id"]:
        raise FieldConflict("that idempotency key was used for another collector's task: take a new key for each")
    return there


def _words(field: str, text: str) -> str:
    words = text.strip()
    if not 0 < len(words) <= LONGEST_TEXT:
        raise FieldRefused(field, f"has {len(words)} characters, must have 1 to {LONGEST_TEXT}")
    return words


def _tell(session: AsyncSession, task: FieldTask, what: str, actor: Actor, at: datetime) -> None:
    detail: dict[str, str | int | bool | list[str]] = {"version": task.version, "state": task.state}
    add_entry(session, actor, f"task {what}", at=at, subject=f"task:{task.id}", detail=detail)
    # The case is among the references: its own events come in the order of its locks, this one holds none.
    refs: Refs = {"task": task.id, "version": task.version, "state": task.state, "case": task.case_id}
    add_event(session, f"field.task_{what}", at=at, refs=refs)
