"""What devices send by their platform: alarms, which become cases, and where vehicles are."""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID, uuid5

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.errors import FieldProblem, Problem, not_found, responses
from api.security import require, services_of
from api.v1.acts import city_of
from api.v1.cases import CaseRef, CategoryChoice, Reader, category_of, find_case
from api.v1.city import known_city
from api.v1.field import Batch, TakenOut, keep
from api.v1.register import KEYS, Key
from api.v1.values import Body, Moment
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import alarms
from callcenter.cases.intake import AlreadyRegistered
from callcenter.cases.model import Case
from callcenter.city import importing
from callcenter.city.coordinates import Point
from callcenter.city.field_model import DeviceAlarm
from callcenter.city.registries import DEVICES
from callcenter.city.tracks import Tracker

router = APIRouter(prefix="/api/v1", tags=["field work"])

Sender = Annotated[Principal, require(Permission.DEVICES_SEND)]


class AlarmIn(Body):
    """What a device measured beyond its threshold."""

    device: str = Field(min_length=1, max_length=32, description="code of the registry of devices", examples=["GAS-1"])
    value: float = Field(allow_inf_nan=False, examples=[26.5])
    threshold: float = Field(allow_inf_nan=False, examples=[20.0])
    measure: str = Field("", max_length=16, pattern=r"^[\w%℃°/²³ ·.-]*$", examples=["%LEL"])
    taken_at: Moment = Field(description="within the last 7 days, not ahead")
    category: CategoryChoice | None = Field(None, description="a proposal: an agent confirms it")


class AlarmOut(BaseModel):
    """An alarm and the case that it is in."""

    id: UUID
    device: str = Field(examples=["GAS-1"])
    case: UUID
    case_number: str | None = Field(examples=["2026112000001"])
    joined: bool = Field(description="the device had that case open already")
    value: float
    threshold: float
    measure: str
    taken_at: datetime
    received_at: datetime


class AlarmList(BaseModel):
    """Alarms of a case, the newest first."""

    items: list[AlarmOut]


@router.post(
    "/alarms",
    status_code=201,
    summary="Report a device's alarm",
    responses={**responses(404, 409), 200: {"model": AlarmOut}},
)
async def report_alarm(new: AlarmIn, key: Key, principal: Sender, request: Request, response: Response) -> AlarmOut:
    """Opens a case of source `iot` at the device's place, or joins the one that the device has open. Sent again under
    the same key it is the same alarm, answered with 200. 404: the registry of devices has no such code."""
    category = await asyncio.to_thread(category_of, new.category) if new.category is not None else None
    db = services_of(request).db
    try:
        async with db.read() as session:
            import_id = await _in_force(session)
            device = await alarms.device_of(session, import_id, new.device)
        area = None
        if device.lon is not None and device.lat is not None:
            area = (await known_city(request).at(Point(device.lon, device.lat))).narrowest
        wanted = alarms.NewAlarm(
            device=new.device,
            value=new.value,
            threshold=new.threshold,
            taken_at=new.taken_at,
            measure=new.measure.strip(),
            category=(
                (category.domain, category.standard, category.code, category.kind, category.major, category.minor)
                if category
                else None
            ),
        )
        async with db.begin() as session:
            alarm, case, fresh = await alarms.take_in(
                session,
                uuid5(KEYS, f"{principal.id}:alarm:{key}"),
                wanted,
                import_id=import_id,
                area_id=area.id if area is not None else None,
                by=str(principal.id),
                at=clock.now(),
                city=city_of(request),
            )
    except alarms.UnknownDevice:
        raise not_found("a device with that code") from None
    except alarms.AlarmRefused as fault:
        problem = FieldProblem(where=f"body.{fault.field}", problem="see detail")
        raise Problem(422, "value_refused", f"body.{fault}", errors=[problem]) from None
    except AlreadyRegistered as fault:
        raise Problem(409, "conflict", str(fault)) from None
    if not fresh:
        response.status_code = 200
    return _out(alarm, case)


@router.get("/cases/{case}/alarms", summary="Alarms of a case", responses=responses(404))
async def list_alarms(case: CaseRef, principal: Reader, request: Request) -> AlarmList:
    """Those it was opened for and those that joined it, the newest 200."""
    found = (await find_case(request, principal, case)).case
    async with services_of(request).db.read() as session:
        rows = await alarms.alarms_of(session, found.id, limit=alarms.PAGE)
    return AlarmList(items=[_out(one, found) for one in rows])


@router.post("/devices/{code}/tracks", summary="Send a device's positions", responses=responses(404))
async def send_device_track(code: str, batch: Batch, _: Sender, request: Request) -> TakenOut:
    """Of a vehicle or a hand-held device of the registry, as `POST /field/tracks` for people."""
    try:
        async with services_of(request).db.read() as session:
            device = await alarms.device_of(session, await _in_force(session), code[:40])
    except alarms.UnknownDevice:
        raise not_found("a device with that code") from None
    return await keep(request, Tracker.of_device(device.code), batch)


async def _in_force(session: AsyncSession) -> int | None:
    return (await importing.in_force(session)).get(DEVICES)


def _out(alarm: DeviceAlarm, case: Case) -> AlarmOut:
    return AlarmOut(
        id=alarm.id,
        device=alarm.device,
        case=alarm.case_id,
        case_number=case.number,
        joined=alarm.joined,
        value=alarm.value,
        threshold=alarm.threshold,
        measure=alarm.measure,
        taken_at=alarm.taken_at,
        received_at=alarm.received_at,
    )
