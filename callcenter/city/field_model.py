"""People and devices out in the city, as the store keeps them: who is on duty where, where they are, what they are
asked to do, what they found at risk sources; what a unit has read; what devices report.

Positions are personal data of people at work: points are swept after some days (``tracks.sweep_tracks``), the newest of
each has a row of its own. Free words (what a task asks for and came to, what an inspection found) can be erased.
"""

from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

OPEN: Final = "open"
ACCEPTED: Final = "accepted"
DONE: Final = "done"
DECLINED: Final = "declined"
TASK_STATES: Final = (OPEN, ACCEPTED, DONE, DECLINED)
_UNDER_WAY: Final = "state IN ('open', 'accepted')"


class Shift(Base):
    """A person is on duty for an area from ``starts_at`` until before ``ends_at``. Shifts of one never overlap."""

    __tablename__ = "shifts"
    __table_args__ = (Index(None, "user_id", "starts_at"), Index(None, "ends_at", "starts_at"), Index(None, "area_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    """Of any level and layer: a grid, a whole district, a professional grid."""
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    made_by: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime]


class TrackPoint(Base):
    """Where a person or a device was at a moment."""

    __tablename__ = "track_points"
    __table_args__ = (Index(None, "taken_at"),)

    tracker: Mapped[UUID] = mapped_column(primary_key=True)
    """The id of a user, or the one that follows from a device's code (``tracks.Tracker``): no foreign key."""
    taken_at: Mapped[datetime] = mapped_column(primary_key=True)
    lon: Mapped[float]
    """Degrees, WGS84, as ``lat``."""
    lat: Mapped[float]
    accuracy_m: Mapped[float]
    source: Mapped[str] = mapped_column(String(8))
    """What fixed it: one of ``tracks.SOURCES``."""
    received_at: Mapped[datetime]


class Position(Base):
    """The newest fix of each."""

    __tablename__ = "positions"
    __table_args__ = (Index(None, "cell"), Index(None, "taken_at"))

    tracker: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    device: Mapped[str | None] = mapped_column(String(32))
    """The code of a device, where it is one's."""
    lon: Mapped[float]
    lat: Mapped[float]
    cell: Mapped[int] = mapped_column(BigInteger)
    accuracy_m: Mapped[float]
    source: Mapped[str] = mapped_column(String(8))
    taken_at: Mapped[datetime]
    received_at: Mapped[datetime]


class FieldTask(Base):
    """What somebody out there is asked to do. ``collector_id`` None: whoever is on duty for the area takes it."""

    __tablename__ = "field_tasks"
    __table_args__ = (
        Index(None, "made_at", "id"),
        Index(None, "collector_id", "made_at", "id"),
        Index(
            "ix_field_tasks_area_open",
            *("area_id", "made_at", "id"),
            postgresql_where=text(_UNDER_WAY),
            sqlite_where=text(_UNDER_WAY),
        ),
        Index(None, "case_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    """One of ``tasks.KINDS``."""
    state: Mapped[str] = mapped_column(String(8))
    """One of TASK_STATES."""
    collector_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    due_at: Mapped[datetime | None]
    version: Mapped[int]
    """Grows with every step."""
    made_by: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime]
    last_step: Mapped[str | None] = mapped_column(String(8))
    last_by: Mapped[UUID | None]
    last_at: Mapped[datetime | None]
    words: Mapped[str | None]
    """What is asked for; blank after erasure."""
    result: Mapped[str | None]
    """What came of it, or why it was declined; blank after erasure."""
    erased_at: Mapped[datetime | None]


class Inspection(Base):
    """Somebody looked at a risk source: its holder's own report, a department's check, a collector's addition."""

    __tablename__ = "inspections"
    __table_args__ = (Index(None, "source", "inspected_at", "id"), Index(None, "unit_id", "inspected_at", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(32))
    """The code of an entry of the registry of risk sources, not a row: registries are imported by version."""
    kind: Mapped[str] = mapped_column(String(12))
    """One of ``inspections.KINDS``."""
    result: Mapped[str] = mapped_column(String(12))
    """One of ``inspections.RESULTS``."""
    finding: Mapped[str | None]
    """Blank after erasure."""
    inspected_at: Mapped[datetime]
    next_due: Mapped[date | None]
    """The day (Asia/Shanghai) by which it is to be looked at again; None: nobody said."""
    by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    """For whom they looked; None: the hotline's own people."""
    recorded_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class UnitInbox(Base):
    """Up to when a unit has read its orders."""

    __tablename__ = "unit_inboxes"

    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"), primary_key=True)
    read_until: Mapped[datetime]
    read_by: Mapped[str] = mapped_column(String(64))
    read_at: Mapped[datetime]


class AlarmDevice(Base):
    """A device that has raised an alarm, and the case that its alarms go to while that one is open. Its row is locked
    by whoever takes in an alarm, so that two at once make one case."""

    __tablename__ = "alarm_devices"

    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Of the registry of devices."""
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    logged_at: Mapped[datetime | None]
    """When an alarm last made a row in the case's log."""


class DeviceAlarm(Base):
    """One alarm of a device."""

    __tablename__ = "device_alarms"
    __table_args__ = (Index(None, "device", "taken_at", "id"), Index(None, "case_id", "taken_at", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(ForeignKey("alarm_devices.code"))
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    joined: Mapped[bool]
    """The case was open already."""
    value: Mapped[float]
    threshold: Mapped[float]
    measure: Mapped[str] = mapped_column(String(16))
    """What ``value`` and ``threshold`` are in: %LEL, ℃, A …; empty: not said."""
    taken_at: Mapped[datetime]
    received_at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))


class CaseFix(Base):
    """How well the place of a case is known that was reported from the street (002-14); the place itself is the case's
    ``lon``, ``lat``."""

    __tablename__ = "case_fixes"

    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    accuracy_m: Mapped[float]
    source: Mapped[str] = mapped_column(String(8))
    """What fixed it: one of ``tracks.SOURCES``."""
    taken_at: Mapped[datetime]
