"""People out in the city: shifts and the roster, who is on duty and nearest, positions, reports from the street."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import address_of, require, services_of
from api.v1.acts import city_of
from api.v1.cases import CategoryChoice, category_of
from api.v1.city import known_city
from api.v1.register import KEYS, Key
from api.v1.shapes import CaseOut, View, case_out
from api.v1.values import EARLIEST_YEAR, LATEST_YEAR, Body, Moment, Words
from callcenter import clock
from callcenter.access.model import User
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import intake, street
from callcenter.cases.model import CaseParticulars
from callcenter.city import coordinates, field, tracks
from callcenter.city.coordinates import BadPoint, Point
from callcenter.city.field_model import Position, TrackPoint

router = APIRouter(prefix="/api/v1/field", tags=["field work"])

Watcher = Annotated[Principal, require(Permission.FIELD_READ)]
Manager = Annotated[Principal, require(Permission.FIELD_MANAGE)]
Worker = Annotated[Principal, require(Permission.FIELD_REPORT)]

Datum = Literal[coordinates.DATUMS]  # type: ignore[valid-type]
FixSource = Literal[tracks.SOURCES]  # type: ignore[valid-type]

TRACK_READ: Final = "track read"
LONGEST_TRACK: Final = timedelta(days=7)


def _of_our_time(day: date) -> date:
    if not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        raise ValueError(f"must be between the years {EARLIEST_YEAR} and {LATEST_YEAR}")
    return day


Day = Annotated[date, AfterValidator(_of_our_time)]


class NewShift(Body):
    """A shift to make."""

    user: UUID = Field(description="a collector")
    area: UUID = Field(description="of any level")
    starts_at: Moment
    ends_at: Moment = Field(description="at most 24 h later")


class FixIn(Body):
    """One point as a receiver gives it."""

    lon: float = Field(allow_inf_nan=False, examples=[112.2])
    lat: float = Field(allow_inf_nan=False, examples=[31.03])
    accuracy_m: float = Field(ge=0, allow_inf_nan=False, description="radius, metres", examples=[8.5])
    source: FixSource = Field(examples=["beidou"])
    taken_at: Moment


class Batch(Body):
    """Points of one person or device."""

    datum: Datum = Field(description="what the degrees of all of them are in", examples=["gcj02"])
    points: list[FixIn] = Field(min_length=1, max_length=tracks.MOST_POINTS)


class StreetReport(Body):
    """What a collector found, and where they stood."""

    text: Annotated[str, Words] = Field(min_length=1, max_length=4000, examples=["解放路口井盖缺失"])
    category: CategoryChoice | None = Field(None, description="a proposal: an agent confirms it")
    address: str | None = Field(None, max_length=400)
    urgency: Literal[intake.URGENCIES] = "ordinary"  # type: ignore[valid-type]
    datum: Datum = Field(examples=["gcj02"])
    fix: FixIn


class PositionOut(BaseModel):
    """A newest fix, WGS84."""

    lon: float = Field(examples=[112.2])
    lat: float = Field(examples=[31.03])
    accuracy_m: float
    source: str = Field(examples=["gps"])
    taken_at: datetime


class DutyOut(BaseModel):
    """A shift."""

    id: UUID
    user: UUID
    name: str = Field(description="of the person", examples=["王丽"])
    area: UUID
    area_code: str = Field(examples=["420802001"])
    area_name: str = Field(examples=["龙泉街道"])
    level: int = Field(description="of the area: 1 city to 5 grid", examples=[3])
    starts_at: datetime
    ends_at: datetime
    position: PositionOut | None


class DutyList(BaseModel):
    """Shifts."""

    items: list[DutyOut]


class NearOut(BaseModel):
    """Somebody on duty for a place."""

    duty: DutyOut
    metres: float | None = Field(description="from their newest fix; null when it is older than 30 min or none is kept")
    age_s: float | None = Field(description="seconds since that fix; null: none is kept")


class NearList(BaseModel):
    """Who is on duty for a place, the nearest first."""

    items: list[NearOut]


class RefusedPoint(BaseModel):
    """A point that was not kept."""

    index: int = Field(description="in the batch, from 0", examples=[3])
    why: str = Field(examples=["taken_at lies ahead: set the telephone's clock"])


class TakenOut(BaseModel):
    """What became of a batch."""

    stored: int
    known: int = Field(description="were there already")
    refused: list[RefusedPoint]


class TrackOut(BaseModel):
    """A person's points, in order, WGS84."""

    items: list[PositionOut]


