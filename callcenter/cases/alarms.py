"""What devices report: an alarm becomes a case, or joins the one that its device has open (SEED_FEATURES 004-11).

A device that rings every second makes one case and not a thousand: every alarm has a row, the case's log one of them
now and then. The case goes the way of every other: an agent confirms its category, nobody looks first (``iot`` is
exempt from verification).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from callcenter.cases import intake, locating
from callcenter.cases.city_settings import CitySettings
from callcenter.cases.life import CaseLink
from callcenter.cases.links import DUPLICATE
from callcenter.cases.model import ENDED, Case
from callcenter.cases.record import CaseError, append_log, locked
from callcenter.city import cells
from callcenter.city.coordinates import Point
from callcenter.city.field_model import AlarmDevice, DeviceAlarm
from callcenter.city.ground import Registered
from callcenter.city.model import Unit
from callcenter.storage.outbox import Refs, add_event
from callcenter.storage.rows import insert_new

SOURCE: Final = "iot"
IDS: Final = UUID("3d9b4f2a-6e0c-5b1e-9d43-2f6a1c7e5b08")
"""Namespace of the ids of cases that follow from alarms (RFC 9562, version 5)."""
ALARM_JOINED: Final = "case.alarm_joined"
AHEAD: Final = timedelta(minutes=1)
"""How far a device's clock may be ahead of ours."""
OLDEST: Final = timedelta(days=7)
"""What a gateway kept for longer while it had no network is no alarm any more."""
LOGGED_EVERY: Final = timedelta(minutes=10)
"""Of the alarms that join an open case, one in so long is logged with it; all are kept."""
PAGE: Final = 200
_MERGES: Final = 4
"""How often a case is followed that was merged into another that was merged …"""


class AlarmRefused(CaseError):
    """An alarm cannot be taken in; the message names the value and the mend. ``field``: which."""

    def __init__(self, field: str, mend: str) -> None:
        super().__init__(f"{field}: {mend}")
        self.field = field


class UnknownDevice(CaseError):
    """The registry of devices has none with that code."""


@dataclass(frozen=True, slots=True)
class NewAlarm:
    """What a device measured, in ``measure`` (%LEL, ℃ …; empty: not said). The category is a proposal: its domain,
    standard, code, kind, major, minor."""

    device: str
    value: float
    threshold: float
    taken_at: datetime
    measure: str = ""
    category: tuple[str, str, str, str, str, str] | None = None


async def take_in(
    session: AsyncSession,
    alarm_id: UUID,
    new: NewAlarm,
    *,
    import_id: int | None,
    area_id: UUID | None,
    by: str,
    at: datetime,
    city: CitySettings | None = None,
) -> tuple[DeviceAlarm, Case, bool]:
    """Keep an alarm and open a case for it, or join the device's open one. ``import_id``: of the devices in force;
    ``area_id``: where the device stands.

    Idempotent by ``alarm_id``: taken in again, the first is given back, and False. Raises UnknownDevice, AlarmRefused,
    ``intake.AlreadyRegistered`` when ``alarm_id`` stands for another alarm.
    """
    device = await device_of(session, import_id, new.device)
    _check(new)
    await insert_new(session, AlarmDevice, {"code": new.device, "case_id": None, "logged_at": None})
    held = await session.get_one(AlarmDevice, new.device, with_for_update=True, populate_existing=True)
    if (there := await session.get(DeviceAlarm, alarm_id)) is not None:
        same = (there.device, there.value, there.threshold, there.taken_at) == (
            *(new.device, new.value, new.threshold, new.taken_at),
        )
        if not same:
            raise intake.AlreadyRegistered("that idempotency key was used for another alarm: take a new key for each")
        return there, await session.get_one(Case, there.case_id), False
    # After the look for the first one: a repeated alarm is the same however late it is repeated.
    if not at - OLDEST <= new.taken_at <= at + AHEAD:
        raise AlarmRefused(
            "taken_at", f"must be within the last {OLDEST.days} days and not ahead: set the device's clock"
        )
    case = await _still_open(session, held.case_id)
    joined = case is not None
    if case is None:
        case = await _open(session, alarm_id, new, device, area_id, by, at, city)
        held.logged_at = at
    held.case_id = case.id
    values = {
        "id": alarm_id,
        "device": new.device,
        "case_id": case.id,
        "joined": joined,
        "value": new.value,
        "threshold": new.threshold,
        "measure": new.measure,
        "taken_at": new.taken_at,
        "received_at": at,
        "by": by,
    }
    if not await insert_new(session, DeviceAlarm, values):  # at the same time, by the same key for another device
        raise intake.AlreadyRegistered("that idempotency key was used for another alarm: take a new key for each")
    if joined and (held.logged_at is None or at - held.logged_at >= LOGGED_EVERY):
        held.logged_at = at
        detail: dict[str, Any] = {"alarm": str(alarm_id), "device": new.device}
        await append_log(session, case, actor=by, action="alarm_joined", from_state=case.state, at=at, detail=detail)
        refs: Refs = {"alarm": alarm_id, "version": case.version}
        add_event(session, ALARM_JOINED, at=at, call=case.call_id, case=case.id, refs=refs)
    await session.flush()
    return await session.get_one(DeviceAlarm, alarm_id), case, True


