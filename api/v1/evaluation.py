"""Evaluation: the indicators by area, unit, post, person, category and period, each with what it is made of."""

import asyncio
import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem, responses
from api.security import address_of, require, services_of
from api.v1.insight import category
from api.v1.shapes import CategoryOut
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.city.model import Area, Unit
from callcenter.insight import evaluation_reports as reports
from callcenter.insight import evaluations
from callcenter.insight.evaluation_reports import Asked, Report, Row, WholeMonths
from callcenter.insight.indicators import COUNTS, INDICATORS, MEANS, mean, rates
from callcenter.insight.quality import CategoryKey

router = APIRouter(prefix="/api/v1", tags=["evaluation"])

Reader = Annotated[Principal, require(Permission.EVALUATION_READ)]
Recounter = Annotated[Principal, require(Permission.EVALUATION_RECOMPUTE)]

DEFAULT_DAYS: Final = 30
LONGEST_DAYS: Final = 1_100
"""Three years and a bit."""
MOST_ROWS: Final = 500


class RateOut(BaseModel):
    """A rate and what it is made of."""

    numerator: int
    denominator: int = Field(description="already without the exclusions")
    exclusions: dict[str, int] = Field(description="what the formula left out, and how many")
    rate: float | None = Field(description="null for nothing of nothing", examples=[0.9206])


class LineOut(BaseModel):
    """The figures of one line."""

    rates: dict[str, RateOut] = Field(description="by code; see `/evaluation/indicators`")
    counts: dict[str, int]
    means: dict[str, float | None] = Field(description="seconds on the clock")


class RowOut(LineOut):
    """An area, a unit, a post, a person, a category, a day or a month."""

    key: str = Field(description="id, post, `standard|kind|code`, or the first day")
    name: str | None = Field(description="of an area, a unit or a category; null: none is known, or it is a person's")
    share: RateOut = Field(description="of all cases reported in the period")


class EvaluationOut(BaseModel):
    """A report."""

    by: str
    since: date
    until: date = Field(description="not after today: later limits are not due yet")
    domain: str | None
    folded_at: str | None = Field(description="up to when the log is counted; null: not at all yet")
    total: LineOut
    rows: list[RowOut] = Field(description="the busiest first; days and months in order")
    more: int = Field(description="rows left off")


class IndicatorOut(BaseModel):
    """One rate by its formula."""

    code: str
    zh: str = Field(examples=["结案率"])
    formula_zh: str = Field(examples=["结案数 / 应结案数"])
    formula_en: str
    source: str


class IndicatorsOut(BaseModel):
    """What is evaluated."""

    rates: list[IndicatorOut]
    counts: dict[str, str] = Field(description="names of the counters shown")
    means: dict[str, str]


class PlaceOut(BaseModel):
    """An area."""

    id: str
    name: str | None


class SpotOut(BaseModel):
    """One matter in one street."""

    area: PlaceOut
    category: CategoryOut | None
    reported: int
    filed: int
    recurred: int


class SpotsOut(BaseModel):
    """Hot spots, the most reported first."""

    since: date
    until: date
    rows: list[SpotOut]


class RecomputedOut(BaseModel):
    """What counting everything again found."""

    cases: int
    differed: int = Field(description="cells that were not what the log says; 0: the figures were right")
    examples: list[list[str]] = Field(description="axis, span, start, key, domain of some of them")
    seconds: float


From = Annotated[date | None, Query(alias="from", description="first day, Asia/Shanghai; 30 days up to `to`")]
To = Annotated[date | None, Query(description="last day; today at most")]
DomainName = Literal["urban", "social"]


def _period(first: date | None, last: date | None) -> tuple[date, date]:
    """The days asked for. Raises Problem 422."""
    today = clock.local(clock.now()).date()
    until = min(last or today, today)
    try:
        since = first or until - timedelta(days=DEFAULT_DAYS - 1)
        right = since <= until and (until - since).days < LONGEST_DAYS
    except OverflowError:
        right = False
    if not right:
        raise Problem(
            422,
            "value_refused",
            f"query.from to query.to (today at most) must be 1 to {LONGEST_DAYS} days",
            errors=[FieldProblem(where="query.from", problem="after query.to or today, or too long before it")],
        )
    return since, until


