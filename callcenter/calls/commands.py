"""What happens to a call, as commands that can be applied once, twice, or days later with the same result.

A live call never waits for the store: a command that the store does not take in time is journalled (``calls.ledger``)
and replayed. So each names its call by UUID and everything it needs; none says "now".
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

LegKind = Literal["citizen", "agent"]


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call reached the line. ``number`` is the caller's, digits and ``+`` only, empty when withheld."""

    call: UUID
    line: str
    number: str
    rung_at: datetime
    answered_at: datetime | None
    recording: str
    """Path of the recording, relative to the recordings folder."""
    channel: str = ""
    """Asterisk's unique id of the citizen's channel, to cross-check events with."""
    recovered: bool = False
    """True when the call was found from its recording, the bridge having been down."""


@dataclass(frozen=True, slots=True)
class LegOpened:
    """A voice joined. ``extension`` is the agent's telephone, empty for the citizen."""

    call: UUID
    leg: UUID
    kind: LegKind
    extension: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class UtteranceHeard:
    """One final utterance of a leg; ``(leg, sequence)`` is its identity. Positions are seconds on the leg's clock."""

    call: UUID
    leg: UUID
    sequence: int
    text: str
    start: float
    end: float
    confidence: float
    words: list[dict[str, Any]]
    heard_at: datetime
    source: Literal["live", "recording"] = "live"


@dataclass(frozen=True, slots=True)
class RoutingMade:
    """The router's answer for the text so far; updates the draft case. ``(call, sequence)`` is its identity."""

    call: UUID
    sequence: int
    text: str
    routing: dict[str, Any]
    """As docs/route.schema.json."""
    made_at: datetime


@dataclass(frozen=True, slots=True)
class ShadowMade:
    """What a candidate version answers to the very text of the routing ``(call, sequence)``. ``answer``: no words, only
    the parts that ``shadow_answer`` keeps."""

    call: UUID
    sequence: int
    answer: dict[str, Any]
    made_at: datetime


@dataclass(frozen=True, slots=True)
class TimelineMarked:
    """Moments of the call (names: see ``calls.timeline``). The first value of a mark stays, but for LAST_WINS marks."""

    call: UUID
    marks: dict[str, datetime]


@dataclass(frozen=True, slots=True)
class CaseCompleted:
    """The citizen stopped or hung up: the draft is complete. Its result carries the case's number."""

    call: UUID
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class LegClosed:
    """A voice left, after ``seconds`` of sound; ``gaps`` are parts not heard live: [start, end or null, reason]."""

    call: UUID
    leg: UUID
    closed_at: datetime
    seconds: float
    gaps: list[tuple[float, float | None, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The citizen's line is free again. ``cause`` is the Q.850 number, 0 when unknown."""

    call: UUID
    ended_at: datetime
    cause: int


@dataclass(frozen=True, slots=True)
class RecordingLinked:
    """The recording is whole: its SHA-256, bytes and seconds."""

    call: UUID
    sha256: str
    bytes: int
    seconds: float


Command = (
    CallStarted
    | LegOpened
    | UtteranceHeard
    | RoutingMade
    | ShadowMade
    | TimelineMarked
    | CaseCompleted
    | LegClosed
    | CallEnded
    | RecordingLinked
)

_SHADOW_PARTS = ("disposition", "domain", "domain_probability", "category", "probability", "decision", "model")


def shadow_answer(routing: dict[str, Any]) -> dict[str, Any]:
    """Of a candidate's answer (docs/route.schema.json) what it is judged by; nothing of what was said."""
    return {name: routing.get(name) for name in _SHADOW_PARTS}
