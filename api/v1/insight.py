"""Insight: how good the router is by what people said, and which version of it is live."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from api.errors import FieldProblem, Problem, responses
from api.security import address_of, require, services_of
from api.v1.shapes import CategoryOut, View
from api.v1.values import Body
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.insight import quality
from callcenter.insight.arithmetic import Share
from callcenter.insight.model import RouterChange
from callcenter.insight.quality import CategoryKey, Period, Tally
from callcenter.insight.versions import LONGEST_REASON, SHORTEST_REASON, CannotChange, RouterVersions, Version
from classifier.taxonomy import TaxonomyError, load

router = APIRouter(prefix="/api/v1", tags=["insight"])

Reader = Annotated[Principal, require(Permission.INSIGHT_READ)]
Manager = Annotated[Principal, require(Permission.MODELS_MANAGE)]

DEFAULT_DAYS = 30
LONGEST_DAYS = 400


class ShareOut(BaseModel):
    """A share with its 95 % interval (Wilson)."""

    part: int
    n: int
    share: float | None = Field(description="null for nothing of nothing", examples=[0.93])
    low: float = Field(examples=[0.91])
    high: float = Field(examples=[0.95])


class TallyOut(BaseModel):
    """What people said of the router's answers."""

    decided: int = Field(description="first words of a person on a case")
    confirmed: int
    corrected: int
    habits: int = Field(description="agreements within 3 s of being shown: no labels")
    overridden: ShareOut = Field(description="corrected of decided")
    accuracy: ShareOut = Field(description="right categories among labels given with the answer in sight")
    domain_accuracy: ShareOut
    blind_accuracy: ShareOut = Field(description="right categories among blind labels: the true measure")
    blind_auto_accuracy: ShareOut = Field(description="the same where the router's decision was auto")
    mean_seconds: float | None = Field(description="mean time to decide, where known")


class DayOut(TallyOut):
    """One day in Asia/Shanghai."""

    day: date
    auto: ShareOut = Field(description="decisions auto among the day's complete cases")


class ModelTallyOut(TallyOut):
    """One version of the router."""

    model: str


class AgentTallyOut(TallyOut):
    """One agent, by id; names are for `users:manage`."""

    user_id: UUID


class BinOut(BaseModel):
    """Answers of about the same probability."""

    n: int
    mean_probability: float | None
    accuracy: float | None


class QualityOut(BaseModel):
    """The figures of a period."""

    since: datetime
    until: datetime
    total: TallyOut
    days: list[DayOut]
    models: list[ModelTallyOut]
    agents: list[AgentTallyOut]
    category_ece: float | None = Field(description="expected calibration error of the category's probability, 15 bins")
    domain_ece: float | None
    calibration: list[BinOut]
    routing_seconds: dict[str, float | None] = Field(
        description="from the last voiced sample to the routing: n calls, p50, p95, p99"
    )


class DomainCell(BaseModel):
    """Labels of one router's and one person's domain; `none` stands for no domain."""

    router: str
    person: str
    n: int


class PairOut(BaseModel):
    """A confusion of two categories; null: none."""

    router: CategoryOut | None
    person: CategoryOut | None
    n: int


class CategoryShareOut(BaseModel):
    """Corrected among the labels of a category that the router answered."""

    category: CategoryOut | None
    corrected: ShareOut


class ConfusionOut(BaseModel):
    """Router against people, habits left out."""

    domains: list[DomainCell]
    pairs: list[PairOut] = Field(description="the commonest first")
    categories: list[CategoryShareOut] = Field(description="the most corrected first")


class DecidedOut(BaseModel):
    """One case behind a figure."""

    case: UUID
    number: str | None
    at: datetime
    user_id: UUID
    router: CategoryOut | None
    person: CategoryOut | None
    blind: bool
    probability: float | None
    text: str | None = Field(description="numbers masked; null after erasure")


class DecidedList(BaseModel):
    """The newest first."""

    items: list[DecidedOut]