async def device_of(session: AsyncSession, import_id: int | None, code: str) -> Registered:
    """The device with this code, in the version in force. Raises UnknownDevice."""
    found = await session.get(Registered, (import_id, code)) if import_id is not None else None
    if found is None:
        raise UnknownDevice("there is no device with that code in the registry in force: import devices first")
    return found


async def alarms_of(session: AsyncSession, case_id: UUID, *, limit: int = 50) -> list[DeviceAlarm]:
    """The alarms that a case was opened for and those that joined it, the newest first."""
    query = select(DeviceAlarm).where(DeviceAlarm.case_id == case_id)
    newest = query.order_by(DeviceAlarm.taken_at.desc(), DeviceAlarm.id.desc())
    return list(await session.scalars(newest.limit(max(1, min(limit, PAGE)))))


async def _still_open(session: AsyncSession, case_id: UUID | None) -> Case | None:
    """The open case of a device, held; the one that it was merged into, where it was a duplicate."""
    for _ in range(_MERGES):
        if case_id is None:
            break
        # Looked at first, and held only if it is the one: who merges two holds them in another order.
        if await session.scalar(select(Case.state).where(Case.id == case_id)) not in ENDED:
            case = await locked(session, case_id)
            if case is not None and case.state not in ENDED:
                return case
        merged = select(CaseLink.case_id).where(CaseLink.other_id == case_id, CaseLink.kind == DUPLICATE)
        case_id = await session.scalar(merged.limit(1))
    return None


async def _open(
    session: AsyncSession,
    alarm_id: UUID,
    new: NewAlarm,
    device: Registered,
    area_id: UUID | None,
    by: str,
    at: datetime,
    city: CitySettings | None,
) -> Case:
    domain, standard, code, kind, major, minor = new.category or (None,) * 6
    owner = None
    if device.owner:
        owner = await session.scalar(select(Unit.id).where(Unit.code == device.owner, Unit.active.is_(True)))
    order = intake.NewCase(
        source=SOURCE,
        text=_text(new, device),
        domain=domain,
        standard=standard,
        code=code,
        kind=kind,
        major=major,
        minor=minor,
        area_id=area_id,
        lat=device.lat,
        lon=device.lon,
        happened_at=new.taken_at,
        wants_reply=False,
        urgency="urgent",
        asset_owner_id=owner,
    )
    case, _ = await intake.register(session, uuid5(IDS, str(alarm_id)), order, by=by, at=at, city=city)
    if device.lon is not None and device.lat is not None:
        case.cell = cells.cell_of(Point(device.lon, device.lat))
        case.located_by = locating.DEVICE
    return case


def _text(new: NewAlarm, device: Registered) -> str:
    """What people read: 物联网报警：燃气探测器（GAS-0001），测得 26.5 %LEL，阈值 20 %LEL."""
    measure = f" {new.measure}" if new.measure else ""
    read, limit = f"{new.value:g}{measure}", f"{new.threshold:g}{measure}"
    return f"物联网报警：{device.name}（{device.code}），测得 {read}，阈值 {limit}"


def _check(new: NewAlarm) -> None:
    for name, value in (("value", new.value), ("threshold", new.threshold)):
        if not isfinite(value):
            raise AlarmRefused(name, "is no number: send what was measured")
