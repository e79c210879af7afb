"""What hangs on a case while it lives: orders to units, deadlines, requests, checks, evidence, links, texts.

Every free text (an opinion, a reason, an answer) is a CaseText, which can be erased; everything else refers to it by id
and holds codes, times and ids only.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

_OPEN = "ended_at IS NULL"
_RINGS = "ended_at IS NULL AND paused_at IS NULL AND next_lamp_at IS NOT NULL"

LEAD: Final = "lead"
ASSIST: Final = "assist"

SIGN, HANDLE, VERIFY, FILE, DISPATCH, CHECK, CLOSE, CITIZEN = (
    "sign",
    "handle",
    "verify",
    "file",
    "dispatch",
    "check",
    "close",
    "citizen",
)
PHASES: Final = (VERIFY, FILE, DISPATCH, SIGN, HANDLE, CHECK, CLOSE, CITIZEN)
"""Each has a limit of its own; ``citizen`` runs from the report to the close and never stops."""

NO_LAMP, WARNED, YELLOW, RED = "none", "warned", "yellow", "red"
LAMPS: Final = (NO_LAMP, WARNED, YELLOW, RED)


class CaseText(Base):
    """Something that somebody wrote about a case. ``author`` as in the log. Blank after erasure."""

    __tablename__ = "case_texts"
    __table_args__ = (Index(None, "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[str] = mapped_column(String(24))
    """opinion, reason, answer, result, instruction, sheet, reply, duty …"""
    author: Mapped[str] = mapped_column(String(64))
    text: Mapped[str | None]
    at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class CaseOrder(Base):
    """处置指令: the order to one unit to handle one case. Ends when the unit is done, gave it back, or lost it."""

    __tablename__ = "case_orders"
    __table_args__ = (
        Index(None, "case_id"),
        Index(None, "unit_id", "issued_at", "id"),
        Index(
            "ix_case_orders_open", "unit_id", "issued_at", "id", postgresql_where=text(_OPEN), sqlite_where=text(_OPEN)
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    part: Mapped[str] = mapped_column(String(8))
    """lead or assist."""
    round: Mapped[int]
    """1 for the first dispatch of the case; each re-dispatch or rework counts on."""
    issued_at: Mapped[datetime]
    issued_by: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str | None] = mapped_column(String(64))
    signed_at: Mapped[datetime | None]
    signed_by: Mapped[str | None] = mapped_column(String(64))
    handler: Mapped[UUID | None]
    """The person the unit named, a user."""
    opinion: Mapped[UUID | None]
    """A CaseText: what is to be done."""
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """done, returned, withdrawn, rework, closed."""


class CaseAssist(Base):
    """A unit had an order to assist in a case. Beside the orders for lists alone: in the order of the cases' own time,
    one row however often it was ordered. ``created_at`` is the case's."""

    __tablename__ = "case_assists"

    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), primary_key=True)