class VersionOut(BaseModel):
    """A version of the router."""

    name: str
    live: bool
    shadow: bool = Field(description="answers beside the live one, unheeded")
    date: str
    commit: str
    figures: dict[str, Any] = Field(description="as its card has them")
    counts: dict[str, Any]
    learned_from: int = Field(description="this city's cases that it was trained on")
    erased: int = Field(description="of those, erased since: above 0 it cannot be made live")
    fault: str = Field(description="what is wrong with its files; empty: nothing")


class BesideOut(BaseModel):
    """A candidate and what was live, on the same labelled texts."""

    candidate: str
    live: str
    labels: int
    candidate_accuracy: ShareOut
    live_accuracy: ShareOut
    only_candidate: int = Field(description="right where the live one was wrong")
    only_live: int
    p_value: float = Field(description="how likely a difference this large is by chance (McNemar)")
    candidate_auto: ShareOut = Field(description="right among those it would have let go")
    live_auto: ShareOut


class ChangeOut(BaseModel):
    """A version was made live, or could not be."""

    id: UUID
    action: str = Field(examples=["promote"])
    version: str
    previous: str
    reason: str
    user_id: UUID
    asked_at: datetime
    done_at: datetime | None
    fault: str | None


class ModelsOut(BaseModel):
    """Every version, candidates beside the live one, and who made what live."""

    pinned: str = Field(description="the version a setting names, whatever is promoted; empty: none")
    versions: list[VersionOut]
    beside: list[BesideOut]
    history: list[ChangeOut]


class DriftOut(BaseModel):
    """Whether what people call about is still what the router was trained on. Null: too little to tell."""

    at: datetime | None = Field(description="when it was measured; null: not yet, or not in this process")
    cases: int = Field(description="cases of the last 7 days")
    before: int = Field(description="cases of the 28 days before")
    new_words: float | None = Field(description="share of words that the training corpus does not have")
    new_words_reference: float | None = Field(description="the same between two halves of the corpus")
    mix: float | None = Field(description="share of cases whose category moved against the 28 days before")
    mix_by_chance: float | None
    domain: float | None = Field(description="distance of urban and social to the training rows'")
    alarms: list[str] = Field(examples=[["mix"]])
    limit: float = Field(description="of an alarm: CALLCENTER_DRIFT_ALARM")


class Reason(Body):
    """Why."""

    reason: str = Field(min_length=SHORTEST_REASON, max_length=LONGEST_REASON, examples=["影子评测两周均优于现用版本"])


def period(
    request: Request,
    since: Annotated[date | None, Query(description="first day, Asia/Shanghai; 30 days before `until`")] = None,
    until: Annotated[date | None, Query(description="last day; today")] = None,
    model: Annotated[str | None, Query(max_length=80, description="only this version")] = None,
    domain: Annotated[str | None, Query(pattern="^(urban|social)$")] = None,
    kind: Annotated[str | None, Query(pattern="^(part|event|social)$")] = None,
    code: Annotated[str | None, Query(pattern=r"^[0-9A-Za-z.-]{1,16}$", description="the router's category")] = None,
    agent: Annotated[UUID | None, Query(description="a user's id")] = None,
) -> Period:
    """The period asked for. Raises Problem 422 for one that ends before it begins or is longer than LONGEST_DAYS."""
    last = until or clock.local(clock.now()).date()
    wrong = Problem(
        422,
        "value_refused",
        f"query.since to query.until must be 1 to {LONGEST_DAYS} days",
        errors=[FieldProblem(where="query.since", problem="not before query.until, or too long before it")],
    )
    try:
        first = since or last - timedelta(days=DEFAULT_DAYS - 1)
        begin, end = quality.days_of(first, last)
    except OverflowError:
        raise wrong from None
    if first > last or (last - first).days >= LONGEST_DAYS:
        raise wrong
    if model is not None and "\x00" in model:
        raise Problem(422, "value_refused", "query.model holds a character that no name has")
    return Period(begin, end, model=model, domain=domain, kind=kind, code=code, agent=agent)


Asked = Annotated[Period, Depends(period)]


