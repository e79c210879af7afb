"""The city's working calendar: its hours, the days on which it differs from the country, what is not known yet."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.errors import Problem, not_found, responses
from api.security import address_of, require, services_of, signed_in
from api.v1.acts import city_of
from api.v1.values import Body
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases.calendar import load_calendar
from callcenter.cases.clocks import provisional_open
from callcenter.cases.deadlines import PastDeadline
from callcenter.cases.local_days import LONGEST_NOTE, NoLocalDay, local_days, remove_day, set_day

router = APIRouter(prefix="/api/v1", tags=["lists"])

Reader = Annotated[Principal, signed_in()]
Manager = Annotated[Principal, require(Permission.LISTS_MANAGE)]

Day = Annotated[date, Path(description="in Asia/Shanghai", examples=["2026-11-24"])]


class LocalDayIn(Body):
    """Whether the city works on a day."""

    works: bool
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = Field("", description="why", examples=["台风停工"])


class LocalDayOut(BaseModel):
    """A day on which the city differs from the country, or has settled what the country has not."""

    day: date
    works: bool
    note: str
    set_by: str = Field(description="the id of a user or key")
    set_at: datetime


class CalendarOut(BaseModel):
    """Working time in Asia/Shanghai."""

    periods: list[str] = Field(description="of every working day", examples=[["08:30-12:00", "14:00-17:30"]])
    days: list[LocalDayOut] = Field(description="by date")
    unknown_year: int | None = Field(
        description="the first year whose holidays nobody has told this program: its days are taken by the weekday",
        examples=[2027],
    )
    provisional: int = Field(description="running limits that were counted over such days")


@router.get("/calendar", summary="The working calendar", responses=responses())
async def get_calendar(
    _: Reader,
    request: Request,
    year: Annotated[int | None, Query(ge=2004, le=2200, description="only the local days of this year")] = None,
) -> CalendarOut:
    """Its hours, and the city's own days; all others are the country's."""
    async with services_of(request).db.read() as session:
        calendar = await load_calendar(session, city_of(request))
        return CalendarOut(
            periods=[str(period) for period in calendar.periods],
            days=[LocalDayOut.model_validate(one, from_attributes=True) for one in await local_days(session, year)],
            unknown_year=calendar.unknown_year(clock.local(clock.now()).year),
            provisional=await provisional_open(session),
        )


@router.put("/calendar/{day}", summary="Settle whether the city works on a day", responses=responses())
async def put_calendar_day(day: Day, wanted: LocalDayIn, principal: Manager, request: Request) -> LocalDayOut:
    """Limits that were counted over the day move soon after, each logged in its case. Not for days gone by. Audited."""
    actor, at = principal.actor(address_of(request)), clock.now()
    try:
        async with services_of(request).db.begin() as session:
            row = await set_day(session, day, works=wanted.works, note=wanted.note, actor=actor, at=at)
            return LocalDayOut.model_validate(row, from_attributes=True)
    except PastDeadline as fault:
        raise Problem(422, "value_refused", str(fault)) from None


@router.delete(
    "/calendar/{day}", status_code=204, summary="Let the country's calendar hold again", responses=responses(404)
)
async def delete_calendar_day(day: Day, principal: Manager, request: Request) -> None:
    """As settling one. Audited."""
    actor, at = principal.actor(address_of(request)), clock.now()
    try:
        async with services_of(request).db.begin() as session:
            await remove_day(session, day, actor=actor, at=at)
    except NoLocalDay as fault:
        raise not_found(str(fault)) from None
    except PastDeadline as fault:
        raise Problem(422, "value_refused", str(fault)) from None