class CaseDeadline(Base):
    """One running or ended limit. ``warn_at``, ``yellow_at`` and ``red_at`` follow from it and move with it.

    ``used_s`` counts seconds of its own kind of time (clock or working) until the last pause.
    """

    __tablename__ = "case_deadlines"
    __table_args__ = (
        Index(None, "case_id"),
        # The sweep of the lamps reads only what is due now.
        Index("ix_case_deadlines_lamp", "next_lamp_at", postgresql_where=text(_RINGS), sqlite_where=text(_RINGS)),
        Index(None, "provisional", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("case_orders.id"))
    phase: Mapped[str] = mapped_column(String(16))
    limit_value: Mapped[float]
    limit_unit: Mapped[str] = mapped_column(String(16))
    """urgent_hour, urgent_day, work_hour, work_day."""
    started_at: Mapped[datetime]
    due_at: Mapped[datetime]
    original_due_at: Mapped[datetime]
    """Before any extension or pause."""
    extended: Mapped[int]
    paused_at: Mapped[datetime | None]
    used_s: Mapped[int]
    warn_at: Mapped[datetime]
    yellow_at: Mapped[datetime]
    red_at: Mapped[datetime]
    lamp: Mapped[str] = mapped_column(String(8))
    next_lamp_at: Mapped[datetime | None]
    """When the next lamp is lit; None: all that can be are."""
    provisional: Mapped[bool]
    """Counted over days of a year whose holidays are not known yet."""
    ended_at: Mapped[datetime | None]
    met: Mapped[bool | None]
    """Ended in time; None: still running, or withdrawn."""


class CaseRequest(Base):
    """What a unit asks and the command centre grants or not: extension, suspension, return, cancel."""

    __tablename__ = "case_requests"
    __table_args__ = (Index(None, "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("case_orders.id"))
    kind: Mapped[str] = mapped_column(String(16))
    asked_by: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[datetime]
    until: Mapped[datetime | None]
    reason: Mapped[UUID | None]
    """A CaseText."""
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    granted: Mapped[bool | None]


class CaseCheck(Base):
    """核实 before filing (``verify``) or 核查 after handling (``check``): somebody went and looked."""

    __tablename__ = "case_checks"
    __table_args__ = (Index(None, "case_id"), Index(None, "collector", "asked_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[str] = mapped_column(String(8))
    collector: Mapped[UUID | None]
    asked_by: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    result: Mapped[str | None] = mapped_column(String(16))
    """exists, not_exists, cannot_tell; passed, failed."""
    opinion: Mapped[UUID | None]
    lat: Mapped[float | None]
    lon: Mapped[float | None]


class CaseEvidence(Base):
    """A file that shows something; the file itself lies in the data directory under its hash."""

    __tablename__ = "case_evidence"
    __table_args__ = (UniqueConstraint("case_id", "sha256"), Index(None, "sha256"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """before, after, check, other."""
    sha256: Mapped[str] = mapped_column(String(64))
    media: Mapped[str] = mapped_column(String(40))
    size: Mapped[int]
    taken_at: Mapped[datetime | None]
    added_at: Mapped[datetime]
    added_by: Mapped[str] = mapped_column(String(64))
    erased_at: Mapped[datetime | None]


class CaseCallback(Base):
    """回访: asking the citizen afterwards."""

    __tablename__ = "case_callbacks"
    __table_args__ = (Index(None, "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    reached: Mapped[bool]
    satisfaction: Mapped[str | None] = mapped_column(String(16))
    """satisfied, basically, dissatisfied; None: not reached, or not said."""
    reason: Mapped[UUID | None]
    call_id: Mapped[UUID | None] = mapped_column(ForeignKey("calls.id"))


class CaseAppeal(Base):
    """超时申诉: a unit asks that an overtime not count. Two people decide; the raw overtime stays."""

    __tablename__ = "case_appeals"
    __table_args__ = (UniqueConstraint("case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    asked_by: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[datetime]
    reason: Mapped[UUID | None]
    first_by: Mapped[str | None] = mapped_column(String(64))
    first_at: Mapped[datetime | None]
    first_granted: Mapped[bool | None]
    second_by: Mapped[str | None] = mapped_column(String(64))
    second_at: Mapped[datetime | None]
    granted: Mapped[bool | None]
    """The outcome; a case whose appeal was granted is exempt."""


class CaseLink(Base):
    """Two cases that belong together: ``split`` (one call, two systems), ``duplicate``, ``recurrence``, ``related``."""

    __tablename__ = "case_links"
    __table_args__ = (UniqueConstraint("case_id", "other_id", "kind"), Index(None, "other_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    """The one that was there first."""
    other_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    reason: Mapped[UUID | None]


class CaseSuggestion(Base):
    """Two cases that may be one matter, as the machine saw it; a person merges them, or says that they are two."""

    __tablename__ = "case_suggestions"
    __table_args__ = (UniqueConstraint("case_id", "other_id"), Index(None, "other_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    """The later one."""
    other_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    distance_m: Mapped[float | None]
    """Between their places; None: one has none, their words alone are alike."""
    likeness: Mapped[float]
    """Of their words, 0 to 1 (``alike.likeness``)."""
    at: Mapped[datetime]
    decided: Mapped[str | None] = mapped_column(String(8))
    """``merged`` or ``two``; None: nobody has looked."""
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]


class HotSpot(Base):
    """Many callers on one matter at one place: raised once, grows while it lasts."""

    __tablename__ = "hot_spots"
    __table_args__ = (Index(None, "last_at"), Index(None, "cell", "last_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    domain: Mapped[str | None] = mapped_column(String(16))
    category_kind: Mapped[str | None] = mapped_column(String(16))
    category_code: Mapped[str | None] = mapped_column(String(16))
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    lat: Mapped[float]
    """WGS84, as ``lon``: of the case that raised it."""
    lon: Mapped[float]
    cell: Mapped[int] = mapped_column(BigInteger)
    cases: Mapped[int]
    callers: Mapped[int]
    """Different telephones; a case without one counts by itself."""
    raised_at: Mapped[datetime]
    last_at: Mapped[datetime]
    """Of its newest case."""


class SupervisionSheet(Base):
    """督办单, 电子监察单: to the leader of the unit that has the order; to be receipted and answered."""

    __tablename__ = "supervision_sheets"
    __table_args__ = (UniqueConstraint("number"), Index(None, "case_id"), Index(None, "unit_id", "issued_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(24))
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    addressee: Mapped[str] = mapped_column(String(40))
    level: Mapped[int]
    """1: of the supervision centre; 2: of the inspectors; 3: of a leader."""
    by: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str | None] = mapped_column(String(64))
    issued_at: Mapped[datetime]
    reply_by: Mapped[datetime]
    receipted_at: Mapped[datetime | None]
    receipted_by: Mapped[str | None] = mapped_column(String(64))
    replied_at: Mapped[datetime | None]
    replied_by: Mapped[str | None] = mapped_column(String(64))
    content: Mapped[UUID | None]
    reply: Mapped[UUID | None]


class LeaderNote(Base):
    """批示: what a leader wrote on a case."""

    __tablename__ = "leader_notes"
    __table_args__ = (Index(None, "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    content: Mapped[UUID]


class JointOrder(Base):
    """联合执法: several units, one time, one place, each its duty; on one or several cases."""

    __tablename__ = "joint_orders"
    __table_args__ = (UniqueConstraint("number"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(24))
    place: Mapped[str] = mapped_column(String(200))
    meet_at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    issued_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    duties: Mapped[list[Any]]
    """``{"unit": id, "duty": words, "receipted_at": moment or null, "receipted_by"}`` a unit."""


class JointOrderCase(Base):
    """A case that a joint order is about."""

    __tablename__ = "joint_order_cases"

    joint_order_id: Mapped[UUID] = mapped_column(ForeignKey("joint_orders.id"), primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), primary_key=True)


class PoliceHandover(Base):
    """A case from 110, or to it. ``direction`` is ``in`` or ``out``."""

    __tablename__ = "police_handovers"
    __table_args__ = (UniqueConstraint("police_number", "direction"), Index(None, "case_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    direction: Mapped[str] = mapped_column(String(4))
    police_number: Mapped[str] = mapped_column(String(40))
    handed_at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    result_at: Mapped[datetime | None]
    """When the result was returned to the side that handed over."""
    result: Mapped[UUID | None]