@router.get("/insight/quality", summary="The router's quality over time", responses=responses())
async def insight_quality(principal: Reader, request: Request, asked: Asked) -> QualityOut:
    """By day, version and agent, from what people said; blind labels apart."""
    async with services_of(request).db.read() as session:
        found = await quality.quality(session, asked)
    days = sorted(found.days.keys() | found.auto.keys())
    nothing = quality.AutoShare(0, 0)
    autos = {day: found.auto.get(day, nothing) for day in days}
    return QualityOut(
        since=asked.since,
        until=asked.until,
        total=TallyOut(**_tally(found.total)),
        days=[
            DayOut(
                day=day,
                auto=_share(Share(autos[day].auto, autos[day].complete)),
                **_tally(found.days.get(day, Tally())),
            )
            for day in days
        ],
        models=[ModelTallyOut(model=name, **_tally(tally)) for name, tally in found.models.items()],
        agents=[
            AgentTallyOut(user_id=user, **_tally(tally))
            for user, tally in sorted(found.agents.items(), key=lambda one: (-one[1].decided, one[0].hex))
        ],
        category_ece=found.category_ece,
        domain_ece=found.domain_ece,
        calibration=[
            BinOut(
                n=one.n,
                mean_probability=one.probability_sum / one.n if one.n else None,
                accuracy=one.right / one.n if one.n else None,
            )
            for one in found.calibration
        ],
        routing_seconds=found.routing_seconds,
    )


@router.get("/insight/confusion", summary="What the router mistakes for what", responses=responses())
async def insight_confusion(
    principal: Reader,
    request: Request,
    asked: Asked,
    blind: Annotated[bool | None, Query(description="true: only blind labels; false: only the others")] = None,
) -> ConfusionOut:
    """By domain and by category."""
    async with services_of(request).db.read() as session:
        found = await quality.confusion(session, asked, blind=blind)
    return await asyncio.to_thread(_confusion, found)


def _confusion(found: quality.Confusion) -> ConfusionOut:
    worst = sorted(found.categories.items(), key=lambda one: (-one[1].part, -one[1].n, one[0]))
    return ConfusionOut(
        domains=[DomainCell(router=one, person=other, n=n) for (one, other), n in sorted(found.domains.items())],
        pairs=[PairOut(router=category(one), person=category(other), n=n) for one, other, n in found.pairs],
        categories=[CategoryShareOut(category=category(key), corrected=_share(share)) for key, share in worst],
    )


