"""The call as the store keeps it: Call, Leg, Utterance, Routing – and, beside each, the row that can be erased.

What tells who called or what was said (number, words, place) stands only in ``call_particulars``, ``utterance_texts``
and ``routing_texts``; erasing a call (PIPL art. 47) blanks those rows and leaves the rest, so that counts, times and
the quality of routing stay true. ``calls.repository`` is the only writer.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base

RINGING: Final = "ringing"
LIVE: Final = "live"
ENDED: Final = "ended"
CALL_STATES: Final = (RINGING, LIVE, ENDED)

OPEN_ANSWER: Final = (
    "disposition",
    "domain",
    "domain_probability",
    "category",
    "probability",
    "alternatives",
    "decision",
    "reasons",
    "emergency",
    "intent",
    "secrecy",
    "model",
    "elapsed_ms",
)
"""Parts of the router's answer that hold nothing of what was said. All others (text, address, accused, evidence,
secondary, and whatever a later router adds) are particulars until someone decides otherwise."""


class Call(Base):
    """One phone call. ``timeline`` maps the marks of ``calls.timeline`` to ISO 8601 times."""

    __tablename__ = "calls"
    __table_args__ = (
        Index(None, "rung_at", "id"),
        Index(None, "state", "rung_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    rung_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    """When the citizen's matter was taken as complete; words that come later complete their case at once."""
    ended_at: Mapped[datetime | None]
    cause: Mapped[int | None]
    channel: Mapped[str] = mapped_column(String(64))
    recovered: Mapped[bool]
    recording: Mapped[str] = mapped_column(String(255))
    recording_sha256: Mapped[str | None] = mapped_column(String(64))
    recording_bytes: Mapped[int | None] = mapped_column(BigInteger)
    recording_seconds: Mapped[float | None]
    timeline: Mapped[dict[str, Any]]


class CallParticulars(Base):
    """Who called. ``erased_at`` set: the call was erased, and words that still arrive are not kept."""

    __tablename__ = "call_particulars"

    call_id: Mapped[UUID] = mapped_column(ForeignKey("calls.id"), primary_key=True)
    number: Mapped[str | None] = mapped_column(String(32))
    erased_at: Mapped[datetime | None]


class Leg(Base):
    """One voice of a call. ``gaps`` are parts not heard live: ``[start, end or null, reason]``, seconds."""

    __tablename__ = "legs"
    __table_args__ = (Index(None, "call_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID] = mapped_column(ForeignKey("calls.id"))
    kind: Mapped[str] = mapped_column(String(16))
    extension: Mapped[str] = mapped_column(String(32))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    gaps: Mapped[list[Any]]


class Utterance(Base):
    """One finished piece of a leg: where on the leg's clock (seconds), how sure, from the live leg or the recording."""

    __tablename__ = "utterances"
    __table_args__ = (UniqueConstraint("leg_id", "sequence"), Index(None, "call_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    leg_id: Mapped[UUID] = mapped_column(ForeignKey("legs.id"))
    call_id: Mapped[UUID] = mapped_column(ForeignKey("calls.id"))
    sequence: Mapped[int]
    start: Mapped[float]
    end: Mapped[float]
    confidence: Mapped[float]
    source: Mapped[str] = mapped_column(String(16))
    heard_at: Mapped[datetime]


class UtteranceText(Base):
    """What was said. Blank after erasure."""

    __tablename__ = "utterance_texts"

    utterance_id: Mapped[UUID] = mapped_column(ForeignKey("utterances.id"), primary_key=True)
    text: Mapped[str | None]
    words: Mapped[list[Any] | None]


class Routing(Base):
    """The router's answer for the text so far. ``answer`` holds only the parts named in OPEN_ANSWER."""

    __tablename__ = "routings"
    __table_args__ = (UniqueConstraint("call_id", "sequence"), Index(None, "case_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID] = mapped_column(ForeignKey("calls.id"))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    sequence: Mapped[int]
    disposition: Mapped[str] = mapped_column(String(16))
    domain: Mapped[str | None] = mapped_column(String(16))
    category_standard: Mapped[str | None] = mapped_column(String(40))
    category_code: Mapped[str | None] = mapped_column(String(16))
    category_kind: Mapped[str | None] = mapped_column(String(16))
    probability: Mapped[float | None]
    decision: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(80))
    answer: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class RoutingText(Base):
    """The text that was routed and what the answer quotes of it. Blank after erasure."""

    __tablename__ = "routing_texts"

    routing_id: Mapped[UUID] = mapped_column(ForeignKey("routings.id"), primary_key=True)
    text: Mapped[str | None]
    answer: Mapped[dict[str, Any] | None]


def utterance_id(leg: UUID, sequence: int) -> UUID:
    """The id of a leg's utterance: derived, so that the same command twice is the same row."""
    return uuid5(leg, f"utterance:{sequence}")


def routing_id(call: UUID, sequence: int) -> UUID:
    """The id of a call's routing: derived, as above."""
    return uuid5(call, f"routing:{sequence}")


def case_id(call: UUID) -> UUID:
    """The id of the case that a call's words open by themselves; cases split from it have ids of their own."""
    return uuid5(call, "case")