@contextmanager
def field_problems(found: str) -> Iterator[None]:
    """The problems that faults of field work are; ``found``: what a missing thing is called."""
    try:
        yield
    except field.FieldNotFound:
        raise not_found(found) from None
    except field.FieldConflict as fault:
        raise Problem(409, "conflict", str(fault)) from None
    except field.FieldRefused as fault:
        where = FieldProblem(where=f"body.{fault.field}", problem="see detail")
        raise Problem(422, "value_refused", f"body.{fault}", errors=[where]) from None


def position_out(position: Position | TrackPoint) -> PositionOut:
    """A fix as the API shows it."""
    return PositionOut(
        lon=position.lon,
        lat=position.lat,
        accuracy_m=position.accuracy_m,
        source=position.source,
        taken_at=position.taken_at,
    )


def duty_out(duty: field.Duty) -> DutyOut:
    """``duty`` as the API shows it."""
    return DutyOut(
        id=duty.shift.id,
        user=duty.shift.user_id,
        name=duty.name,
        area=duty.area.id,
        area_code=duty.area.code,
        area_name=duty.area.name,
        level=duty.area.level,
        starts_at=duty.shift.starts_at,
        ends_at=duty.shift.ends_at,
        position=position_out(duty.position) if duty.position else None,
    )


async def keep(request: Request, tracker: tracks.Tracker, batch: Batch) -> TakenOut:
    """Keep a batch of ``tracker``."""
    fixes = [_fix(one) for one in batch.points]
    async with services_of(request).db.begin() as session:
        taken = await tracks.add_points(session, tracker, fixes, datum=batch.datum, at=clock.now())
    refused = [RefusedPoint(index=one.index, why=one.why) for one in taken.refused]
    return TakenOut(stored=taken.stored, known=taken.known, refused=refused)


@router.get("/shifts", summary="The roster of a day", responses=responses())
async def list_shifts(
    _: Watcher,
    request: Request,
    day: Annotated[Day | None, Query(description="in Asia/Shanghai; by default today")] = None,
    area: Annotated[UUID | None, Query(description="with all areas below it")] = None,
) -> DutyList:
    """Every shift of which some part lies in the day, the earliest first."""
    async with services_of(request).db.read() as session:
        areas = await field.areas_under(session, area) if area is not None else None
        found = await field.roster(session, day or clock.local(clock.now()).date(), areas=areas)
    return DutyList(items=[duty_out(one) for one in found])


@router.post(
    "/shifts", status_code=201, summary="Put a collector on duty", responses={**responses(409), 200: {"model": DutyOut}}
)
async def make_shift(new: NewShift, principal: Manager, request: Request, response: Response) -> DutyOut:
    """409 when it overlaps another shift of the same person; the same shift again is answered with 200. Audited."""
    actor = principal.actor(address_of(request))
    with field_problems("a shift with that id"):
        async with services_of(request).db.begin() as session:
            shift, fresh = await field.add_shift(
                session,
                user_id=new.user,
                area_id=new.area,
                starts_at=new.starts_at,
                ends_at=new.ends_at,
                actor=actor,
                at=clock.now(),
            )
            duty = await field.duty_of(session, shift.id)
    if not fresh:
        response.status_code = 200
    return duty_out(duty)


@router.delete("/shifts/{shift_id}", status_code=204, summary="End a shift", responses=responses(404, 409))
async def end_shift(shift_id: UUID, principal: Manager, request: Request) -> None:
    """One to come is taken away, one that runs ends now; 409 for one that is over. Audited."""
    with field_problems("a shift with that id"):
        async with services_of(request).db.begin() as session:
            await field.end_shift(session, shift_id, actor=principal.actor(address_of(request)), at=clock.now())


@router.get("/shifts/mine", summary="My shifts", responses=responses())
async def own_shifts(principal: Worker, request: Request) -> DutyList:
    """The one that runs and those to come, the next first."""
    async with services_of(request).db.read() as session:
        found = await field.shifts_of(session, principal.id, clock.now())
    return DutyList(items=[duty_out(one) for one in found])


@router.get("/duty", summary="Who is on duty now", responses=responses())
async def list_duty(
    _: Watcher, request: Request, area: Annotated[UUID | None, Query(description="with all areas below it")] = None
) -> DutyList:
    """By area, each with their newest fix."""
    async with services_of(request).db.read() as session:
        areas = await field.areas_under(session, area) if area is not None else None
        found = await field.on_duty(session, clock.now(), areas=areas)
    return DutyList(items=[duty_out(one) for one in found])


