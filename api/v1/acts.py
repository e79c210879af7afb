"""Steps of a case: which ones are open to the person who asks, and taking one."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import MEDIA_TYPE, MESSAGES, FieldProblem, Problem, ProblemBody, moved, not_found, responses
from api.security import require, services_of
from api.v1.cases import CaseDetail, CaseRef, Reader, detail_of, find_case
from api.v1.shapes import View
from api.v1.values import Moment, Place
from callcenter import clock
from callcenter.access.permissions import STEPS_OF, Permission, posts_of
from callcenter.access.principal import Principal
from callcenter.cases.act_effects import Words
from callcenter.cases.acts import act, legal_now, person
from callcenter.cases.city_settings import CitySettings, in_force
from callcenter.cases.lifecycle import TABLE, Action, Actor, Given, Refused
from callcenter.cases.record import CaseNotFound, Conflict

router = APIRouter(prefix="/api/v1", tags=["cases"])

Doer = Annotated[Principal, require(Permission.CASES_ACT)]
Text = Annotated[str, Field(max_length=2000)]

MOST_ASSISTING: Final = 16


class LegalSteps(BaseModel):
    """What the person who asks could do with a case now, given what each step needs."""

    state: str = Field(examples=["pending_dispatch"])
    version: int = Field(description="send as `expected_version`", examples=[3])
    legal: list[Action] = Field(examples=[["dispatch"]])


class Act(Place):
    """One step, with what it needs; `legal` of a refusal, and its reason, say what that is."""

    action: Action = Field(examples=["sign"])
    expected_version: int = Field(ge=1, le=2**31 - 1, description="the `version` you decided on", examples=[3])
    reason: Text = Field("", description="why; kept where it can be erased")
    text: Text = Field("", description="an answer, an opinion, what was done")
    unit: UUID | None = Field(None, description="of dispatch and designate: who leads")
    assisting: list[UUID] = Field(default=[], max_length=MOST_ASSISTING, description="other units of the order")
    handler: UUID | None = Field(None, description="of assign: a person of your unit")
    result: Literal["exists", "not_exists", "cannot_tell", "passed", "failed"] | None = Field(
        None, description="of verify: exists, not_exists, cannot_tell; of check: passed, failed"
    )
    until: Moment | None = Field(None, description="of ask_suspension")
    reached: bool | None = Field(None, description="of call_back")
    satisfaction: Literal["satisfied", "basically", "dissatisfied"] | None = None
    granted: bool | None = Field(None, description="of judge_appeal and confirm_appeal")
    knowledge: UUID | None = Field(None, description="of answer: an article of the knowledge base")
    police_number: Annotated[str, Field(max_length=40)] = Field("", description="of hand_over")
    collector: UUID | None = Field(None, description="of ask_verify and ask_check: who is asked to look")
    call: UUID | None = Field(None, description="of call_back: the call")

    def given(self) -> Given:
        """The codes of it."""
        return Given(
            unit=self.unit,
            assisting=tuple(self.assisting),
            handler=self.handler,
            result=self.result,
            until=self.until,
            reached=self.reached,
            satisfaction=self.satisfaction,
            granted=self.granted,
        )

    def words(self) -> Words:
        """The rest of it."""
        return Words(
            reason=self.reason,
            text=self.text,
            knowledge=self.knowledge,
            police_number=self.police_number,
            collector=self.collector,
            call=self.call,
            lat=self.lat,
            lon=self.lon,
        )


class StepProblem(ProblemBody):
    """409: the case has changed (`conflict`, see `changes`), or the step cannot be taken (`step_refused`)."""

    reason: str = Field("", description="why the step is refused")
    legal: list[Action] = Field(default_factory=list, description="what you could do instead")


class _Refusal(Problem):
    """Answers 409 with more than other problems say."""

    def __init__(self, body: StepProblem) -> None:
        Exception.__init__(self, body.detail)
        self.body = body
        self.headers = {}


STEP_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "description": "Conflict",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/StepProblem"}}},
    }
}


def city_of(request: Request) -> CitySettings:
    """The city's rules in force, or those that this application was given for itself (``app.state.city``)."""
    city: CitySettings | None = getattr(request.app.state, "city", None)
    return city or in_force()


async def actor_of(session: AsyncSession, principal: Principal) -> Actor:
    """The person who asks, with their posts and their unit. A program has no post."""
    posts = posts_of(principal.roles) if principal.kind == "user" else frozenset()
    return await person(session, principal.id, posts)


@router.get("/cases/{case}/legal", summary="Steps open to me", responses=responses(404))
async def legal_steps(case: CaseRef, principal: Reader, request: Request) -> LegalSteps:
    """Empty for who only reads. Whether a step is taken is decided when it is taken."""
    found = (await find_case(request, principal, case)).case
    async with services_of(request).db.read() as session:
        steps = await legal_now(session, found, await actor_of(session, principal), city=city_of(request))
    return LegalSteps(state=found.state, version=found.version, legal=list(steps))


@router.post("/cases/{case}/acts", summary="Take a step", responses={**responses(404), **STEP_REFUSED})
async def take_step(case: CaseRef, step: Act, principal: Doer, request: Request) -> CaseDetail:
    """Of two people at once one wins; the other gets 409 with what changed. A step that cannot be taken changes
    nothing and says what could be done instead."""
    needed = {STEPS_OF[post] for post in TABLE[step.action].posts if post in STEPS_OF}
    if not needed & principal.permissions:
        raise Problem(403, "permission_missing", f"{step.action} needs {' or '.join(sorted(needed))}, not among yours")
    seen = await find_case(request, principal, case)
    try:
        async with services_of(request).db.begin() as session:
            await act(
                session,
                seen.case.id,
                step.action,
                actor=await actor_of(session, principal),
                given=step.given(),
                words=step.words(),
                expected_version=step.expected_version,
                at=clock.now(),
                city=city_of(request),
            )
    except CaseNotFound:
        raise not_found("a case with that id or number") from None
    except Conflict as fault:
        raise _Refusal(StepProblem(**moved(fault.seen, fault.actual, fault.changes).body.model_dump())) from None
    except Refused as refused:
        raise _Refusal(
            StepProblem(
                status=409,
                code="step_refused",
                message=MESSAGES["step_refused"],
                detail=str(refused),
                errors=[FieldProblem(where="body.action", problem=refused.reason)],
                reason=refused.reason,
                legal=list(refused.legal),
            )
        ) from None
    return detail_of(await find_case(request, principal, str(seen.case.id)), View.masked(principal))
