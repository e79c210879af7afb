"""Tasks for collectors and grid workers: made by command, taken and finished in the field."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.errors import not_found, responses
from api.security import address_of, services_of
from api.v1.cases import find_case
from api.v1.field import Manager, Watcher, Worker, field_problems
from api.v1.register import KEYS, Key
from api.v1.shapes import Cursor, Limit, checked_cursor
from api.v1.values import Body, Moment, Words
from callcenter import clock
from callcenter.access.masking import mask_text
from callcenter.access.permissions import Permission
from callcenter.city import tasks
from callcenter.city.field_model import ACCEPTED, OPEN, TASK_STATES, FieldTask

router = APIRouter(prefix="/api/v1/field/tasks", tags=["field work"])

Kind = Literal[tasks.CODES]  # type: ignore[valid-type]
State = Literal[TASK_STATES]  # type: ignore[valid-type]


class NewTaskIn(Body):
    """A task to make: for a collector, or for whoever is on duty for an area."""

    kind: Kind = Field(description="one of the seven of a grid worker", examples=["verify"])
    text: Annotated[str, Words] = Field(
        min_length=1, max_length=tasks.LONGEST_TEXT, description="what is asked; kept erasable", examples=["看井盖"]
    )
    collector: UUID | None = Field(None, description="or `area`")
    area: UUID | None = Field(None, description="or `collector`")
    case: UUID | None = Field(None, description="the case it serves")
    due_at: Moment | None = Field(None, description="ahead")


class TaskStep(Body):
    """A step of a task."""

    step: Literal["accept", "done", "decline"]
    expected_version: int = Field(ge=1, le=2**31 - 1, description="the `version` you decided on", examples=[1])
    text: str = Field(
        "", max_length=tasks.LONGEST_TEXT, description="of done the result, of decline the reason; kept erasable"
    )


class TaskOut(BaseModel):
    """A task. Numbers within texts are masked."""

    id: UUID
    kind: str = Field(examples=["verify"])
    kind_name: str = Field(examples=["核实核查反馈"])
    state: str = Field(description="open, accepted, done or declined", examples=["open"])
    collector: UUID | None = Field(description="null: waits for somebody on duty for the area")
    area: UUID | None
    case: UUID | None
    due_at: datetime | None
    version: int = Field(description="send as `expected_version`", examples=[1])
    made_by: str
    made_at: datetime
    last_at: datetime | None = Field(description="of the last step")
    text: str | None = Field(description="null after erasure")
    result: str | None


class TaskList(BaseModel):
    """Tasks, the newest first."""

    items: list[TaskOut]
    next: str | None = Field(description="send as `cursor`; null: that was all")


def task_out(task: FieldTask) -> TaskOut:
    """``task`` as the API shows it."""
    return TaskOut(
        id=task.id,
        kind=task.kind,
        kind_name=tasks.KINDS.get(task.kind, ""),
        state=task.state,
        collector=task.collector_id,
        area=task.area_id,
        case=task.case_id,
        due_at=task.due_at,
        version=task.version,
        made_by=task.made_by,
        made_at=task.made_at,
        last_at=task.last_at,
        text=mask_text(task.words) if task.words is not None else None,
        result=mask_text(task.result) if task.result is not None else None,
    )


@router.post("", status_code=201, summary="Make a task", responses={**responses(404, 409), 200: {"model": TaskOut}})
async def make_task(new: NewTaskIn, key: Key, principal: Manager, request: Request, response: Response) -> TaskOut:
    """Sent again under the same key it is the same task, answered with 200. A case that you may not see is none (404).
    Audited."""
    if new.case is not None:
        if not principal.may(Permission.CASES_READ):
            raise not_found("a case with that id or number")
        await find_case(request, principal, str(new.case))
    wanted = tasks.NewTask(
        kind=new.kind,
        words=new.text,
        collector_id=new.collector,
        area_id=new.area,
        case_id=new.case,
        due_at=new.due_at,
    )
    task_id = uuid5(KEYS, f"{principal.id}:task:{key}")
    actor = principal.actor(address_of(request))
    with field_problems("a task with that id"):
        async with services_of(request).db.begin() as session:
            task, fresh = await tasks.make(session, task_id, wanted, actor=actor, at=clock.now())
    if not fresh:
        response.status_code = 200
    return task_out(task)


@router.get("", summary="List tasks", responses=responses())
async def list_tasks(
    _: Watcher,
    request: Request,
    state: Annotated[State | None, Query()] = None,
    collector: UUID | None = None,
    area: UUID | None = None,
    case: UUID | None = None,
    overdue: Annotated[bool, Query(description="only those not ended in time")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> TaskList:
    """The newest first."""
    async with services_of(request).db.read() as session:
        found, following = await tasks.all_tasks(
            session,
            state=state,
            collector_id=collector,
            area_id=area,
            case_id=case,
            overdue_at=clock.now() if overdue else None,
            limit=limit,
            after=checked_cursor(cursor),
        )
    return TaskList(items=[task_out(one) for one in found], next=following)


@router.get("/mine", summary="My tasks", responses=responses())
async def own_tasks(
    principal: Worker,
    request: Request,
    state: Annotated[State | None, Query(description="by default open and accepted")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> TaskList:
    """What I am asked to do, and what waits for somebody in the areas of my present shift; the newest first."""
    async with services_of(request).db.read() as session:
        found, following = await tasks.own_tasks(
            session,
            principal.id,
            clock.now(),
            states=(state,) if state else (OPEN, ACCEPTED),
            limit=limit,
            after=checked_cursor(cursor),
        )
    return TaskList(items=[task_out(one) for one in found], next=following)


@router.post("/{task_id}/steps", summary="Take a step of a task", responses=responses(404, 409))
async def take_task_step(task_id: UUID, step: TaskStep, principal: Worker, request: Request) -> TaskOut:
    """Of two people at once one wins, the other gets 409. The same step sent again changes nothing. A task of an area
    that is declined after it was accepted is open again for others. Audited."""
    with field_problems("a task with that id"):
        async with services_of(request).db.begin() as session:
            task = await tasks.take_step(
                session,
                task_id,
                step.step,
                who=principal.id,
                words=step.text,
                expected_version=step.expected_version,
                actor=principal.actor(address_of(request)),
                at=clock.now(),
            )
    return task_out(task)