@router.get("/nearest", summary="Who is nearest to a place", responses=responses())
async def nearest(
    _: Watcher,
    request: Request,
    lon: Annotated[float, Query(ge=-180, le=180)],
    lat: Annotated[float, Query(ge=-90, le=90)],
    datum: Annotated[Datum, Query()] = coordinates.WGS84,
    limit: Annotated[int, Query(ge=1, le=field.MOST_NEAREST)] = 10,
) -> NearList:
    """Of those on duty for an area that the place lies in: who has a fix of the last 30 minutes by distance, then the
    others, of the narrowest area first. Empty outside of the map."""
    place = coordinates.point(lon, lat, datum)
    lies = await known_city(request).at(place)
    async with services_of(request).db.read() as session:
        found = await field.nearest(session, place, lies, clock.now(), most=limit)
    return NearList(items=[NearOut(duty=duty_out(one.duty), metres=one.metres, age_s=one.age_s) for one in found])


@router.post("/tracks", summary="Send my positions", responses=responses())
async def send_track(batch: Batch, principal: Worker, request: Request) -> TakenOut:
    """At most 500. A point is known by its time: sent again it is not kept twice. What cannot be true – ahead, older
    than 7 days, no place – is refused point by point, the rest is kept."""
    return await keep(request, tracks.Tracker.person(principal.id), batch)


@router.get("/tracks/{user_id}", summary="A person's track", responses=responses(404))
async def read_track(
    user_id: UUID,
    principal: Watcher,
    request: Request,
    since: Annotated[Moment | None, Query(description="by default a day before `until`")] = None,
    until: Annotated[Moment | None, Query(description="by default now; at most 7 days after `since`")] = None,
) -> TrackOut:
    """Where somebody at work was: each reading is audited. The first 5,000 points."""
    ends = until or clock.now()
    begins = since or ends - timedelta(days=1)
    if not begins < ends <= begins + LONGEST_TRACK:
        problem = FieldProblem(where="query.since", problem="must be before until, by 7 days at most")
        raise Problem(422, "value_refused", "query.since must be before until, by 7 days at most", errors=[problem])
    async with services_of(request).db.read() as session:
        if await session.get(User, user_id) is None:
            raise not_found("a user with that id")
    actor = principal.actor(address_of(request))
    await services_of(request).access.record(actor, TRACK_READ, subject=f"user:{user_id}")
    async with services_of(request).db.read() as session:
        points = await tracks.track(session, tracks.Tracker.person(user_id), begins, ends)
    return TrackOut(items=[position_out(one) for one in points])


@router.post(
    "/reports",
    status_code=201,
    summary="Report from the street",
    responses={**responses(409), 200: {"model": CaseOut}},
)
async def report(new: StreetReport, key: Key, principal: Worker, request: Request, response: Response) -> CaseOut:
    """A case of source `collector` at the place of the fix, whose accuracy and source are kept with it. Sent again
    under the same key it is the same case, answered with 200. Pictures: `POST /cases/{case}/evidence`."""
    category = await asyncio.to_thread(category_of, new.category) if new.category is not None else None
    try:
        place = coordinates.point(new.fix.lon, new.fix.lat, new.datum)
    except BadPoint as fault:
        problem = FieldProblem(where="body.fix", problem="no place on the earth")
        raise Problem(422, "value_refused", f"body.fix: {fault}", errors=[problem]) from None
    order = intake.NewCase(
        source=street.SOURCE,
        text=new.text,
        domain=category.domain if category else None,
        standard=category.standard if category else None,
        code=category.code if category else None,
        kind=category.kind if category else None,
        major=category.major if category else None,
        minor=category.minor if category else None,
        address=new.address,
        wants_reply=False,
        urgency=new.urgency,
    )
    lies = await known_city(request).at(place)
    try:
        with field_problems("a case"):
            async with services_of(request).db.begin() as session:
                case, fresh = await street.report(
                    session,
                    uuid5(KEYS, f"{principal.id}:{key}"),
                    order,
                    _fix(new.fix, place),
                    who=principal.id,
                    area_id=lies.narrowest.id if lies.narrowest else None,
                    at=clock.now(),
                    city=city_of(request),
                )
                particulars = await session.get_one(CaseParticulars, case.id)
    except intake.AlreadyRegistered as fault:
        raise Problem(409, "conflict", str(fault)) from None
    if not fresh:
        response.status_code = 200
    return case_out(case, particulars, View.masked(principal))


def _fix(given: FixIn, place: Point | None = None) -> tracks.Fix:
    lon, lat = place or (given.lon, given.lat)
    return tracks.Fix(lon, lat, given.accuracy_m, given.source, given.taken_at)