@router.get("/insight/cases", summary="The cases behind a figure", responses=responses())
async def insight_cases(
    principal: Reader,
    request: Request,
    asked: Asked,
    corrected: Annotated[bool, Query(description="only where the person chose another category")] = True,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DecidedList:
    """The newest first. Needs `cases:read` and `cases:read_drafts` as well: they hold what citizens said."""
    for needed in (Permission.CASES_READ, Permission.CASES_READ_DRAFTS):
        if not principal.may(needed):
            raise Problem(403, "permission_missing", f"{needed} is not among your permissions")
    async with services_of(request).db.read() as session:
        found = await quality.decided_cases(session, asked, corrected_only=corrected, limit=limit)
    view = View.masked(principal)
    items = await asyncio.to_thread(
        lambda: [
            DecidedOut(
                case=one.case_id,
                number=one.number,
                at=one.at,
                user_id=one.user_id,
                router=category(one.before),
                person=category(one.after),
                blind=one.blind,
                probability=one.probability,
                text=view.text(one.text),
            )
            for one in found
        ]
    )
    return DecidedList(items=items)


@router.get("/insight/models", summary="Versions of the router", responses=responses())
async def insight_models(principal: Reader, request: Request, asked: Asked) -> ModelsOut:
    """Every version with its card's figures, candidates in shadow beside the live one, and the changes made."""
    versions = versions_of(request)
    async with services_of(request).db.read() as session:
        beside = await quality.beside_live(session, asked)
    return ModelsOut(
        pinned=versions.pinned,
        versions=[_version(one) for one in await versions.all()],
        beside=[
            BesideOut(
                candidate=one.candidate,
                live=one.live,
                labels=one.labels,
                candidate_accuracy=_share(Share(one.candidate_right, one.labels)),
                live_accuracy=_share(Share(one.live_right, one.labels)),
                only_candidate=one.only_candidate,
                only_live=one.only_live,
                p_value=one.sign_test,
                candidate_auto=_share(Share(one.candidate_auto_right, one.candidate_auto)),
                live_auto=_share(Share(one.live_auto_right, one.live_auto)),
            )
            for one in beside
        ],
        history=[_change(one) for one in await versions.history()],
    )


@router.get("/insight/drift", summary="Drift of the input", responses=responses())
async def insight_drift(principal: Reader, request: Request) -> DriftOut:
    """Measured every six hours; an alarm warns and stops nothing."""
    services = services_of(request)
    found = services.drift.latest if services.drift is not None else None
    if found is None:
        return DriftOut(
            at=None,
            cases=0,
            before=0,
            new_words=None,
            new_words_reference=None,
            mix=None,
            mix_by_chance=None,
            domain=None,
            alarms=[],
            limit=services.settings.drift_alarm,
        )
    return DriftOut.model_validate(
        {
            **{name: getattr(found, name) for name in DriftOut.model_fields if name != "limit"},
            "alarms": list(found.alarms),
            "limit": services.settings.drift_alarm,
        }
    )


@router.post("/insight/models/rollback", summary="Go back to the version before", responses=responses(409))
async def rollback_model(why: Reason, principal: Manager, request: Request) -> ChangeOut:
    """In every process, without losing a word of a call; audited."""
    versions = versions_of(request)
    actor = principal.actor(address_of(request))
    try:
        return _change(await versions.rollback(reason=why.reason, user=principal.id, actor=actor))
    except CannotChange as fault:
        raise _refused(fault) from None


@router.post("/insight/models/{version}/promote", summary="Make a version live", responses=responses(404, 409))
async def promote_model(
    version: Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")],
    why: Reason,
    principal: Manager,
    request: Request,
) -> ChangeOut:
    """In every process, without losing a word of a call; audited."""
    versions = versions_of(request)
    actor = principal.actor(address_of(request))
    try:
        return _change(await versions.promote(version, reason=why.reason, user=principal.id, actor=actor))
    except CannotChange as fault:
        raise _refused(fault) from None


def _refused(fault: CannotChange) -> Problem:
    if fault.code == "no_version":
        return Problem(404, "not_found", str(fault))
    if fault.code == "reason":
        return Problem(422, "value_refused", f"body.reason: {fault}")
    return Problem(409, "conflict", str(fault))


def versions_of(request: Request) -> RouterVersions:
    """The versions behind this application."""
    found: RouterVersions = request.app.state.versions
    return found


def category(key: CategoryKey) -> CategoryOut | None:
    """The category with its names; None for none. Reads a file the first time: call it in a thread."""
    if not key.code:
        return None
    try:
        found = load(key.standard).by_code(key.kind, key.code)
    except TaxonomyError:
        return CategoryOut(standard=key.standard, code=key.code, kind=key.kind, major="", minor=key.code)
    return CategoryOut(standard=key.standard, code=key.code, kind=key.kind, major=found.major, minor=found.minor)


def _share(one: Share) -> ShareOut:
    low, high = one.interval
    return ShareOut(part=one.part, n=one.n, share=one.share, low=low, high=high)


def _tally(one: Tally) -> dict[str, Any]:
    return {
        "decided": one.decided,
        "confirmed": one.confirmed,
        "corrected": one.corrected,
        "habits": one.habits,
        "overridden": _share(one.overridden),
        "accuracy": _share(one.accuracy),
        "domain_accuracy": _share(one.domain_accuracy),
        "blind_accuracy": _share(one.blind_accuracy),
        "blind_auto_accuracy": _share(one.blind_auto_accuracy),
        "mean_seconds": one.mean_seconds,
    }


def _version(one: Version) -> VersionOut:
    return VersionOut.model_validate(one, from_attributes=True)


def _change(one: RouterChange) -> ChangeOut:
    return ChangeOut.model_validate(one, from_attributes=True)
