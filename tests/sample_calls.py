"""Calls made up for tests: the commands of a citizen's call, with as much or little of it as a test needs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from callcenter.calls import repository
from callcenter.calls.commands import (
    CallEnded,
    CallStarted,
    CaseCompleted,
    Command,
    LegClosed,
    LegOpened,
    RecordingLinked,
    RoutingMade,
    TimelineMarked,
    UtteranceHeard,
)
from callcenter.storage.engine import Database

RUNG = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
"""17:30 in the city."""
MANHOLE = ("GB/T 30428.2-2013", "0102", "part", "公用设施", "污水井盖")
QUARREL = ("social", "0301", "social", "矛盾纠纷", "邻里纠纷")


def routing(
    text: str,
    *,
    decision: str = "auto",
    disposition: str = "case",
    domain: str | None = "urban",
    category: tuple[str, str, str, str, str] | None = MANHOLE,
    **more: Any,
) -> dict[str, Any]:
    """A router's answer as docs/route.schema.json has it."""
    return {
        "text": text,
        "disposition": disposition,
        "domain": domain,
        "domain_probability": 0.99,
        "category": dict(zip(("standard", "code", "kind", "major", "minor"), category, strict=True))
        if category
        else None,
        "probability": 0.985,
        "alternatives": [],
        "decision": decision,
        "reasons": [] if decision == "auto" else ["low_probability"],
        "emergency": None,
        "intent": "complaint",
        "address": "解放大道与青年路交叉口",
        "accused": "某某餐馆老板张三",
        "secrecy": False,
        "secondary": None,
        "evidence": [[0, 2]],
        "model": "router-test-1",
        "elapsed_ms": 1.5,
        **more,
    }


@dataclass
class SampleCall:
    """One call; each method gives the next command of it."""

    number: str = "13812345678"
    rung_at: datetime = RUNG
    call: UUID = field(default_factory=uuid4)
    leg: UUID = field(default_factory=uuid4)
    utterances: int = 0
    routings: int = 0

    def at(self, seconds: float) -> datetime:
        """The moment ``seconds`` after it rang."""
        return self.rung_at + timedelta(seconds=seconds)

    def started(self, **changes: Any) -> CallStarted:
        values: dict[str, Any] = {
            "line": "12319",
            "number": self.number,
            "rung_at": self.rung_at,
            "answered_at": self.at(1),
            "recording": f"20261120/{self.call}.wav",
            "channel": "1763631000.12",
        }
        return CallStarted(self.call, **{**values, **changes})

    def leg_opened(self) -> LegOpened:
        return LegOpened(self.call, self.leg, "citizen", "", self.at(1.2))

    def said(self, text: str, sequence: int | None = None) -> UtteranceHeard:
        number = self.utterances if sequence is None else sequence
        self.utterances = max(self.utterances, number + 1)
        words = [{"text": text[:2], "start": 1.0, "end": 1.5, "confidence": 0.9}]
        return UtteranceHeard(
            self.call, self.leg, number, text, number * 3.0, number * 3.0 + 2, 0.93, words, self.at(4 + 3 * number)
        )

    def routed(self, text: str, sequence: int | None = None, **answer: Any) -> RoutingMade:
        number = self.routings if sequence is None else sequence
        self.routings = max(self.routings, number + 1)
        return RoutingMade(self.call, number, text, routing(text, **answer), self.at(4.1 + 3 * number))

    def completed(self, seconds: float = 30) -> CaseCompleted:
        return CaseCompleted(self.call, self.at(seconds))

    def marked(self, **seconds: float) -> TimelineMarked:
        return TimelineMarked(self.call, {name: self.at(value) for name, value in seconds.items()})

    def leg_closed(self, gaps: list[tuple[float, float | None, str]] | None = None) -> LegClosed:
        return LegClosed(self.call, self.leg, self.at(31), 29.8, gaps or [])

    def ended(self, cause: int = 16) -> CallEnded:
        return CallEnded(self.call, self.at(31), cause)

    def recorded(self) -> RecordingLinked:
        return RecordingLinked(self.call, "ab" * 32, 480_044, 30.0)

    def whole(self, text: str = "解放大道路口的井盖不见了", **answer: Any) -> list[Command]:
        """The whole of a short call to the machine."""
        return [
            self.started(),
            self.leg_opened(),
            self.marked(first_audio=1.3, first_words=3.0),
            self.said(text),
            self.routed(text, **answer),
            self.marked(last_voiced=4.0, end_decided=6.0, decoded=6.05, routed=6.06),
            self.completed(),
            self.leg_closed(),
            self.ended(),
            self.recorded(),
        ]


async def apply(db: Database, *commands: Command) -> dict[str, object]:
    """Each command in a transaction of its own; gives the last result."""
    result: dict[str, object] = {}
    for command in commands:
        async with db.begin() as session:
            result = await repository.apply(session, command)
    return result