@router.get("/evaluation", summary="The indicators of a period", responses=responses(), response_model=EvaluationOut)
async def evaluation(
    principal: Reader,
    request: Request,
    by: Annotated[Literal["area", "unit", "post", "person", "category", "day", "month"], Query()],
    first: From = None,
    to: To = None,
    domain: DomainName | None = None,
    level: Annotated[int, Query(ge=1, le=5, description="of areas: 1 city, 3 street, 5 unit grid")] = 3,
    area: Annotated[UUID | None, Query(description="with by=day or month: only this area")] = None,
    unit: Annotated[UUID | None, Query(description="with by=day or month: only this unit")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
) -> JSONResponse:
    """From the log alone; every rate with its numerator, denominator and what was left out.

    Grids (level 5) are kept by month: ask for whole months.
    """
    since, until = _period(first, to)
    if (area or unit) and by not in reports.PERIODS:
        raise Problem(422, "value_refused", "query.area and query.unit go with by=day or by=month")
    if area and unit:
        raise Problem(422, "value_refused", "query.area and query.unit exclude each other: send one")
    async with services_of(request).db.read() as session:
        only = ("unit", str(unit)) if unit else None
        if area is not None:
            only = ("area", str(area))
            level = await session.scalar(select(Area.level).where(Area.id == area)) or level
        asked = Asked(by, since, until, domain=domain, level=level, only=only)
        try:
            found = await reports.report(session, asked)
        except WholeMonths as fault:
            raise Problem(422, "value_refused", f"query.from, query.to: {fault}") from None
        body = await page_of(session, asked, found, limit=limit)
    # As it is: to build 20,000 checked objects of a year's days would take longer than to count them.
    return JSONResponse(body)


@router.get("/evaluation/indicators", summary="What is evaluated, by which formula", responses=responses())
async def indicators(principal: Reader) -> IndicatorsOut:
    """Names in Chinese, formulas in both languages, where each comes from."""
    return IndicatorsOut(
        rates=[IndicatorOut.model_validate(one, from_attributes=True) for one in INDICATORS],
        counts=dict(COUNTS),
        means={code: name for code, (name, _, _) in MEANS.items()},
    )


@router.get("/evaluation/hot-spots", summary="Where which matter is reported most", responses=responses())
async def hot_spots(
    principal: Reader,
    request: Request,
    first: From = None,
    to: To = None,
    domain: DomainName | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> SpotsOut:
    """A category in a street, over the whole months that the period touches."""
    since, until = reports.months(*_period(first, to))
    async with services_of(request).db.read() as session:
        rows = await reports.hot_spots(session, since, until, domain=domain, most=limit)
        areas = [row.key.partition("|")[0] for row in rows]
        names = await _names(session, "area", areas)
    shown = await asyncio.to_thread(lambda: [_category(row.key.partition("|")[2]) for row in rows])
    return SpotsOut(
        since=since,
        until=until,
        rows=[
            SpotOut(
                area=PlaceOut(id=area, name=names.get(area)),
                category=one,
                **{name: row.counts[name] for name in ("reported", "filed", "recurred")},
            )
            for row, area, one in zip(rows, areas, shown, strict=True)
        ],
    )


@router.post("/evaluation/recompute", summary="Count everything again from the log", responses=responses(409))
async def recompute(principal: Recounter, request: Request) -> RecomputedOut:
    """Says how many cells differed and mends them; audited. Half an hour for 400,000 cases; 409 while another runs."""
    services = services_of(request)
    began = time.monotonic()
    try:
        done = await evaluations.recompute(services.db, clock.now())
    except evaluations.Busy as fault:
        raise Problem(409, "conflict", str(fault)) from None
    await services.access.record(
        principal.actor(address_of(request)),
        "evaluation recomputed",
        subject="evaluation",
        result="done",
        detail={"cases": done.cases, "differed": done.differed},
    )
    return RecomputedOut(
        cases=done.cases,
        differed=done.differed,
        examples=[list(one) for one in done.examples],
        seconds=round(time.monotonic() - began, 3),
    )


async def page_of(session: AsyncSession, asked: Asked, found: Report, *, limit: int) -> dict[str, Any]:
    """The answer to a report: its first ``limit`` rows with their names."""
    rows = found.rows if asked.by in reports.PERIODS else found.rows[:limit]
    names = await _names(session, asked.by, [row.key for row in rows])
    reported = found.total["reported"]
    return {
        "by": asked.by,
        "since": asked.first.isoformat(),
        "until": asked.last.isoformat(),
        "domain": asked.domain,
        "folded_at": found.folded_at.isoformat() if found.folded_at else None,
        "total": _line(found.total),
        "rows": [_row(row, names.get(row.key), reported) for row in rows],
        "more": len(found.rows) - len(rows),
    }


def _row(row: Row, name: str | None, reported: int) -> dict[str, Any]:
    n = row.counts["reported"]
    share = {"numerator": n, "denominator": reported, "exclusions": {}, "rate": n / reported if reported else None}
    return {"key": row.key, "name": name, "share": share, **_line(row.counts)}


def _line(counts: Any) -> dict[str, Any]:
    return {
        "rates": {
            code: {
                "numerator": one.numerator,
                "denominator": one.denominator,
                "exclusions": dict(one.exclusions),
                "rate": one.value,
            }
            for code, one in rates(counts).items()
        },
        "counts": {name: counts[name] for name in COUNTS},
        "means": {name: mean(counts, name) for name in MEANS},
    }


async def _names(session: AsyncSession, by: str, keys: Sequence[str]) -> dict[str, str]:
    """Names of areas, units and categories; people are known by id only (names are for `users:manage`)."""
    if by == "category":
        return await asyncio.to_thread(_category_names, keys)
    ids = [one for one in map(reports.id_in, keys) if one is not None]
    if by == "area":
        found = await session.execute(select(Area.id, Area.name).where(Area.id.in_(ids)))
    elif by == "unit":
        found = await session.execute(select(Unit.id, Unit.name).where(Unit.id.in_(ids)))
    else:
        return {}
    return {str(key): name for key, name in found}


def _category_names(keys: Sequence[str]) -> dict[str, str]:
    return {key: one.minor for key in keys if (one := _category(key)) is not None}


def _category(key: str) -> CategoryOut | None:
    standard, _, rest = key.partition("|")
    kind, _, code = rest.partition("|")
    return category(CategoryKey(standard, kind, code))
